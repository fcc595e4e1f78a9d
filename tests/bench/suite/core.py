"""The ledger and the registry, in process."""

import json


def ledger(setting):
    # Newer versions want "0.1s" and still take this; older ones take nothing else.
    out = setting.run(
        setting.program("ledger"), f"--benchmark_min_time={0.02 if setting.quick else 0.05}",
        f"--benchmark_repetitions={5 if setting.quick else 15}", "--benchmark_format=json",
        "--benchmark_enable_random_interleaving=true")
    taken = {}
    for one in json.loads(out)["benchmarks"]:
        if one["run_type"] == "iteration":
            taken.setdefault(one["run_name"], []).append(one["cpu_time"])
    names = {"charge_and_credit/1": "1 slot", "charge_and_credit/8": "8 slots",
             "charge_and_credit/64": "64 slots", "charge_and_credit/256": "256 slots",
             "deadline_check": "of which the look at the deadline",
             "robust_mutex_pair": "a robust mutex instead", "flock_pair": "`flock` instead"}
    for run_name, name in names.items():
        setting.add("ledger", name, taken[run_name])


def registry(setting):
    rounds, most = (60, 1000) if setting.quick else (300, 10000)
    with setting.fresh_state() as state:
        setting.lines(None, setting.program("registry"), rounds, most, CHRONOS_STATE_DIR=state)

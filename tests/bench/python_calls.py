"""Times what the Python package does in this interpreter; prints a row a line, as tests/bench/spawn
does. suite/python.py calls it. Usage: python_calls.py ROUNDS"""

import gc
import json
import statistics
import sys
import time

import chronos

BATCH = 20
machine = chronos.Partitioner()


def pair():
    machine.create(0, "1MiB", 60).release()


def block():
    with machine.create(0, "1MiB", 60):
        pass


def listed():
    machine.list()


WHAT = {"create and release": pair, "a `with` block": block, "list": listed}
times = {name: [] for name in WHAT}
gc.disable()
for _ in range(int(sys.argv[1])):
    for name, call in WHAT.items():
        start = time.perf_counter_ns()
        for _ in range(BATCH):
            call()
        times[name].append((time.perf_counter_ns() - start) / BATCH)
for name, values in times.items():
    print(json.dumps({"group": "Python calls", "name": name, "min_ns": min(values),
                      "median_ns": statistics.median(values), "batches": len(values)}))

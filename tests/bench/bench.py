"""Runs the benchmarks and prints their figures; scripts/bench calls it. See docs/benchmarks.md.

Everything is a comparison made in one run: the machine may be shared, so a figure alone says little,
and the minimum of many short alternated runs says most.
"""

import argparse
import json
import os
import platform
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import waiting

ROOT = Path(__file__).resolve().parents[2]
NAME = "bench"


class Bench:
    def __init__(self, build, quick):
        self.quick = quick
        self.programs = build / "tests/bench"
        self.chronos = str(build / "bin/chronos")
        self.shim = str(build / "lib/libchronos_shim.so")
        self.empty_layer = str(self.programs / "libempty_layer.so")
        self.callback_layer = str(self.programs / "libcallback_layer.so")
        self.empty_preload = str(self.programs / "libempty_preload.so")
        self.rows = []  # {"group", "name", "min_ns", "median_ns", ...}
        self.state = tempfile.mkdtemp(prefix="chronos-bench.", dir="/dev/shm")
        hidden = ("CHRONOS_", "LD_PRELOAD", "OPENCL_LAYERS", "OCL_ICD_")
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
        self.environment["CHRONOS_STATE_DIR"] = self.state

    def run(self, *command, **variables):
        done = subprocess.run(
            [str(part) for part in command],
            env=self.environment | variables,
            stdout=subprocess.PIPE,
            text=True,
            timeout=120,
        )
        if done.returncode != 0:
            sys.exit(f"bench: {command[0]} ended with status {done.returncode}")
        return done.stdout

    def lines(self, *command, **variables):
        for line in self.run(*command, **variables).splitlines():
            self.rows.append(json.loads(line))
            yield self.rows[-1]

    def add(self, group, name, values, **more):
        self.rows.append(
            {"group": group, "name": name, "min_ns": min(values),
             "median_ns": statistics.median(values), "batches": len(values), **more})

    def program(self, name):
        return self.programs / name

    # Buffers

    def driver(self):
        for file in sorted(Path("/etc/OpenCL/vendors").glob("*.icd")):
            if "pocl" in file.read_text():
                return file.read_text().split()[0]
        sys.exit("bench: PoCL is not installed (/etc/OpenCL/vendors has no pocl.icd)")

    def buffers(self):
        """One process with a loader of its own, each door in turn."""
        for mode in ("callback", "counts"):
            state = tempfile.mkdtemp(dir=self.state)
            for row in self.lines(
                self.program("buffers"), self.driver(), self.shim, self.empty_layer, self.callback_layer,
                400 if self.quick else 3000, CHRONOS_STATE_DIR=state, CHRONOS_LIFETIME=mode, CHRONOS_LOG="error"):
                row["group"] = f"buffers, {mode}"

    def buffers_counted(self):
        """Instructions by callgrind: no noise at all, and no caches either."""
        if shutil.which("valgrind") is None:
            return
        pairs = 200
        for mode in ("callback", "counts"):
            with (tempfile.TemporaryDirectory() as folder,
                  tempfile.TemporaryDirectory(prefix="chronos-bench.", dir="/dev/shm") as state):
                self.run(
                    "valgrind", "-q", "--tool=callgrind", "--instr-atstart=no",
                    f"--callgrind-out-file={folder}/out", self.program("buffers"), self.driver(),
                    self.shim, self.empty_layer, self.callback_layer, pairs, CHRONOS_LIFETIME=mode,
                    CHRONOS_LOG="error", CHRONOS_STATE_DIR=state)
                for dump in Path(folder).glob("out.*"):
                    text = dump.read_text()
                    door = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.M)
                    total = re.search(r"^(?:totals|summary): (\d+)", text, re.M)
                    if door and total and int(total[1]) > 0:
                        self.rows.append(
                            {"group": f"buffers, {mode}, instructions", "name": door[1],
                             "instructions": int(total[1]) / pairs})

    def linked_buffers(self):
        """A linked program through the installed loader, as users run it: child by child.

        The minimum of one process repeats to a tenth of a nanosecond and moves by 20 ns with the
        length of a path, because that moves everything on the heap. So each round has paths of
        another length, and the median over the rounds is the figure to compare.
        """
        lengths = random.Random(1)
        taken = {}
        for _ in range(5 if self.quick else 25):
            folder = Path(self.state) / ("d" * lengths.randint(1, 200))
            folder.mkdir(exist_ok=True)
            placed = {}
            for library in (self.shim, self.empty_layer, self.callback_layer):
                placed[library] = str(folder / Path(library).name)
                if not os.path.lexists(placed[library]):
                    os.symlink(library, placed[library])
            shim = placed[self.shim]
            ways = {
                "bare": {"BENCH_PADDING": shim},
                "empty layer": {"OPENCL_LAYERS": placed[self.empty_layer]},
                "callback layer": {"OPENCL_LAYERS": placed[self.callback_layer]},
                "layer door": {"OPENCL_LAYERS": shim},
                "driver door": {"LD_PRELOAD": shim},
                "both doors": {"LD_PRELOAD": shim},
                "both doors, counts": {"LD_PRELOAD": shim, "CHRONOS_LIFETIME": "counts"},
            }
            for name, variables in ways.items():
                more = ["no-layers"] if name == "driver door" else []
                out = self.run(self.program("linked_buffers"), 100, *more, **variables,
                               CHRONOS_PARTITION=NAME)
                taken.setdefault(name, []).append(float(out))
        for name, values in taken.items():
            self.add("buffers, installed loader", name, values)

    # Core

    def ledger(self):
        # Newer versions want "0.1s" and still take this; older ones take nothing else.
        out = self.run(
            self.program("ledger"), f"--benchmark_min_time={0.02 if self.quick else 0.05}",
            f"--benchmark_repetitions={5 if self.quick else 15}", "--benchmark_format=json",
            "--benchmark_enable_random_interleaving=true")
        taken = {}
        for one in json.loads(out)["benchmarks"]:
            if one["run_type"] == "iteration":
                taken.setdefault(one["run_name"], []).append(one["cpu_time"])
        for name, values in taken.items():
            self.add("ledger", name, values)

    def registry(self):
        most, rounds = (100, 100) if self.quick else (1000, 300)
        with tempfile.TemporaryDirectory(prefix="chronos-bench.", dir="/dev/shm") as state:
            list(self.lines(self.program("registry"), rounds, most, CHRONOS_STATE_DIR=state))

    # Whole commands

    def spawn(self, group, rounds, commands, order="shifting"):
        arguments = []
        for name, (variables, command) in commands.items():
            arguments += [name, *(f"{k}={v}" for k, v in variables.items()), "--", *command, "+"]
        list(self.lines(self.program("spawn"), order, group, rounds, *arguments[:-1]))

    def commands(self):
        commands = {
            "/bin/true": ({}, ["/bin/true"]),
            "chronos --version": ({}, [self.chronos, "--version"]),
            "chronos create": ({}, [self.chronos, "create", "0", "1MiB", "60", "--name", "again"]),
            "chronos list": ({}, [self.chronos, "list"]),
            "chronos available": ({}, [self.chronos, "available", "0"]),
            "chronos release": ({}, [self.chronos, "release", "again"]),
        }
        self.spawn("commands", 20 if self.quick else 100, commands, "fixed")

    def execs(self):
        preloads = {"bare": {}, "empty preload": {"LD_PRELOAD": self.empty_preload},
                    "shim": {"LD_PRELOAD": self.shim}}
        rounds = 100 if self.quick else 600
        self.spawn("exec of /bin/true", rounds,
                   {name: (more, ["/bin/true"]) for name, more in preloads.items()})
        self.spawn("exec of bash -c :", rounds,
                   {name: (more, ["bash", "-c", ":"]) for name, more in preloads.items()})

    # Time

    def fresh_state(self):
        return tempfile.TemporaryDirectory(prefix="chronos-bench.", dir="/dev/shm")

    def expiry(self):
        """Each round, a hundred partitions end within a second while every core is busy."""
        count = 100
        for name, cores in (("idle machine", 0), ("every core busy", os.cpu_count())):
            late = []
            for _ in range(1 if self.quick else 3):
                with self.fresh_state() as state, waiting.busy_cores(cores):
                    late += waiting.sigterm_lateness(
                        self.chronos, self.program("sigterm_witness"), state, self.environment,
                        count)
            self.add("SIGTERM after the deadline", name, late, max_ns=max(late))

    def wake_up(self):
        """In process here, so that starting a command is no part of it."""
        os.environ["CHRONOS_LIBRARY"] = str(self.programs.parents[1] / "lib/libchronos.so")
        sys.path.insert(0, str(ROOT / "python"))
        import chronos

        for how in ("release", "expiry"):
            with self.fresh_state() as state:
                os.environ["CHRONOS_STATE_DIR"] = state
                late = waiting.wake_up_lateness(
                    self.chronos, chronos.Partitioner(), state, self.environment,
                    20 if self.quick else 100, how)
            self.add("a waiter's turn", f"after {how}", late, max_ns=max(late))

    def all(self):
        self.run(self.chronos, "create", "0", "1GiB", "1h", "--name", NAME)
        self.buffers()
        self.linked_buffers()
        if not self.quick:
            self.buffers_counted()
        self.ledger()
        self.registry()
        self.commands()
        self.execs()
        self.wake_up()
        self.expiry()


def machine():
    def first(path, pattern):
        found = re.search(pattern, Path(path).read_text(), re.M)
        return found[1].strip() if found else platform.machine()

    def package(name):
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", name],
                              capture_output=True, text=True)
        return done.stdout or None

    return {
        "cpu": first("/proc/cpuinfo", r"^(?:model name|CPU part)\s*: (.*)$"),
        "cpus": os.cpu_count(),
        "kernel": platform.release().split("-")[0],
        "system": platform.freedesktop_os_release().get("PRETTY_NAME"),
        "libc": " ".join(platform.libc_ver()),
        "pocl": package("pocl-opencl-icd"),
        "ocl_icd": package("ocl-icd-libopencl1"),
        "load": [round(value, 1) for value in os.getloadavg()],
    }


BASELINES = ("bare", "/bin/true", "charge_and_credit/1")


def order(name):
    """As listed; callgrind's dumps and shuffled benchmarks come in no order."""
    doors = ("empty layer", "callback layer", "layer door", "driver door", "both doors")
    number = re.search(r"/(\d+)$", name)
    return (doors.index(name) if name in doors else len(doors), int(number[1]) if number else 1000)


def table(rows):
    """Each group against its first row, which is its baseline where there is one."""
    for group in dict.fromkeys(row["group"] for row in rows):
        members = [row for row in rows if row["group"] == group]
        members.sort(key=lambda row: (row["name"] not in BASELINES, order(row["name"])))
        base = members[0] if members[0]["name"] in BASELINES else None
        print(f"\n{group}")
        for row in members:
            key = "instructions" if "instructions" in row else "min_ns"
            cells = [f"  {row['name']:<24}", shown(row[key], key)]
            if "median_ns" in row:
                cells.append(f"median {shown(row['median_ns'], key)}")
            if "max_ns" in row:
                cells.append(f"worst {shown(row['max_ns'], key)}")
            if base and row is not base:
                cells.append(f"added {shown(row[key] - base[key], key)}")
                cells.append(f"{row[key] / base[key]:6.2f}x")
                row["added"] = row[key] - base[key]
                row["ratio"] = row[key] / base[key]
            print("  ".join(cells))


def shown(value, key):
    if key == "instructions":
        return f"{value:8.0f} instr"
    for limit, divisor, unit in ((1e4, 1, "ns"), (1e6, 1e3, "us"), (float("inf"), 1e6, "ms")):
        if abs(value) < limit:
            return f"{value / divisor:8.1f} {unit}" if unit == "ns" else f"{value / divisor:8.3f} {unit}"
    return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, no callgrind")
    parser.add_argument("--build", type=Path, default=ROOT / "build/release")
    parser.add_argument("--results", type=Path, default=ROOT / "build/bench/results.json")
    parser.add_argument("--only", help="only this part, as its method is called")
    given = parser.parse_args()

    start = time.monotonic()
    bench = Bench(given.build.resolve(), given.quick)
    facts = machine()
    try:
        if given.only:
            bench.run(bench.chronos, "create", "0", "1GiB", "1h", "--name", NAME)
            getattr(bench, given.only)()
        else:
            bench.all()
    finally:
        shutil.rmtree(bench.state, ignore_errors=True)
    facts["load_after"] = [round(value, 1) for value in os.getloadavg()]
    print(", ".join(f"{key} {value}" for key, value in facts.items()), flush=True)
    table(bench.rows)
    given.results.parent.mkdir(parents=True, exist_ok=True)
    given.results.write_text(json.dumps({"schema_version": 1, "quick": given.quick,
                                         "machine": facts, "figures": bench.rows}, indent=1))
    print(f"\n{time.monotonic() - start:.0f} s; all figures in {given.results}")


if __name__ == "__main__":
    main()

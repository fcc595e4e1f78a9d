"""Where the programs are, the environment that they run in, and the figures that come of them."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PARTITION = "bench"  # what start() makes
VENDORS = Path("/etc/OpenCL/vendors")


class Setting:
    def __init__(self, build, quick):
        self.quick = quick
        self.build = build
        self.programs = build / "tests/bench"
        self.programs_source = ROOT / "tests/bench"
        self.chronos = str(build / "bin/chronos")
        self.shim = str(build / "lib/libchronos_shim.so")
        self.library = str(build / "lib/libchronos.so")
        self.fake_driver = str(build / "lib/libchronos_fake_driver.so")
        self.empty_layer = str(self.programs / "libempty_layer.so")
        self.callback_layer = str(self.programs / "libcallback_layer.so")
        self.empty_preload = str(self.programs / "libempty_preload.so")
        self.rows = []  # {"group", "name", "min_ns", "median_ns", ...}; see docs/benchmarks.md
        self.left_out = []  # what could not be measured here, and why
        self.state = tempfile.mkdtemp(prefix="chronos-bench.", dir="/dev/shm")
        hidden = ("CHRONOS_", "LD_PRELOAD", "OPENCL_LAYERS", "OCL_ICD_", "CLI_")
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
        self.environment["CHRONOS_STATE_DIR"] = self.state

    def start(self):
        self.run(self.chronos, "create", "0", "1GiB", "1h", "--name", PARTITION)

    def program(self, name):
        return self.programs / name

    def fresh_state(self):
        return tempfile.TemporaryDirectory(prefix="chronos-bench.", dir="/dev/shm")

    def pocl(self):
        for file in sorted(VENDORS.glob("*.icd")):
            if "pocl" in file.read_text():
                return file.read_text().split()[0]
        sys.exit(f"bench: PoCL is not installed ({VENDORS} has no pocl.icd)")

    def run(self, *command, **variables):
        done = subprocess.run(
            [str(part) for part in command],
            env=self.environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,  # valgrind and the peers talk a lot
            text=True,
            timeout=300,
        )
        if done.returncode != 0:
            sys.stderr.write(done.stderr)
            sys.exit(f"bench: {command[0]} ended with status {done.returncode}")
        return done.stdout

    def lines(self, group, *command, **variables):
        """Runs a program of ours that prints a figure a line, and keeps them."""
        for line in self.run(*command, **variables).splitlines():
            row = json.loads(line)
            row["group"] = group or row["group"]
            self.rows.append(row)

    def add(self, group, name, values, **more):
        self.rows.append(
            {"group": group, "name": name, "min_ns": min(values),
             "median_ns": statistics.median(values), "batches": len(values), **more})

    def pool(self, group):
        """Makes one row of those that several processes gave to each name of a group."""
        mine = [row for row in self.rows if row["group"] == group]
        self.rows = [row for row in self.rows if row["group"] != group]
        for name in dict.fromkeys(row["name"] for row in mine):
            of_name = [row for row in mine if row["name"] == name]
            self.rows.append({
                "group": group, "name": name, "by": "median_ns",
                "min_ns": min(row["min_ns"] for row in of_name),
                "median_ns": statistics.median(row["median_ns"] for row in of_name),
                "ratio_of_rounds": statistics.median(row["ratio_of_rounds"] for row in of_name),
                "batches": sum(row["batches"] for row in of_name)})

    def spawn(self, group, rounds, commands, order="shifting"):
        """Times whole commands in turn; `commands`: {name: (variables, command)}."""
        arguments = []
        for name, (variables, command) in commands.items():
            arguments += [name, *(f"{k}={v}" for k, v in variables.items()), "--", *command, "+"]
        self.lines(group, self.program("spawn"), order, group, rounds, *arguments[:-1])

    def without_and_with(self, group, rounds, command, variables=None):
        """A whole program by itself, and in a partition by LD_PRELOAD alone.

        By the median: the minimum is the rare run in which the driver's threads never met.
        """
        common = variables or {}
        inside = common | {"LD_PRELOAD": self.shim, "CHRONOS_PARTITION": PARTITION}
        self.spawn(group, rounds, {"bare": (common, command), "in a partition": (inside, command)})
        for row in self.rows:
            if row["group"] == group:
                row["by"] = "median_ns"

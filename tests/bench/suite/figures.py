"""Figures beside their baseline: ratios, the printed table, and two runs against each other."""

import os
import platform
import re
import subprocess
from pathlib import Path

# A group's figures are compared with the one of these that it has.
BASELINES = ("bare", "/bin/true", "1 slot", "among 1", "ours", "ledger")
# Two runs in a row are to give ratios that differ by less.
TOLERANCE = 1.10


def key_of(row):
    return "instructions" if "instructions" in row else row.get("by", "min_ns")


def value_of(row):
    return row[key_of(row)]


def add_ratios(rows):
    """Puts `added` and `ratio` into every row that has a baseline."""
    bases = {row["group"]: row for row in rows if row["name"] in BASELINES}
    for row in rows:
        base = bases.get(row["group"])
        if base is not None and row is not base:
            of_rounds = key_of(row) == "median_ns" and base.get("ratio_of_rounds") == 1
            ratio = value_of(row) / value_of(base)
            row["ratio"] = row["ratio_of_rounds"] if of_rounds else ratio
            row["added"] = value_of(base) * (row["ratio"] - 1)
            if row.get("cpu_ns") and base.get("cpu_ns"):
                cpu_ratio = row["cpu_ns"] / base["cpu_ns"]
                row["cpu_ratio"] = row["cpu_ratio_of_rounds"] if of_rounds else cpu_ratio


def shown(value, key="min_ns"):
    if key == "instructions":
        return f"{value:.0f}"
    for limit, divisor, unit in ((1e4, 1, "ns"), (1e6, 1e3, "µs"), (float("inf"), 1e6, "ms")):
        if abs(value) < limit:
            digits = 0 if abs(value) >= 100 * divisor else 1 if abs(value) >= 10 * divisor else 2
            return f"{value / divisor:.{0 if unit == 'ns' else digits}f} {unit}"
    return ""


def print_table(rows):
    for group in dict.fromkeys(row["group"] for row in rows):
        print(f"\n{group}")
        for row in rows:
            if row["group"] != group:
                continue
            key = key_of(row)
            cells = [f"  {row['name']:<30}", f"{shown(value_of(row), key):>9}"]
            other = "min_ns" if key == "median_ns" else "median_ns"
            if other in row:
                cells.append(f"{other[:-3]} {shown(row[other]):>9}")
            if "max_ns" in row:
                cells.append(f"worst {shown(row['max_ns']):>9}")
            if "ratio" in row:
                cells.append(f"added {shown(row['added'], key):>9}  {row['ratio']:6.3f}x")
            if "cpu_ratio" in row:
                cells.append(f"(processors {row['cpu_ratio']:.3f}x)")
            print("  ".join(cells))


def ratios(results):
    """Of processors' time where it is known: neighbours disturb that less."""
    return {(row["group"], row["name"]): row.get("cpu_ratio", row["ratio"])
            for row in results["figures"] if "ratio" in row}


def compare(first, second):
    """Prints the ratios that differ between two runs; how many there are."""
    old, new = ratios(first), ratios(second)
    common = [key for key in old if key in new]
    if not common:
        print("The two runs have no figure in common.")
        return 1
    moved = [key for key in common if max(old[key] / new[key], new[key] / old[key]) > TOLERANCE]
    for key in moved:
        print(f"{key[0]}: {key[1]}: {old[key]:.3f}x, then {new[key]:.3f}x")
    print(f"{len(common)} ratios, {len(moved)} of them moved by more than {TOLERANCE - 1:.0%}.")
    return len(moved)


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
        "load": load(),
    }


def load():
    return [round(value, 1) for value in os.getloadavg()]

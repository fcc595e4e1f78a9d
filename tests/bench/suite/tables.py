"""The tables of docs/benchmarks.md: a function for each, by the name in the page's markers.

Each returns lines, or None where the results have not what it needs.
"""

from .acceptance import rows as acceptance_rows
from .figures import shown, value_of

DOORS = ("layer door", "driver door", "both doors")
LAYERS = ("empty layer", "callback layer")
CROWD = (1, 8, 64)
THREADS = (1, 2, 4, 8)


class Figures:
    def __init__(self, results, peers):
        self.results = results
        self.peers_results = peers
        self.by_key = {(row["group"], row["name"]): row
                       for source in (results, peers) if source for row in source["figures"]}

    def get(self, group, name):
        return self.by_key.get((group, name))

    def group(self, group):
        return [row for (of, _), row in self.by_key.items() if of == group]

    def groups(self, start):
        return list(dict.fromkeys(of for of, _ in self.by_key if of.startswith(start)))

    def crowd(self, mode, processes, threads, name):
        group = f"buffers, {mode}"
        if (processes, threads) != (1, 1):
            group += f", {processes} processes, {threads} threads"
        return self.get(group, name)


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head),
            *("| " + " | ".join(row) + " |" for row in rows)]


def added(row):
    return f"{'+' if row['added'] >= 0 else ''}{shown(row['added'])}"


def times(row):
    return f"{row['ratio']:.2f}×" if "ratio" in row else ""


def machine(figures):
    def told(results):
        facts = results["machine"]
        return (f"{facts['cpus']} cores of a shared machine ({facts['cpu']}), {facts['system']}, "
                f"{facts['libc']}, PoCL {facts['pocl']}, ocl-icd {facts['ocl_icd']}; load "
                f"{facts['load'][0]} before and {facts['load_after'][0]} after. "
                f"{results.get('seconds', 0)} s{', `--quick`' if results['quick'] else ''}.")
    return [told(figures.results)]


def acceptance(figures):
    return table(("", "wanted", "measured", ""), acceptance_rows(figures))


def buffers(figures):
    rows = []
    for name in ("bare", *LAYERS, *DOORS):
        row, counts = (figures.get(f"buffers, {mode}", name) for mode in ("callback", "counts"))
        if not row or not counts:
            return None
        instructions = figures.get("buffers, callback, instructions", name)
        cells = [name, shown(row["min_ns"])]
        cells += [added(row), times(row)] if "ratio" in row else ["", ""]
        counted = ""
        if instructions:
            counted = f"{instructions['instructions']:.0f}"
            if "added" in instructions:
                counted = f"+{instructions['added']:.0f}"
        cells += [counted, added(counts) if name in DOORS else ""]
        rows.append(cells)
    return table(("", "minimum", "added", "ratio", "instructions",
                  "added with `CHRONOS_LIFETIME=counts`"), rows)


def crowds(figures):
    rows = []
    for processes in CROWD:
        for threads in THREADS:
            cells = [str(processes), str(threads)]
            for mode in ("callback", "counts"):
                found = [figures.crowd(mode, processes, threads, name)
                         for name in ("bare", *DOORS)]
                if not all(found):
                    break
                cells += [shown(value_of(found[0])),
                          *(f"{added(row)}, {times(row)}" for row in found[1:])]
            else:
                rows.append(cells)
    return table(("processes", "threads", "bare", *DOORS, "bare, counts", *DOORS), rows) if rows else None


def by_door(figures, groups):
    rows = []
    for group in groups:
        found = [figures.get(group, name) for name in ("bare", "empty layer", *DOORS)]
        if all(found):
            rows.append([group, shown(value_of(found[0])),
                         *(f"{added(row)}, {row['ratio']:.3f}×" for row in found[1:])])
    return table(("", "bare", "empty layer", *DOORS), rows) if rows else None


def pointers(figures):
    return by_door(figures, ("SVM, PoCL", "SVM, fake driver", "USM, fake driver"))


def enqueue(figures):
    return by_door(figures, ("clEnqueueNDRangeKernel, PoCL", "clEnqueueWriteBuffer, PoCL",
                             "clEnqueueWriteBuffer, fake driver"))


def instructions(figures):
    rows = []
    for group in ("SVM, PoCL", "USM, fake driver", "clEnqueueWriteBuffer, fake driver"):
        found = [figures.get(f"{group}, instructions", name)
                 for name in ("bare", "empty layer", *DOORS)]
        if all(found):
            rows.append([group, f"{value_of(found[0]):.0f}",
                         *(f"{row['added']:+.0f}" for row in found[1:])])
    return table(("instructions", "bare", "empty layer", *DOORS), rows) if rows else None


def linked(figures, group="buffers, installed loader"):
    rows = [[row["name"], shown(row["min_ns"]), shown(row["median_ns"]),
             added(row) if "ratio" in row else "", times(row)] for row in figures.group(group)]
    return table(("", "minimum", "median", "added to the median", "ratio"), rows) if rows else None


def ledger(figures):
    rows = [[row["name"], shown(row["min_ns"]), times(row) or "1.00×"]
            for row in figures.group("ledger")]
    return table(("", "minimum", "against 1 slot"), rows) if rows else None


def registry(figures):
    rows = []
    for number in (1, 100, 1000, 10000):
        found = [figures.get(f"registry, {what}", f"among {number}")
                 for what in ("create", "release", "list")]
        if all(found):
            rows.append([f"{number:,}", *(shown(row["min_ns"]) for row in found)])
    return table(("partitions that exist", "create", "release", "list"), rows) if rows else None


def commands(figures):
    rows = [[f"`{row['name']}`", shown(row["min_ns"]), shown(row["median_ns"]), times(row)]
            for group in ("commands", "chronos doctor") for row in figures.group(group)]
    return table(("", "minimum", "median", "against `/bin/true`"), rows) if rows else None


def execs(figures):
    rows = []
    for group in ("exec of /bin/true", "exec of bash -c :", "make, 20 files"):
        for row in figures.group(group):
            more = f"{added(row)}, {times(row)}" if "ratio" in row else ""
            rows.append([group, row["name"], shown(row["min_ns"]), more, shown(row["cpu_ns"]),
                         f"{row['cpu_ratio']:.3f}×" if "cpu_ratio" in row else ""])
    return table(("", "", "minimum", "added", "processors' time", "ratio"), rows) if rows else None


def programs(figures):
    rows = []
    for group in ("clpeak --kernel-latency", "CLBlast GEMM", "tinygrad, training"):
        bare, inside = (figures.get(group, name) for name in ("bare", "in a partition"))
        if bare and inside:
            rows.append([group, shown(bare["median_ns"]), shown(inside["median_ns"]),
                         f"{inside['ratio']:.3f}×", f"{inside['cpu_ratio']:.3f}×"])
    return table(("", "bare, median", "in a partition", "ratio of the rounds",
                  "of processors' time"), rows) if rows else None


def python(figures):
    rows = []
    for group in figures.groups("Python "):
        version, _, what = group.partition(", ")
        if what != "start":
            continue
        found = [figures.get(group, name)
                 for name in ("bare", "import chronos", "from chronos import Partitioner")]
        calls = [figures.get(f"{version}, calls", name)
                 for name in ("create and release", "a `with` block", "list")]
        if all(found) and all(calls):
            rows.append([version, shown(found[0]["min_ns"]),
                         *(f"{added(row)}" for row in found[1:]),
                         *(shown(row["min_ns"]) for row in calls)])
    return table(("", "empty interpreter", "`import chronos`", "`from chronos import Partitioner`",
                  "create and release", "a `with` block", "list"), rows) if rows else None


def lateness(figures):
    rows = [[f"{row['group']}: {row['name']}", shown(row["min_ns"]), shown(row["median_ns"]),
             shown(row["max_ns"])]
            for group in ("SIGTERM after the deadline", "a waiter's turn")
            for row in figures.group(group)]
    return table(("", "minimum", "median", "worst"), rows) if rows else None


def contention(figures):
    rows = []
    for processes in CROWD:
        group = f"a charge and its credit, {processes} processes at once"
        ours, theirs = figures.get(group, "ledger"), figures.get(group, "lock and scan")
        if ours and theirs:
            rows.append([str(processes), *(shown(row[key]) for key in ("median_ns", "min_ns")
                                           for row in (ours, theirs)), times(theirs)])
    return table(("processes", "ledger", "lock and scan", "ledger, minimum",
                  "lock and scan, minimum", "ratio"), rows) if rows else None


def intercept(figures):
    return linked(figures, "buffers, beside the intercept layer")


def original(figures):
    rows = []
    groups = dict.fromkeys(group for group, name in figures.by_key if name == "the original")
    for group in groups:
        ours, theirs = figures.get(group, "ours"), figures.get(group, "the original")
        rows.append([group, *(f"{shown(row['min_ns'])}, {shown(row['median_ns'])}"
                              for row in (ours, theirs)),
                     *(f"{theirs[key] / ours[key]:.3g}×" for key in ("min_ns", "median_ns"))])
    return table(("minimum, median", "ours", "the original", "ratio of minima", "of medians"),
                 rows) if rows else None

"""The plots of docs/benchmarks.md."""

from .svg import bars, lines
from .tables import CROWD, DOORS, LAYERS, THREADS

REGISTRY = (1, 100, 1000, 10000)


def all_of(figures):
    """(name, SVG) of each plot that the results have figures for."""
    for name, draw in (("doors", doors), ("processes", processes), ("threads", threads),
                       ("registry", registry), ("commands", commands),
                       ("contention", contention)):
        drawing = draw(figures)
        if drawing is not None:
            yield name, drawing


def doors(figures):
    names = ("bare", *LAYERS, *DOORS)
    series = {}
    for mode in ("callback", "counts"):
        found = [figures.get(f"buffers, {mode}", name) for name in names]
        if not all(found):
            return None
        series[f"CHRONOS_LIFETIME={mode}"] = [row["min_ns"] for row in found]
    return bars("A buffer's creation and release on PoCL", "ns", names, series)


def processes(figures):
    return crowd(figures, "Added to a buffer's pair, by processes in the partition",
                 [(f"{count} processes", count, 1) for count in CROWD])


def threads(figures):
    return crowd(figures, "Added to a buffer's pair, by threads of one process",
                 [(f"{count} threads", 1, count) for count in THREADS])


def crowd(figures, title, places):
    series = {}
    for door in DOORS:
        found = [figures.crowd("callback", processes, threads, door)
                 for _, processes, threads in places]
        if not all(found):
            return None
        series[door] = [row["added"] for row in found]
    return bars(title, "ns", [words for words, _, _ in places], series)


def registry(figures):
    series = {}
    for what in ("create", "release", "list"):
        found = [figures.get(f"registry, {what}", f"among {count}") for count in REGISTRY]
        if not all(found):
            return None
        series[what] = [row["min_ns"] / 1e6 for row in found]
    return lines("The registry, in process", "ms", "partitions that exist", REGISTRY, series)


def commands(figures):
    found = figures.group("commands")
    if not found:
        return None
    names = [row["name"].removeprefix("chronos ").removesuffix(" -- /bin/true").removesuffix(" check")
             for row in found]
    return bars("Whole commands", "ms", names, {"": [row["min_ns"] / 1e6 for row in found]})


def contention(figures):
    series = {}
    for name in ("ledger", "lock and scan"):
        found = [figures.get(f"a charge and its credit, {count} processes at once", name)
                 for count in CROWD]
        if not all(found):
            return None
        series[name] = [row["median_ns"] for row in found]
    return bars("A charge and its credit by processes at once, logarithmic", "ns",
                [f"{count} processes" for count in CROWD], series, logarithmic=True)

"""Runs the benchmarks and prints their figures; scripts/bench calls it. See docs/benchmarks.md.

Everything is a comparison made in one run: the machine may be shared, so a figure alone says little,
and the minimum of many short alternated runs says most.
"""

import argparse
import json
import shutil
import signal
import sys
import time
from pathlib import Path

from suite import calls, commands, core, document, figures, lateness, peers, programs, python
from suite.setting import ROOT, Setting

SCHEMA_VERSION = 2
RESULTS = ROOT / "build/bench/results.json"
PEERS_RESULTS = ROOT / "build/bench/peers.json"
PARTS = {
    "buffers": calls.buffers,
    "crowds": calls.crowds,
    "pointers": calls.pointers,
    "enqueue": calls.enqueue,
    "linked": calls.linked,
    "counted": calls.counted,
    "ledger": core.ledger,
    "registry": core.registry,
    "commands": commands.commands,
    "execs": commands.execs,
    "compile": commands.compile_files,
    "programs": programs.programs,
    "python": python.python,
    "wake_up": lateness.wake_up,
    "expiry": lateness.expiry,
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, no callgrind")
    parser.add_argument("--build", type=Path, default=ROOT / "build/release")
    parser.add_argument("--results", type=Path, help="where the figures go")
    parser.add_argument("--only", choices=PARTS, help="only this part, anew among the results that there are")
    parser.add_argument("--peers", action="store_true", help="others, and nothing else")
    parser.add_argument("--intercept-layer", metavar="FILE")
    parser.add_argument("--original-cli", metavar="FILE")
    parser.add_argument("--compare", nargs=2, type=Path, metavar="RESULTS")
    parser.add_argument("--document", action="store_true",
                        help="writes the tables and plots of docs/benchmarks.md anew")
    return parser.parse_args()


def measure(given):
    start = time.monotonic()
    setting = Setting(given.build.resolve(), given.quick)
    path = given.results or (PEERS_RESULTS if given.peers else RESULTS)
    results = {"schema_version": SCHEMA_VERSION, "quick": given.quick,
               "machine": figures.machine(), "figures": []}
    if given.only and path.exists():
        results = read(path)
    kept = results["figures"]
    parts = {"peers": lambda _: peers.peers(setting, given.intercept_layer, given.original_cli)}
    if not given.peers:
        parts = {name: part for name, part in PARTS.items() if given.only in (None, name)}
    try:
        setting.start()
        for part in parts.values():  # each is kept, should a later one fail
            part(setting)
            figures.add_ratios(setting.rows)
            groups = {row["group"] for row in setting.rows}
            results["figures"] = [row for row in kept if row["group"] not in groups] + setting.rows
            results["left_out"] = setting.left_out
            results["machine"]["load_after"] = figures.load()
            if not given.only:
                results["seconds"] = round(time.monotonic() - start)
            write(path, results)
    finally:
        shutil.rmtree(setting.state, ignore_errors=True)
    print(", ".join(f"{key} {value}" for key, value in results["machine"].items()), flush=True)
    figures.print_table(setting.rows)
    for what in setting.left_out:
        print(f"\nLeft out: {what}")
    print(f"\n{time.monotonic() - start:.0f} s; all figures in {path}")


def write(path, results):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1))


def read(path):
    try:
        results = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        sys.exit(f"bench: {path} cannot be read: {error}")
    if not isinstance(results, dict) or results.get("schema_version") != SCHEMA_VERSION:
        sys.exit(f"bench: {path} is not a file of this version of scripts/bench")
    return results


def main():
    given = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what is temporary goes, too
    if given.compare:
        sys.exit(1 if figures.compare(*map(read, given.compare)) else 0)
    if given.document:
        document.write(ROOT / "docs", read(given.results or RESULTS),
                       read(PEERS_RESULTS) if PEERS_RESULTS.exists() else None)
        return
    measure(given)


if __name__ == "__main__":
    main()

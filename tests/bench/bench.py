"""Runs the benchmarks and prints their figures; scripts/bench calls it. See docs/benchmarks.md.

Everything is a comparison made in one run: the machine may be shared, so a figure alone says little,
and the minimum of many short alternated runs says most.
"""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

from suite import calls, commands, core, document, figures, lateness, peers, programs
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
    "wake_up": lateness.wake_up,
    "expiry": lateness.expiry,
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, no callgrind")
    parser.add_argument("--build", type=Path, default=ROOT / "build/release")
    parser.add_argument("--results", type=Path, help="where the figures go")
    parser.add_argument("--only", choices=PARTS, help="only this part; prints, and writes nothing")
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
    facts = figures.machine()
    try:
        setting.start()
        if given.peers:
            peers.peers(setting, given.intercept_layer, given.original_cli)
        else:
            for name, part in PARTS.items():
                if given.only in (None, name):
                    part(setting)
    finally:
        shutil.rmtree(setting.state, ignore_errors=True)
    facts["load_after"] = [round(value, 1) for value in os.getloadavg()]
    seconds = time.monotonic() - start
    print(", ".join(f"{key} {value}" for key, value in facts.items()), flush=True)
    figures.add_ratios(setting.rows)
    figures.print_table(setting.rows)
    for what in setting.left_out:
        print(f"\nLeft out: {what}")
    if given.only and not given.results:
        print(f"\n{seconds:.0f} s")
        return
    results = given.results or (PEERS_RESULTS if given.peers else RESULTS)
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(
        {"schema_version": SCHEMA_VERSION, "quick": given.quick, "machine": facts,
         "seconds": round(seconds), "left_out": setting.left_out, "figures": setting.rows},
        indent=1))
    print(f"\n{seconds:.0f} s; all figures in {results}")


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
    if given.compare:
        sys.exit(1 if figures.compare(*map(read, given.compare)) else 0)
    if given.document:
        document.write(ROOT / "docs", read(given.results or RESULTS),
                       read(PEERS_RESULTS) if PEERS_RESULTS.exists() else None)
        return
    measure(given)


if __name__ == "__main__":
    main()

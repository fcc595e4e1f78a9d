"""The same things done by others, on this machine and in this run.

Nothing is fetched here. Who wants a peer compared that no package has builds it by its own
instructions and says where it is; see docs/benchmarks.md.
"""

import json
import sys
from pathlib import Path

from .calls import through_loader
from .setting import ROOT

ORIGINAL = ROOT / "build/peers/original"  # made by scripts/deps --peers
LOADER = "/usr/lib/x86_64-linux-gnu/libOpenCL.so.1"


def peers(setting, intercept_layer=None, original_cli=None):
    contention(setting)
    interception(setting, intercept_layer)
    original(setting)
    original_commands(setting, original_cli)


def contention(setting):
    """All processes charge and credit at once; by the median, for to wait is part of the cost."""
    for processes in (1, 8, 64):
        with setting.fresh_state() as state:
            before = len(setting.rows)
            setting.lines(
                f"a charge and its credit, {processes} processes at once",
                setting.program("contention"), processes, 40 if setting.quick else 250,
                CHRONOS_STATE_DIR=state)
            for row in setting.rows[before:]:
                row["by"] = "median_ns"


def interception(setting, library):
    if library is None:
        setting.left_out.append(
            "Intel's opencl-intercept-layer: --intercept-layer FILE names its libOpenCL.so")
        return
    if not Path(library).is_file():
        sys.exit(f"bench: {library} is not there")
    loader = next(path for path in (LOADER, *Path("/usr/lib").glob("*/libOpenCL.so.1"))
                  if Path(path).exists())

    def intercept(placed, **more):
        return {"LD_PRELOAD": placed(Path(library).resolve()), "CLI_OpenCLFileName": str(loader),
                "CLI_DumpDir": setting.state, "CLI_SuppressLogging": "1", **more}

    through_loader(setting, "buffers, beside the intercept layer", {
        "bare": lambda placed: {},
        "intercept layer": intercept,
        "intercept layer, leak checker": lambda placed: intercept(placed, CLI_LeakChecking="1"),
        "ours, layer door": lambda placed: {"OPENCL_LAYERS": placed(setting.shim)},
        "ours, both doors": lambda placed: {"LD_PRELOAD": placed(setting.shim)},
    }, 6 if setting.quick else 25)


def original_library():
    return next(ORIGINAL.glob("lib/python*/site-packages/chronos/libchronos.so"), None)


def original(setting):
    """The C functions that both have, and Python's, each in processes in turn."""
    library = original_library()
    if library is None:
        setting.left_out.append("the original: it is not installed (scripts/deps --peers)")
        return
    rounds = 20 if setting.quick else 50
    c_program = [setting.program("original_abi")]
    python_program = [ROOT / "tests/bench/original_api.py"]
    theirs = ORIGINAL / "bin/python3"
    ways = {
        "C": {"ours": ([*c_program, setting.library, rounds], {}),
              "the original": ([*c_program, library, rounds], {})},
        "Python": {"ours": ([theirs, *python_program, rounds],
                            {"PYTHONPATH": str(ROOT / "python"),
                             "CHRONOS_LIBRARY": setting.library}),
                   "the original": ([theirs, *python_program, rounds], {})},
    }
    for language, sides in ways.items():
        taken = {}
        for _ in range(2 if setting.quick else 4):
            for side, (command, variables) in sides.items():
                with setting.fresh_state() as state:
                    out = setting.run(*command, **variables, CHRONOS_STATE_DIR=state)
                for line in out.splitlines():
                    one = json.loads(line)
                    taken.setdefault(one["name"], {}).setdefault(side, []).append(one)
        for operation, by_side in taken.items():
            for side, runs in by_side.items():
                # The end of a partition is late by chance: what is typical counts.
                end = operation.startswith("end ")
                setting.rows.append({
                    "group": f"{language}: {operation}", "name": side,
                    "min_ns": min(one["min_ns"] for one in runs),
                    "median_ns": sorted(one["median_ns"] for one in runs)[len(runs) // 2],
                    "batches": sum(one["batches"] for one in runs),
                    **({"by": "median_ns"} if end else {})})


def original_commands(setting, program):
    if program is None:
        setting.left_out.append(
            "the original's command: --original-cli FILE names it (the package from PyPI has none)")
        return
    if not Path(program).is_file():
        sys.exit(f"bench: {program} is not there")
    for verb, words in (("create", ["create", "0", "0.001", "60"]), ("list", ["list"]),
                        ("available", ["available", "0"])):
        with setting.fresh_state() as state:
            here = {"CHRONOS_STATE_DIR": state}
            setting.run(setting.chronos, "list", **here)
            setting.run(setting.chronos, "available", "0", **here)  # the devices are known then
            setting.spawn(f"command: {verb}", 5 if setting.quick else 20,
                          {"ours": (here, [setting.chronos, *words]),
                           "the original": (here, [str(program), *words])})

"""OpenCL calls by each door."""

import os
import random
import re
import shutil
import tempfile
from pathlib import Path

from .setting import PARTITION

MODES = ("callback", "counts")


def timed(setting, group, driver, operation, rounds, processes=1, threads=1, mode="callback",
          samples=1):
    """One process with a loader of its own, each door in turn.

    Where threads meet, the driver's own too, the minimum is the one batch in which they did not, and
    how they meet stays the same for as long as a process lives: so it is the median of the rounds'
    ratios, over several processes (`samples`).
    """
    for _ in range(samples):
        with setting.fresh_state() as state:
            setting.lines(
                group, setting.program("calls"), driver, setting.shim, setting.empty_layer,
                setting.callback_layer, operation, rounds, processes, threads,
                CHRONOS_STATE_DIR=state, CHRONOS_LIFETIME=mode, CHRONOS_LOG="error")
    if samples > 1:
        setting.pool(group)


def buffers(setting):
    rounds = 400 if setting.quick else 3000
    for mode in MODES:
        timed(setting, f"buffers, {mode}", setting.pocl(), "buffer", rounds, mode=mode)


def crowds(setting):
    """Buffers with other processes in the partition, and by several threads at once."""
    if setting.quick:
        crowd = ((64, 1), (1, 2))
    else:
        crowd = [(processes, threads) for processes in (1, 8, 64) for threads in (1, 2, 4, 8)][1:]
    for mode in MODES:
        for processes, threads in crowd:
            alone = threads == 1
            rounds = (150 if setting.quick else 1200) if alone else 30 if setting.quick else 100
            timed(setting, f"buffers, {mode}, {processes} processes, {threads} threads",
                  setting.pocl(), "buffer", rounds, processes, threads, mode,
                  samples=1 if alone else 4 + threads)


def pointers(setting):
    rounds = 300 if setting.quick else 2000
    timed(setting, "SVM, PoCL", setting.pocl(), "svm", rounds)
    timed(setting, "SVM, fake driver", setting.fake_driver, "svm", rounds // 3)
    timed(setting, "USM, fake driver", setting.fake_driver, "usm", rounds // 3)


def enqueue(setting):
    rounds = 300 if setting.quick else 2000
    timed(setting, "clEnqueueWriteBuffer, fake driver", setting.fake_driver, "write", rounds)
    timed(setting, "clEnqueueNDRangeKernel, PoCL", setting.pocl(), "kernel", rounds // 2,
          samples=5)
    timed(setting, "clEnqueueWriteBuffer, PoCL", setting.pocl(), "write", rounds // 2,
          samples=5)


def counted(setting):
    """Instructions by callgrind: no noise at all, and no caches either."""
    if setting.quick:
        return
    if shutil.which("valgrind") is None:
        setting.left_out.append("instruction counts: valgrind is not installed")
        return
    for mode in MODES:
        count(setting, f"buffers, {mode}, instructions", setting.pocl(), "buffer", mode)
    count(setting, "SVM, PoCL, instructions", setting.pocl(), "svm")
    count(setting, "USM, fake driver, instructions", setting.fake_driver, "usm")
    count(setting, "clEnqueueWriteBuffer, fake driver, instructions", setting.fake_driver, "write")


def count(setting, group, driver, operation, mode="callback", operations=200):
    with tempfile.TemporaryDirectory() as folder, setting.fresh_state() as state:
        setting.run(
            "valgrind", "-q", "--tool=callgrind", "--instr-atstart=no",
            f"--callgrind-out-file={folder}/out", setting.program("calls"), driver, setting.shim,
            setting.empty_layer, setting.callback_layer, operation, operations,
            CHRONOS_LIFETIME=mode, CHRONOS_LOG="error", CHRONOS_STATE_DIR=state)
        found = {}
        for dump in Path(folder).glob("out.*"):
            text = dump.read_text()
            door = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.M)
            total = re.search(r"^(?:totals|summary): (\d+)", text, re.M)
            if door and total and int(total[1]) > 0:
                found[door[1]] = int(total[1]) / operations
    doors = ("bare", "empty layer", "callback layer", "layer door", "driver door", "both doors")
    for door in doors:
        setting.rows.append({"group": group, "name": door, "instructions": found[door]})


def linked(setting):
    """A linked program through the installed loader, as users run it."""
    through_loader(setting, "buffers, installed loader", {
        "bare": lambda placed: {},
        "empty layer": lambda placed: {"OPENCL_LAYERS": placed(setting.empty_layer)},
        "callback layer": lambda placed: {"OPENCL_LAYERS": placed(setting.callback_layer)},
        "layer door": lambda placed: {"OPENCL_LAYERS": placed(setting.shim)},
        "driver and symbol door": lambda placed: {"LD_PRELOAD": placed(setting.shim)},
        "both doors": lambda placed: {"LD_PRELOAD": placed(setting.shim)},
        "both doors, counts": lambda placed: {"LD_PRELOAD": placed(setting.shim),
                                              "CHRONOS_LIFETIME": "counts"},
    }, 6 if setting.quick else 25)


def through_loader(setting, group, ways, layouts):
    """Child by child, in turn.

    The minimum of one process repeats to a tenth of a nanosecond and moves by 20 ns with the
    length of a path, because that moves everything on the heap. So each round has paths of
    another length, and the median over the rounds is the figure to compare.
    """
    lengths = random.Random(1)
    taken = {name: [] for name in ways}
    for _ in range(layouts):
        folder = Path(setting.state) / ("d" * lengths.randint(1, 200))
        folder.mkdir(exist_ok=True)

        def placed(library):
            link = folder / Path(library).name
            if not os.path.lexists(link):
                os.symlink(library, link)
            return str(link)

        for name, variables in ways.items():
            more = ["no-layers"] if name == "driver and symbol door" else []
            padding = {"BENCH_PADDING": placed(setting.shim)} if name == "bare" else {}
            out = setting.run(setting.program("linked_buffers"), 100, *more,
                              **padding, **variables(placed), CHRONOS_PARTITION=PARTITION)
            taken[name].append(float(out))
    for name, values in taken.items():
        setting.add(group, name, values, by="median_ns")

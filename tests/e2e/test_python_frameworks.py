"""Programs of the matrix inside an interpreter that has entered a partition of its own making: what
fits runs, what does not is the framework's own out-of-memory, and all is given back."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "matrix"))
from clients import CLIENTS_TABLE, FULL_PYTHON, SMALL_PYTHON
from inside import inside
from support import FULL, built
from support import pocl  # noqa: F401

pytestmark = [built, pytest.mark.skipif(not FULL, reason="PoCL compiles: a minute")]

BY_NAME = {client.name: client for client in CLIENTS_TABLE}
NAMES = ["Python `ctypes`", "PyOpenCL, Debian's", "PyOpenCL, PyPI's wheel", "tinygrad, training",
         "OpenCV's T-API"]

CODE = """
import chronos, gc, os, runpy, sys
program, size = (os.environ["TEST_PROGRAM"], os.environ["TEST_SIZE"])
sys.path.insert(0, os.path.dirname(program))
sys.argv = [program, size]
sys.stdin = open(os.devnull)
machine = chronos.Partitioner()
with machine.create(device=0, memory="64MiB", duration="10m") as partition:
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as end:
        print("status", end.code)
    gc.collect()
    usage = partition.usage()
    print("peak", usage.peak_bytes >> 20, "left", usage.used_bytes, "refused", usage.refusals > 0)
print(machine.list())
"""


@pytest.mark.parametrize("name", NAMES)
def test_a_framework_in_the_same_interpreter(pocl, name):
    client = BY_NAME[name]
    python = client.arguments(1)[0]
    if python in map(str, (SMALL_PYTHON, FULL_PYTHON)) and not Path(python).exists():
        pytest.skip(f"{python} is not there")
    for size, fits in ((client.fits, True), (client.too_big, False)):
        _, program, argument, *_ = map(str, client.arguments(size))
        lines, errors = inside(pocl, CODE, begin="", python=python, TEST_PROGRAM=program,
                               TEST_SIZE=argument, **client.variables)
        figures = re.fullmatch(r"peak (\d+) left (\d+) refused (\w+)", lines[-2])
        peak, left, refused = figures.groups()
        assert 0 < int(peak) <= 64 and refused == str(not fits), lines
        assert bool(re.search(client.refusal, "\n".join(lines) + errors, re.M)) != fits, lines
        if fits:  # a program that gives up leaves what it had to its end
            assert (left, lines[-1]) == ("0", "[]")

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
        # What is too big may be the first that is asked for.
        assert int(peak) <= 64 and (int(peak) > 0 or not fits), lines
        assert refused == str(not fits), lines
        assert bool(re.search(client.refusal, "\n".join(lines) + errors, re.M)) != fits, lines
        if fits:  # a program that gives up leaves what it had to its end
            assert (left, lines[-1]) == ("0", "[]")


# ---- A partition of 1 GiB, and 2 GiB asked for ---------------------------------------------------

TINYGRAD = """
import builtins, gc
import chronos
from tinygrad import Device, Tensor
def tensor(mib):
    return Tensor.full(((mib << 20) // 4,), 1.0).contiguous().realize()
machine = chronos.Partitioner()
with machine.create(device=0, memory="1GiB", duration="10m") as partition:
    try:
        tensor(2048)
    except builtins.MemoryError as error:
        print(str(error).partition(" of")[0])
    kept = tensor(512)
    print(partition.usage().used_bytes >> 20)
print([p.state for p in machine.list()])
del kept
gc.collect()
Device[Device.DEFAULT].synchronize()  # a kernel that runs keeps what it works on
Device[Device.DEFAULT].allocator.free_cache()
print(machine.list(), machine.get_available(0))
"""

# T-API never fails for want of device memory: it computes in the host's then.
OPENCV = """
import gc
import chronos
import cv2
machine = chronos.Partitioner()
with machine.create(device=0, memory="1GiB", duration="10m") as partition:
    large = cv2.UMat(16384, 32768, cv2.CV_32F)
    print(cv2.ocl.useOpenCL(), partition.usage().used_bytes, partition.usage().refusals > 0)
    small = cv2.UMat(4096, 8192, cv2.CV_32F, (20, 0, 0, 0))
    kept = cv2.add(small, small)
    print(cv2.mean(kept)[0], partition.usage().used_bytes >> 20)
print([p.state for p in machine.list()])
cv2.ocl.finish()
del large, small, kept
gc.collect()
cv2.UMat(8, 8, cv2.CV_8U)  # T-API gives back what kernels were still using at its next allocation
print(machine.list(), machine.get_available(0))
"""


@pytest.mark.parametrize("code, name, said", [
    (TINYGRAD, "tinygrad, training", ["Allocation", "512", "['draining']", "[] 100.0"]),
    (OPENCV, "OpenCV's T-API", ["True 0 True", "40.0 256", "['draining']", "[] 100.0"]),
], ids=["tinygrad", "opencv"])
def test_two_gibibytes_of_one(pocl, code, name, said):
    """tinygrad raises Python's own MemoryError; OpenCV falls back to the processor. (PyOpenCL is
    in test_python_memory_error.py.)"""
    client = BY_NAME[name]
    if not FULL_PYTHON.exists():
        pytest.skip(f"{FULL_PYTHON} is not there")
    lines, errors = inside(pocl, code, begin="", python=FULL_PYTHON, **client.variables)
    assert lines == said, errors
    assert "refused 2 GiB on device 0" in errors

"""The Python package: what PyOpenCL raises in a partition is Python's own MemoryError, too."""

from pathlib import Path

import pytest

from inside import inside
from support import PYTHON, ROOT, built
from support import pocl  # noqa: F401

pytestmark = built
WHEELS_PYTHON = ROOT / "build" / "venv" / "bin" / "python3"  # with PyOpenCL's wheel: its own loader

# The caught class is Python's own. `{early}` and `{late}`: where PyOpenCL is imported.
MEMORY_ERROR = """
import builtins, gc
import chronos
{early}
machine = chronos.Partitioner()
with machine.create(device=0, memory="1GiB", duration="10m") as partition:
    {late}
    context = cl.create_some_context(interactive=False)
    for size in (2 << 30, 1 << 30):
        try:
            kept = cl.Buffer(context, cl.mem_flags.READ_WRITE, size)
            print("fits")
        except builtins.MemoryError as error:
            print(isinstance(error, cl.MemoryError), isinstance(error, cl.Error),
                  error.code == cl.status_code.MEM_OBJECT_ALLOCATION_FAILURE)
    try:
        cl.Buffer(context, cl.mem_flags.READ_WRITE, 1)
    except cl.MemoryError as error:
        print("its own name, too")
    print(issubclass(cl.LogicError, builtins.MemoryError),
          issubclass(cl.Error, builtins.MemoryError))
print([p.state for p in machine.list()])
del kept
gc.collect()
print(machine.list(), machine.get_available(0))
cl.Buffer(context, cl.mem_flags.READ_WRITE, 2 << 30).release()
"""


@pytest.mark.parametrize("order", ["early", "late"])
@pytest.mark.parametrize("python", [PYTHON, WHEELS_PYTHON], ids=["debian", "wheel"])
def test_what_pyopencl_raises_is_a_memory_error(pocl, python, order):
    """Whether PyOpenCL is imported before the partition is entered, or in the block."""
    if not Path(python).exists():
        pytest.skip(f"{python} is not there")
    lines = {"early": "", "late": "", order: "import pyopencl as cl"}
    out, _ = inside(pocl, MEMORY_ERROR.format(**lines), begin="", python=python)
    assert out == ["True True True", "fits", "its own name, too", "False False", "['draining']",
                   "[] 100.0"]


def test_pyopencl_is_left_alone_until_a_partition_is_entered(pocl):
    lines, _ = inside(pocl, """
import sys
import chronos
finders = list(sys.meta_path)
import pyopencl as cl
machine = chronos.Partitioner()
partition = machine.create(0, "64MiB", 60)
print(issubclass(cl.MemoryError, MemoryError), sys.meta_path == finders)
for _ in range(3):
    partition.enter()
print(issubclass(cl.MemoryError, MemoryError), len(sys.meta_path) - len(finders))
""", begin="")
    assert lines == ["False True", "True 1"]


def test_an_import_of_pyopencl_that_fails_is_as_ever(pocl, tmp_path):
    (tmp_path / "pyopencl.py").write_text("raise ImportError('mine')\n", encoding="utf-8")
    lines, _ = inside(pocl, f"""
import sys
import chronos
chronos.Partitioner().create(0, "64MiB", 60).enter()
for place in ({str(tmp_path)!r}, "/nonexistent"):
    sys.path[:0] = [place]
    try:
        import pyopencl
    except ImportError as error:
        print(error)
    sys.path[:] = ["/nonexistent"]
""", begin="")
    assert lines == ["mine", "No module named 'pyopencl'"]

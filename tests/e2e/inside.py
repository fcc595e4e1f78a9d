"""What the tests share in which a Python program is in a partition that it made itself."""

from support import BUILD, PYTHON, ROOT

PACKAGE = str(ROOT / "python")

# `make(n)` is what OpenCL says to a buffer of so many MiB.
BEGIN = """
import sys, os, gc, time
import chronos
import opencl as cl
from opencl import MIB
machine = chronos.Partitioner()
held = []
def make(mib, context=None):
    made, error = cl.buffer(context or cl.context(), mib * MIB)
    if made is not None:
        held.append(made)
    return error
def drop():
    while held:
        cl.release(held.pop())
def used(partition):
    return partition.usage().used_bytes // MIB
"""


def variables(box, **more):
    return {"PYTHONPATH": f"{PACKAGE}:{box.scripts}",
            "CHRONOS_LIBRARY": str(BUILD / "lib" / "libchronos.so"), **more}


def inside(box, code, *, python=PYTHON, begin=BEGIN, **more):
    """Runs a Python program of its own; what it printed, as lines, and its standard error."""
    program = box.folder / "program.py"  # a file, because spawned children import it
    program.write_text(begin + code, encoding="utf-8")
    done = box.run(python, program, door=None, variables=variables(box, **more))
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.splitlines(), done.stderr

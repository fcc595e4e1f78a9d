"""Calls into the fake driver from a Python program of its own, without the shim."""

import pytest
from fake import LIBRARY, ROOT, FakeDriver

needs_fake_driver = pytest.mark.skipif(not LIBRARY.exists(), reason=f"{LIBRARY} is not built")

PRELUDE = f"""
import sys; sys.path.insert(0, {str(ROOT / "tests" / "fake_driver")!r})
import os
import ctypes as c
import numpy as np
import pyopencl as cl
from witness import Witness
lib = c.CDLL("libOpenCL.so.1")
size_t, pointer, number = c.c_size_t, c.c_void_p, c.c_uint64
devices = cl.get_platforms()[0].get_devices()
ctx = cl.Context(devices)
queue = cl.CommandQueue(ctx, devices[0])
context, device = pointer(ctx.int_ptr), pointer(devices[0].int_ptr)
platform = pointer(cl.get_platforms()[0].int_ptr)
commands = pointer(queue.int_ptr)
NONE = pointer(None)
error = c.c_int(0)
failed = c.byref(error)

def call(name, *arguments, returns=pointer):
    function = getattr(lib, name)
    function.restype = returns
    return function(*arguments)

def extension(name, *arguments, returns=pointer):
    address = call("clGetExtensionFunctionAddressForPlatform", platform, name.encode())
    return c.CFUNCTYPE(returns, *map(type, arguments))(address)(*arguments)

def svm(size, flags=1, where=context):
    return call("clSVMAlloc", where, number(flags), size_t(size), 0)

def usm(name, size, *, where=context, of=device, alignment=0):
    of = () if "Host" in name else (of,)
    error.value = 0
    made = extension(name, where, *of, NONE, size_t(size), c.c_uint(alignment),
                     c.cast(failed, pointer))
    return made or error.value

def info(place, what, kind=number):
    value = kind()
    error.value = extension("clGetMemAllocInfoINTEL", context, pointer(place), c.c_uint(what),
                            size_t(c.sizeof(value)), c.cast(c.byref(value), pointer), NONE,
                            returns=c.c_int)
    return value.value
"""


@pytest.fixture
def driver(tmp_path):
    """Makes a FakeDriver of the given configuration in the test's folder."""
    return lambda **config: FakeDriver(tmp_path / "fake", **config)


def run(fake, code):
    """Run `code` behind the prelude; held(i) in it is what the witness counts on device i."""
    held = f"def held(device=0): return Witness({str(fake.witness_path)!r}).held(device)\n"
    result = fake.python(PRELUDE + held + code)
    assert result.returncode == 0, result.stderr
    return result.stdout

"""What the fake driver counts of images, pipes, SVM and unified shared memory; without the shim."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from fake import CLIENTS, GIB, LIBRARY, MIB, ROOT, FakeDriver  # noqa: E402

PROGRAM = CLIENTS / "entry_points"

pytestmark = pytest.mark.skipif(not LIBRARY.exists() or not PROGRAM.exists(),
                                reason=f"{LIBRARY} or {PROGRAM} is not built")

ALLOCATION_FAILURE = "error -4"
OUT_OF_RESOURCES = "error -5"

# How each kind is refused when the device is full.
KINDS = {
    "buffer": ALLOCATION_FAILURE,
    "buffer-props": ALLOCATION_FAILURE,
    "buffer-props-intel": ALLOCATION_FAILURE,
    "image1d": ALLOCATION_FAILURE,
    "image1d-buffer": ALLOCATION_FAILURE,
    "image2d": ALLOCATION_FAILURE,
    "image2d-array": ALLOCATION_FAILURE,
    "image2d-old": ALLOCATION_FAILURE,
    "image3d": ALLOCATION_FAILURE,
    "image3d-old": ALLOCATION_FAILURE,
    "image-props": ALLOCATION_FAILURE,
    "pipe": ALLOCATION_FAILURE,
    "svm": "null",
    "svm-enqueue-free": "null",
    "svm-enqueue-free-callback": "null",
    "buffer-over-svm": "null",
    "arm-svm": "null",
    "usm-device": OUT_OF_RESOURCES,
    "usm-shared": OUT_OF_RESOURCES,
}

# The call that makes each kind, to be made to fail.
CALLS = {
    "buffer-props-intel": "clCreateBufferWithPropertiesINTEL",
    "image2d": "clCreateImage",
    "image2d-old": "clCreateImage2D",
    "image3d-old": "clCreateImage3D",
    "image-props": "clCreateImageWithProperties",
    "pipe": "clCreatePipe",
    "svm": "clSVMAlloc",
    "arm-svm": "clSVMAllocARM",
    "usm-device": "clDeviceMemAllocINTEL",
    "usm-shared": "clSharedMemAllocINTEL",
    "usm-host": "clHostMemAllocINTEL",
}

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


def size_for(kind):
    return 65536 if kind == "image1d" else 4 * MIB


def start(fake, kind, *options):
    """The program, once it holds what it could get; and the lines it printed."""
    process = fake.start(PROGRAM, "--kind", kind, "--size", size_for(kind), *options)
    lines = []
    for line in process.stdout:
        if line == "hold\n":
            return process, lines
        lines.append(line.rstrip("\n"))
    raise AssertionError(f"{lines} {process.stderr.read()}")


def let_go(process):
    """Have it free what it holds; it lives on until end()."""
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "released\n"


def end(process):
    _, errors = process.communicate("\n", timeout=30)
    assert process.returncode == 0, errors


# --- counts -------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_counts_its_size_until_it_is_freed(driver, kind):
    size = size_for(kind)
    fake = driver(devices=[{"memory_bytes": 3 * size + size // 2}])
    process, lines = start(fake, kind)
    assert lines == [f"ok {size}"] * 3 + [KINDS[kind]]
    with fake.witness() as witness:
        assert witness.held() == 3 * size
        let_go(process)
        assert witness.held() == 0 and witness.high_water() == 3 * size
        assert witness.allocations() == witness.frees() == 3
    end(process)


def test_host_memory_counts_on_no_device(driver):
    fake = driver(devices=[{"memory_bytes": 8 * MIB}])
    process, lines = start(fake, "usm-host", "--count", 3)
    assert lines == [f"ok {4 * MIB}"] * 3
    with fake.witness() as witness:
        assert witness.allocations() == 0 and witness.raw_total() == 0
    end(process)


def test_what_a_killed_process_held_is_free(driver):
    fake = driver()
    for kind in ("image3d", "pipe", "svm", "usm-shared"):
        process, _ = start(fake, kind, "--count", 2)
        with fake.witness() as witness:
            assert witness.held() == 8 * MIB
            process.kill()
            process.communicate(timeout=30)
            assert witness.held() == 0


def test_every_device_of_the_context_is_counted(driver):
    fake = driver(devices=[{"memory_bytes": GIB, "count": 3}])
    run(fake, """
def gained(make):
    before = [held(i) for i in range(3)]
    kept.append(make())
    return [held(i) - before[i] for i in range(3)]
kept = []
ctx = cl.Context(devices[:2])
context = pointer(ctx.int_ptr)
rgba = cl.ImageFormat(cl.channel_order.RGBA, cl.channel_type.UNORM_INT8)
assert gained(lambda: cl.Image(ctx, 1, rgba, (16, 16))) == [1024, 1024, 0]
assert gained(lambda: svm(4096, where=context)) == [4096, 4096, 0]
second = pointer(devices[1].int_ptr)
device_memory = lambda: usm("clDeviceMemAllocINTEL", 512, where=context, of=second)
shared_memory = lambda: usm("clSharedMemAllocINTEL", 512, where=context, of=second)
anywhere = lambda: usm("clSharedMemAllocINTEL", 512, where=context, of=NONE)
assert gained(device_memory) == [0, 512, 0]
assert gained(shared_memory) == [0, 512, 0]
assert gained(anywhere) == [512, 512, 0]
third = pointer(devices[2].int_ptr)
assert usm("clDeviceMemAllocINTEL", 512, where=context, of=third) == -33
""")


def test_a_forked_child_holds_nothing_of_its_parents(driver):
    run(driver(), """
place = svm(1000)
shared = usm("clSharedMemAllocINTEL", 500)
if (child := os.fork()) == 0:
    call("clSVMFree", context, pointer(place), returns=None)
    own = svm(77)  # stays
    extension("clMemFreeINTEL", context, pointer(shared), returns=c.c_int)
    assert held() == 1577, held()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert held() == 1500
""")


# --- images -------------------------------------------------------------------------------------

IMAGES = """
class Desc(c.Structure):
    _fields_ = [("type", c.c_uint)] + [(name, size_t) for name in (
        "width", "height", "depth", "array", "row", "slice")] + [
        ("mips", c.c_uint), ("samples", c.c_uint), ("mem", pointer)]
FLAT, DEEP, ARRAY, LINE, LINES, ON_BUFFER = range(0x10F1, 0x10F7)
RGBA8, FLOATS, R8 = (0x10B5, 0x10D2), (0x10B5, 0x10DE), (0x10B0, 0x10D2)
def image(type, width, height=0, depth=0, *, array=0, row=0, slice=0, mem=None, flags=1, host=None,
          format=RGBA8):
    error.value = 0
    desc = Desc(type, width, height, depth, array, row, slice, 0, 0, mem)
    return call("clCreateImage", context, number(flags), (c.c_uint * 2)(*format), c.byref(desc),
                host, failed) or error.value
def ask(mem, name, what, kind=size_t):
    value = kind()
    assert call(name, pointer(mem), what, size_t(c.sizeof(value)), c.byref(value), None,
                returns=c.c_int) == 0
    return value.value
release = lambda mem: call("clReleaseMemObject", pointer(mem), returns=c.c_int)
"""


def test_images_are_as_large_as_their_pitches_say(driver):
    run(driver(), IMAGES + """
def check(size, *arguments, shape=None, **more):
    mem = image(*arguments, **more)
    assert ask(mem, "clGetMemObjectInfo", 0x1102) == held() == size, held()
    assert ask(mem, "clGetMemObjectInfo", 0x1100, c.c_uint) == arguments[0]
    if shape:  # row pitch, slice pitch, width, height, depth, array size
        names = (0x1112, 0x1113, 0x1114, 0x1115, 0x1116, 0x1117)
        assert [ask(mem, "clGetImageInfo", name) for name in names] == shape
    assert release(mem) == 0 and held() == 0
check(28, LINE, 7, shape=[28, 0, 7, 0, 0, 0])
check(140, FLAT, 7, 5, 9, array=9, shape=[28, 0, 7, 5, 0, 0])  # what does not apply is ignored
check(35, FLAT, 7, 5, format=R8)
check(560, FLAT, 7, 5, format=FLOATS)
check(420, DEEP, 7, 5, 3, shape=[28, 140, 7, 5, 3, 0])
check(84, LINES, 7, array=3, shape=[28, 28, 7, 0, 0, 3])
check(420, ARRAY, 7, 5, array=3, shape=[28, 140, 7, 5, 0, 3])
host = (c.c_ubyte * 4096)()
check(320, FLAT, 7, 5, row=64, host=host, flags=1 | 32, shape=[64, 0, 7, 5, 0, 0])
check(1920, DEEP, 7, 5, 3, row=64, slice=640, host=host, flags=1 | 8)
count = c.c_uint()
formats = (c.c_uint * 2 * 64)()
assert call("clGetSupportedImageFormats", context, number(1), FLAT, 64, formats, c.byref(count),
            returns=c.c_int) == 0
offered = [tuple(format) for format in formats][:count.value]
assert {RGBA8, FLOATS, R8} <= set(offered) and (0, 0) not in offered
assert all(release(image(FLAT, 4, 4, format=format)) == 0 for format in offered)
""")


def test_an_image_on_a_buffer_costs_nothing_and_keeps_the_buffer(driver):
    run(driver(), IMAGES + """
buffer = call("clCreateBuffer", context, number(1), size_t(4096), NONE, failed)
line, flat = image(ON_BUFFER, 1024, mem=buffer), image(FLAT, 32, 32, mem=buffer)
again = image(FLAT, 32, 32, mem=flat)
assert held() == 4096
assert [ask(mem, "clGetImageInfo", 0x1118) for mem in (line, flat, again)] == [buffer, buffer, 0]
assert ask(again, "clGetMemObjectInfo", 0x1107) == flat
assert image(ON_BUFFER, 1025, mem=buffer) == image(FLAT, 32, 33, mem=buffer) == -40
assert image(ON_BUFFER, 16) == image(LINE, 16, mem=buffer) == image(FLAT, 9, 9, mem=flat) == -65
for mem in (buffer, line, flat):
    assert release(mem) == 0 and held() == 4096
assert release(again) == 0 and held() == 0
""")


def test_a_queued_command_holds_an_image(driver):
    run(driver(deferred=True), IMAGES + """
mem = image(FLAT, 32, 32)
assert call("clEnqueueMigrateMemObjects", commands, 1, c.byref(pointer(mem)), number(1), 0, None,
            None, returns=c.c_int) == 0
assert release(mem) == 0 and held() == 4096
queue.finish()
assert held() == 0
mem = image(FLAT, 32, 32)
assert call("clEnqueueReadBuffer", commands, pointer(mem), 1, size_t(0), size_t(4), NONE, 0, None,
            None, returns=c.c_int) == -38
""")


# --- pointers -----------------------------------------------------------------------------------

ENQUEUE_FREE = """
FREE = c.CFUNCTYPE(None, pointer, c.c_uint, c.POINTER(pointer), pointer)
def enqueue_free(places, notify=None, waits=(), arm=False):
    list = (pointer * len(places))(*places)
    waits = [pointer(event.int_ptr) for event in waits]
    waiting = (pointer * len(waits))(*waits) if waits else None
    event = pointer()
    arguments = (commands, c.c_uint(len(places)), c.cast(list, pointer),
                 c.cast(notify, pointer) if notify else NONE, context, c.c_uint(len(waits)),
                 c.cast(waiting, pointer) if waiting else NONE, c.cast(c.byref(event), pointer))
    make = extension if arm else call
    assert make("clEnqueueSVMFree" + ("ARM" if arm else ""), *arguments, returns=c.c_int) == 0
    for i in range(len(places)):
        list[i] = None  # the list is the caller's again
    return cl.Event.from_int_ptr(event.value, retain=False)
"""


@pytest.mark.parametrize("arm", [False, True])
def test_an_enqueued_free_gives_back_when_it_runs(driver, arm):
    run(driver(deferred=True), ENQUEUE_FREE + f"arm = {arm}" + """
allocate = (lambda size: extension("clSVMAllocARM", context, number(1), size_t(size),
                                   c.c_uint(0))) if arm else svm
event = enqueue_free([allocate(100), allocate(20)], arm=arm)
assert held() == 120
assert event.command_type == (0x40BA if arm else 0x1209)
event.wait()
assert held() == 0
seen = []
@FREE
def notify(where, count, places, user_data):
    assert where == commands.value and user_data == context.value
    seen.extend(places[:count])
places = [allocate(100), allocate(20)]
event = enqueue_free(places, notify, arm=arm)
queue.finish()
assert seen == places and held() == 120  # the callback frees, or nobody does
for place in places:
    call("clSVMFree", context, pointer(place), returns=None)
assert held() == 0
""")


def test_an_enqueued_free_waits_for_its_events_and_fails_with_them(driver):
    run(driver(), ENQUEUE_FREE + """
gate = cl.UserEvent(ctx)
event = enqueue_free([svm(100)], waits=[gate])
assert held() == 100
gate.set_status(0)
event.wait()
assert held() == 0
gate = cl.UserEvent(ctx)
event = enqueue_free([svm(100)], waits=[gate])
gate.set_status(-5)
assert event.command_execution_status == -14 and held() == 100
""")


def test_svm_is_read_filled_and_mapped(driver):
    run(driver(), """
place = svm(64)
pattern = (c.c_ubyte * 4)(1, 2, 3, 4)
assert call("clEnqueueSVMMemFill", commands, pointer(place), pattern, size_t(4), size_t(64), 0,
            None, None, returns=c.c_int) == 0
out = (c.c_ubyte * 64)()
assert call("clEnqueueSVMMemcpy", commands, 1, out, pointer(place), size_t(64), 0, None, None,
            returns=c.c_int) == 0
assert bytes(out) == bytes(pattern) * 16
assert call("clEnqueueSVMMap", commands, 1, number(3), pointer(place), size_t(64), 0, None, None,
            returns=c.c_int) == 0
assert c.string_at(place, 4) == bytes(pattern)
assert call("clEnqueueSVMUnmap", commands, pointer(place), 0, None, None, returns=c.c_int) == 0
assert call("clEnqueueSVMMemcpy", commands, 1, pointer(place), pointer(place + 8), size_t(64), 0,
            None, None, returns=c.c_int) == -8
""")


def test_memory_outlives_its_context(driver):
    run(driver(), """
own = call("clCreateContext", None, 1, c.byref(device), None, None, failed)
place = svm(100, where=pointer(own))
assert call("clReleaseContext", pointer(own), returns=c.c_int) == 0 and held() == 100
call("clSVMFree", pointer(own), pointer(place), returns=None)
assert held() == 0
""")


def test_a_buffer_over_part_of_an_svm_allocation_is_not_counted(driver):
    run(driver(), """
place = svm(4096)
def over(at, size):
    buffer = call("clCreateBuffer", context, number(1 | 8), size_t(size), pointer(at), failed)
    counted = held() - 4096
    assert call("clReleaseMemObject", pointer(buffer), returns=c.c_int) == 0
    return counted
assert over(place, 4096) == over(place + 1024, 3072) == 0
assert over(place + 1024, 3073) == 3073  # reaches beyond it
inside = usm("clSharedMemAllocINTEL", 64)
assert held() == 4096 + 64
assert over(inside, 64) == 128
""")


def test_usm_tells_what_it_is(driver):
    run(driver(), """
shared = usm("clSharedMemAllocINTEL", 4096)
host = usm("clHostMemAllocINTEL", 100)
local = usm("clDeviceMemAllocINTEL", 100)
assert [info(place, 0x419A, c.c_uint) for place in (host, local, shared, shared + 4095)] == \\
    [0x4197, 0x4198, 0x4199, 0x4199]
assert info(shared + 10, 0x419B) == shared and info(shared + 10, 0x419C) == 4096
assert info(local, 0x419D) == device.value and info(host, 0x419D) == 0
assert info(svm(64), 0x419A, c.c_uint) == info(shared + 4096, 0x419A, c.c_uint) == 0x4196
assert info(shared, 0x419C, c.c_uint16) == 0 and error.value == -30
""")


def test_a_blocking_free_waits_for_the_commands(driver):
    run(driver(deferred=True), """
free = lambda name, place: extension(name, context, pointer(place), returns=c.c_int)
marker = cl.enqueue_marker(queue)
places = [usm("clSharedMemAllocINTEL", 100) for _ in range(2)]
assert free("clMemFreeINTEL", places[0]) == 0 and held() == 100
assert marker.command_execution_status != 0
assert free("clMemBlockingFreeINTEL", places[1]) == 0 and held() == 0
assert marker.command_execution_status == 0
assert free("clMemFreeINTEL", places[0]) == -30 and free("clMemFreeINTEL", None) == 0
assert free("clMemFreeINTEL", svm(64)) == -30
""")


# --- errors and faults --------------------------------------------------------------------------

def test_errors_are_those_of_the_specification(driver):
    run(driver(devices=[{"memory_bytes": 64 * MIB, "max_alloc_bytes": 16 * MIB}]), """
def pipe(where=context, flags=0, packet=4, packets=4, properties=NONE):
    error.value = 0
    return call("clCreatePipe", where, number(flags), packet, packets, properties, failed) \\
        or error.value
assert pipe(NONE) == -34 and pipe(flags=2) == -30 and pipe(properties=context) == -30
assert pipe(packet=0) == pipe(packets=0) == pipe(packet=1025) == -69
assert pipe(packet=1024, packets=16385) == -4
made = pointer(pipe(packet=8, packets=5))
value = c.c_uint()
ask = lambda what, mem=made, room=4: call("clGetPipeInfo", mem, what, size_t(room), c.byref(value),
                                          None, returns=c.c_int)
assert (ask(0x1120), value.value, ask(0x1121), value.value) == (0, 8, 0, 5)
assert ask(0x1120, NONE) == -38 and ask(0x1120, room=3) == -30

def image(where=context, flags=1, format=(0x10B5, 0x10D2), width=4, height=4, row=0, host=NONE):
    error.value = 0
    format = (c.c_uint * 2)(*format) if format else None
    return call("clCreateImage2D", where, number(flags), format, size_t(width), size_t(height),
                size_t(row), host, failed) or error.value
assert image(NONE) == -34 and image(flags=3) == -30 and image(format=None) == -39
assert image(format=(0x10B5, 0x10D3)) == -10 and image(format=(1, 2)) == -39
assert image(width=0) == image(width=32769) == image(height=0) == -40
assert image(width=4096, height=2048) == -4 and image(row=64) == -65
assert image(flags=9) == image(host=context) == -37
assert call("clCreateImage", context, number(1), (c.c_uint * 2)(0x10B5, 0x10D2), None, None,
            failed) is None and error.value == -65
assert call("clGetImageInfo", made, 0x1110, size_t(8), None, None, returns=c.c_int) == -38

assert svm(100, where=NONE) is svm(0) is svm(16 * 2**20 + 1) is svm(1, flags=3) is None
assert svm(1, flags=1 | 1 << 11) is None and svm(1, flags=0) and svm(1, flags=1 | 1 << 10)
assert call("clSVMAlloc", context, number(1), size_t(64), 3) is None
assert call("clSVMAlloc", context, number(1), size_t(64), 256) is None
free = lambda queue, count, list: call("clEnqueueSVMFree", queue, count, list, None, None, 0, None,
                                       None, returns=c.c_int)
assert free(NONE, 0, None) == -36 and free(commands, 1, None) == -30
assert free(commands, 0, (pointer * 1)()) == -30
unknown = (c.c_ubyte * 64)()
call("clSVMFree", context, unknown, returns=None)
call("clSVMFree", NONE, unknown, returns=None)
call("clSVMFree", context, None, returns=None)

for name in ("clDeviceMemAllocINTEL", "clSharedMemAllocINTEL", "clHostMemAllocINTEL"):
    assert usm(name, 64, where=NONE) == -34 and usm(name, 0) == -61
    assert usm(name, 16 * 2**20 + 1) == -61 and usm(name, 64, alignment=3) == -30
assert usm("clDeviceMemAllocINTEL", 64, of=NONE) == usm("clDeviceMemAllocINTEL", 64, of=context) \\
    == -33
""")


@pytest.mark.parametrize("kind", CALLS)
def test_faults_reach_every_call(driver, kind):
    size = size_for(kind)
    fake = driver(faults=[{"call": CALLS[kind], "after": 2, "error": -6}])
    process, lines = start(fake, kind)
    assert lines == [f"ok {size}"] * 2 + ["null" if "svm" in kind else "error -6"]
    with fake.witness() as witness:
        assert witness.held() == (0 if kind == "usm-host" else 2 * size)
    end(process)


def test_delays_reach_extensions(driver):
    fake = driver(delays=[{"call": "clMemFreeINTEL", "microseconds": 200000}])
    process, _ = start(fake, "usm-device", "--count", 3)
    begin = time.monotonic()
    let_go(process)
    assert time.monotonic() - begin >= 0.4
    end(process)


def test_a_call_that_hangs(driver):
    fake = driver(hang_on="clSVMFree")
    with pytest.raises(subprocess.TimeoutExpired):
        fake.run(PROGRAM, "--kind", "svm", "--count", 1, timeout=1, stdin=subprocess.DEVNULL)

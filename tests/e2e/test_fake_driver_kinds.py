"""What the fake driver counts of each kind of memory, its errors and faults; without the shim."""

import subprocess
import time

import pytest
from fake import CLIENTS, GIB, MIB
from fake_calls import driver, needs_fake_driver, run  # noqa: F401

PROGRAM = CLIENTS / "entry_points"

pytestmark = [needs_fake_driver,
              pytest.mark.skipif(not PROGRAM.exists(), reason=f"{PROGRAM} is not built")]

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


# --- counts ---------------------------------------------------------------------------------------

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


# --- errors and faults ----------------------------------------------------------------------------

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

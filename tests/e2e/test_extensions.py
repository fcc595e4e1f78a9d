"""Functions that drivers hand out by name charge like those of the table."""

import pytest

from support import MIB, built, only_line
from support import box, fake_box  # noqa: F401

pytestmark = built

LIMIT = 64 * MIB
SIZE = 16 * MIB
REFUSED, OUT_OF_RESOURCES, NULL = -4, -5, None
START = "from extensions import *; the = cl.context(); one = cl.devices()[0]; queue = None"
QUEUE = "queue = cl.create_queue(the, one, 0, None)"

MEMS = {
    "clCreateBufferWithPropertiesINTEL":
        ("f = by_name(NAME, pointer, pointer, pointer, bits, size, pointer, pointer)",
         "result(f, the, None, 1, SIZE, None)"),
    "clCreateImageWithPropertiesINTEL":
        ("f = by_name(NAME, pointer, pointer, pointer, bits, pointer, pointer, pointer, pointer)",
         "result(f, the, None, 1, image_format(), image_desc(SIZE // 4), None)"),
    "clCreateBufferNV":
        ("f = by_name(NAME, pointer, pointer, bits, bits, size, pointer, pointer)",
         "result(f, the, 1, 0, SIZE, None)"),
}
SVM = "f = by_name(NAME, pointer, pointer, bits, size, number)"
ADDRESSES = {
    "clSVMAllocARM": (SVM, "f(the, 1, SIZE, 0)", "clSVMFreeARM", NULL),
    "clSVMAllocAMD": (SVM, "f(the, 1, SIZE, 0)", "clSVMFreeAMD", NULL),
    "clSVMAllocWithPropertiesKHR":
        ("f = by_name(NAME, pointer, pointer, pointer, number, size, pointer)",
         "result(f, the, None, 0, SIZE)", "clSVMFreeWithPropertiesKHR", OUT_OF_RESOURCES),
    "clDeviceMemAllocINTEL":
        ("f = by_name(NAME, pointer, pointer, pointer, pointer, size, number, pointer)",
         "result(f, the, one, None, SIZE, 0)", "clMemFreeINTEL", OUT_OF_RESOURCES),
    "clSharedMemAllocINTEL":
        ("f = by_name(NAME, pointer, pointer, pointer, pointer, size, number, pointer)",
         "result(f, the, None, None, SIZE, 0)", "clMemBlockingFreeINTEL", OUT_OF_RESOURCES),
}


def start(box, door="named", *steps):
    session = box.session(door=door, variables={"CHRONOS_PARTITION": "p1"})
    session(START)
    for step in steps:
        session(step)
    return session


def named(step, name, size=SIZE):
    return step.replace("NAME", repr(name)).replace("SIZE", str(size))


def both(box):
    used = box.used()
    assert used == box.held()
    return used


@pytest.mark.parametrize("door", ["named", "layers"])
@pytest.mark.parametrize("name", MEMS)
def test_objects(box, name, door):
    box.create(LIMIT)
    look_up, make = MEMS[name]
    session = start(box, door, named(look_up, name))
    session(f"made = [{named(make, name)} for _ in range(4)]")
    assert both(box) == LIMIT
    assert session(named(make, name, 4096)) == REFUSED
    session("[cl.release(one) for one in made]")
    assert both(box) == 0
    only_line(session.errors())


@pytest.mark.parametrize("door", ["named", "layers"])
@pytest.mark.parametrize("name", ADDRESSES)
def test_addresses(box, name, door):
    box.create(LIMIT)
    look_up, make, free, refusal = ADDRESSES[name]
    session = start(box, door, named(look_up, name))
    session(f"made = [{named(make, name)} for _ in range(4)]")
    assert both(box) == LIMIT
    assert session(named(make, name, 1)) == refusal
    if free == "clSVMFreeWithPropertiesKHR":
        session(f"g = by_name({free!r}, ctypes.c_int, pointer, pointer, bits, pointer)")
        session("[g(the, None, 0, one) for one in made]")
    else:
        session(f"g = by_name({free!r}, ctypes.c_int, pointer, pointer)")
        session("[g(the, one) for one in made]")
    assert both(box) == 0


@pytest.mark.parametrize("maker", ["ARM", "AMD"])
@pytest.mark.parametrize("by_callback", [False, True])
def test_enqueued_frees(fake_box, maker, by_callback):
    box = fake_box(deferred=True)
    box.create(LIMIT)
    session = start(box, "named", QUEUE, named(SVM, f"clSVMAlloc{maker}"),
                    f"made = [f(the, 1, {SIZE}, 0) for _ in range(3)]",
                    f"g = by_name('clSVMFree{maker}', None, pointer, pointer)",
                    "freed = []")
    if by_callback:
        tell = ", callback=freeing(lambda them: [(g(the, one), freed.append(one)) for one in them])"
    else:
        tell = ""
    assert session(f"enqueue_free('clEnqueueSVMFree{maker}', queue, *made{tell})") == 0
    assert both(box) == 3 * SIZE  # not before the command has run
    assert session("finish(queue)") == 0
    assert session("freed == made") == by_callback
    assert both(box) == 0


def test_by_the_old_name(fake_box):
    """Without a platform: a loader knows by the name's end whose it is."""
    box = fake_box(platform={"suffix": "INTEL"})
    box.create(LIMIT)
    for door in ("named", "layers"):
        session = start(box, door,
                        "f = by_name('clDeviceMemAllocINTEL', pointer, pointer, pointer, pointer,"
                        " size, number, pointer, plain=True)",
                        f"made = result(f, the, one, None, {SIZE}, 0)")
        assert both(box) == SIZE
        assert session(f"result(f, the, one, None, {LIMIT}, 0)") == OUT_OF_RESOURCES
        session("by_name('clMemFreeINTEL', ctypes.c_int, pointer, pointer, plain=True)(the, made)")
        assert both(box) == 0


def test_host_memory_passes_through(box):
    box.create(LIMIT)
    session = start(box, "named",
                    "f = by_name('clHostMemAllocINTEL', pointer, pointer, pointer, size, number,"
                    " pointer)", f"made = result(f, the, None, {2 * LIMIT}, 0)",
                    f"kept = cl.buffer(the, {SIZE})")
    assert both(box) == SIZE
    assert session("by_name('clMemFreeINTEL', ctypes.c_int, pointer, pointer)(the, made)") == 0
    assert both(box) == SIZE


def test_a_function_that_the_driver_lacks_stays_absent(box):
    session = start(box)
    assert session("by_name('clCreateFooINTEL', pointer) is None")

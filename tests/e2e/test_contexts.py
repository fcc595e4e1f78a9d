"""Contexts of other devices at the same address, by whichever call they were made."""

import pytest

from support import MIB, built
from support import box, fake_box  # noqa: F401

pytestmark = built

LIMIT = 64 * MIB
SIZE = 16 * MIB
FROM_TYPE = ("from_type = cl.declare('clCreateContextFromType', cl.pointer, cl.pointer,"
             " ctypes.c_ulong, cl.pointer, cl.pointer, cl.pointer)")
MAKE = {"clCreateContext": ("cl.context(0)", "cl.context(1)"),
        "clCreateContextFromType": ("from_type(None, 4, None, None, None)",
                                    "from_type(None, 2, None, None, None)")}


@pytest.mark.parametrize("door", ["named", "layers"])
@pytest.mark.parametrize("call", MAKE)
def test_a_context_at_an_earlier_ones_address(fake_box, call, door):
    box = fake_box(devices=[{"type": "gpu"}, {"type": "cpu"}])
    box.create(LIMIT, name="p1", device=0)
    box.create(LIMIT, name="p2", device=1)
    session = box.session(door=door, variables={"CHRONOS_PARTITION": "p1,p2"})
    session(FROM_TYPE)
    first, second = MAKE[call]
    # An allocator that never hands an address out again would leave nothing to test.
    assert session(f"""
for again in range(100):
    the = {first}
    made = cl.buffer(the, {SIZE})[0]
    cl.release(made); cl.release_context(the)
    then = {second}
    if then == the: break
    cl.release_context(then)
""") is None
    assert session("then == the")
    session(f"made = cl.buffer(then, {SIZE})")
    assert (box.used("p1"), box.used("p2")) == (0, SIZE)


@pytest.mark.parametrize("call", MAKE)
def test_a_partition_made_meanwhile_holds_from_the_next_context_on(fake_box, call):
    box = fake_box(devices=[{"type": "gpu"}, {"type": "cpu"}])
    session = box.session(door="owned")
    session(FROM_TYPE)
    first, _ = MAKE[call]
    session(f"the = {first}; made = cl.buffer(the, {SIZE})")
    box.create(LIMIT)
    session(f"then = {first}; made = cl.buffer(then, {SIZE})")
    assert box.used() == SIZE


def test_what_a_contexts_last_callback_allocates_is_charged(box):
    box.create(LIMIT)
    session = box.session(variables={"CHRONOS_LIFETIME": "counts"})
    session("on_end = cl.declare('clSetContextDestructorCallback', ctypes.c_int, cl.pointer,"
            " cl.CALLBACK, cl.pointer)")
    session(f"the = cl.context(); last = cl.buffer(the, {SIZE})[0]")
    session(f"tell = cl.CALLBACK(lambda *_: make({2 * SIZE}))")
    assert session("on_end(the, tell, None)") == 0
    session("cl.release_context(the)")
    assert box.used() == SIZE
    session("cl.release(last)")  # takes the context along
    assert box.used() == box.held() == 2 * SIZE

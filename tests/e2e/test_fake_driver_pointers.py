"""Shared virtual and unified shared memory of the fake driver, without the shim."""

import pytest
from fake_calls import driver, needs_fake_driver, run  # noqa: F401

pytestmark = needs_fake_driver

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

"""Bytes come back when the driver really frees the memory: neither sooner nor never."""

import pytest

from support import CLIENTS, MIB, REFUSED, built, only_line, own_lines, poll
from support import any_box, box, fake_box, pocl  # noqa: F401

pytestmark = built

LIMIT = 64 * MIB
COUNTS = {"CHRONOS_LIFETIME": "counts"}
MODES = pytest.mark.parametrize("variables", [{}, COUNTS], ids=["callbacks", "counts"])


def agree(box):
    """What is charged, after checking that the driver holds exactly that."""
    used = box.used()
    assert box.held() == used
    return used


@MODES
def test_retained_buffers_stay_charged(any_box, variables):
    any_box.create(LIMIT)
    session = any_box.session(variables=variables)
    session("make(40 * MIB)")
    assert session("[cl.retain(held[0]), cl.retain(held[0]), cl.release(held[0])]") == [0, 0, 0]
    assert session("cl.release(held[0])") == 0
    assert any_box.used() == 40 * MIB
    assert session("make(25 * MIB)") == REFUSED
    assert session("drop()") == 0
    assert any_box.used() == 0
    assert session("make(64 * MIB)") == 0


def test_retains_count_where_the_driver_does_not_tell_them(fake_box):
    """What a driver says of references may be stale (OpenCL 3.0 section 5.5.6)."""
    box = fake_box(stale_reference_counts=True)
    box.create(LIMIT)
    session = box.session(variables={"CHRONOS_LIFETIME": "counts"})
    session("make(40 * MIB)")
    assert session("[cl.retain(held[0]), cl.release(held[0])]") == [0, 0]
    assert box.used() == 40 * MIB
    assert session("drop()") == 0
    assert box.used() == 0


def test_parts_keep_their_parent_where_the_driver_does_not_tell_references(fake_box):
    box = fake_box(stale_reference_counts=True)
    box.create(LIMIT)
    session = box.session(variables={"CHRONOS_LIFETIME": "counts"})
    session("make(40 * MIB)")
    session("part = cl.sub_buffer(held[0], 0, MIB)[0]")
    assert session("drop()") == 0
    assert box.used() == 40 * MIB
    assert session("cl.release(part)") == 0
    assert box.used() == 0


@MODES
def test_what_a_destructor_callback_allocates_is_charged(any_box, variables):
    any_box.create(LIMIT)
    session = any_box.session(variables=variables)
    session("make(MIB); made = []")
    session("more = cl.CALLBACK(lambda *_: made.append(cl.buffer(the_context, 2 * MIB)))")
    assert session("cl.on_destroy(held[0], more, None)") == 0
    assert session("drop()") == 0
    assert any_box.used() == 2 * MIB
    assert session("cl.release(made[0][0])") == 0
    assert any_box.used() == 0


@MODES
def test_a_sub_buffer_keeps_its_parent_charged(any_box, variables):
    any_box.create(LIMIT)
    session = any_box.session(variables=variables)
    session("make(40 * MIB)")
    session("parts = [cl.sub_buffer(held[0], at * MIB, MIB)[0] for at in (0, 8)]")
    assert any_box.used() == 40 * MIB  # a part costs nothing
    assert session("[cl.retain(parts[1]), drop()]") == [0, 0]
    assert any_box.used() == 40 * MIB
    assert session("[cl.release(parts[0]), cl.release(parts[1])]") == [0, 0]
    assert any_box.used() == 40 * MIB
    assert session("make(25 * MIB)") == REFUSED
    assert session("cl.release(parts[1])") == 0
    assert any_box.used() == 0


@MODES
def test_a_buffer_outlives_its_context(any_box, variables):
    any_box.create(LIMIT)
    session = any_box.session(variables=variables)
    session("make(40 * MIB)")
    assert session("cl.release_context(the_context)") == 0
    session("the_context = None")
    assert any_box.used() == 40 * MIB
    assert session("make(25 * MIB)") == REFUSED
    session("drop()")
    assert any_box.used() == 0
    assert session("make(LIMIT)".replace("LIMIT", str(LIMIT))) == 0


def test_contexts_come_and_go_at_the_same_addresses(any_box):
    any_box.create(LIMIT)
    session = any_box.session()
    session("""
def round_trip():
    inside = cl.context()
    made, error = cl.buffer(inside, 40 * MIB)
    other, refused = cl.buffer(inside, 25 * MIB)
    codes = [error, refused, cl.release(made), cl.release_context(inside)]
    return codes
""")
    assert session("[round_trip() for _ in range(20)]") == [[0, REFUSED, 0, 0]] * 20
    assert any_box.used() == 0


@MODES
def test_the_programs_callbacks_run_in_reverse_order_of_registration(any_box, variables):
    any_box.create(LIMIT)
    session = any_box.session(variables=variables)
    session("make(MIB); told = []")
    assert session("[cl.watch(held[0], lambda n=n: told.append(n)) for n in range(3)]") == [0] * 3
    session("drop()")
    assert session("told") == [2, 1, 0]
    assert any_box.used() == 0


def test_a_callback_may_allocate_and_is_charged(box):
    box.create(LIMIT)
    session = box.session()
    session("make(40 * MIB); told = []")
    session("cl.watch(held[0], "
            "lambda: told.append([make(30 * MIB), make(20 * MIB), make(5 * MIB)]))")
    session("first = held.pop(0); cl.release(first)")
    # The program's callbacks run before ours: the buffer itself is still charged then.
    assert session("told") == [[REFUSED, 0, REFUSED]]
    assert agree(box) == 20 * MIB


def test_queued_commands_hold_their_buffers(fake_box):
    """The driver frees only when the commands have run; until then the bytes are charged."""
    box = fake_box(deferred=True)
    box.create(LIMIT)
    session = box.session()
    session("make(40 * MIB)")
    session("queue = cl.create_queue(the_context, cl.devices()[0], 0, None)")
    session("data = ctypes.create_string_buffer(4096)")
    assert session("cl.enqueue_write(queue, held[0], 0, 0, 4096, data, 0, None, None)") == 0
    assert session("drop()") == 0
    assert agree(box) == 40 * MIB
    assert session("make(25 * MIB)") == REFUSED
    assert session("cl.finish(queue)") == 0
    assert agree(box) == 0
    assert session("make(64 * MIB)") == 0


# A queue with a command that waits for the tester, and the rest of OpenCL that these tests need.
WAITING = """
P, I, U, Z = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint, ctypes.c_size_t
user_event = cl.declare("clCreateUserEvent", P, P, ctypes.POINTER(I))
set_status = cl.declare("clSetUserEventStatus", I, P, I)
svm_alloc = cl.declare("clSVMAlloc", P, P, ctypes.c_ulong, Z, U)
svm_free = cl.declare("clSVMFree", None, P, P)
FREE = ctypes.CFUNCTYPE(None, P, U, ctypes.POINTER(P), P)
svm_enqueue_free = cl.declare("clEnqueueSVMFree", I, P, U, P, FREE, P, U, P, P)
queue = cl.create_queue(the_context, cl.devices()[0], 0, None)
gate = user_event(the_context, None)
waits = (P * 1)(gate)
data = ctypes.create_string_buffer(4096)
def write(mem):
    return cl.enqueue_write(queue, mem, 0, 0, 4096, data, 1, waits, None)
"""


@MODES
def test_a_command_that_waits_holds_its_buffer(any_box, variables):
    """Released, but not free before the command has run."""
    any_box.create(LIMIT)
    session = any_box.session(variables=variables)
    session("make(40 * MIB)")
    session(WAITING)
    assert session("[write(held[0]), cl.flush(queue), drop()]") == [0, 0, 0]
    assert any_box.used() == 40 * MIB
    assert session("make(25 * MIB)") == REFUSED
    assert session("[set_status(gate, 0), cl.finish(queue)]") == [0, 0]
    poll("the bytes", lambda: any_box.used() == 0)
    assert session("make(64 * MIB)") == 0


@MODES
def test_a_command_that_waits_holds_the_parent_of_its_part(any_box, variables):
    any_box.create(LIMIT)
    session = any_box.session(variables=variables)
    session("make(40 * MIB); part = cl.sub_buffer(held[0], 0, MIB)[0]")
    session(WAITING)
    assert session("[write(part), cl.flush(queue), drop(), cl.release(part)]") == [0] * 4
    assert any_box.used() == 40 * MIB
    assert session("make(25 * MIB)") == REFUSED
    assert session("[set_status(gate, 0), cl.finish(queue)]") == [0, 0]
    poll("the bytes", lambda: any_box.used() == 0)


IMAGE = """
class Desc(ctypes.Structure):
    _fields_ = [("type", ctypes.c_uint), ("width", ctypes.c_size_t), ("rest", ctypes.c_size_t * 5),
                ("levels", ctypes.c_uint * 2), ("mem", ctypes.c_void_p)]
create_image = cl.declare("clCreateImage", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ulong,
                          ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p,
                          ctypes.POINTER(ctypes.c_int))
def image_over(mem):
    form = (ctypes.c_uint * 2)(0x10B5, 0x10D2)
    desc = Desc(0x10F6, 1024, (ctypes.c_size_t * 5)(), (ctypes.c_uint * 2)(), mem)
    return create_image(the_context, 1, form, ctypes.byref(desc), None, None)
"""


@MODES
def test_an_image_keeps_its_buffer_charged(any_box, variables):
    any_box.create(LIMIT)
    session = any_box.session(variables=variables)
    session("make(40 * MIB)")
    session(IMAGE)
    session("image = image_over(held[0])")
    assert session("image is None") is False
    assert any_box.used() == 40 * MIB
    assert session("[cl.retain(image), drop(), cl.release(image)]") == [0, 0, 0]
    assert any_box.used() == 40 * MIB
    assert session("make(25 * MIB)") == REFUSED
    assert session("cl.release(image)") == 0
    assert any_box.used() == 0


@pytest.mark.parametrize("with_callback", [False, True])
def test_an_enqueued_free_gives_back_when_it_has_run(any_box, with_callback):
    any_box.create(LIMIT)
    session = any_box.session()
    session("make(MIB); drop()")
    session(WAITING)
    session("told = []\n"
            "def free_all(queue, count, list, data):\n"
            "    told.append([svm_free(the_context, list[i]) for i in range(count)])\n"
            f"freeing = FREE(free_all) if {with_callback} else FREE()\n"
            "pointers = (P * 2)(*[svm_alloc(the_context, 1, 20 * MIB, 0) for _ in range(2)])")
    assert any_box.used() == 40 * MIB
    assert session("svm_enqueue_free(queue, 2, pointers, freeing, None, 1, waits, None)") == 0
    assert session("cl.flush(queue)") == 0
    assert any_box.used() == 40 * MIB
    assert session("make(25 * MIB)") == REFUSED
    assert session("[set_status(gate, 0), cl.finish(queue)]") == [0, 0]
    poll("the bytes", lambda: any_box.used() == 0)
    assert session("len(told)") == int(with_callback)
    assert session("make(64 * MIB)") == 0


def test_a_callback_that_frees_nothing_gives_nothing_back(any_box):
    any_box.create(LIMIT)
    session = any_box.session()
    session("make(MIB); drop()")
    session(WAITING)
    session("told = []; freeing = FREE(lambda *_: told.append(1))")
    session("pointers = (P * 1)(svm_alloc(the_context, 1, 40 * MIB, 0))")
    assert session("svm_enqueue_free(queue, 1, pointers, freeing, None, 1, waits, None)") == 0
    assert session("[set_status(gate, 0), cl.finish(queue)]") == [0, 0]
    poll("the callback", lambda: session("len(told)") == 1)
    assert any_box.used() == 40 * MIB
    session("svm_free(the_context, pointers[0])")
    assert any_box.used() == 0


def test_an_enqueued_free_that_never_runs_gives_nothing_back(box):
    """What it waits for fails: the memory is the program's still."""
    box.create(LIMIT)
    session = box.session()
    session("make(MIB); drop()")
    session(WAITING)
    session("pointers = (P * 1)(svm_alloc(the_context, 1, 40 * MIB, 0))")
    assert session("svm_enqueue_free(queue, 1, pointers, FREE(), None, 1, waits, None)") == 0
    assert session("[cl.flush(queue), set_status(gate, -5)]") == [0, 0]
    session("cl.finish(queue)")
    assert agree(box) == 40 * MIB
    assert session("make(25 * MIB)") == REFUSED
    session("svm_free(the_context, pointers[0])")
    assert agree(box) == 0


@MODES
def test_retains_and_releases_across_threads(any_box, variables):
    any_box.create(LIMIT)
    session = any_box.session(variables=variables)
    session("make(40 * MIB)")
    session("""
import threading
def turn(mem=held[0]):
    for _ in range(500):
        cl.retain(mem)
    for _ in range(500):
        cl.release(mem)
def turns():
    threads = [threading.Thread(target=turn) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
""")
    session("turns()")
    assert any_box.used() == 40 * MIB
    assert session("make(25 * MIB)") == REFUSED
    # The last reference is another thread's.
    session("last = threading.Thread(target=drop); last.start(); last.join()")
    assert any_box.used() == 0


@pytest.mark.parametrize("error", [-4, -5, -6, -61])
def test_what_the_driver_refuses_is_not_charged(fake_box, error):
    box = fake_box(faults=[{"call": "clCreateBuffer", "error": error, "after": 1, "times": 50}])
    box.create(LIMIT)
    session = box.session()
    assert session("[make(40 * MIB)] + [make(24 * MIB) for _ in range(50)]") == [0] + [error] * 50
    assert agree(box) == 40 * MIB
    assert own_lines(session.errors()) == []  # it was not Chronos
    assert session("make(24 * MIB)") == 0
    assert agree(box) == LIMIT


def test_no_destructor_callback_no_buffer(fake_box):
    """Nobody would tell when the memory is free: rather refuse than lose count."""
    box = fake_box(faults=[{"call": "clSetMemObjectDestructorCallback", "error": -6, "times": 3}])
    box.create(LIMIT)
    session = box.session()
    assert session("[make(40 * MIB) for _ in range(4)]") == [REFUSED] * 3 + [0]
    assert agree(box) == 40 * MIB
    with box.witnessed() as witness:
        assert (witness.allocations(), witness.frees()) == (4, 3)


def test_counting_needs_no_callback(fake_box):
    box = fake_box(faults=[{"call": "clSetMemObjectDestructorCallback", "error": -6}])
    box.create(LIMIT)
    session = box.session(variables=COUNTS)
    assert session("[make(40 * MIB), make(25 * MIB), drop(), make(64 * MIB)]") == [
        0, REFUSED, 0, 0]
    assert agree(box) == LIMIT


@MODES
def test_releases_too_many_credit_nothing(box, variables):
    box.create(LIMIT)
    session = box.session(variables=variables)
    session("make(40 * MIB); make(10 * MIB)")
    assert session("drop()") == 0
    assert session("cl.release(None)") != 0
    assert session("cl.retain(None)") != 0
    assert agree(box) == 40 * MIB


def test_bytes_made_before_the_partition_are_never_credited(box):
    """A free of something that was never charged passes through."""
    session = box.session(door="owned")
    assert session("[make(30 * MIB), make(20 * MIB)]") == [0, 0]
    box.create(LIMIT)
    session("the_context = None")
    assert session("[make(40 * MIB), make(25 * MIB)]") == [0, REFUSED]
    assert box.used() == 40 * MIB
    assert session("[drop(0), drop(0)]") == [0, 0]
    assert box.used() == 40 * MIB
    assert agree(box) == 40 * MIB


@MODES
def test_exit_with_live_objects(any_box, variables):
    any_box.create(LIMIT)
    session = any_box.session(variables=variables)
    session("[make(MIB) for _ in range(40)]")
    assert any_box.used() == 40 * MIB
    assert session.end() == 0
    assert any_box.used() == 0
    assert any_box.session()(f"make({LIMIT})") == 0


@MODES
@pytest.mark.parametrize("door", ["run", "named", "layers"])
def test_destructors_that_run_last_still_use_opencl(any_box, door, variables):
    any_box.create(LIMIT)
    result = any_box.run(CLIENTS / "late_c", "--size", 40 * MIB, door=door, variables=variables)
    assert result.returncode == 7, result.stderr
    assert result.stdout.splitlines() == ["first 0", "late before release -4", "release 0",
                                          "late 0"]
    only_line(result.stderr)
    assert any_box.used() == 0


@MODES
@pytest.mark.parametrize("door", ["run", "named", "layers"])
def test_threads_that_still_allocate_at_exit(any_box, door, variables):
    any_box.create(LIMIT)
    result = any_box.run(CLIENTS / "busy_exit", "--size", MIB, door=door, variables=variables)
    assert result.returncode == 7, result.stderr
    assert own_lines(result.stderr) == []
    assert any_box.used() == 0

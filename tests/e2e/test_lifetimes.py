"""Bytes come back when the driver really frees the memory: neither sooner nor never."""

import pytest

from support import CLIENTS, MIB, REFUSED, built, only_line, own_lines
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


@pytest.mark.parametrize("door", ["run", "named", "layers"])
def test_destructors_that_run_last_still_use_opencl(any_box, door):
    any_box.create(LIMIT)
    result = any_box.run(CLIENTS / "late_c", "--size", 40 * MIB, door=door)
    assert result.returncode == 7, result.stderr
    assert result.stdout.splitlines() == ["first 0", "late before release -4", "release 0",
                                          "late 0"]
    only_line(result.stderr)
    assert any_box.used() == 0

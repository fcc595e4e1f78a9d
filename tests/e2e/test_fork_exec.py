"""Fork, exec and closed descriptors: what a process holds is its own, neither more nor less."""

import os
import signal

import pytest

from support import CLIENTS, MIB, REFUSED, built, poll
from support import any_box, box, fake_box, pocl  # noqa: F401

pytestmark = built

LIMIT = 64 * MIB


def fits(session, size):
    return session(f"make({size})") == 0


# --- fork ---------------------------------------------------------------------------------------

FORKS = ["os.fork", "bare_fork"]
LIFETIMES = pytest.mark.parametrize("lifetime", ["callbacks", "counts"])


@LIFETIMES
@pytest.mark.parametrize("fork", FORKS)
def test_a_child_starts_at_zero_and_charges_for_itself(any_box, fork, lifetime):
    box = any_box
    box.create(LIMIT)
    parent = box.session(variables={"CHRONOS_LIFETIME": lifetime})
    assert fits(parent, 40 * MIB)
    child, errors = parent(f"in_child('[make(30 * MIB), make(20 * MIB)]', fork={fork}, stay=True)")
    assert errors == [REFUSED, 0]
    assert box.used_by() == {parent.pid: 40 * MIB, child: 20 * MIB}
    os.kill(child, signal.SIGKILL)
    assert parent(f"os.waitpid({child}, 0)")[0] == child
    assert fits(parent, 24 * MIB)


@LIFETIMES
@pytest.mark.parametrize("fork", FORKS)
def test_what_a_child_releases_does_not_credit_its_parent(any_box, fork, lifetime):
    box = any_box
    box.create(LIMIT)
    parent = box.session(variables={"CHRONOS_LIFETIME": lifetime})
    assert fits(parent, 40 * MIB)
    assert parent(f"in_child('[make(10 * MIB), drop(), drop()]', fork={fork})")[1] == [0, 0, 0]
    assert box.used_by() == {parent.pid: 40 * MIB}
    assert not fits(parent, 25 * MIB)
    assert parent("drop()") == 0
    assert box.used() == 0


@LIFETIMES
@pytest.mark.parametrize("fork", FORKS)
def test_what_a_child_inherited_does_not_credit_what_it_made(any_box, fork, lifetime):
    box = any_box
    box.create(LIMIT)
    parent = box.session(variables={"CHRONOS_LIFETIME": lifetime})
    assert fits(parent, 40 * MIB)
    code = "[make(10 * MIB), drop(0), make(15 * MIB), make(14 * MIB)]"
    child, errors = parent(f"in_child({code!r}, fork={fork}, stay=True)")
    assert errors == [0, 0, REFUSED, 0]
    assert box.used_by() == {parent.pid: 40 * MIB, child: 24 * MIB}
    os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("fork", FORKS)
def test_grandchildren_too(box, fork):
    box.create(LIMIT)
    parent = box.session()
    assert fits(parent, 10 * MIB)
    inner = "[make(10 * MIB), drop(0), drop(), make(44 * MIB), make(1)]"
    nested = f"in_child({inner!r}, fork={fork})[1]"
    code = f"[make(10 * MIB), {nested}, drop(), make(54 * MIB)]"
    assert parent(f"in_child({code!r}, fork={fork})")[1] == [0, [0, 0, 0, 0, REFUSED], 0, 0]
    assert box.used_by() == {parent.pid: 10 * MIB}


@pytest.mark.parametrize("fork", FORKS)
def test_a_parent_that_never_allocated_may_fork(box, fork):
    box.create(LIMIT)
    parent = box.session()
    parent("the_context = cl.context()")
    assert parent(f"in_child('[make(64 * MIB), make(1)]', fork={fork})")[1] == [0, REFUSED]
    assert fits(parent, LIMIT)


def test_a_child_in_pyopencl(box):
    box.create(LIMIT)
    result = box.python("""
import os
import pyopencl as cl
context = cl.Context([cl.get_platforms()[0].get_devices()[0]])
first = cl.Buffer(context, cl.mem_flags.READ_WRITE, 40 << 20)
if os.fork() == 0:
    second = cl.Buffer(context, cl.mem_flags.READ_WRITE, 24 << 20)
    first.release()
    second.release()
    os._exit(0)
print(os.wait()[1])
try:
    cl.Buffer(context, cl.mem_flags.READ_WRITE, 25 << 20)
except cl.MemoryError:
    print("refused")
""")
    assert (result.returncode, result.stdout) == (0, "0\nrefused\n"), result.stderr


@pytest.mark.parametrize("fork", FORKS)
def test_a_child_with_inherited_descriptors_outlives_its_killed_parent(box, fork):
    """The child holds the parent's lock, but the parent's memory is gone all the same."""
    box.create(LIMIT)
    parent, other = box.session(), box.session()
    assert fits(parent, 40 * MIB)
    child, error = parent(f"in_child('make(MIB)', fork={fork}, stay=True)")
    idle, _ = parent(f"in_child('0', fork={fork}, stay=True)")
    assert error == 0
    parent.kill()
    try:
        assert fits(other, 63 * MIB)
        assert box.used_by() == {child: MIB, other.pid: 63 * MIB}
        os.kill(child, signal.SIGKILL)
        poll("the child's byte", lambda: fits(other, MIB))
    finally:
        for pid in (child, idle):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


# --- exec, closed descriptors -------------------------------------------------------------------

@LIFETIMES
def test_exec_frees_what_the_process_held(any_box, lifetime):
    """Same pid, same start time: but the memory is gone."""
    any_box.create(LIMIT)
    session = any_box.session(variables={"CHRONOS_LIFETIME": lifetime})
    other = any_box.session()
    assert fits(other, MIB)
    assert fits(session, 60 * MIB)
    session.ask("become('/bin/cat')")
    poll("the exec", lambda: os.readlink(f"/proc/{session.pid}/exe").endswith("cat"))
    assert any_box.used_by() == {other.pid: MIB}
    assert fits(other, 63 * MIB)
    assert session.end() == 0


def test_exec_into_a_program_that_allocates_again(any_box):
    any_box.create(LIMIT)
    session = any_box.session()
    assert fits(session, 60 * MIB)
    session.ask(f"become({str(CLIENTS / 'linked_c')!r}, '--size', '{50 * MIB}', '--hold', '600')")
    assert session.process.stdout.readline() == f"ok {50 * MIB}\n"
    assert any_box.used_by() == {session.pid: 50 * MIB}
    assert fits(any_box.session(), 14 * MIB)


def test_exec_into_a_program_that_only_asks(any_box):
    """The new program has looked at its partition, but what the old one held is gone."""
    any_box.create(LIMIT)
    session, other = any_box.session(), any_box.session()
    assert fits(other, MIB)
    assert fits(session, 60 * MIB)
    session.become_another()
    assert session("cl.number_of(cl.devices()[0], 0x101F)") == LIMIT
    assert any_box.used_by() == {other.pid: MIB}
    assert fits(other, 63 * MIB)


def test_exec_into_a_program_that_is_refused(any_box):
    any_box.create(LIMIT)
    session = any_box.session()
    assert fits(session, 60 * MIB)
    session.become_another()
    assert session(f"[make({LIMIT} + 1), make({LIMIT})]") == [REFUSED, 0]


def test_closed_descriptors_change_nothing(any_box):
    """closefrom(3) takes the lock away; the process is still there and so is its memory."""
    any_box.create(LIMIT)
    session, other = any_box.session(), any_box.session()
    assert fits(session, 40 * MIB)
    session("close_all()")
    assert not fits(other, 30 * MIB)
    assert any_box.used_by() == {session.pid: 40 * MIB}
    assert fits(session, 10 * MIB)
    assert not fits(session, 15 * MIB)
    assert session("drop()") == 0
    assert any_box.used_by() == {session.pid: 40 * MIB}
    assert fits(other, 24 * MIB)
    session.kill()
    assert fits(other, 40 * MIB)


def test_closed_descriptors_before_the_first_allocation(any_box):
    any_box.create(LIMIT)
    session = any_box.session()
    session("the_context = cl.context()")
    session("cl.number_of(cl.devices()[0], 0x101F)")
    session("close_all()")
    assert fits(session, 40 * MIB)
    assert not fits(session, 30 * MIB)
    assert any_box.used_by() == {session.pid: 40 * MIB}


def test_other_files_under_the_closed_numbers_are_left_alone(box):
    box.create(LIMIT)
    session = box.session()
    assert fits(session, 40 * MIB)
    session("close_all()")
    session("mine = [os.open('/dev/null', os.O_RDONLY) for _ in range(40)]")
    other = box.session()
    assert not fits(other, 30 * MIB)
    assert not fits(session, 30 * MIB)
    code = "[make(MIB), [os.readlink(f'/proc/self/fd/{fd}') for fd in mine] == ['/dev/null'] * 40]"
    assert session(f"in_child({code!r})")[1] == [0, True]
    assert session(code)[1] is True


def test_a_child_after_closed_descriptors(box):
    box.create(LIMIT)
    session = box.session()
    assert fits(session, 40 * MIB)
    session("close_all()")
    assert session("in_child('[make(30 * MIB), make(20 * MIB), drop(0)]')")[1] == [REFUSED, 0, 0]
    assert box.used_by() == {session.pid: 40 * MIB}

"""A partition that was named, or found, and cannot be used: everything is refused, with one line
that says why. Nothing ever runs unlimited by mistake."""

import os
import shutil
import struct
import subprocess

import pytest

from people import make_user, unmake_user
from support import (CLIENTS, GIB, MIB, PATIENCE, PYTHON, REFUSED, SCRIPTS, SHIM, built, only_line,
                     own_lines)
from support import any_box, box, fake_box, pocl  # noqa: F401

pytestmark = built

LIMIT = 64 * MIB
IMPLICIT = ("owned", "layers")


def assert_all_refused(session, *reasons):
    """Every size is refused, and one line says why; it has each of `reasons` in it."""
    assert session("[make(size) for size in (1, MIB, 1 << 40, 1)]") == [REFUSED] * 4
    line = only_line(session.errors())
    for reason in reasons:
        assert reason in line, line
    return line


# --- a wrong name -------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["typo", "partition_0099", "P1", "p1 ", " p1", "typo,p1x",
                                  "p1@00000000000000000000000000000000", "../p1", "p1\n", "é" * 300,
                                  "\x1b[31mred"])
def test_a_name_that_does_not_exist(box, name):
    box.create(LIMIT)
    line = assert_all_refused(box.session(partition=name), "was not found")
    assert "\x1b" not in line and len(line) < 1024


def test_no_partition_was_ever_made(any_box):
    assert_all_refused(any_box.session(partition="p1"), "p1", "was not found")


def test_chronos_run_says_so_itself(box):
    box.create(LIMIT)
    result = box.run(CLIENTS / "linked_c", partition="typo")
    assert (result.returncode, result.stdout) == (125, "")
    assert "typo" in result.stderr


def test_one_good_name_does_not_cover_a_bad_one(fake_box):
    box = fake_box(devices=[{"memory_bytes": GIB, "count": 2}])
    box.create(LIMIT)
    session = box.session(partition="p1,typo")
    session("first, second = cl.context(0), cl.context(1)")
    assert session("cl.buffer(second, 1)[1]") == REFUSED
    assert "typo" in only_line(session.errors())
    both = box.session(partition="typo,p1")
    assert_all_refused(both, "typo")


# --- ended, another's ---------------------------------------------------------------------------

def test_a_released_partition(any_box):
    any_box.create(LIMIT)
    any_box.chronos("release", "p1")
    assert_all_refused(any_box.session(), "p1", "was not found, or has been released")


def test_an_ended_partition_that_still_drains(box):
    box.create(LIMIT)
    holder = box.session()
    assert holder("make(MIB)") == 0
    box.chronos("release", "p1")
    assert_all_refused(box.session(), "p1", "has ended")
    # Whoever was in it keeps what it has, and gets no more.
    assert holder("[make(1), drop(), make(1)]") == [REFUSED, 0, REFUSED]
    assert "has ended" in only_line(holder.errors())


def test_a_partition_of_the_same_name_is_not_the_one_that_was_handed_on(box):
    """`chronos run` hands its children the very partition, not its name."""
    box.create(LIMIT)
    session = box.session(door="run")
    handle = session("os.environ['CHRONOS_PARTITION']")
    box.chronos("release", "p1")
    box.create(LIMIT)
    assert_all_refused(box.session(partition=handle), "p1", "was not found")
    assert session("make(1)") == REFUSED


def test_an_expired_partition(box):
    box.create(LIMIT, duration="1s")
    session = box.session()
    assert session("make(MIB)") == 0
    end = "while make(1) == 0: drop()"
    session(end)  # until its time is up
    assert session("[make(1), make(MIB), drop()]") == [REFUSED, REFUSED, 0]
    assert "p1 has ended" in only_line(session.errors())
    assert_all_refused(box.session(), "p1")


@pytest.fixture
def someone():
    """A second user of this machine."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a second user")
    user = make_user("chronos")
    yield user
    unmake_user(user)


def reachable(user):
    return subprocess.run(["test", "-r", str(SCRIPTS / "session.py"), "-a", "-r", str(SHIM)],
                          user=user.pw_uid, group=user.pw_gid, check=False).returncode == 0


def open_up(box):
    """Let others into a test's folder."""
    for folder in (box.folder, *box.folder.parents):
        if len(folder.parts) > 2:
            folder.chmod(0o755)
    (box.folder / "fake").chmod(0o777)
    for path in (box.folder / "fake").glob("witness*"):
        path.chmod(0o666)


def test_another_users_partition(box, someone):
    open_up(box)
    if not reachable(someone):
        pytest.skip(f"{someone.pw_name} may not read the build")
    box.create(LIMIT)
    as_someone = {"user": someone.pw_uid, "group": someone.pw_gid, "extra_groups": []}
    session = box.session(**as_someone)
    assert_all_refused(session, "p1", "is owned by root")
    # Nothing named and nothing owned: another's partition is none of their business.
    assert box.session(door="owned", **as_someone)("make(100 * MIB)") == 0
    # What root granted them is theirs, and binds them, named or not.
    box.chronos("create", 0, "32MiB", "1h", "--name", "theirs", "--user", someone.pw_name)
    for door in ("named", "owned", "run"):
        session = box.session(door=door, partition="theirs", **as_someone)
        assert session("[make(32 * MIB), make(1)]") == [0, REFUSED]
        session.kill()
    # And not root's to use.
    assert_all_refused(box.session(partition="theirs"), f"is owned by {someone.pw_name}")


# --- damaged files ------------------------------------------------------------------------------

def truncate(size):
    return lambda path: os.truncate(path, size)


def overwrite(offset, data):
    def damage(path):
        with open(path, "r+b") as file:
            file.seek(offset)
            file.write(data)
    return damage


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


def replace_by_link(path):
    kept = path.parent / "kept"
    path.rename(kept)
    path.symlink_to(kept)


GRANT_DAMAGE = {
    "empty": truncate(0), "truncated": truncate(100), "grown": truncate(5000),
    "garbage": overwrite(0, os.urandom(4096)), "zeros": overwrite(0, bytes(4096)),
    "magic": overwrite(0, b"CHRNGNTX"), "version": overwrite(8, b"\xff"),
    "checksum": overwrite(48, b"\xff\xff"), "folder": replace_by_folder, "link": replace_by_link,
}
LEDGER_DAMAGE = {
    "missing": lambda path: path.unlink(), "empty": truncate(0), "truncated": truncate(4096),
    "shorter by a byte": truncate(4096 + 64 * 256 - 1), "grown": truncate(1 << 20),
    "garbage": overwrite(0, os.urandom(4096)), "zeros": overwrite(0, bytes(4096)),
    "another's token": overwrite(16, bytes(16)), "folder": replace_by_folder,
    "link": replace_by_link,
}


@pytest.mark.parametrize("door", ["named", "owned", "layers"])
@pytest.mark.parametrize("damage", GRANT_DAMAGE)
def test_a_damaged_grant(box, damage, door):
    box.create(LIMIT)
    GRANT_DAMAGE[damage](box.files("grant")[0])
    assert_all_refused(box.session(door=door), "partition", str(box.state))
    assert box.chronos("list", status=None).returncode in (0, 1)


@pytest.mark.parametrize("door", ["named", "owned", "layers"])
@pytest.mark.parametrize("damage", LEDGER_DAMAGE)
def test_a_damaged_ledger(box, damage, door):
    box.create(LIMIT)
    LEDGER_DAMAGE[damage](box.files("ledger")[0])
    assert_all_refused(box.session(door=door), "p1", str(box.state))
    assert box.chronos("list", status=None).returncode in (0, 1)


def test_the_folder_is_gone(box):
    box.create(LIMIT)
    shutil.rmtree(box.state)
    assert_all_refused(box.session(), "p1")


def test_the_folder_is_a_file(box):
    box.create(LIMIT)
    shutil.rmtree(box.state)
    box.state.write_text("")
    assert_all_refused(box.session(), "cannot be looked up")


@pytest.mark.parametrize("door", ["run", "named", "owned", "layers"])
def test_a_running_program_keeps_its_limit_when_the_files_vanish(any_box, door):
    any_box.create(LIMIT)
    session = any_box.session(door=door)
    assert session("make(40 * MIB)") == 0
    shutil.rmtree(any_box.state)
    assert session("[make(25 * MIB), make(24 * MIB), drop(), make(25 * MIB), make(1)]") == [
        REFUSED, 0, 0, REFUSED, 0]
    assert session("[cl.release_context(the_context), drop(0), drop(0)]") == [0, 0, 0]
    session("the_context = None")
    assert session("[make(64 * MIB), make(1)]") == [0, REFUSED]


def test_a_child_of_a_program_whose_files_vanished(box):
    """It cannot take a place of its own any more."""
    box.create(LIMIT)
    session = box.session()
    assert session("make(MIB)") == 0
    shutil.rmtree(box.state)
    assert session("in_child('[make(1), make(MIB)]')")[1] == [REFUSED, REFUSED]
    only_line(session.errors())
    assert session("make(63 * MIB)") == 0


# --- no place left ------------------------------------------------------------------------------

SLOTS, SLOTS_AT, SLOT_SIZE = 256, 4096, 64


def occupy(ledger, pid, *, leave=0):
    """Give every slot but the last `leave` to a living process that maps the ledger."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        start = int(file.read().rpartition(")")[2].split()[19])
    with open(ledger, "r+b") as file:
        file.seek(128)  # slots_high
        file.write(struct.pack("<Q", SLOTS))
        for slot in range(1, SLOTS - leave):
            file.seek(SLOTS_AT + slot * SLOT_SIZE)
            file.write(struct.pack("<4Q", 2 << 32 | pid, 0, start,
                                   os.stat(f"/proc/{pid}/ns/pid").st_ino))


@pytest.mark.parametrize("door", ["named", "owned"])
def test_no_free_slot(box, door):
    box.create(LIMIT)
    first = box.session()
    assert first("make(MIB)") == 0
    occupy(box.files("ledger")[0], first.pid)
    assert_all_refused(box.session(door=door), "p1", "too many processes share it")
    assert box.used() == MIB
    first.kill()
    assert box.session(door=door)("make(64 * MIB)") == 0


def test_the_last_free_slot(box):
    box.create(LIMIT)
    first = box.session()
    assert first("make(MIB)") == 0
    occupy(box.files("ledger")[0], first.pid, leave=1)
    last = box.session()
    assert last("[make(63 * MIB), make(1)]") == [0, REFUSED]
    assert_all_refused(box.session(), "too many processes share it")
    assert box.used_by() == {first.pid: MIB, last.pid: 63 * MIB}


@pytest.mark.parametrize("door", ["named", "owned", "layers"])
@pytest.mark.parametrize("when", ["before the context", "before the first question",
                                  "before the first buffer"])
def test_no_file_descriptor_left(box, door, when):
    box.create(LIMIT)
    session = box.session(door=door)
    if when == "before the first buffer":
        session("the_context = cl.context()")
        session("cl.number_of(cl.devices()[0], 0x101F)")  # now it knows its partition
    elif when == "before the context":
        session("cl.devices()")  # the driver is loaded
    else:
        session("the_context = cl.context()")
    assert session("fill_descriptors()") > 0
    assert_all_refused(session, "file")


def test_no_file_descriptor_left_after_the_first_buffer(box):
    box.create(LIMIT)
    session = box.session()
    assert session("make(MIB)") == 0
    assert session("fill_descriptors()") > 0
    assert session("[make(63 * MIB), make(1), drop(), make(62 * MIB)]") == [0, REFUSED, 0, 0]


# --- a device that is not covered ---------------------------------------------------------------

@pytest.fixture
def two(fake_box):
    return fake_box(devices=[{"memory_bytes": GIB}, {"memory_bytes": GIB, "name": "Other GPU"}])


def test_a_named_partition_does_not_cover_other_devices(two):
    two.create(LIMIT)
    session = two.session()
    session("first, second, both = cl.context(0), cl.context(1), cl.context(0, 1)")
    assert session("cl.buffer(first, MIB)[1]") == 0
    assert session("[cl.buffer(second, 1)[1], cl.buffer(both, 1)[1]]") == [REFUSED] * 2
    line = only_line(session.errors())
    assert "Other GPU" in line and "not in partition p1" in line
    assert two.used() == MIB


def test_two_named_partitions_cover_both_devices(two):
    two.create(LIMIT, "p1", device=0)
    two.create(32 * MIB, "p2", device=1)
    session = two.session(partition="p1,p2")
    session("first, second, both = cl.context(0), cl.context(1), cl.context(0, 1)")
    assert session("[cl.buffer(c, s)[1] for c, s in ((first, 40 * MIB), (second, 8 * MIB), "
                   "(both, 25 * MIB), (both, 24 * MIB), (both, 1), (second, 1), (first, 1))]"
                   ) == [0, 0, REFUSED, 0, REFUSED, REFUSED, REFUSED]
    assert (two.used("p1"), two.used("p2")) == (64 * MIB, 32 * MIB)
    assert (two.held(0), two.held(1)) == (64 * MIB, 32 * MIB)


def test_own_partitions_on_both_devices_are_found(two):
    two.create(LIMIT, "p1", device=0)
    two.create(32 * MIB, "p2", device=1)
    session = two.session(door="owned")
    session("both = cl.context(0, 1)")
    assert session("[cl.buffer(both, s)[1] for s in (33 * MIB, 32 * MIB, 1)]") == [
        REFUSED, 0, REFUSED]
    assert (two.used("p1"), two.used("p2")) == (32 * MIB, 32 * MIB)


def test_of_several_own_partitions_the_oldest_counts(box):
    box.create(32 * MIB, "older")
    box.create(LIMIT, "newer")
    session = box.session(door="owned")
    assert session("[make(33 * MIB), make(32 * MIB), make(1)]") == [REFUSED, 0, REFUSED]
    assert (box.used("older"), box.used("newer")) == (32 * MIB, 0)


def test_a_partition_that_was_found_and_ended_stays_closed(box):
    """Once found, it is not as if nothing had ever been owned."""
    box.create(LIMIT)
    session = box.session(door="owned")
    assert session("[make(MIB), drop()]") == [0, 0]
    box.chronos("release", "p1")
    assert session("make(1)") == REFUSED
    session("the_context = None")
    assert session("make(1)") == REFUSED
    assert "has ended" in only_line(session.errors())


def test_a_program_without_any_partition_gets_one_made_later(box):
    session = box.session(door="owned")
    assert session("[make(MIB), drop()]") == [0, 0]
    box.create(LIMIT)
    session("the_context = None")
    assert session("[make(65 * MIB), make(64 * MIB)]") == [REFUSED, 0]
    assert own_lines(session.errors()) != []


def test_pythons_error_says_memory(box):
    result = box.run(PYTHON, "-c", "import pyopencl as cl\n"
                     "c = cl.Context([cl.get_platforms()[0].get_devices()[0]])\n"
                     "cl.Buffer(c, cl.mem_flags.READ_WRITE, 1)", door="named", partition="typo",
                     timeout=PATIENCE)
    assert result.returncode == 1
    assert "MEM_OBJECT_ALLOCATION_FAILURE" in result.stderr
    only_line(result.stderr)

"""What a curious neighbour tries on somebody's partition, and what its owner tries on their own
files. docs/security.md lists each with its outcome."""

import json
import os
import struct

import pytest

from people import lab, make_lab, needs_root, reachable_build, users  # noqa: F401
from support import GIB, MIB, REFUSED, built

pytestmark = [built, needs_root]


def words_at(data, value):
    """The offset of a 64-bit word of that value, which is there once."""
    raw = struct.pack("<Q", value)
    places = [at for at in range(0, len(data), 8) if data[at:at + 8] == raw]
    assert len(places) >= 1, value
    return places[-1]


def view(lab):
    """Alice's numbers, without what changes by itself."""
    entry = lab.partitions()["p1"]
    return {name: entry[name] for name in ("limit_bytes", "used_bytes", "state", "owner",
                                           "duration_seconds")}


# --- bob against alice --------------------------------------------------------------------------

BY_COMMAND = [("release", "p1"), ("release", "--force", "p1"), ("extend", "p1", "1h"),
              ("resize", "p1", "1GiB"), ("resize", "p1", "32MiB", "--drain")]


@pytest.mark.parametrize("arguments", BY_COMMAND, ids=lambda a: "-".join(a[:2]))
def test_a_stranger_cannot_command(lab, arguments):
    lab.alice("create", 0, "64MiB", "1h", "--name", "p1")
    holder = lab.alice.session()
    assert holder(f"make({MIB})") == 0
    before = view(lab)
    refused = lab.bob(*arguments, status=1)
    assert refused.stderr == f"Permission denied: partition owned by {lab.alice.name}\n"
    assert refused.stdout == ""
    assert view(lab) == before
    assert holder(f"make({MIB})") == 0


BY_HAND = """
import errno, mmap, os, sys
path, own, aside = sys.argv[1:4]
def swap_link(make):
    make(own, aside)
    os.rename(aside, path)
def open_(flags):
    os.close(os.open(path, flags))
tries = {
    "overwrite": lambda: open_(os.O_WRONLY),
    "append": lambda: open_(os.O_WRONLY | os.O_APPEND),
    "create": lambda: open_(os.O_RDWR | os.O_CREAT),
    "truncate": lambda: os.truncate(path, 0),
    "unlink": lambda: os.unlink(path),
    "rename": lambda: os.rename(path, path + ".mine"),
    "replace": lambda: (open(aside, "w").close(), os.rename(aside, path)),
    "symlink": lambda: swap_link(os.symlink),
    "hardlink": lambda: swap_link(os.link),
    "symlink over": lambda: os.symlink(own, path),
    "chmod": lambda: os.chmod(path, 0o666),
    "chown": lambda: os.chown(path, os.getuid(), -1),
    "utime": lambda: os.utime(path, (1, 1)),
    "map": lambda: mmap.mmap(os.open(path, os.O_RDONLY), 4096, mmap.MAP_SHARED, mmap.PROT_WRITE),
    "reopen": lambda: os.open(f"/proc/self/fd/{os.open(path, os.O_RDONLY)}", os.O_RDWR),
}
for name, act in tries.items():
    try:
        act()
        print(name, "worked")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EEXIST):
            print(name, error)
    if os.path.lexists(aside):
        os.unlink(aside)
"""


@pytest.mark.parametrize("granted", ["her own", "root's to her"])
def test_a_stranger_cannot_touch_the_files(lab, granted):
    """Overwrite, truncate, unlink, rename, symbolic and hard links swapped in, mapped for writing."""
    if granted == "her own":
        lab.alice("create", 0, "64MiB", "1h", "--name", "p1")
    else:
        lab.chronos("create", 0, "64MiB", "1h", "--name", "p1", "--user", lab.alice.name)
    lab.bob("create", 0, "64MiB", "1h", "--name", "bobs")
    holder = lab.alice.session()
    assert holder(f"make({MIB})") == 0
    before = view(lab)
    for kind in ("grant", "ledger"):
        path, = lab.state.glob(f"chronos.{lab.alice.uid}.*.{kind}")
        own, = lab.state.glob(f"chronos.{lab.bob.uid}.*.{kind}")
        content = path.read_bytes()
        tried = lab.bob.python(BY_HAND, path, own, lab.state / "aside")
        assert (tried.stdout, tried.stderr) == ("", "")
        assert path.read_bytes() == content
        assert path.stat().st_uid in (lab.alice.uid, 0)
    assert view(lab) == before
    assert holder(f"make({MIB})") == 0


# --- alice against what root granted ------------------------------------------------------------

def test_the_owner_cannot_raise_what_root_granted(lab):
    lab.chronos("create", 0, "64MiB", "1h", "--name", "p1", "--user", lab.alice.name)
    entry = lab.partitions()["p1"]
    assert (entry["owner"], entry["creator"]) == (lab.alice.name, "root")
    before = view(lab)
    for arguments in (("extend", "p1", "1h"), ("resize", "p1", "1GiB")):
        refused = lab.alice(*arguments, status=1)
        assert refused.stderr.startswith("Permission denied: partition granted by root")
    grant, = lab.files("grant")
    content = grant.read_bytes()
    tried = lab.alice.python(BY_HAND, grant, grant, lab.state / "aside")
    assert (tried.stdout, tried.stderr) == ("", "")
    # A grant of her own making that says the same but more, under every name that is free.
    forged = bytearray(content)
    at = words_at(forged, 64 * MIB)
    forged[at:at + 8] = struct.pack("<Q", 24 * GIB)
    lab.alice.python("import sys; open(sys.argv[1], 'wb').write(bytes.fromhex(sys.argv[2]))",
                     str(grant).replace(f".{lab.alice.uid}.", ".0."), forged.hex())
    lab.alice.python("import sys; open(sys.argv[1], 'wb').write(bytes.fromhex(sys.argv[2]))",
                     lab.state / f"chronos.{lab.alice.uid}.{'ab' * 16}.grant", forged.hex())
    assert view(lab) == before
    session = lab.alice.session()
    assert session(f"make({65 * MIB})") == REFUSED
    assert session(f"make({MIB})") == 0
    # Removed or scribbled over, her ledger gives her no more either.
    ledger, = lab.files("ledger")
    lab.alice.python("import os, sys; os.unlink(sys.argv[1])", ledger)
    assert lab.partitions()["p1"]["limit_bytes"] == 64 * MIB
    assert session(f"make({64 * MIB})") == REFUSED
    late = lab.alice.session()
    assert late(f"make({MIB})") == REFUSED
    assert "partition p1 cannot be used" in late.errors()
    assert grant.read_bytes() == content


# --- alice scribbles on her own -----------------------------------------------------------------

SCRIBBLE = """
import os, struct, sys
path, at, value = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
file = os.open(path, os.O_RDWR)
os.pwrite(file, struct.pack("<Q", value & (1 << 64) - 1), at)
"""


def scribble(person, path, at, value):
    done = person.python(SCRIBBLE, path, at, value)
    assert done.returncode == 0, done.stderr


def test_a_scribbled_grant_counts_for_no_more_than_its_device(lab):
    """24 GiB and more for a limit, 2100 and later for a deadline: bob's numbers stay, and what is
    left for others is never less than nothing."""
    lab.alice("create", 0, "1GiB", "1h", "--name", "p1")
    lab.bob("create", 0, "1GiB", "1h", "--name", "bobs")
    holder = lab.bob.session(partition="bobs")
    assert holder(f"make({MIB})") == 0
    grant, = lab.state.glob(f"chronos.{lab.alice.uid}.*.grant")
    data = grant.read_bytes()
    limit = words_at(data, GIB)
    for value in (24 * GIB, 25 * GIB, -1, 1 << 63, 1 << 46):
        scribble(lab.alice, grant, limit, value)
        assert lab.partitions()["p1"]["limit_bytes"] == 24 * GIB
        assert lab.partitions()["bobs"]["limit_bytes"] == GIB
        assert lab.bob("available", 0).stdout == "0.00\n"
        assert holder(f"make({MIB})") == 0 and holder("drop()") == 0
    scribble(lab.alice, grant, limit, GIB)
    in_2100 = 75 * 365 * 24 * 3600 * 10**9
    for value in (in_2100, -1, 1 << 63):
        scribble(lab.alice, grant, limit + 8, value)
        assert lab.partitions()["p1"]["time_remaining_seconds"] <= 100 * 366 * 24 * 3600
        assert lab.partitions()["bobs"]["time_remaining_seconds"] <= 3600
    assert lab.bob("available", 0).stdout == "91.66\n"
    # Root can end it, whatever it says.
    assert lab.chronos("release", "p1").stdout == "Partition p1 released\n"
    assert lab.bob("available", 0).stdout == "95.83\n"


def test_scribbled_slots_count_for_no_more_than_the_limit(lab):
    """Negative and huge slots, bob's pid in one: her sum ends at her limit, and bob's is his."""
    lab.alice("create", 0, "1GiB", "1h", "--name", "p1")
    lab.bob("create", 0, "1GiB", "1h", "--name", "bobs")
    alices, bobs = lab.alice.session(), lab.bob.session(partition="bobs")
    assert alices(f"make({MIB})") == 0 and bobs(f"make({MIB})") == 0
    ledger, = lab.state.glob(f"chronos.{lab.alice.uid}.*.ledger")
    for value in (-1, (1 << 46) - 1, 1 << 45, 24 * GIB):
        scribble(lab.alice, ledger, 4096 + 8, value)  # bytes of slot 0
        scribble(lab.alice, ledger, 128, value)       # slots_high
        seen = lab.partitions()
        assert seen["p1"]["used_bytes"] <= GIB and seen["bobs"]["used_bytes"] == MIB
        assert lab.bob("available", 0).stdout == "91.66\n"
    # Nor once it has ended, and what is claimed there drains.
    assert lab.chronos("release", "p1").returncode == 0
    assert float(lab.bob("available", 0).stdout) >= 91.66
    assert bobs(f"make({MIB})") == 0


def test_a_slot_in_another_users_process_is_nobodys(lab):
    """Else what she has would never drain: bob cannot see what root's process maps."""
    lab.alice("create", 0, "1GiB", "1h", "--name", "p1")
    session = lab.alice.session()
    assert session(f"make({GIB})") == 0
    ledger, = lab.state.glob(f"chronos.{lab.alice.uid}.*.ledger")
    grant, = lab.state.glob(f"chronos.{lab.alice.uid}.*.grant")
    owner, = struct.unpack_from("<Q", ledger.read_bytes(), 4096)
    shift, = (bit for bit in range(33) if owner >> bit & 0xFFFFFFFF == session.pid)
    with open("/proc/self/stat", encoding="ascii") as stat:
        start = int(stat.read().rpartition(")")[2].split()[19])
    scribble(lab.alice, ledger, 4096, owner ^ (session.pid ^ os.getpid()) << shift)
    scribble(lab.alice, ledger, 4096 + 16, start)
    session.kill()
    assert lab.bob("available", 0).stdout == "95.83\n"
    ended = words_at(grant.read_bytes(), GIB) + 16  # limit, deadline, ended
    scribble(lab.alice, grant, ended, 1)
    assert lab.bob("available", 0).stdout == "100.00\n"


def test_files_that_shrink_while_others_list(lab):
    """Truncated and restored without end: no reader dies of SIGBUS, root's changes included."""
    lab.alice("create", 0, "64MiB", "1h", "--name", "p1")
    lab.bob("create", 0, "64MiB", "1h", "--name", "bobs")
    paths = [str(path) for path in lab.state.glob(f"chronos.{lab.alice.uid}.*")
             if path.suffix in (".grant", ".ledger")]
    torn = lab.alice.session(door=None)
    torn("import threading, time\n"
         f"paths = {paths}\nkept = [open(p, 'rb').read() for p in paths]\nstop = False\n"
         "def tear():\n"
         "    while not stop:\n"
         "        for path, content in zip(paths, kept):\n"
         "            os.truncate(path, 0)\n"
         "            with open(path, 'r+b') as file: file.write(content)\n"
         "thread = threading.Thread(target=tear)\nthread.start()\n")
    for _ in range(25):
        listed = lab.bob("list", "--json")
        assert "bobs" in {one["partition_id"] for one in json.loads(listed.stdout)["partitions"]}
        for arguments in (("extend", "p1", "1s"), ("resize", "p1", "65MiB"),
                          ("resize", "p1", "64MiB")):
            done = lab.chronos(*arguments, status=None)
            assert done.returncode in (0, 1), (arguments, done)
    done = lab.chronos("release", "p1", status=None)
    assert done.returncode in (0, 1), done
    torn("stop = True\nthread.join()")
    assert lab.partitions()["bobs"]["limit_bytes"] == 64 * MIB


IN_ITS_PLACE = {
    "nothing": "pass",
    "a fifo": "os.mkfifo(path)",
    "a symlink": "os.symlink('/dev/zero', path)",
    "a symlink to itself": "os.symlink(path, path)",
    "a directory": "os.mkdir(path)",
    "a socket": "import socket; socket.socket(socket.AF_UNIX).bind(path)",
    "an empty file": "open(path, 'w').close()",
    "8 GiB of nothing": "open(path, 'w').close(); os.truncate(path, 8 << 30)",
    "closed": "os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0))",
}


@pytest.mark.parametrize("kind", ["grant", "ledger"])
@pytest.mark.parametrize("what", IN_ITS_PLACE)
def test_something_else_in_place_of_a_file(lab, kind, what):
    lab.alice("create", 0, "64MiB", "1h", "--name", "p1")
    lab.bob("create", 0, "64MiB", "1h", "--name", "bobs")
    holder = lab.bob.session(partition="bobs")
    assert holder(f"make({MIB})") == 0
    path, = lab.state.glob(f"chronos.{lab.alice.uid}.*.{kind}")
    done = lab.alice.python("import os, sys; path = sys.argv[1]; os.unlink(path); "
                            + IN_ITS_PLACE[what], path)
    assert done.returncode == 0, done.stderr
    for person in (lab.bob, lab.chronos):
        seen = {one["partition_id"]: one
                for one in json.loads(person("list", "--json").stdout)["partitions"]}
        assert (seen["bobs"]["used_bytes"], seen["bobs"]["limit_bytes"]) == (MIB, 64 * MIB)
    for arguments in (("extend", "p1", "1s"), ("resize", "p1", "65MiB"), ("release", "p1")):
        done = lab.chronos(*arguments, status=None)
        assert done.returncode in (0, 1), (arguments, done)
        assert len(done.stderr.splitlines()) <= 2
    lab.bob("create", 0, "64MiB", "1h", "--name", "more")
    lab.bob("release", "more")
    lab.chronos("create", 0, "64MiB", "1h", "--name", "roots")
    assert holder(f"make({MIB})") == 0
    # Her own programs are refused, not let loose.
    hers = lab.alice.session()
    assert hers(f"make({MIB})") == REFUSED


def checksum_of(data):
    """FNV-1a, eight bytes a step."""
    whole = 0xcbf29ce484222325
    for word, in struct.iter_unpack("<Q", data):
        whole = (whole ^ word) * 0x100000001b3 % 2**64
        whole ^= whole >> 32
    return whole


def test_a_grant_with_another_ones_number(lab):
    """Numbers can be written into one's own grant: then root names partitions by their tokens."""
    lab.alice("create", 0, "64MiB", "1h")
    lab.bob("create", 0, "64MiB", "1h")
    hers, = lab.state.glob(f"chronos.{lab.alice.uid}.*.grant")
    his, = lab.state.glob(f"chronos.{lab.bob.uid}.*.grant")
    data = bytearray(his.read_bytes())
    number = 8 + 4 + 4 + 16 + 16
    assert struct.unpack_from("<Q", data, number) == (2,)
    struct.pack_into("<Q", data, number, 1)
    end = words_at(data, 64 * MIB) // 64 * 64  # the words begin a cache line after the checksum
    good = his.read_bytes()
    checksum, = (at for at in range(end - 64, end, 8)
                 if good[at:at + 8] == struct.pack("<Q", checksum_of(good[:at])))
    struct.pack_into("<Q", data, checksum, checksum_of(data[:checksum]))
    rewrite = ("import os, sys\n"
               "open(sys.argv[1], 'r+b').write(bytes.fromhex(sys.argv[2]))\n")
    lab.bob.python(rewrite, his, data.hex())
    # Its name still says number 2, and so it is no grant at all: not for his own programs either.
    listed = json.loads(lab.chronos("list", "--json").stdout)["partitions"]
    assert [one["owner"] for one in listed] == [lab.alice.name]
    assert lab.bob.session()(f"make({MIB})") == REFUSED
    token = his.name.split(".")[2]
    forged = token[:8] + "0001" + token[12:]
    data[16:32] = bytes.fromhex(forged)
    struct.pack_into("<Q", data, checksum, checksum_of(data[:checksum]))
    ledger = lab.state / f"chronos.{lab.bob.uid}.{token}.ledger"
    slots = bytearray(ledger.read_bytes())
    slots[16:32] = bytes.fromhex(forged)
    lab.bob.python(rewrite, ledger, slots.hex())
    lab.bob.python(rewrite + "for path in sys.argv[1], sys.argv[3]:\n"
                   "    os.rename(path, path.replace(*sys.argv[4:6]))\n",
                   his, data.hex(), ledger, token, forged)
    his = his.with_name(his.name.replace(token, forged))
    refused = lab.chronos("release", "partition_0001", status=2)
    handle = f"partition_0001@{hers.name.split('.')[2]}"
    assert handle in refused.stderr
    assert lab.alice("extend", "partition_0001", "1h").returncode == 0
    assert lab.chronos("release", handle).stdout == "Partition partition_0001 released\n"
    assert not hers.exists() and his.exists()
    # And the next number is not one that is taken.
    lab.alice("create", 0, "64MiB", "1h")
    assert len(lab.partitions()) == 2

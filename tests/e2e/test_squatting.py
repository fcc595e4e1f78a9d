"""Bob was there first: he takes the names, the lock, the space. docs/security.md lists it."""

import errno
import os
import re
import signal
import subprocess
import time

import pytest

from people import lab, make_lab, needs_root, reachable_build, users  # noqa: F401
from support import MIB, built, by_level, poll

pytestmark = [built, needs_root]

# What a command may take here when nobody holds it up and the machine has other things to do. A lock
# that stays held costs 5 s and no more.
SOON, LOCKED = 20, 5

MAKE = """
import os, sys
how = {"closed": lambda p: os.close(os.open(p, os.O_CREAT | os.O_WRONLY, 0)),
       "symlink": lambda p: os.symlink("/etc/passwd", p),
       "dangling": lambda p: os.symlink("/nonexistent/x", p),
       "directory": os.mkdir, "fifo": os.mkfifo,
       "sparse": lambda p: (open(p, "w").close(), os.truncate(p, 8 << 30))}[sys.argv[1]]
for path in sys.argv[2:]:
    how(path)
"""


def quick(person, *arguments, status=0, limit=SOON):
    started = time.monotonic()
    done = person(*arguments, status=status)
    assert time.monotonic() - started < limit
    return done


def squat(lab, how, tokens):
    """Every name there is, for alice and for root."""
    names = []
    for uid in (lab.alice.uid, 0):
        for token in tokens:
            names += [f"chronos.{uid}.{token}.{kind}"
                      for kind in ("grant", "ledger", "counter", "tmp", "ticket", "devices")]
        names.append(f"chronos.{uid}.probe.lock")
    # But for the lock of root's look, which was made when the lab was.
    names = [name for name in names if not (lab.state / name).exists()]
    done = lab.bob.python(MAKE, how, *(lab.state / name for name in names))
    assert done.returncode == 0, done.stderr
    return names


@pytest.mark.parametrize("how", ["closed", "symlink", "dangling", "directory", "fifo", "sparse"])
def test_names_taken_before(lab, how):
    """Grants, ledgers, counters, tickets, inventories and the lock of the look, under the names of
    alice and of root: nobody notices but root, who is told whose they are."""
    lab.bob("create", 0, "1MiB", "1h", "--name", "bobs")
    devices = next(iter(lab.files("devices"))).name
    key = devices.split(".")[2][:16]
    names = squat(lab, how, ["ab" * 16, key + "0" * 16, key + "f" * 16])
    made = quick(lab.alice, "create", 0, "64MiB", "1h", "--name", "p1")
    assert made.stderr == ""
    assert quick(lab.alice, "list").stderr == ""
    session = lab.alice.session()
    assert session(f"make({MIB})") == 0
    # Without a name too: a grant under hers that is not hers is nobody's.
    owned = lab.alice.session(door="owned")
    assert owned(f"make({MIB})") == 0
    quick(lab.alice, "extend", "p1", "1h")
    quick(lab.alice, "resize", "p1", "65MiB")
    quick(lab.alice, "release", "p1")
    free = lab.alice.session(door="owned")
    session.kill(), owned.kill()
    assert free(f"make({MIB})") == 0, free.errors()
    quick(lab.alice, "create", 0, "64MiB", "1h")
    quick(lab.chronos, "create", 0, "64MiB", "1h", "--name", "roots")
    listed = quick(lab.chronos, "list")
    assert len(listed.stderr.splitlines()) == 1
    assert f"that {lab.bob.name} has put under names of others" in listed.stderr
    remedy = re.search(r"`(find .*)`", listed.stderr)[1]
    assert subprocess.run(["sh", "-c", remedy], check=False).returncode == 0
    assert not any(os.path.lexists(lab.state / name) for name in names)
    assert quick(lab.chronos, "list").stderr == ""
    assert set(lab.partitions()) >= {"roots"} and "bobs" not in lab.partitions()


def test_a_flood_of_names(lab):
    """Thousands of files, in alice's name and in bob's own."""
    count = by_level(2000, 10_000, 50_000)
    lab.alice("create", 0, "64MiB", "1h", "--name", "p1")
    done = lab.bob.python(
        "import sys\nfor i in range(int(sys.argv[2])):\n"
        "    uid, kind = sys.argv[3 + i % 2], ('grant', 'ledger', 'counter', 'ticket')[i // 2 % 4]\n"
        "    open(f'{sys.argv[1]}/chronos.{uid}.{i:032x}.{kind}', 'w').close()",
        lab.state, count, lab.alice.uid, lab.bob.uid)
    assert done.returncode == 0, done.stderr
    assert quick(lab.alice, "create", 0, "64MiB", "1h", "--name", "p2").stderr == ""
    assert quick(lab.alice, "list").stderr == ""
    quick(lab.alice, "release", "p2")
    listed = quick(lab.chronos, "list")
    assert len(listed.stderr.splitlines()) <= 8  # however many there are
    assert lab.bob.name in listed.stderr
    assert set(lab.partitions()) == {"p1"}


LOCK = """
import fcntl, os, signal, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(fd, fcntl.LOCK_SH if sys.argv[2] == "shared" else fcntl.LOCK_EX)
print("locked", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.mark.long
@pytest.mark.parametrize("how", ["exclusive", "shared"])
def test_the_registrys_lock_held_by_who_has_stopped(lab, how):
    """What changes the registry gives up after 5 s and names bob; what does not goes on at once."""
    lab.alice("create", 0, "64MiB", "1h", "--name", "p1")
    holder = lab.alice.session()
    lock = subprocess.Popen(["/usr/bin/python3", "-c", LOCK, str(lab.state), how], text=True,
                            stdout=subprocess.PIPE, **lab.bob.identity)
    try:
        assert lock.stdout.readline() == "locked\n"
        poll("bob to stop", lambda: " T " in open(f"/proc/{lock.pid}/stat", encoding="utf-8").read())
        for arguments in (("create", 0, "64MiB", "1h"), ("extend", "p1", "1h"),
                          ("resize", "p1", "65MiB")):
            started = time.monotonic()
            refused = lab.alice(*arguments, status=1)
            assert 4 < time.monotonic() - started < LOCKED + SOON
            assert refused.stderr == (
                f"the registry in {lab.state} is locked by process {lock.pid} of user "
                f"{lab.bob.name} (try again; if it is stuck, that user or an administrator can "
                f"`kill -9 {lock.pid}`)\n")
        assert set(lab.partitions()) == {"p1"}
        assert holder(f"make({MIB})") == 0
        quick(lab.alice, "release", "p1")  # takes no lock
        os.kill(lock.pid, signal.SIGKILL)  # the remedy
        lock.wait()
        quick(lab.alice, "create", 0, "64MiB", "1h", "--name", "p2")
    finally:
        lock.kill()
        lock.wait()
        lock.stdout.close()


HOLD = """
import fcntl, glob, os, struct, sys, time
fds = []
for path in sys.argv[1:]:
    fd = os.open(path, os.O_RDONLY)
    fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 0, 0, 0))  # F_OFD_SETLK
    fcntl.flock(fd, fcntl.LOCK_EX)
    fds.append(fd)
print("locked", flush=True)
time.sleep(3600)
"""


def test_locks_on_anothers_files(lab):
    """Who may read a file may lock it: alice's programs come in all the same, are seen to live, and
    what they held is free when they are dead."""
    lab.alice("create", 0, "64MiB", "1h", "--name", "p1")
    files = [str(path) for path in lab.state.glob(f"chronos.{lab.alice.uid}.*")
             if path.suffix in (".grant", ".ledger", ".counter")]
    lock = subprocess.Popen(["/usr/bin/python3", "-c", HOLD, *files], text=True,
                            stdout=subprocess.PIPE, **lab.bob.identity)
    try:
        assert lock.stdout.readline() == "locked\n"
        first, second = lab.alice.session(), lab.alice.session()
        assert first(f"make({40 * MIB})") == 0, first.errors()
        assert second(f"make({20 * MIB})") == 0, second.errors()
        for person in (lab.alice, lab.bob, lab.chronos):
            assert '"used_bytes": 62914560' in person("list", "--json").stdout
        assert second(f"make({20 * MIB})") != 0
        first.kill()
        assert second(f"make({20 * MIB})") == 0, second.errors()
        quick(lab.alice, "resize", "p1", "65MiB")
        quick(lab.alice, "extend", "p1", "1h")
        quick(lab.alice, "release", "p1")
    finally:
        lock.kill()
        lock.wait()
        lock.stdout.close()


@pytest.fixture
def small_lab(lab):
    """The lab with a state directory of 4 MiB and 200 names."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=200,mode=1777", "tmpfs",
                           str(lab.state)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
    yield lab
    lab.close()
    subprocess.run(["umount", "-l", str(lab.state)], check=True)


FILL = {
    "a file": ("open(root + '/junk', 'wb').write(b'x' * (8 << 20))",
               r"{bob} has [34]\.?\d* MiB there, the largest file is junk; that user or"),
    "a folder": ("os.mkdir(root + '/d'); open(root + '/d/junk', 'wb').write(b'x' * (8 << 20))",
                 r"{bob} has [34]\.?\d* MiB there, the largest file is d/junk; that user or"),
    "a closed folder": ("os.mkdir(root + '/d', 0o700); os.chmod(root + '/d', 0o700); "
                        "open(root + '/d/junk', 'wb').write(b'x' * (8 << 20))",
                        r"cannot be seen, perhaps in d of {bob}; an administrator finds it with "),
    "names": ("[open(f'{root}/{i}', 'w').close() for i in range(300)]",
              r"no more files fit there and {bob} has \d+; that user or an"),
}


@pytest.mark.parametrize("what", FILL)
def test_a_full_file_system(small_lab, what):
    """Whoever finds it full is told whose files fill it; what exists goes on."""
    lab = small_lab
    lab.alice("create", 0, "64MiB", "1h", "--name", "p1")
    session = lab.alice.session()
    assert session(f"make({MIB})") == 0
    code, message = FILL[what]
    done = lab.bob.python(f"import os, sys; root = sys.argv[1]; {code}", lab.state)
    assert os.strerror(errno.ENOSPC) in done.stderr
    refused = quick(lab.alice, "create", 0, "64MiB", "1h", "--name", "p2", status=1)
    line = refused.stderr.splitlines()[-1]
    assert os.strerror(errno.ENOSPC) in line
    assert re.search(message.format(bob=re.escape(lab.bob.name)), line), line
    assert set(lab.partitions()) == {"p1"}
    assert session(f"make({MIB})") == 0
    late = lab.alice.session()
    assert late(f"make({MIB})") == 0
    quick(lab.alice, "extend", "p1", "1h")
    quick(lab.alice, "resize", "p1", "65MiB")
    if what == "a closed folder":  # root sees into it
        found = quick(lab.chronos, "create", 0, "64MiB", "1h", status=1).stderr
        assert f"{lab.bob.name} has " in found and "d/junk" in found
    subprocess.run(["find", str(lab.state), "-user", lab.bob.name, "-delete"], check=True)
    quick(lab.alice, "create", 0, "64MiB", "1h", "--name", "p2")

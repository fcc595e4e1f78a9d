"""`chronos release` in all its forms: one, a user's, everybody's, and with the programs."""

import json
import signal
import subprocess

import pytest

from people import lab, make_lab, needs_root, reachable_build, users  # noqa: F401
from support import MIB, PATIENCE, built, poll
from support import any_box, box, fake_box, pocl  # noqa: F401

pytestmark = built


# --- whose --------------------------------------------------------------------------------------

def test_all_of_ones_own(box):
    for name in ("p1", "p2", "p3"):
        box.create(MIB, name)
    done = box.chronos("release", "--all")
    assert done.stdout == "".join(f"Partition {name} released\n" for name in ("p1", "p2", "p3"))
    assert box.partitions() == {}
    assert box.chronos("release", "--all").stdout == "No active partitions\n"


@needs_root
def test_a_plain_user_releases_only_their_own(lab):
    for person in (lab.alice, lab.bob):
        for number in (1, 2):
            person("create", 0, "1%", "1h", "--name", f"{person.name}{number}")
    lab.chronos("create", 0, "1%", "1h", "--name", "granted", "--user", lab.alice.name)
    lab.chronos("create", 0, "1%", "1h", "--name", "roots")
    refused = lab.bob("release", "--user", lab.alice.name, status=1)
    assert refused.stdout == ""
    assert refused.stderr.startswith("Permission denied: only administrators can release")
    assert len(lab.partitions()) == 6
    assert lab.alice("release", "--user", lab.alice.name).stdout.count(" released\n") == 3
    assert set(lab.partitions()) == {f"{lab.bob.name}1", f"{lab.bob.name}2", "roots"}
    assert lab.bob("release", "--all").stdout.count(" released\n") == 2
    assert set(lab.partitions()) == {"roots"}


@needs_root
def test_root_releases_anybodys(lab):
    for person in (lab.alice, lab.bob):
        for number in (1, 2):
            person("create", 0, "1%", "1h", "--name", f"p{number}")
    lab.chronos("create", 0, "1%", "1h", "--name", "p3")
    answer = json.loads(lab.chronos("release", "--user", lab.alice.uid, "--json").stdout)
    assert [(one["owner"], one["state"]) for one in answer["released"]] == \
        [(lab.alice.name, "released")] * 2
    assert lab.chronos("release", "--all").stdout.count(" released\n") == 3
    assert lab.partitions() == {}


@pytest.mark.parametrize("arguments, line", [
    ((), "which partition? Name one, or say --user or --all"),
    (("p1", "--all"), "excludes"),
    (("--all", "--user", "root"), "excludes"),
    (("--user", "no-such-user-here"), "no-such-user-here"),
    (("p1", "--grace", "1s"), "--force"),
    (("p1", "--force", "--grace", "soon"), "soon"),
])
def test_bad_usage(box, arguments, line):
    box.create(MIB)
    refused = box.chronos("release", *arguments, status=2)
    assert len(refused.stderr.splitlines()) == 1
    assert line in refused.stderr
    assert "p1" in box.partitions()


# --- with its programs --------------------------------------------------------------------------

def test_force_ends_the_programs_that_hold_memory(any_box):
    any_box.create(64 * MIB)
    holder, idle = any_box.session(), any_box.session()
    assert holder(f"make({MIB})") == 0
    assert any_box.chronos("release", "--force", "p1").stdout == "Partition p1 released\n"
    assert holder.process.wait(timeout=PATIENCE) == -signal.SIGTERM
    assert any_box.partitions() == {}
    assert any_box.files("grant") == []
    assert idle("1 + 1") == 2


def test_without_force_programs_keep_what_they_hold(box):
    box.create(64 * MIB)
    holder = box.session()
    assert holder(f"make({MIB})") == 0
    assert json.loads(box.chronos("release", "p1", "--json").stdout)["state"] == "draining"
    assert holder("1 + 1") == 2
    # Later, force is still possible, by --all too.
    answer = json.loads(box.chronos("release", "--all", "--force", "--json").stdout)
    assert [one["state"] for one in answer["released"]] == ["released"]
    assert holder.process.wait(timeout=PATIENCE) == -signal.SIGTERM


def test_force_kills_who_does_not_listen(box):
    box.create(64 * MIB)
    holder, stopped = box.session(), box.session()
    for session in (holder, stopped):
        assert session(f"make({MIB})") == 0
        session("__import__('signal').signal(15, 1) and None")  # SIG_IGN
    stopped.process.send_signal(signal.SIGSTOP)
    box.chronos("release", "--force", "--grace", "0", "p1")
    for session in (holder, stopped):
        assert session.process.wait(timeout=PATIENCE) == -signal.SIGKILL
    assert box.partitions() == {}


@needs_root
def test_force_cannot_be_turned_against_others(lab):
    """Alice's ledger names bob's process as a holder: root's --force leaves it alone."""
    lab.alice("create", 0, "64MiB", "1h", "--name", "p1")
    holder = lab.alice.session()
    assert holder(f"make({MIB})") == 0
    victim = lab.bob.session(door=None)
    ledger, = lab.files("ledger")
    data = bytearray(ledger.read_bytes())
    assert int.from_bytes(data[4096:4100], "little") == holder.pid
    # A second slot, as like the first as can be, but with bob's pid and start time.
    with open(f"/proc/{victim.pid}/stat", encoding="ascii") as file:
        started = int(file.read().rpartition(")")[2].split()[19])
    slot = bytearray(data[4096:4160])
    slot[0:4] = victim.pid.to_bytes(4, "little")
    slot[16:24] = started.to_bytes(8, "little")
    data[4160:4224] = slot
    data[128:136] = (2).to_bytes(8, "little")  # slots_high
    subprocess.run(["dd", f"of={ledger}", "conv=notrunc", "status=none"], input=bytes(data),
                   check=True, **lab.alice.identity)
    lab.chronos("release", "--force", "p1")
    assert holder.process.wait(timeout=PATIENCE) == -signal.SIGTERM
    assert victim("1 + 1") == 2


@needs_root
def test_force_as_owner_of_what_root_granted(lab):
    lab.chronos("create", 0, "64MiB", "1h", "--name", "p1", "--user", lab.alice.name)
    holder = lab.alice.session()
    assert holder(f"make({MIB})") == 0
    refused = lab.bob("release", "--force", "p1", status=1)
    assert refused.stderr == f"Permission denied: partition owned by {lab.alice.name}\n"
    assert holder("1 + 1") == 2
    assert lab.alice("release", "--force", "p1").stdout == "Partition p1 released\n"
    assert holder.process.wait(timeout=PATIENCE) == -signal.SIGTERM
    poll("the device to be free", lambda: lab.chronos("available", 0).stdout == "100.00\n")

"""Many processes on one registry at once, and commands that are killed anywhere in their work."""

import fcntl
import json
import os
import random
import re
import signal
import subprocess
import time

from support import CHRONOS, MIB, PATIENCE, REFUSED, FULL, built, by_level
from support import box, fake_box  # noqa: F401

pytestmark = built


def begin(box, *arguments):
    return subprocess.Popen([str(CHRONOS), *map(str, arguments)], env=box.env, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def at_once(box, *commands):
    """Start them all, and let them go for the registry at the same moment; their results."""
    gate = os.open(box.state, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(gate, fcntl.LOCK_EX)
    processes = [begin(box, *command) for command in commands]
    os.close(gate)
    return [finish(process) for process in processes]


def finish(process):
    out, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, out, errors


def files(box):
    """(tokens that have a grant, tokens that have a ledger, other files of ours)"""
    found = {"grant": set(), "ledger": set()}
    other = []
    for path in box.state.iterdir():
        match = re.fullmatch(r"chronos\.\d+\.([0-9a-f]{32})\.(grant|ledger)", path.name)
        if match:
            found[match[2]].add(match[1])
        elif path.name.endswith((".tmp", ".temporary")):
            other.append(path.name)
    return found["grant"], found["ledger"], other


def assert_tidy(box, count):
    """After a create nothing is half made: as many grants as partitions, a ledger for each."""
    grants, ledgers, other = files(box)
    assert grants == ledgers
    assert len(grants) == count
    assert other == []


def test_64_creates_at_once_cannot_overbook(box):
    box.chronos("available", 0)  # the devices are known from now on
    results = at_once(box, *[("create", 0, 0.3, 60)] * 64)
    made = [out for status, out, _ in results if status == 0]
    refused = [(status, errors) for status, _, errors in results if status != 0]
    assert len(made) == 3
    ids = {out.split()[2] for out in made}
    assert len(ids) == 3
    for status, errors in refused:
        assert status == 3
        assert errors.startswith("Not enough available memory on device 0"), errors
        assert len(errors.splitlines()) == 1, errors
    assert box.chronos("available", 0).stdout == "10.00\n"
    assert set(box.partitions()) == ids
    assert_tidy(box, 3)


def test_the_devices_first_seen_by_many_at_once(box):
    processes = [begin(box, "create", 0, "1%", 60) for _ in range(24)]
    assert [finish(process)[0] for process in processes] == [0] * 24
    numbers = sorted(int(name.rpartition("_")[2]) for name in box.partitions())
    assert len(set(numbers)) == 24
    assert_tidy(box, 24)


def test_one_name_is_given_once(box):
    box.chronos("available", 0)
    results = at_once(box, *[("create", 0, "1%", 60, "--name", "mine")] * 24)
    statuses = [status for status, _, _ in results]
    assert sorted(statuses) == [0] + [1] * 23
    assert_tidy(box, 1)


def test_one_release_of_many_succeeds_or_says_that_it_was_released(box):
    box.create(MIB)
    processes = [begin(box, "release", "p1") for _ in range(24)]
    results = [finish(process) for process in processes]
    assert any(status == 0 for status, _, _ in results)
    for status, out, errors in results:
        if status == 0:
            assert out == "Partition p1 released\n"
        else:
            assert status == 1
            assert errors.startswith("Partition not found or already released: p1"), errors
    assert box.partitions() == {}
    assert box.chronos("available", 0).stdout == "100.00\n"


def test_creates_and_releases_at_once_never_overbook(box):
    """Whatever the order, the sum of what is given stays within the device, and numbers are new."""
    box.chronos("available", 0)
    seen = set()
    for _ in range(by_level(2, 5, 30)):
        alive = list(box.partitions())
        for status, out, errors in at_once(box, *[("release", name) for name in alive],
                                           *[("create", 0, 0.3, 60)] * 12):
            assert status in (0, 3), errors
            if out.startswith("Created"):
                assert out.split()[2] not in seen
                seen.add(out.split()[2])
        entries = box.partitions().values()
        assert sum(entry["memory_fraction"] for entry in entries) <= 1
        assert_tidy(box, len(entries))


def duration_of_a_create(box):
    start = time.perf_counter()
    box.chronos("create", 0, "1%", 60, "--name", "timed")
    took = time.perf_counter() - start
    box.chronos("release", "timed")
    return took


def killed(box, moment, *arguments):
    """Run a command and kill it `moment` seconds after its start; its status, or None if it was
    killed, and its output."""
    process = begin(box, *arguments)
    end = time.perf_counter() + moment
    while time.perf_counter() < end and process.poll() is None:
        pass
    process.send_signal(signal.SIGKILL)
    status, out, _ = finish(process)
    return None if status == -signal.SIGKILL else status, out


def test_commands_killed_at_random_moments_leave_the_registry_whole(box):
    dice = random.Random(6)
    box.create("1%", "steady")
    holder = box.session(partition="steady")
    assert holder(f"make({MIB})") == 0
    died = 0
    life = min(duration_of_a_create(box) for _ in range(5))
    for _ in range(500 if FULL else by_level(30, 100, 500)):
        before = box.partitions()
        victims = [name for name in before if name != "steady"]
        if victims and dice.random() < 0.5:
            name = dice.choice(victims)
            status, out = killed(box, dice.uniform(0, 1.2 * life), "release", name)
            after = box.partitions()
            assert set(after) in (set(before), set(before) - {name})
            if status == 0:
                assert out == f"Partition {name} released\n"
                assert name not in after
        else:
            status, out = killed(box, dice.uniform(0, 1.2 * life), "create", 0, "5%", 600)
            after = box.partitions()
            new = set(after) - set(before)
            assert set(before) <= set(after) and len(new) <= 1
            if status == 0:
                assert new == {out.split()[2]}
        died += status is None
        # Never half-changed: what is listed is whole, and its numbers are what was asked for.
        for entry in after.values():
            assert entry["state"] == "active"
            assert entry["limit_bytes"] > 0 and entry["time_remaining_seconds"] > 0
        grants, ledgers, _ = files(box)
        assert grants <= ledgers, "a grant without its ledger"
        assert after["steady"]["used_bytes"] == MIB
        # Never stuck, never leaking: the sums are right.
        free = float(box.chronos("available", 0).stdout)
        given = sum(entry["memory_fraction"] for entry in after.values())
        assert abs(free - 100 * (1 - given)) < 0.02
        if len(after) > 15:
            for name in set(after) - {"steady"}:
                box.chronos("release", name)
    assert died > 0, "no command was killed in its work"
    box.create("1%", "last")  # a create puts away what was left half made
    assert_tidy(box, len(box.partitions()))
    assert holder("drop()") == 0


def test_a_killed_create_that_waits_for_the_lock_harms_nobody(box):
    """A stopped command holds the lock: others give up with an error that names it."""
    box.create(MIB)
    stopped = None
    for _ in range(200):
        process = begin(box, "create", 0, "1%", 60)
        time.sleep(0)
        process.send_signal(signal.SIGSTOP)
        holds = subprocess.run(["flock", "--nonblock", "--shared", str(box.state), "true"],
                               check=False).returncode != 0
        if holds:
            stopped = process
            break
        process.send_signal(signal.SIGKILL)
        finish(process)
    if stopped is None:
        # The moment was not met: hold the lock ourselves.
        stopped = subprocess.Popen(["flock", "--no-fork", str(box.state), "sleep", "600"])
        while subprocess.run(["flock", "--nonblock", str(box.state), "true"],
                             check=False).returncode == 0:
            time.sleep(0.01)
    try:
        assert "p1" in box.partitions()  # to look, nobody's lock is needed
        session = box.session()
        assert session(f"[make({MIB}), make(1)]") == [0, REFUSED]
        refused = box.chronos("create", 0, "1%", 60, status=1)
        assert str(stopped.pid) in refused.stderr or "lock" in refused.stderr, refused.stderr
        assert box.chronos("release", "p1").stdout == "Partition p1 released\n"
    finally:
        stopped.kill()
        stopped.wait()
    poll_end = time.monotonic() + PATIENCE
    while box.chronos("create", 0, "1%", 60, status=None).returncode != 0:
        assert time.monotonic() < poll_end
    json.loads(box.chronos("list", "--json").stdout)

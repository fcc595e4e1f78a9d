"""Several processes in one partition: one limit, and whatever becomes of them, no byte is lost."""

import json
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from support import (CHRONOS, CLIENTS, MIB, PATIENCE, REFUSED, built, by_level,
                     only_line, own_lines, poll)
from support import any_box, box, fake_box, pocl  # noqa: F401

pytestmark = built

LIMIT = 64 * MIB


def fits(session, size):
    return session(f"make({size})") == 0


# --- one limit ----------------------------------------------------------------------------------

@pytest.mark.parametrize("doors", [("run", "named"), ("owned", "layers")])
def test_two_processes_share_the_limit(any_box, doors):
    any_box.create(LIMIT)
    one, two = (any_box.session(door=door) for door in doors)
    assert fits(one, 40 * MIB)
    assert fits(two, 20 * MIB)
    assert not fits(two, 5 * MIB)
    assert not fits(one, 5 * MIB)
    assert fits(two, 4 * MIB)
    assert any_box.used() == LIMIT
    assert sorted(any_box.used_by().values()) == [24 * MIB, 40 * MIB]
    assert "by 2 processes" in only_line(one.errors())
    assert one("drop()") == 0
    assert fits(two, 40 * MIB)


def test_partitions_of_one_device_do_not_share(box):
    box.create(LIMIT, "p1")
    box.create(LIMIT, "p2")
    one, two = box.session(partition="p1"), box.session(partition="p2")
    assert fits(one, LIMIT) and fits(two, LIMIT)
    assert not fits(one, 1) and not fits(two, 1)
    assert (box.used("p1"), box.used("p2")) == (LIMIT, LIMIT)


@pytest.mark.long
@pytest.mark.parametrize("lifetime", ["callbacks", "counts"])
def test_a_storm_never_passes_the_limit(fake_box, lifetime):
    """8 processes of 4 threads: the driver's own count is the witness."""
    seconds = by_level(3, 10, 60) if lifetime == "callbacks" else by_level(2, 3, 10)
    limit = 1 << 30
    # The driver watches the same number by itself.
    box = fake_box(devices=[{"witness_limit_bytes": limit}])
    box.create(limit)
    variables = {"CHRONOS_LIFETIME": lifetime} if lifetime == "counts" else {}
    storm = [box.start(CLIENTS / "stress", "--threads", 4, "--seconds", seconds, "--seed", seed,
                       "--max-bytes", 64 * MIB, door=("run", "named", "owned", "layers")[seed % 4],
                       variables=variables) for seed in range(8)]
    ok = refused = 0
    for process in storm:
        out, errors = process.communicate(timeout=seconds + 2 * PATIENCE)
        assert process.returncode == 0, out + errors
        assert len(own_lines(errors)) <= 1, errors
        words = out.split()
        ok, refused = ok + int(words[1]), refused + int(words[3])
    assert ok > 0 and refused > 0
    with box.witnessed() as witness:
        assert (witness.over_limit(), witness.worst_excess()) == (0, 0)
        assert limit // 2 < witness.high_water() <= limit
        assert witness.held() == 0
    entry = box.partitions()["p1"]
    assert (entry["used_bytes"], entry["processes"]) == (0, [])
    assert entry["peak_bytes"] <= limit
    assert fits(box.session(), limit)


def test_a_storm_with_kills_never_passes_the_limit_nor_loses_a_byte(fake_box):
    limit = 1 << 30
    box = fake_box(devices=[{"witness_limit_bytes": limit}])
    box.create(limit)
    dice = random.Random(2)

    def begin(seed):
        return box.start(CLIENTS / "stress", "--threads", 2, "--operations", 1 << 40, "--seed",
                         seed, "--max-bytes", 64 * MIB, door="named", stderr=subprocess.DEVNULL)

    storm = [begin(seed) for seed in range(6)]
    for seed in range(6, 6 + by_level(10, 40, 400)):
        with_memory = dice.choice(storm)
        poll("the victim to hold memory",
             lambda pid=with_memory.pid: box.used_by().get(pid, 0) > 0)
        storm.remove(with_memory)
        with_memory.kill()
        with_memory.wait()
        storm.append(begin(seed))
    for process in storm:
        process.kill()
        process.wait()
    assert box.used() == 0
    assert fits(box.session(), limit)
    with box.witnessed() as witness:
        assert (witness.over_limit(), witness.worst_excess()) == (0, 0)


# --- killed, stopped ----------------------------------------------------------------------------

@pytest.mark.parametrize("who_asks", ["allocation", "list", "create"])
def test_a_killed_process_gives_its_bytes_back(any_box, who_asks):
    any_box.create(LIMIT)
    victim, other = any_box.session(), any_box.session()
    assert fits(other, MIB)
    assert fits(victim, 60 * MIB)
    assert not fits(other, 10 * MIB)
    victim.kill()
    if who_asks == "allocation":
        assert fits(other, 63 * MIB)
    elif who_asks == "list":
        assert any_box.used_by() == {other.pid: MIB}
    else:
        # What an ended partition still holds counts against the device, until its holder is gone.
        other.kill()
        any_box.chronos("release", "p1")
        any_box.create("100%", "p2")


def test_what_a_dead_process_held_in_an_ended_partition_stops_draining(box):
    box.create("80%")
    holder = box.session()
    assert fits(holder, 15 << 30)
    box.chronos("release", "p1")
    assert box.partitions()["p1"]["state"] == "draining"
    refused = box.chronos("create", 0, "80%", "1h", status=3)
    assert "Not enough available memory on device 0" in refused.stderr
    holder.kill()
    box.create("80%", "p2")
    assert list(box.partitions()) == ["p2"]


def test_a_stopped_process_keeps_its_bytes_and_nobody_waits(any_box):
    any_box.create(LIMIT)
    stopped, other = any_box.session(), any_box.session()
    assert fits(stopped, 60 * MIB)
    os.kill(stopped.pid, signal.SIGSTOP)
    assert not fits(other, 5 * MIB)
    assert fits(other, 4 * MIB)
    assert any_box.used_by() == {stopped.pid: 60 * MIB, other.pid: 4 * MIB}
    any_box.create(LIMIT, "p2")
    any_box.chronos("release", "p2")
    os.kill(stopped.pid, signal.SIGCONT)
    assert stopped("drop()") == 0
    assert fits(other, 60 * MIB)


def is_stopped(pid):
    return all(task.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "T"
               for task in Path(f"/proc/{pid}/task").iterdir())


def test_processes_stopped_in_the_midst_of_a_storm_stop_nobody(fake_box):
    box = fake_box()
    box.create(1 << 30)
    storm = [box.start(CLIENTS / "stress", "--threads", 4, "--operations", 1 << 40, "--seed", seed,
                       "--max-bytes", MIB, door="named", stderr=subprocess.DEVNULL)
             for seed in range(4)]
    for process in storm:
        poll("memory in use", lambda pid=process.pid: box.used_by().get(pid, 0) > 0)
        os.kill(process.pid, signal.SIGSTOP)
        poll("every thread to stop", lambda pid=process.pid: is_stopped(pid))
    held = box.used()
    session = box.session()
    assert fits(session, (1 << 30) - held)
    assert not fits(session, MIB)
    assert box.used() == 1 << 30
    for process in storm:
        process.kill()
        process.wait()
    assert box.used_by() == {session.pid: (1 << 30) - held}


def test_list_and_driver_agree_whatever_happens(box):
    """A walk of allocations, frees, forks, kills and execs, compared with the driver's witness."""
    box.create(LIMIT)
    dice = random.Random(11)
    sessions = [box.session() for _ in range(3)]
    for _ in range(by_level(30, 60, 600)):
        session = dice.choice(sessions)
        step = dice.choice(["make", "make", "make", "drop", "child", "kill", "exec"])
        if step == "make":
            session(f"make({dice.randrange(1, 12 * MIB)})")
        elif step == "drop":
            session("drop() if held else 0")
        elif step == "child":
            session(f"in_child('[make({dice.randrange(1, 9 * MIB)}), drop() if held else 0]')")
        elif step == "kill":
            session.kill()
            sessions.remove(session)
            sessions.append(box.session())
        else:
            session.become_another()
            session("os.getpid()")
        with box.witnessed() as witness:
            held = {pid: held[0] for pid, held in witness.processes().items() if held[0]}
            assert box.used_by() == held
            assert witness.high_water() <= LIMIT


def test_list_json_is_read_by_others_while_a_storm_goes_on(box):
    """What `list` says is never more than the limit, nor below zero, at any moment."""
    box.create(LIMIT)
    storm = [box.start(CLIENTS / "stress", "--threads", 4, "--operations", 1 << 40, "--seed", seed,
                       "--max-bytes", 8 * MIB, door="named", stderr=subprocess.DEVNULL)
             for seed in range(2)]
    for _ in range(50):
        out = subprocess.run([str(CHRONOS), "list", "--json"], env=box.env, capture_output=True,
                             text=True, timeout=PATIENCE, check=True).stdout
        entry = json.loads(out)["partitions"][0]
        assert 0 <= entry["used_bytes"] <= LIMIT
        assert entry["peak_bytes"] <= LIMIT
        assert {use["pid"] for use in entry["processes"]} <= {process.pid for process in storm}
    for process in storm:
        process.kill()

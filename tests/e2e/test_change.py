"""`chronos extend` and `chronos resize` while programs run; by others; killed at any moment."""

import json
import random
import signal
import subprocess
import time

import pytest
from people import lab, make_lab, needs_root, reachable_build, users  # noqa: F401
from support import CHRONOS, GIB, MIB, PATIENCE, REFUSED, built, by_level, poll
from support import any_box, box, fake_box, pocl  # noqa: F401

pytestmark = built


def test_a_running_program_sees_growth_and_shrinking_at_once(any_box):
    any_box.create(64 * MIB)
    program = any_box.session()
    assert program(f"[make({64 * MIB}), make(4096)]") == [0, REFUSED]
    out = any_box.chronos("resize", "p1", "128MiB").stdout
    assert out.startswith("Partition p1 resized\nto 128 MB on device 0 ("), out
    assert program(f"[make({64 * MIB}), make(4096)]") == [0, REFUSED]

    refused = any_box.chronos("resize", "p1", "100MiB", status=1)
    assert refused.stdout == ""
    assert refused.stderr.startswith("Partition p1 holds 128 MiB (ask for at least 128MiB; "
                                     "or with --drain "), refused.stderr
    assert any_box.partitions()["p1"]["limit_bytes"] == 128 * MIB

    assert program("drop()") == 0
    poll("the driver to free", lambda: any_box.used() == 64 * MIB)
    shown = json.loads(any_box.chronos("resize", "p1", "64MiB", "--json").stdout)
    assert (shown["limit_bytes"], shown["used_bytes"], shown["draining_bytes"]) == (
        64 * MIB, 64 * MIB, 0)
    assert program("make(4096)") == REFUSED


def test_less_than_was_free_before(box):
    box.create(64 * MIB)
    program = box.session()
    assert program("make(4096)") == 0
    box.chronos("resize", "p1", "32MiB")
    assert program(f"make({32 * MIB})") == REFUSED
    assert program(f"make({32 * MIB - 4096})") == 0


def test_drain(any_box):
    """The new limit holds at once; what is held above it counts until it has been freed."""
    total = any_box.chronos("stats", "--json")
    total = json.loads(total.stdout)["devices"][0]["total_bytes"]
    any_box.create(256 * MIB)
    program = any_box.session()
    assert program(f"[make({64 * MIB}) for _ in range(4)]") == [0] * 4
    out = any_box.chronos("resize", "p1", "64MiB", "--drain").stdout
    assert out.splitlines()[2] == ("Its programs hold 256 MB: no new allocations until they hold "
                                   "less")
    one = any_box.partitions()["p1"]
    assert (one["limit_bytes"], one["used_bytes"], one["draining_bytes"], one["state"]) == (
        64 * MIB, 256 * MIB, 192 * MIB, "active")
    assert (f"  State: over its limit by 192 MB, no new allocations (pid {program.pid} holds "
            "256 MiB)\n") in any_box.chronos("list").stdout

    def device():
        return json.loads(any_box.chronos("stats", "--json").stdout)["devices"][0]

    assert device()["reserved_bytes"] == 64 * MIB
    assert device()["draining_bytes"] == 192 * MIB
    assert device()["available_bytes"] == total - 256 * MIB
    # Nobody gets what still drains ...
    refused = any_box.chronos("create", 0, f"{total - 256 * MIB + 1}B", "1h", status=3)
    assert refused.stderr.startswith("Not enough available memory on device 0")
    # ... and the program nothing new, until it is below.
    assert program("make(4096)") == REFUSED
    for left in (192, 128, 64):
        assert program("drop()") == 0
        poll("the driver to free", lambda: any_box.used() == left * MIB)  # noqa: B023
        assert program("make(4096)") == REFUSED
    assert device()["draining_bytes"] == 0
    any_box.create(total - 64 * MIB, "rest")
    assert program("drop()") == 0
    poll("the driver to free", lambda: any_box.used() == 0)
    assert program(f"[make({64 * MIB}), make(1)]") == [0, REFUSED]


def test_growth_is_admitted_like_a_create(box):
    box.create(4 * GIB)
    box.create(18 * GIB, "other")
    refused = box.chronos("resize", "p1", "7GiB", status=3)
    assert refused.stderr.startswith(
        "Not enough available memory on device 0 (asked 7 GiB, available 6 GiB of 24 GiB with its "
        "own 4 GiB; "), refused.stderr
    assert box.partitions()["p1"]["limit_bytes"] == 4 * GIB
    assert "(25%)" not in box.chronos("resize", "p1", "25%").stdout
    assert box.partitions()["p1"]["memory_fraction"] == 0.25
    assert box.chronos("available", 0).stdout == "0.00\n"


def test_many_grow_at_once_and_never_overbook(box):
    for i in range(12):
        box.create("1%", f"p{i}")
    processes = [subprocess.Popen([str(CHRONOS), "resize", f"p{i}", "30%"], env=box.env, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                 for i in range(12)]
    statuses = []
    for process in processes:
        process.communicate(timeout=PATIENCE)
        statuses.append(process.returncode)
    assert sorted(statuses) == [0] * 3 + [3] * 9
    assert sum(one["memory_fraction"] for one in box.partitions().values()) == pytest.approx(0.99)


@pytest.mark.parametrize("arguments, status, message", [
    (("extend", "p1", "0"), 2, "invalid duration '0'"),
    (("extend", "p1", "101y"), 2, "invalid duration '101y'"),
    (("extend", "p1", "5200w"), 0, ""),
    (("extend", "p1", "36500d"), 2, "invalid duration: at most 100 years in all"),
    (("extend", "nope", "1h"), 1, "Partition not found or already released: nope"),
    (("extend", "p1"), 2, "duration is required"),
    (("resize", "p1", "0"), 2, "invalid memory '0'"),
    (("resize", "p1", "101%"), 2, "invalid memory '101%'"),
    (("resize", "p1", "25GiB"), 3, "Not enough available memory on device 0"),
    (("resize", "nope", "1GiB"), 1, "Partition not found or already released: nope"),
    (("resize", "p1", "1GiB", "--drian"), 2, "unknown option '--drian'"),
], ids=repr)
def test_bad_arguments_change_nothing(box, arguments, status, message):
    box.create(GIB)
    before = box.partitions()["p1"]
    result = box.chronos(*arguments, status=status)
    assert result.stderr.startswith(message), result.stderr
    if status:
        assert len(result.stderr.splitlines()) == 1
        after = box.partitions()["p1"]
        assert after["limit_bytes"] == before["limit_bytes"]
        assert after["duration_seconds"] == before["duration_seconds"]


def test_extend(box):
    box.create(GIB, duration="10m")
    out = box.chronos("extend", "p1", "20m").stdout.splitlines()
    assert out[0] == "Partition p1 extended"
    assert out[1].startswith("to 1800 seconds, 1") and out[1].endswith(" seconds remaining")
    shown = json.loads(box.chronos("extend", "p1", "30m", "--json").stdout)
    assert shown["schema_version"] == 1
    assert shown["duration_seconds"] == 3600
    assert 3590 <= shown["time_remaining_seconds"] <= 3600
    box.chronos("release", "p1")
    assert box.chronos("extend", "p1", "1h", status=1).stderr.startswith(
        "Partition not found or already released: p1")


def test_what_drains_cannot_be_extended(box):
    box.create(GIB)
    program = box.session()
    assert program(f"make({MIB})") == 0
    box.chronos("release", "p1")
    assert box.chronos("extend", "p1", "1h", status=1).stderr == (
        "Partition p1 has already ended (make another one with `chronos create`)\n")
    assert box.chronos("resize", "p1", "2GiB", status=1).stderr.startswith(
        "Partition p1 has already ended")
    assert program("make(1)") == REFUSED


# --- under `chronos run` --------------------------------------------------------------------------

def begin_run(box, duration, *options):
    return box.start(CHRONOS, "run", "--device", 0, "--memory", "1GiB", "--duration", duration,
                     "--name", "mine", *options, "--", "sh", "-c", "echo ready; exec sleep 600",
                     door=None)


@pytest.mark.long
def test_the_supervisor_follows_an_extended_deadline(box):
    box.chronos("available", 0)
    process = begin_run(box, "6s", "--on-expiry", "kill", "--warn-before", "0")
    assert process.stdout.readline() == "ready\n"
    first_end = time.monotonic() + box.partitions()["mine"]["time_remaining_seconds"] + 1.5
    box.chronos("extend", "mine", "1h")
    while time.monotonic() < first_end:  # it would have been killed at its first deadline
        assert process.poll() is None
        time.sleep(0.05)
    box.chronos("resize", "mine", "2GiB")
    assert box.partitions()["mine"]["limit_bytes"] == 2 * GIB
    box.chronos("release", "mine")
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 124
    assert errors == "chronos: partition mine was released; the program is killed\n"


@pytest.mark.long
def test_the_supervisor_ends_at_the_extended_deadline_and_warns_anew(box):
    box.chronos("available", 0)
    process = begin_run(box, "8s", "--on-expiry", "kill", "--warn-before", "7s")
    assert process.stderr.readline().startswith("chronos: partition mine ends in 7s")
    box.chronos("extend", "mine", "4s")
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 124
    assert errors == ("chronos: partition mine ends in 7s\n"
                      "chronos: partition mine has ended; the program is killed\n")


# --- other users ----------------------------------------------------------------------------------

@needs_root
def test_others_cannot_extend_or_resize(lab):
    alice = lab.alice
    lab.create(GIB)
    lab.chronos("create", 0, "1GiB", "1h", "--name", "granted", "--user", alice.name)
    before = lab.partitions()
    for verb in (("extend", "1h"), ("resize", "2GiB"), ("resize", "1MiB", "--drain")):
        result = alice(verb[0], "p1", *verb[1:], status=1)
        assert result.stderr == "Permission denied: partition owned by root\n"
        result = alice(verb[0], "granted", *verb[1:], status=1)
        assert result.stderr == ("Permission denied: partition granted by root (only root can extend "
                                 "or resize it; you can release it)\n")
    after = lab.partitions()
    for name in ("p1", "granted"):
        assert after[name]["limit_bytes"] == before[name]["limit_bytes"]
        assert after[name]["duration_seconds"] == before[name]["duration_seconds"]
    lab.chronos("extend", "granted", "1h")
    lab.chronos("resize", "granted", "2GiB")
    alice("release", "granted")


# --- killed in their work -------------------------------------------------------------------------

def test_killed_at_any_moment_they_leave_the_old_or_the_new_state(box):
    dice = random.Random(4)
    box.create(8 * GIB)
    program = box.session()
    assert program(f"make({MIB})") == 0
    start = time.perf_counter()
    box.chronos("resize", "p1", "8GiB")
    life = time.perf_counter() - start
    died = changed = 0
    for _ in range(by_level(30, 100, 500)):
        old = box.partitions()["p1"]
        if dice.random() < 0.5:
            size = dice.choice([1, 2, 5, 8, 12])
            arguments = ("resize", "p1", f"{size}GiB")
            new = {**old, "limit_bytes": size * GIB}
        else:
            arguments = ("extend", "p1", "60")
            new = {**old, "duration_seconds": old["duration_seconds"] + 60}
        process = subprocess.Popen([str(CHRONOS), *arguments], env=box.env,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        moment = time.perf_counter() + dice.uniform(0, 1.2 * life)
        while time.perf_counter() < moment and process.poll() is None:
            pass
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=PATIENCE)
        died += process.returncode == -signal.SIGKILL
        now = box.partitions()["p1"]
        key = ("limit_bytes", "duration_seconds", "used_bytes", "draining_bytes")
        seen = [now[name] for name in key]
        assert seen in ([old[name] for name in key], [new[name] for name in key])
        if process.returncode == 0:
            assert seen == [new[name] for name in key]
        changed += now["limit_bytes"] != old["limit_bytes"]
        assert now["memory_fraction"] == pytest.approx(now["limit_bytes"] / (24 * GIB), abs=1e-6)
        free = float(box.chronos("available", 0).stdout)
        assert abs(free - 100 * (1 - now["limit_bytes"] / (24 * GIB))) < 0.02
    assert died > 0, "no command was killed in its work"
    assert changed > 0
    assert program("drop()") == 0

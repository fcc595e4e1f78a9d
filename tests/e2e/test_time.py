"""Deadlines: exact, for many partitions at once, and by no other clock than the machine's own."""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import time
from datetime import datetime, timezone

import pytest

from support import CLIENTS, MIB, PATIENCE, PYTHON, by_level, built, own_lines
from support import box, fake_box  # noqa: F401

pytestmark = built
DAY, HOUR = 86400, 3600
SECOND = 10**9
FAKE_CLOCK = CLIENTS / "fake_wall_clock.so"


def boottime():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def deadlines(box):
    """{name: deadline}, from the grants themselves (docs/formats.md)."""
    found = {}
    for path in box.files("grant"):
        data = path.read_bytes()
        name = data[120:184].split(b"\0")[0].decode()
        found[name] = struct.unpack_from("<Q", data, 648)[0]
    return found


@pytest.fixture
def busy():
    """Something else to do for every core."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"])
             for _ in range(os.cpu_count())]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


# --- the acceptance's hundred partitions ----------------------------------------------------------

def create_many(box, count, device_of, lead):
    """Partitions p0, p1, ..., which end within a second, `lead` seconds from now or, where a busy
    machine needs that to make them, several times as much."""
    target = boottime() + lead * SECOND
    for number in range(count):
        left = target + number * SECOND // count - boottime()
        if left < lead * SECOND // 3:  # the other third is for the programs' start
            box.chronos("release", "--all")
            return create_many(box, count, device_of, 3 * lead)
        box.chronos("create", device_of(number), "1MiB", f"{left // 10**6}ms", "--name",
                    f"p{number}")
    ends = deadlines(box)
    assert len(ends) == count
    return [ends[f"p{number}"] for number in range(count)]


def judge(process):
    out, errors = process.communicate(timeout=20 * PATIENCE)
    last = re.fullmatch(r"ready\nadmitted (\d+) refused (\d+) early (\d+) late (\d+)\n", out)
    assert last, (out, errors)
    admitted, refused, early, late = map(int, last.groups())
    assert (early, late) == (0, 0), out
    assert admitted > 0 and refused > 0
    return refused


@pytest.mark.long
def test_a_hundred_ends_in_a_hundred_processes(fake_box, busy):
    """Each on its own partition, while every core is busy besides."""
    count = by_level(25, 100, 100)
    box = fake_box(devices=[{"name": "GPU"}])
    box.chronos("available", 0)
    ends = create_many(box, count, lambda number: 0, by_level(6, 12, 12))
    programs = [box.start(CLIENTS / "expiring", f"0:{end}", door="named", partition=f"p{number}")
                for number, end in enumerate(ends)]
    assert all([judge(program) >= 20 for program in programs])


@pytest.mark.long
def test_many_ends_in_one_process(fake_box, busy):
    """A device for each partition, all of them looked after by one shim."""
    count = by_level(25, 50, 50)
    box = fake_box(devices=[{"name": f"GPU {number}"} for number in range(count)])
    box.chronos("available", 0)
    ends = create_many(box, count, lambda number: number, by_level(6, 10, 10))
    program = box.start(CLIENTS / "expiring", *(f"{n}:{end}" for n, end in enumerate(ends)),
                        door="named", partition=",".join(f"p{n}" for n in range(count)))
    assert judge(program) == 20 * count


# --- the wall clock -------------------------------------------------------------------------------

@pytest.fixture
def shifted(box):
    """The command and programs with a wall clock that somebody has set a day on or back."""
    def make(seconds):
        return {**box.env, "LD_PRELOAD": str(FAKE_CLOCK), "FAKE_WALL_CLOCK": str(seconds)}
    return make


@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_setting_the_wall_clock_moves_no_deadline(box, shifted, seconds):
    """The clock is another for a day; partitions last as long as they would have."""
    env = shifted(seconds)
    wall = subprocess.run([PYTHON, "-c", "import time; print(time.time())"], env=env, text=True,
                          capture_output=True, check=True).stdout
    assert abs(float(wall) - time.time() - seconds) < HOUR  # the stub does fool programs

    box.create(64 * MIB, "before")
    end = deadlines(box)["before"]
    listed = json.loads(box.chronos("list", "--json", env=env).stdout)["partitions"][0]
    assert listed["state"] == "active"
    assert HOUR - PATIENCE < listed["time_remaining_seconds"] < HOUR
    # Only what is shown as a time of day is by the wall clock as it stands.
    shown = datetime.strptime(listed["expires_at"], "%Y-%m-%dT%H:%M:%SZ")
    ahead = shown.replace(tzinfo=timezone.utc).timestamp() - time.time()
    assert abs(ahead - HOUR - seconds) < PATIENCE

    box.create(64 * MIB, "after", env=env)
    assert abs(deadlines(box)["after"] - boottime() - HOUR * SECOND) < PATIENCE * SECOND
    assert deadlines(box)["before"] == end
    session = box.session(partition="before", variables={
        "LD_PRELOAD": f"{box.shim}:{FAKE_CLOCK}", "FAKE_WALL_CLOCK": str(seconds)})
    assert session(f"make({MIB})") == 0
    assert session("drop()") == 0


@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_run_and_wait_with_another_wall_clock(box, shifted, seconds):
    env = shifted(seconds)
    began = boottime()
    run = box.chronos("run", "--device", 0, "--memory", "60%", "--duration", "1s", "--on-expiry",
                      "kill", "--", "sleep", "600", status=124, env=env)
    took = boottime() - began
    assert SECOND <= took < PATIENCE * SECOND
    assert "the program is killed" in run.stderr
    box.create("60%", "old", duration="1s")
    end = deadlines(box)["old"]
    box.chronos("create", 0, "80%", "1h", "--name", "new", "--wait", "50s", env=env)
    assert boottime() >= end


# --- time namespaces ------------------------------------------------------------------------------

def can_shift():
    command = ["unshare", "--time", "--boottime", "3600", "--fork", "true"]
    return os.geteuid() == 0 and shutil.which("unshare") and subprocess.run(
        command, capture_output=True, check=False).returncode == 0


needs_time_namespaces = pytest.mark.skipif(not can_shift(),
                                           reason="needs root and time namespaces")
SHIFTS = pytest.mark.parametrize("shift", [HOUR, -HOUR])


def inside(shift):
    """What to put before a command: it runs where the boot clock reads an hour more, or less."""
    if shift < 0 and boottime() < -shift * SECOND + 60 * SECOND:
        pytest.skip("this machine has not been up for an hour")
    return ["unshare", "--time", "--boottime", str(shift), "--monotonic", str(shift), "--fork",
            "--kill-child"]


def within(box, shift, *arguments, **options):
    return subprocess.run([*inside(shift), str(box.command), *map(str, arguments)], env=box.env,
                          text=True, capture_output=True, timeout=PATIENCE, check=False, **options)


@needs_time_namespaces
@SHIFTS
def test_the_commands_in_a_time_namespace(box, shift):
    box.create("10%", "outside")
    listed = within(box, shift, "list", "--json")
    entry = json.loads(listed.stdout)["partitions"][0]
    assert entry["state"] == "active"
    assert HOUR - PATIENCE < entry["time_remaining_seconds"] < HOUR
    assert abs(datetime.strptime(entry["expires_at"], "%Y-%m-%dT%H:%M:%SZ")
               .replace(tzinfo=timezone.utc).timestamp() - time.time() - HOUR) < PATIENCE

    before = boottime()
    made = within(box, shift, "create", 0, "10%", "30m", "--name", "inside")
    assert made.returncode == 0, made.stderr
    assert before + HOUR // 2 * SECOND <= deadlines(box)["inside"] <= boottime() + HOUR // 2 * SECOND
    assert within(box, shift, "extend", "outside", "30m").returncode == 0
    assert 5300 < box.partitions()["outside"]["time_remaining_seconds"] < 5400


@needs_time_namespaces
@SHIFTS
def test_a_program_in_a_time_namespace_is_refused_at_the_same_instant(box, shift):
    """Its clock reads an hour more or less than the one that the partition was made by."""
    box.create(64 * MIB, "p1", duration="3s")
    end = deadlines(box)["p1"] + shift * SECOND  # as that clock has it
    program = box.start(*inside(shift), CLIENTS / "expiring", f"0:{end}", door="named")
    assert judge(program) == 20
    assert boottime() >= end - shift * SECOND


@needs_time_namespaces
@SHIFTS
def test_run_in_a_time_namespace(box, shift):
    box.create("10%", "p1", duration="2s")
    end = deadlines(box)["p1"]
    run = within(box, shift, "run", "--partition", "p1", "--warn-before", "1s", "--on-expiry",
                 "terminate", "--", "sleep", "600")
    assert run.returncode == 124
    assert boottime() >= end
    assert own_lines(run.stderr) == [
        "chronos: partition p1 ends in 1s",
        "chronos: partition p1 has ended; the program is told to end (SIGTERM, then SIGKILL after "
        "10s)"]


@needs_time_namespaces
@SHIFTS
def test_waiting_in_a_time_namespace(box, shift):
    """Served when room comes by a deadline, and done waiting when its own time is up."""
    box.create("60%", "old", duration="2s")
    end = deadlines(box)["old"]
    made = within(box, shift, "create", 0, "80%", "1h", "--name", "new", "--wait", "50s")
    assert made.returncode == 0, made.stderr
    assert boottime() >= end
    refused = within(box, shift, "create", 0, "80%", "1h", "--wait", "1s")
    assert refused.returncode == 3
    assert "waited 1s" in refused.stderr

"""Programs killed and stopped at the crash points of the shim, the ledger under it included.

The driver's own count is the judge. The points are core/crash_points.def; tests/crash/README.md
says what they are for and how a run is repeated.
"""

import mmap
import os
import random
import re
import signal
import struct
import subprocess

import pytest

from support import CLIENTS, MIB, PATIENCE, ROOT, SHIM, built, by_level
from support import fake_box  # noqa: F401

SHIM_WITH_POINTS = SHIM.with_name("libchronos_shim_points.so")

pytestmark = [built, pytest.mark.skipif(not SHIM_WITH_POINTS.exists(),
                                        reason="no shim with crash points (scripts/test builds it)")]

LIMIT = 8 * MIB
SEEDS = by_level(2, 20, 1000)
POINTS = re.findall(r"^CHRONOS_NAMED_POINT\((\w+), (\w+)\)",
                    (ROOT / "core" / "crash_points.def").read_text(encoding="utf-8"), re.M)
NAMES = [name for name, _ in POINTS]
KILL, STOP = 1, 2
SIZE = 256 << 10
CYCLES = ("--threads", 1, "--cycles", 26, "--size", SIZE, "--programs")  # each of 13 kinds twice
# A driver says what a program's variables take when it has them.
AHEAD = {NAMES.index("shim_program_asked"): SIZE}


class Control:
    """struct Control of tests/crash/control.hpp, in a file."""

    def __init__(self, path):
        self.path = path
        size = 4 * (6 + len(NAMES))
        path.write_bytes(bytes(size))
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), size)

    def arm(self, point, visit, action):
        self.memory[:] = bytes(len(self.memory))
        struct.pack_into("<IiI", self.memory, 0, point, visit, action)

    def fired(self):
        return struct.unpack_from("<I", self.memory, 20)[0] == 1

    def visits(self):
        return struct.unpack_from(f"<{len(NAMES)}I", self.memory, 24)


class Crashes:
    """Runs of one program in one partition, one after the other."""

    def __init__(self, box, lifetime):
        self.box = box
        self.control = Control(box.folder / "control")
        _, self.env = box.through("named", [])
        self.env.update(LD_PRELOAD=str(SHIM_WITH_POINTS), CHRONOS_LIFETIME=lifetime,
                        CHRONOS_CRASH_CONTROL=str(self.control.path))
        self.command = [str(part) for part in (CLIENTS / "cycles", *CYCLES)]

    def start(self, point=0, visit=0, action=0):
        self.control.arm(point, visit, action)
        process = subprocess.Popen(self.command, env=self.env, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL)
        self.box.children.append(process)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            process.returncode = os.waitstatus_to_exitcode(status)
        return process

    def visits(self):
        assert self.start().returncode == 0
        return self.control.visits()

    def nothing_is_left(self):
        assert self.box.held() == 0
        assert self.box.used() == 0
        with self.box.witnessed() as witness:
            assert (witness.over_limit(), witness.worst_excess()) == (0, 0)

    def run(self, point, visit, action, go_on):
        """One victim, and what must hold of it. Whether it came by the point."""
        process = self.start(point, visit, action)
        if not self.control.fired():
            return False
        if action == STOP:
            assert process.returncode is None
            held = self.box.held()
            assert held <= self.box.used() + AHEAD.get(point, 0), "the driver holds what the ledger does not know of"
            process.send_signal(signal.SIGCONT if go_on else signal.SIGKILL)
            assert process.wait(PATIENCE) == (0 if go_on else -signal.SIGKILL)
        else:
            assert process.returncode == -signal.SIGKILL
        self.nothing_is_left()
        return True


@pytest.mark.parametrize("lifetime", ["callbacks", "counts"])
def test_a_program_may_die_or_stop_at_every_point(fake_box, lifetime):  # noqa: F811
    box = fake_box(devices=[{"memory_bytes": 64 * MIB, "witness_limit_bytes": LIMIT}])
    box.create(LIMIT)
    crashes = Crashes(box, lifetime)
    visits = crashes.visits()
    mine = [i for i, (_, visitor) in enumerate(POINTS) if visitor == "shim" and visits[i]]
    only_counting = {"shim_release_counted", "shim_object_released"}
    expected = {name for name, visitor in POINTS if visitor == "shim"}
    if lifetime == "callbacks":
        expected -= only_counting
    assert {NAMES[i] for i in mine} >= expected
    for point in mine:
        hit = 0
        for seed in range(SEEDS):
            visit = random.Random(f"{seed} {NAMES[point]}").randint(1, visits[point])
            action = KILL if seed % 3 == 0 else STOP
            try:
                hit += crashes.run(point, visit, action, go_on=seed % 3 == 2)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {NAMES[point]}, visit {visit}, "
                                     f"action {action}") from error
        assert hit > 0, NAMES[point]

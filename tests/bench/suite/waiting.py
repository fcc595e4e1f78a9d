"""How late things happen: SIGTERM after a deadline, and a waiter's turn after room appeared.

Lateness is against the deadline in the grant (docs/formats.md), or against the clock just before the
release; both by CLOCK_BOOTTIME. lateness.py calls it.
"""

import os
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

SECOND = 10**9
PATIENCE = 120


def boottime():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def deadlines(state):
    """{name: deadline} of the grants in a state directory."""
    found = {}
    for path in Path(state).glob("chronos.*.grant"):
        data = path.read_bytes()
        found[data[120:184].split(b"\0")[0].decode()] = struct.unpack_from("<Q", data, 648)[0]
    return found


@contextmanager
def busy_cores(count=os.cpu_count()):
    loops = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def sigterm_lateness(chronos, witness, state, environment, count):
    """Of `count` partitions that end within a second, each with a `chronos run` of its own."""
    call = {"env": environment | {"CHRONOS_STATE_DIR": str(state)}, "text": True}
    target = boottime() + (3 + count // 10) * SECOND
    for number in range(count):
        left = (target + number * SECOND // count - boottime()) // 1000
        subprocess.run([chronos, "create", "0", "64KiB", f"{left / 10**6:.6f}s", "--name",
                        f"e{number}"], check=True, stdout=subprocess.DEVNULL, **call)
    ends = deadlines(state)
    read_end, write_end = os.pipe()
    runs = [subprocess.Popen(
        [chronos, "run", "--partition", f"e{number}", "--on-expiry", "terminate", "--", witness,
         f"e{number}"], stdout=write_end, stderr=subprocess.DEVNULL, **call)
        for number in range(count)]
    os.close(write_end)
    with open(read_end, encoding="ascii") as lines:
        words = [line.split() for line in lines]
    for run in runs:
        if run.wait(timeout=PATIENCE) != 124:
            sys.exit("bench: a program was not ended by its partition's end")
    ready = sum(word[1] == "ready" for word in words)
    came = {word[0]: int(word[1]) for word in words if word[1] != "ready"}
    if ready != count or len(came) != count:
        sys.exit("bench: not every program was told to end")
    return [came[name] - ends[name] for name in came]


def wake_up_lateness(chronos, partitioner, state, environment, rounds, how):
    """From a release, or a deadline, to the line `Created partition` of who waits first."""
    call = {"env": environment | {"CHRONOS_STATE_DIR": str(state)}, "text": True}
    late = []
    for number in range(rounds):
        duration = 3600 if how == "release" else 0.2
        old = partitioner.create(0, "100%", duration, name=f"old{number}")
        waiter = subprocess.Popen([chronos, "create", "0", "100%", "1h", "--wait", "--name", "new"],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, **call)
        if not waiter.stderr.readline().startswith("Waiting for "):
            sys.exit("bench: nobody waits")
        if how == "release":
            time.sleep(0.02)  # until the waiter is asleep
            began = boottime()
            old.release()
        else:
            began = deadlines(state)[f"old{number}"]
        line = waiter.stdout.readline()
        late.append(boottime() - began)
        if not line.startswith("Created partition new ") or waiter.wait() != 0:
            sys.exit("bench: the waiter was not served")
        partitioner.release("new")
    return late

"""`chronos run`: what happens to the program and all of its tree when the time is up."""

import os
import re
import time

import pytest
from running import FOR_COMMAND, NAMES, PYTHON, create, is_alive, partitions
from running import p1, tree  # noqa: F401


@pytest.mark.parametrize("options, line", [
    (("--on-expiry", "kill"), r"the program is killed"),
    (("--on-expiry", "terminate", "--grace", "0.3s"),
     r"the program is told to end \(SIGTERM, then SIGKILL after 300ms\)"),
    (("--on-expiry", "terminate", "--grace", "0"),
     r"the program is told to end \(SIGTERM, then SIGKILL after 0s\)")], ids=repr)
def test_nothing_of_the_tree_is_left(chronos, tree, options, line):
    command, pids = tree
    began = time.monotonic()
    result = chronos("run", *FOR_COMMAND, "2s", *options, "--", *command)
    took = time.monotonic() - began
    assert len(pids()) == len(NAMES)
    assert not any(is_alive(pid) for pid in pids())
    assert result.returncode == 124
    assert re.fullmatch(rf"chronos: partition partition_0001 has ended; {line}\n", result.stderr)
    assert 2 <= took < 4
    assert partitions(chronos) == []


def test_a_program_that_ends_in_time_is_not_killed(chronos):
    script = "trap 'echo saved; exit 0' TERM; sleep 600 & wait"
    result = chronos("run", *FOR_COMMAND, "0.5s", "--on-expiry", "terminate", "--grace", "60s",
                     "--", "sh", "-c", script)
    assert (result.returncode, result.stdout) == (124, "saved\n")


def test_terminate_gives_the_grace_to_all_of_the_tree(chronos, tmp_path):
    script = (f"(trap 'sleep 0.3; echo late > {tmp_path}/late; exit' TERM; sleep 600 & wait) & "
              "sleep 600")
    result = chronos("run", *FOR_COMMAND, "0.5s", "--on-expiry", "terminate", "--grace", "60s",
                     "--", "sh", "-c", script)
    assert result.returncode == 124
    assert (tmp_path / "late").read_text() == "late\n"


# Waits for SIGTERM without a handler, and says when it came, by the clock of deadlines.
TELLS_TERM = """
import signal, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
signal.sigwait({signal.SIGTERM})
print(time.clock_gettime(time.CLOCK_BOOTTIME), flush=True)
"""


def test_sigterm_comes_the_set_time_after_the_end_and_not_before(chronos):
    began = time.clock_gettime(time.CLOCK_BOOTTIME)
    result = chronos("run", *FOR_COMMAND, "1s", "--on-expiry", "terminate", "--terminate-after",
                     "0.75s", "--", PYTHON, "-c", TELLS_TERM)
    assert result.returncode == 124
    assert float(result.stdout) >= began + 1.75
    assert result.stderr.splitlines() == [
        "chronos: partition partition_0001 has ended; new allocations are refused, and in 750ms "
        "the program is told to end (SIGTERM, then SIGKILL after 10s)",
        "chronos: the program is told to end (SIGTERM, then SIGKILL after 10s)"]


def test_who_ends_before_sigterm_has_its_own_status(chronos):
    result = chronos("run", *FOR_COMMAND, "0.3s", "--on-expiry", "terminate", "--terminate-after",
                     "1h", "--", "sh", "-c", "sleep 1; exit 6")
    assert result.returncode == 6
    assert "new allocations are refused, and in 1h the program" in result.stderr


def test_each_of_several_warnings(chronos):
    process = chronos.start("run", *FOR_COMMAND, "7s", "--warn-before", "2s,6s,4s", "--", "sh",
                            "-c", "read word")
    lines = [process.stderr.readline() for _ in range(3)]
    assert lines == [f"chronos: partition partition_0001 ends in {left}s\n" for left in (6, 4, 2)]
    process.communicate("", timeout=20)


def test_refuse_lets_the_program_go_on(chronos):
    result = chronos("run", *FOR_COMMAND, "0.3s", "--", "sh", "-c", "sleep 1; exit 6")
    assert result.returncode == 6
    assert result.stderr == ("chronos: partition partition_0001 has ended; new allocations are "
                             "refused\n")


def test_a_fork_bomb_is_ended(chronos):
    bomb = "import os\nwhile True:\n    if os.fork(): os._exit(0)"
    result = chronos("run", *FOR_COMMAND, "0.7s", "--on-expiry", "kill", "--", "sh", "-c",
                     '"$0" -c "$1" & sleep 600', PYTHON, bomb)
    assert result.returncode == 124


def test_the_warning(chronos):
    result = chronos("run", *FOR_COMMAND, "2s", "--warn-before", "1s", "--", "sleep", "1.2")
    assert result.stderr == "chronos: partition partition_0001 ends in 1s\n"
    result = chronos("run", *FOR_COMMAND, "2s", "--", "sleep", "0")
    assert result.stderr == ""
    chronos.env["CHRONOS_LOG"] = "error"
    result = chronos("run", *FOR_COMMAND, "2s", "--warn-before", "1h", "--", "sleep", "0")
    assert result.stderr == ""


def test_an_early_release_is_noticed(chronos, p1):
    process = chronos.start("run", "--partition", p1, "--on-expiry", "terminate", "--", "sh", "-c",
                            "echo ready; exec sleep 600")
    assert process.stdout.readline() == "ready\n"
    assert chronos("release", p1).returncode == 0
    _, errors = process.communicate(timeout=5)
    assert process.returncode == 124
    assert errors.startswith("chronos: partition p1 was released; the program is told to end")


def test_named_partitions_end_with_the_first(chronos, p1):
    create(chronos, "short", "0.5s")
    result = chronos("run", "--partition", "p1,short", "--on-expiry", "kill", "sleep", "600")
    assert result.returncode == 124
    assert "partition short has ended; the program is killed" in result.stderr


def test_a_stuck_reader_of_stderr_does_not_hold_up_the_end(chronos):
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    try:
        while True:
            os.write(write_end, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(write_end, True)
    result = chronos("run", *FOR_COMMAND, "0.5s", "--on-expiry", "kill", "sleep", "600",
                     stderr=write_end, timeout=20)
    os.close(read_end), os.close(write_end)
    assert result.returncode == 124

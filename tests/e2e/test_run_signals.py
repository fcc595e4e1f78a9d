"""`chronos run`: signals and the terminal pass through."""

import os
import signal
import time
from pathlib import Path

import pytest
from running import FOR_COMMAND, PYTHON, is_alive, partitions, wait_until
from running import p1  # noqa: F401
from terminal import Terminal

# --- signals --------------------------------------------------------------------------------------

# Waits for them instead of handling them: a handler that prints may interrupt a print, and one that
# comes just before pause() leaves nothing to wake up for.
TELLS_SIGNALS = """
import os, signal, sys
told = {1, 2, 3, 10, 12, 14, 15, 28, 18, 40}
signal.pthread_sigmask(signal.SIG_BLOCK, told)
print("ready", os.getpid(), flush=True)
while True:
    number = signal.sigwait(told)
    print(int(number), flush=True)
    if number == signal.SIGTERM: sys.exit(3)
"""


def test_signals_to_the_supervisor_reach_the_program(chronos, p1):
    process = chronos.start("run", "--partition", p1, "--", PYTHON, "-c", TELLS_SIGNALS)
    assert process.stdout.readline().startswith("ready")
    for number in (1, 2, 3, 10, 12, 14, 28, 18, 40, 15):
        process.send_signal(number)
        assert process.stdout.readline() == f"{number}\n"
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (3, "", "")


def test_a_signal_of_the_programs_own_to_its_group_comes_once(chronos, p1):
    script = """
import os, signal
count = 0
def tell(number, frame):
    global count
    count += 1
signal.signal(signal.SIGUSR1, tell)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
os.killpg(0, signal.SIGUSR1)
print("ready", flush=True)
signal.sigwait({signal.SIGUSR2})
print(count, flush=True)
"""
    process = chronos.start("run", "--partition", p1, "--", PYTHON, "-c", script,
                            start_new_session=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGUSR2)
    assert process.communicate(timeout=20)[0] == "1\n"


def test_the_program_ended_by_a_forwarded_signal(chronos, p1):
    process = chronos.start("run", "--partition", p1, "--", "sh", "-c",
                            "echo ready; exec sleep 600")
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 128 + 15


def test_a_signal_at_any_moment_of_the_start_is_not_lost(chronos):
    chronos("stats")
    for attempt in range(60):
        process = chronos.start("run", *FOR_COMMAND, "1h", "sleep", "600")
        time.sleep(attempt * 0.00005)
        process.terminate()
        process.communicate(timeout=20)
        # Before the program is there the signal ends the supervisor itself.
        assert process.returncode in (128 + 15, -15)
    wait_until(lambda: partitions(chronos) == [])


# --- the terminal ---------------------------------------------------------------------------------

@pytest.fixture
def shell(chronos):
    env = {**chronos.env, "TERM": "dumb", "PS1": "$ ", "HISTFILE": ""}
    with Terminal(["bash", "--norc", "--noprofile", "-i"], env) as terminal:
        terminal.expect(r"\$ ")
        yield terminal


def test_ctrl_c_comes_once_and_the_program_decides(chronos, p1, shell):
    script = """
import os, signal, time
deliveries, written = os.pipe2(os.O_NONBLOCK)
signal.set_wakeup_fd(written)  # one byte for each delivery
signal.signal(signal.SIGINT, lambda *_: os.write(1, b"interrupted\\n"))  # print() may not nest
def end(number, frame):
    print("count", os.read(deliveries, 1000).count(signal.SIGINT), flush=True)
    os._exit(5)
signal.signal(signal.SIGUSR1, end)
print("ready", os.getppid(), flush=True)
while True: time.sleep(0.05)  # pause() would sleep through a signal that came just before it
"""
    path = Path(chronos.env["CHRONOS_STATE_DIR"]) / "script.py"
    path.write_text(script)
    shell.type(f"chronos run --partition p1 {PYTHON} {path}; echo status=$?\n")
    supervisor = int(shell.expect(r"ready (\d+)\n")[1])
    presses = 20  # two at nearly the same time may be delivered as one, but not each time
    for _ in range(presses):
        shell.type("\x03")
        shell.expect("interrupted\n")
    # Were the interrupts to be forwarded too, they would come before this one.
    os.kill(supervisor, signal.SIGUSR1)
    assert int(shell.expect(r"count (\d+)\n")[1]) == presses
    shell.expect("status=5\n")


def test_ctrl_z_and_fg(shell, p1):
    shell.type("chronos run --partition p1 sh -c 'echo ready; read line; echo got $line'\n")
    shell.expect("ready\n")
    shell.type("\x1a")
    shell.expect(r"Stopped\s+chronos run")
    shell.expect(r"\$ ")
    shell.type("fg\n")
    shell.expect(r"chronos run[^\n]*\n")
    shell.type("more\n")
    shell.expect("got more\n")
    shell.type("echo status=$?\n")
    shell.expect("status=0\n")


def test_a_program_that_stops_itself(shell, p1):
    shell.type("chronos run --partition p1 sh -c 'echo ready; kill -STOP $$; echo after'\n")
    shell.expect(r"Stopped\s+chronos run")
    shell.type("fg\n")
    shell.expect("after\n")


def test_a_stopped_job_is_continued_through_the_supervisor_alone(shell, p1):
    shell.type("chronos run --partition p1 sh -c 'kill -STOP $$; echo after=$?' & echo pid=$!\n")
    pid = int(shell.expect(r"pid=(\d+)\n")[1])
    wait_until(lambda: " T " in Path(f"/proc/{pid}/stat").read_text(encoding="ascii"))
    os.kill(pid, signal.SIGCONT)
    shell.expect("after=0\n")
    wait_until(lambda: not is_alive(pid))


def test_a_background_job_may_be_read_from_the_terminal_later(shell, p1):
    shell.type("chronos run --partition p1 sh -c 'read line; echo got $line' &\n")
    shell.expect(r"\$ ")
    shell.type("wait %1; fg\n")  # reading has stopped it
    shell.expect(r"(?s)Stopped.*chronos run[^\n]*\n.*chronos run[^\n]*\n")
    shell.type("word\n")
    shell.expect("got word\n")


def test_time_is_up_while_stopped(chronos, shell):
    shell.type("chronos run --device 0 --memory 1GiB --duration 2s --on-expiry kill sleep 600\n")
    wait_until(lambda: partitions(chronos))
    shell.type("\x1a")
    shell.expect(r"Stopped\s+chronos run")
    shell.type("wait -f %1; echo status=$?\n")
    shell.expect("status=124\n")
    assert partitions(chronos) == []


def test_without_a_terminal_a_stopped_program_may_be_continued_alone(chronos, p1):
    process = chronos.start("run", "--partition", p1, "--", "sh", "-c",
                            "echo $$; kill -STOP $$; exit 4", start_new_session=True)
    pid = int(process.stdout.readline())
    wait_until(lambda: " T " in Path(f"/proc/{pid}/stat").read_text(encoding="ascii"))
    os.kill(pid, signal.SIGCONT)
    process.communicate(timeout=20)
    assert process.returncode == 4

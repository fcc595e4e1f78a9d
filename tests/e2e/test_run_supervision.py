"""`chronos run`: statuses, signals, the terminal, the process tree and what happens at the end."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from terminal import Terminal

PYTHON = sys.executable
FOR_COMMAND = ("--device", 0, "--memory", "1GiB", "--duration")


def partitions(chronos):
    result = chronos("list", "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)["partitions"]


def create(chronos, name, duration="1h"):
    result = chronos("create", 0, "1GiB", duration, "--name", name)
    assert result.returncode == 0, result.stderr


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii",
                                                   errors="replace").rpartition(")")[2][1] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def p1(chronos):
    create(chronos, "p1")
    return "p1"


# --- statuses -----------------------------------------------------------------------------------

@pytest.mark.parametrize("script, status", [
    ("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -TERM $$", 128 + 15),
    ("kill -KILL $$", 128 + 9), ("kill -SEGV $$", 128 + 11)])
def test_the_programs_own_status(chronos, p1, script, status):
    result = chronos("run", "--partition", p1, "--", "sh", "-c", script)
    assert (result.returncode, result.stdout, result.stderr) == (status, "", "")


@pytest.mark.parametrize("program, status", [
    ("no-such-program", 127), ("/no/such/program", 127), ("/etc/passwd", 126), ("/", 126),
    ("", 127)])
def test_programs_that_cannot_be_started(chronos, p1, program, status):
    result = chronos("run", "--partition", p1, "--", program)
    assert result.returncode == status
    assert re.fullmatch(r"chronos: cannot execute '[^\n]*': [^\n]+\n", result.stderr)


@pytest.mark.parametrize("arguments, message", [
    (("--partition", "nope", "true"), "Partition not found or already released: nope"),
    (("--partition", "p1,nope", "true"), "Partition not found or already released: nope"),
    (("--partition", "", "true"), "no partition named"),
    (("--partition", "p1"), "no program to run"),
    (("--partition", "p1", "--"), "no program to run"),
    (("--bogus", "true"), "unknown option '--bogus'"),
    (("--device", 0, "true"), "--device, --memory and --duration go together"),
    (("--memory", "1GiB", "true"), "--memory requires --device"),
    (("--device", 0, "--memory", "1GiB", "--duration", "-5", "true"), "invalid duration '-5'"),
    (("--device", 7, "--memory", "1GiB", "--duration", "5", "true"), "there is no device 7"),
    (("--device", 0, "--memory", "11GiB", "--duration", "5", "true"),
     "Not enough available memory on device 0"),
    (("--partition", "p1", "--device", 0, "true"), "--device excludes --partition"),
    (("--partition", "p1", "--on-expiry", "explode", "true"), "--on-expiry: 'explode' is none of"),
    (("--partition", "p1", "--grace", "soon", "true"), "invalid duration 'soon'"),
    (("--partition", "p1", "--warn-before", "5m,", "true"), "invalid duration"),
    (("--partition", "p1", "--warn-before", "5m,0", "true"), "invalid times '5m,0'"),
    (("--partition", "p1", "--on-expiry", "terminate", "--terminate-after", "-1", "true"),
     "invalid duration '-1'"),
    (("--partition", "p1", "--on-expiry", "kill", "--terminate-after", "5", "true"),
     "--terminate-after goes with --on-expiry terminate"),
], ids=repr)
def test_125_when_chronos_itself_fails(chronos, p1, arguments, message):
    result = chronos("run", *arguments)
    assert result.returncode == 125
    assert result.stdout == ""
    assert re.fullmatch(r"[^\n]+\n", result.stderr), result.stderr
    if "excludes" in message:
        assert "excludes" in result.stderr
    else:
        assert result.stderr.startswith(message)


def test_a_folder_in_path_that_cannot_be_read_changes_nothing(chronos, p1, tmp_path):
    (tmp_path / "not-to-be-executed").write_text("")
    (tmp_path / "not-to-be-executed").chmod(0o644)
    chronos.env["PATH"] = f"{tmp_path}:/root:/proc/1/root:{chronos.env['PATH']}"
    assert chronos("run", "--partition", p1, "no-such-program").returncode == 127
    assert chronos("run", "--partition", p1, "not-to-be-executed").returncode == 126


def test_125_without_any_partition(chronos):
    result = chronos("run", "true")
    assert result.returncode == 125
    assert result.stderr.startswith("no partition of ")
    assert "chronos create" in result.stderr


def test_a_partition_that_has_ended_cannot_be_used(chronos):
    create(chronos, "p1")
    chronos("release", "p1")
    result = chronos("run", "--partition", "p1", "true")
    assert result.returncode == 125
    assert result.stderr.startswith("Partition ")


# --- what the program gets ----------------------------------------------------------------------

def environment_of_child(chronos, *options):
    result = chronos("run", *options, "--", PYTHON, "-c",
                     "import json, os; print(json.dumps(dict(os.environ)))")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_the_environment(chronos, chronos_path, p1):
    shim = str((chronos_path.parent.parent / "lib" / "libchronos_shim.so").resolve())
    seen = environment_of_child(chronos, "--partition", p1)
    assert seen["LD_PRELOAD"].split(":")[0] == shim
    assert seen["OPENCL_LAYERS"].split(":")[0] == shim
    assert re.fullmatch(r"p1@[0-9a-f]{32}", seen["CHRONOS_PARTITION"])

    # Inside, a run without a name stays in the same partition, and the shim is there once.
    result = chronos("run", "--partition", p1, chronos.path, "run", "env")
    inner = dict(line.split("=", 1) for line in result.stdout.splitlines() if "=" in line)
    assert inner["CHRONOS_PARTITION"] == seen["CHRONOS_PARTITION"]
    assert inner["LD_PRELOAD"] == seen["LD_PRELOAD"]


def test_ones_own_partitions_are_named_to_the_program(chronos, p1):
    """Else one that ends before the program first uses OpenCL would leave it with none."""
    chronos.env["CHRONOS_PARTITION"] = ""
    seen = environment_of_child(chronos)["CHRONOS_PARTITION"]
    assert re.fullmatch(r"p1@[0-9a-f]{32}", seen)


def test_several_partitions(chronos, p1):
    create(chronos, "p2")
    seen = environment_of_child(chronos, "--partition", "p1,p2,p1")
    assert re.fullmatch(r"p1@[0-9a-f]{32},p2@[0-9a-f]{32}", seen["CHRONOS_PARTITION"])


def test_a_relative_state_directory_stays_the_same_one(chronos, state_dir, p1):
    chronos.env["CHRONOS_STATE_DIR"] = state_dir.name
    result = chronos("run", "--partition", p1, "sh", "-c", "cd / && chronos list",
                     cwd=state_dir.parent)
    assert "ID: p1" in result.stdout, result.stderr


def test_arguments_pass_untouched(chronos, p1):
    for marker in ((), ("--",)):
        result = chronos("run", "--partition", p1, *marker, "printf", "<%s>", "--json", "-x", "a b",
                         "--", "", "*")
        assert result.stdout == "<--json><-x><a b><--><><*>"


def test_standard_streams_pass_through(chronos, p1):
    result = chronos("run", "--partition", p1, "sh", "-c", "cat; echo err >&2", input="hello\n",
                     stdin=None)
    assert (result.stdout, result.stderr) == ("hello\n", "err\n")


def test_signal_state_is_that_of_the_caller(chronos, p1):
    """As under nohup: what was ignored or blocked is so for the program, and nothing else is."""
    def odd_signals():
        for number in (signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])

    def state(command, preexec_fn):
        out = subprocess.run(command, env=chronos.env, preexec_fn=preexec_fn, restore_signals=False,
                             text=True, capture_output=True, timeout=60, check=True).stdout
        return re.findall(r"^Sig(?:Blk|Ign|Cgt):.*$", out, re.MULTILINE)

    cat = ["cat", "/proc/self/status"]
    for preexec_fn in (odd_signals, None):
        expected = state(cat, preexec_fn)
        assert len(expected) == 3
        assert state(chronos.command("run", "--partition", p1, "--", *cat), preexec_fn) == expected


def test_no_descriptors_leak(chronos, p1):
    result = chronos("run", "--partition", p1, "ls", "/proc/self/fd")
    assert result.stdout.split() == ["0", "1", "2", "3"]  # 3 is ls's own


# --- signals ------------------------------------------------------------------------------------

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


# --- the terminal -------------------------------------------------------------------------------

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


# --- the end of the time ------------------------------------------------------------------------

# A program and what it leaves behind: a child, one in a session of its own, a daemon by double fork
# that ignores SIGTERM, and one that is stopped. Each writes its pid into the folder.
TREE = """
import os, signal, sys, time
folder = sys.argv[1]
def stay(name, ignore=False, stop=False):
    if ignore: signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(f"{folder}/{name}.new", "w") as file: file.write(str(os.getpid()))
    os.rename(f"{folder}/{name}.new", f"{folder}/{name}")
    if stop: os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(600)
if os.fork() == 0: stay("child")
if os.fork() == 0: os.setsid(); stay("session")
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: stay("daemon", ignore=True)
    os._exit(0)
if os.fork() == 0: stay("stopped", stop=True)
stay("main")
"""
NAMES = ("main", "child", "session", "daemon", "stopped")


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "tree"
    folder.mkdir()
    command = (PYTHON, "-c", TREE, str(folder))

    def pids():
        return [int((folder / name).read_text()) for name in NAMES if (folder / name).exists()]

    yield command, pids
    for pid in pids():
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


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


# --- partitions made for the command ------------------------------------------------------------

@pytest.mark.parametrize("script, status", [
    ("exit 0", 0), ("exit 9", 9), ("kill -KILL $$", 137)])
def test_the_partition_ends_with_the_program(chronos, script, status):
    before = chronos("run", *FOR_COMMAND, "1h", "--name", "mine", "--", "sh", "-c",
                     f"chronos list; {script}")
    assert before.returncode == status
    assert "ID: mine\n" in before.stdout
    assert partitions(chronos) == []


def test_the_partition_ends_when_the_program_was_not_found(chronos):
    assert chronos("run", *FOR_COMMAND, "1h", "no-such-program").returncode == 127
    assert partitions(chronos) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_partition_ends_when_the_supervisor_is_told_to(chronos, number):
    process = chronos.start("run", *FOR_COMMAND, "1h", "sh", "-c", "echo ready; exec sleep 600")
    assert process.stdout.readline() == "ready\n"
    assert len(partitions(chronos)) == 1
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert partitions(chronos) == []


def test_the_partition_ends_when_the_supervisor_is_killed(chronos):
    process = chronos.start("run", *FOR_COMMAND, "1h", "sh", "-c", "echo $$; exec sleep 600")
    program = int(process.stdout.readline())
    process.kill()
    process.wait(timeout=20)
    os.kill(program, signal.SIGKILL)
    process.communicate()
    wait_until(lambda: partitions(chronos) == [])


def test_the_program_left_behind_does_not_keep_the_command(chronos, tree):
    command, pids = tree
    process = chronos.start("run", *FOR_COMMAND, "1h", "--", "sh", "-c", '"$@" & exit 0', "sh",
                            *command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert process.wait(timeout=20) == 0
    assert partitions(chronos) == []
    wait_until(lambda: len(pids()) == len(NAMES))

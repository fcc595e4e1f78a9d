"""`chronos run`: statuses, what the program gets, and partitions made for one command."""

import json
import os
import re
import signal
import subprocess

import pytest
from running import FOR_COMMAND, NAMES, PYTHON, create, partitions, wait_until
from running import p1, tree  # noqa: F401

# --- statuses -------------------------------------------------------------------------------------

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


# --- what the program gets ------------------------------------------------------------------------

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


# --- partitions made for the command --------------------------------------------------------------

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

"""The Python package: programs run in a partition, in the manners of subprocess."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from python_package import BUILD, partitioner, state_dir  # noqa: F401

import chronos
from support import poll

pytestmark = pytest.mark.skipif(not (BUILD / "bin" / "chronos").exists(), reason="not built")

OWN = dict(device=0, memory="64MiB", duration="10m")


def is_gone(pid_file):
    """Whether the program that wrote its number there is gone, or never came so far."""
    pid = pid_file.read_text().strip() if pid_file.exists() else ""
    try:
        return not pid or Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_program_gets_a_partition_of_its_own(partitioner):
    done = chronos.run(["sh", "-c", "echo $CHRONOS_PARTITION; chronos list"], **OWN, name="own",
                       capture_output=True, text=True, timeout=60,
                       env={**os.environ, "PATH": f"{BUILD / 'bin'}:{os.environ['PATH']}"})
    assert done.returncode == 0, done.stderr
    assert done.args == ["sh", "-c", "echo $CHRONOS_PARTITION; chronos list"]
    assert done.stdout.startswith("own@")
    assert "ID: own\n" in done.stdout and "of 64 MB" in done.stdout
    assert partitioner.list() == []


def test_that_partition_goes_with_the_process_that_made_it(partitioner, tmp_path):
    code = f"""
import chronos
chronos.run(["sh", "-c", "echo $$ >{tmp_path}/pid; exec sleep 1000"], device=0, memory=0.5,
            duration="1h")
"""
    program = subprocess.Popen([sys.executable, "-c", code],
                               env={**os.environ, "PYTHONPATH": os.path.dirname(
                                   os.path.dirname(chronos.__file__))})
    try:
        poll("the program", lambda: (tmp_path / "pid").exists()
             and (tmp_path / "pid").read_text().strip())
        assert len(partitioner.list()) == 1
    finally:
        program.kill()
        program.wait()
        # What it had started goes on, and is refused: its partition has ended.
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    poll("the partition's end", lambda: partitioner.get_available(0) == 100)


@pytest.mark.parametrize("code, status", [
    ("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 128 + 15), ("kill -KILL $$", 128 + 9)])
def test_statuses_are_those_of_chronos_run(partitioner, code, status):
    with partitioner.create(0, 0.5, 60) as partition:
        assert partition.run(["sh", "-c", code]).returncode == status
        program = partition.popen(code, shell=True)
        assert program.wait(timeout=60) == status
        if status:
            with pytest.raises(subprocess.CalledProcessError) as caught:
                partition.run(["sh", "-c", code], check=True)
            assert (caught.value.returncode, caught.value.cmd) == (status, ["sh", "-c", code])


def test_programs_that_cannot_be_started(partitioner, tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    for program, status in [("no-such-program", 127), (str(plain), 126)]:
        done = chronos.run([program], **OWN, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (status, "")
        assert "no-such-program" in done.stderr or "cannot execute" in done.stderr
    assert partitioner.list() == []


def test_a_program_whose_time_is_up_is_ended(partitioner):
    for action in ("terminate", "kill"):
        start = time.monotonic()
        done = chronos.run(["sleep", "1000"], device=0, memory=0.5, duration=0.1, on_expiry=action,
                           capture_output=True)
        assert done.returncode == 124
        assert time.monotonic() - start < 60
    assert partitioner.list() == []


def test_a_timeout_kills_the_program_and_releases_the_partition(partitioner, tmp_path):
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        chronos.run(["sh", "-c", f"echo $$ >{tmp_path}/pid; exec sleep 1000"], **OWN, timeout=0.3)
    assert caught.value.cmd[0] == "sh"
    poll("its end", lambda: is_gone(tmp_path / "pid"))
    assert partitioner.list() == []


def test_the_manners_of_subprocess(partitioner, tmp_path):
    with partitioner.create(0, 0.5, 60) as partition:
        def output(*arguments, **options):
            return partition.run(*arguments, stdout=subprocess.PIPE, check=True, **options).stdout

        assert output(["cat"], input="text\n", text=True) == "text\n"
        assert output(["cat"], input=b"bytes\xff") == b"bytes\xff"
        assert output("pwd", cwd=tmp_path) == f"{tmp_path}\n".encode()
        assert output(b"pwd", cwd=b"/") == b"/\n"
        assert output(["printf", b"\xff%s", tmp_path]) == b"\xff" + os.fsencode(tmp_path)
        assert output("echo $0 $1; exit 0", shell=True) == b"/bin/sh\n"
        assert output(["echo $1", "zero", "one"], shell=True) == b"one\n"
        assert output("echo $MINE", shell=True, env={"MINE": "kept"}) == b"kept\n"
        assert output(["ignored", "-c", "echo x"], executable="/bin/sh") == b"x\n"
        assert output(["--", "x"][1:] and ["echo", "--", "-x"]) == b"-- -x\n"
        with partition.popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             text=True) as program:
            assert program.communicate("through a pipe", timeout=60) == ("through a pipe", None)
        assert (program.args, program.returncode) == (["cat"], 0)
        with partition.popen(["sleep", "1000"]) as program:
            program.terminate()
            assert program.wait(timeout=60) == 128 + 15


def test_refusals_are_exceptions_before_anything_runs(partitioner, tmp_path):
    touch = ["touch", str(tmp_path / "ran")]
    ended = partitioner.create(0, 0.1, 60)
    ended.release()
    partitioner.create(0, 0.75, 60, name="much")
    for arguments, error in [
        (dict(device=0, memory=0.5, duration=60), chronos.NotEnoughMemory),
        (dict(device=0, memory=0.5, duration=60, wait=0), chronos.NotEnoughMemory),
        (dict(device=99, memory=0.5, duration=60), chronos.NoDevice),
        (dict(device=0, memory=float("nan"), duration=60), chronos.InvalidRequest),
        (dict(device=0, memory=0.1), chronos.InvalidRequest),
        (dict(duration=60), chronos.InvalidRequest),
        (dict(name="x"), chronos.InvalidRequest),
        (dict(wait=True), chronos.InvalidRequest),
        (dict(partition="much", memory=0.1, duration=60), chronos.InvalidRequest),
        (dict(partition=ended), chronos.PartitionNotFound),
        (dict(partition="much", on_expiry="explode"), chronos.InvalidRequest),
        (dict(partition="much", on_expiry=[]), TypeError),
        (dict(partition="much", env=[]), TypeError),
    ]:
        with pytest.raises(error):
            chronos.run(touch, **arguments)
    for args, error in [([], chronos.InvalidRequest), (None, TypeError), ([None], TypeError),
                        ([b"a\0b"], ValueError)]:
        with pytest.raises(error):
            chronos.run(args, partition="much")
    with pytest.raises(TypeError):
        chronos.run(touch, partition="much", no_such_option=1)
    assert not (tmp_path / "ran").exists()
    assert [p.name for p in partitioner.list()] == ["much"]

"""Logs of jobs: how large they get, what they survive, and how they are read."""

import json
import os
import stat
import subprocess

import pytest
from queueing import poll, queue, queue_box  # noqa: F401
from support import built

pytestmark = built

needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system, as root only can")


def until(path):
    return f"until [ -e {path} ]; do sleep 0.05; done"


def files_of(log):
    """What is kept of a log, oldest first."""
    folder, name = os.path.split(log)
    numbers = sorted((int(one[len(name) + 1:]) for one in os.listdir(folder)
                      if one.startswith(name + ".") and one[len(name) + 1:].isdigit()), reverse=True)
    return [f"{log}.{number}" for number in numbers] + [log]


def content(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def facts_of(job):
    return json.loads(content(job["log"][:-4] + ".json"))


@pytest.fixture
def mounted(tmp_path):
    """A file system in memory, of some size, of the test's own."""
    made = []

    def mount(name, options):
        folder = tmp_path / name
        folder.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=False,
                          capture_output=True).returncode:
            pytest.skip("this machine may not mount")
        made.append(folder)
        return folder

    yield mount
    for folder in made:
        subprocess.run(["umount", "-l", folder], check=False)


def test_a_log_is_rotated_between_lines_also_without_a_runner(queue, tmp_path):
    job = queue.shell(f"touch {tmp_path}/on; {until(tmp_path / 'go')}; "
                      "for n in $(seq 1000 1999); do printf '%s %060d\\n' $n 0; done",
                      "--log-size", "8KiB", "--log-keep", 3)
    poll("the job", (tmp_path / "on").exists)
    queue.kill_runner()
    (tmp_path / "go").touch()
    poll("its end", lambda: queue.state_of(job) == "done")
    shown = queue.job(job)
    files = files_of(shown["log"])
    assert [os.path.basename(one)[-2:] for one in files] == [".3", ".2", ".1", "og"]
    assert all(os.path.getsize(one) <= 8192 for one in files)
    lines = [line for one in files for line in content(one).splitlines(keepends=True)]
    assert lines == [f"{n} {0:060}\n" for n in range(2000 - len(lines), 2000)]
    assert len(lines) > 3 * 8192 // 66
    assert queue.log(job) == "".join(lines)
    facts = facts_of(shown)
    assert (facts["log_bytes"], facts["log_lost_bytes"]) == (66 * 1000, 0)


def test_what_prints_without_end_fills_no_disk_and_can_be_cancelled(queue):
    job = queue.shell("exec yes", "--log-size", "64KiB", "--log-keep", 1)
    poll("its log", lambda: queue.job(job)["log"])
    log = queue.job(job)["log"]
    seen = set()

    def has_changed():
        try:  # under way from one to the next it has no name
            seen.add(os.stat(log + ".1").st_ino)
        except FileNotFoundError:
            pass
        return len(seen) > 1

    poll("a third file", has_changed)
    queue.queue("logs", job)  # as of now: it ends
    queue.queue("cancel", job)
    assert queue.wait(job, status=1)[0]["state"] == "cancelled"
    assert len(files_of(log)) == 2
    assert all(os.path.getsize(one) <= 65536 for one in files_of(log))


def test_nothing_older_is_kept_if_so_wanted(queue):
    job = queue.shell("seq 10000", "--log-size", "4KiB", "--log-keep", 0)
    queue.wait(job)
    files = files_of(queue.job(job)["log"])
    assert len(files) == 1 and os.path.getsize(files[0]) <= 4096
    assert queue.log(job).endswith("\n9999\n10000\n")


def test_following_misses_nothing_of_a_log_that_is_rotated(queue, tmp_path):
    job = queue.shell(f"seq 1 2000; touch {tmp_path}/half; {until(tmp_path / 'go')}; seq 2001 4000",
                      "--log-size", "4KiB", "--log-keep", 50)
    poll("the first half", (tmp_path / "half").exists)
    with subprocess.Popen([str(queue.command), "queue", "logs", "--follow", str(job)],
                          env=queue.env, stdout=subprocess.PIPE, text=True) as following:
        seen = [following.stdout.readline() for _ in range(2000)]
        (tmp_path / "go").touch()
        seen += following.stdout.readlines()
        assert following.wait(timeout=60) == 0
    assert seen == [f"{number}\n" for number in range(1, 4001)]
    queue.wait(job)


@needs_mounts
def test_on_a_full_disk_the_job_goes_on_and_its_log_says_what_is_missing(queue, tmp_path, mounted):
    full = mounted("full", "size=1m")
    job = queue.shell(
        f"echo first; touch {tmp_path}/on; {until(tmp_path / 'filled')}; head -c 200000 /dev/zero | "
        f"tr '\\0' x; echo; touch {tmp_path}/lost; {until(tmp_path / 'room')}; echo last",
        "--log-dir", str(full))
    poll("the job", (tmp_path / "on").exists)
    log = queue.job(job)["log"]
    poll("its first line", lambda: content(log) == "first\n")
    filler = os.open(full / "filler", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError, match="No space"):
        while os.write(filler, b"x" * 4096):
            pass
    os.close(filler)
    (tmp_path / "filled").touch()
    poll("its going on", (tmp_path / "lost").exists)
    # It has written more than a pipe holds: most of that has been read, and lost.
    (full / "filler").unlink()
    (tmp_path / "room").touch()
    assert queue.wait(job)[0]["exit_status"] == 0
    lines = content(log).splitlines()
    assert lines[0] == "first" and lines[-1] == "last"
    missing = [line for line in lines if line.startswith("chronos: ")]
    lost = facts_of(queue.job(job))["log_lost_bytes"]
    assert missing == [f"chronos: {lost} bytes of output are missing here: "
                       "No space left on device"] and lost > 100_000


@needs_mounts
def test_a_read_only_folder_for_its_log_fails_that_job_alone(queue, mounted):
    folder = mounted("readonly", "size=1m,ro")
    job, other = queue.shell("true", "--log-dir", str(folder)), queue.shell("true")
    ended = queue.wait(job, other, status=1)
    assert [one["state"] for one in ended] == ["failed", "done"]
    assert ended[0]["exit_status"] == 125
    assert ended[0]["reason"].startswith("cannot write the log")
    assert ended[0]["reason"].endswith("Read-only file system")


def test_what_is_no_file_is_written_to_as_it_is(queue, tmp_path):
    nobody_reads = tmp_path / "pipe"
    os.mkfifo(nobody_reads)
    plain = queue.shell("readlink /proc/self/fd/1", "--log-size", "off")
    null = queue.shell("readlink /proc/self/fd/1 >&2; echo out", "--log", "/dev/null")
    pipe = queue.shell("true", "--log", str(nobody_reads))
    ended = queue.wait(plain, null, pipe, status=1)
    assert [one["state"] for one in ended] == ["done", "done", "failed"]
    assert queue.log(plain).strip() == ended[0]["log"]
    assert "log_bytes" not in facts_of(ended[0])
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode) and not os.path.exists("/dev/null.json")
    assert ended[2]["reason"].startswith("cannot write the log")


def test_one_file_for_several_jobs_is_rotated_once_for_all(queue, tmp_path):
    log = tmp_path / "all.log"
    lines = ["for n in $(seq 300); do echo $CHRONOS_JOB_ID; done"] * 8
    jobs = queue.add_lines(lines, "--memory", "1GiB", "--log", log, "--log-size", "4KiB",
                           "--log-keep", 9)
    queue.wait(*jobs)
    written = [line for one in files_of(str(log)) for line in content(one).split()]
    assert {job: written.count(str(job)) for job in jobs} == {job: 300 for job in jobs}


def test_how_large_a_log_may_be_is_checked(queue):
    for arguments, said in [(["--log-size", "1KiB"], 'invalid "log_size"'),
                            (["--log-size", "0.5"], 'invalid "log_size"'),
                            (["--log-size", "much"], 'invalid "log_size"'),
                            (["--log-keep", 1001], 'invalid "log_keep"')]:
        done = queue.queue("add", *arguments, "--", "true", status=2)
        assert done.stderr.startswith(said) and done.stderr.count("\n") == 1
    queue.queue("add", "-", input='{"command": "true", "log_size": [1]}', status=2)
    assert queue.jobs() == []

"""The queue under deaths: runners and supervisors that are killed, reboots, full databases."""

import contextlib
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest
from queue_storm import storm
from queueing import kill, poll, queue, queue_box  # noqa: F401
from running import is_alive
from support import BUILD, FULL, by_level, built

pytestmark = built


@contextlib.contextmanager
def holder(queue, memory, device=0):
    """Somebody else's partition, which lasts while their process does."""
    with subprocess.Popen([str(queue.command), "run", "--device", str(device), "--memory", memory,
                           "--duration", "1h", "--", "cat"], env=queue.env,
                          stdin=subprocess.PIPE) as process:
        poll("its partition", lambda: device in {one["device"]
                                                 for one in queue.partitions().values()})
        yield process
        process.stdin.close()


def until(folder, name):
    """A shell line that says that it runs, and ends when it is let."""
    return f"touch {folder}/{name}.on; until [ -e {folder}/{name} ]; do sleep 0.05; done"


def test_a_runner_that_is_killed_changes_nothing_for_what_runs(queue, tmp_path):
    job = queue.shell(until(tmp_path, "a"), "--memory", "20GiB")
    behind = queue.shell("true", "--memory", "20GiB")
    poll("the job", (tmp_path / "a.on").exists)
    first = queue.kill_runner()
    assert first is not None and queue.runner_pid() is None
    assert queue.state_of(job) == "running"
    queue.queue("resume")  # any command that needs a runner starts the next
    second = queue.runner_pid()
    assert second not in (None, first)
    assert queue.state_of(job) == "running" and queue.state_of(behind) == "pending"
    (tmp_path / "a").touch()
    assert [one["attempt"] for one in queue.wait(job, behind)] == [1, 1]


def test_a_job_that_ends_without_a_runner_is_known_to_the_next(queue, tmp_path):
    job = queue.shell(until(tmp_path, "a") + "; exit 9")
    poll("the job", (tmp_path / "a.on").exists)
    queue.kill_runner()
    (tmp_path / "a").touch()
    poll("its end", lambda: queue.state_of(job) == "failed")
    assert queue.job(job)["exit_status"] == 9


def test_a_runner_that_a_job_has_started_is_none_of_that_jobs(queue, tmp_path):
    add = (f"{queue.command} queue add --memory 1GiB --shell -- "
           f"'{until(tmp_path, 'inner')}' > {tmp_path}/added")
    outer = queue.shell(until(tmp_path, "go") + f"; {add}; " + until(tmp_path, "outer"),
                        "--memory", "1GiB")
    poll("the job", (tmp_path / "go.on").exists)
    first = queue.kill_runner()
    (tmp_path / "go").touch()
    poll("the job's job", (tmp_path / "inner.on").exists)
    inner = int((tmp_path / "added").read_text().split()[-1])
    second = queue.runner_pid()
    assert second not in (None, first)
    (tmp_path / "outer").touch()
    assert queue.wait(outer)[0]["state"] == "done"
    assert queue.state_of(inner) == "running" and queue.runner_pid() == second
    # Nor by the token of a job that is put to rest after its supervisor was killed.
    third = queue.shell(until(tmp_path, "third"), "--memory", "1GiB")
    poll("another job", (tmp_path / "third.on").exists)
    (tmp_path / "inner").touch()
    (tmp_path / "third").touch()
    assert [one["attempt"] for one in queue.wait(inner, third)] == [1, 1]


def test_cancelling_the_job_that_started_it_leaves_the_runner_alone(queue, tmp_path):
    add = f"{queue.command} queue add --memory 1GiB --shell -- '{until(tmp_path, 'inner')}'"
    outer = queue.shell(until(tmp_path, "go") + f"; {add}; " + until(tmp_path, "outer"),
                        "--memory", "1GiB")
    poll("the job", (tmp_path / "go.on").exists)
    queue.kill_runner()
    (tmp_path / "go").touch()
    poll("the job's job", (tmp_path / "inner.on").exists)
    runner = queue.runner_pid()
    kill(queue.supervisors()[outer])
    assert queue.wait(outer, status=1)[0]["state"] == "lost"
    assert queue.runner_pid() == runner
    (tmp_path / "inner").touch()
    assert queue.wait(outer + 1)[0]["attempt"] == 1


def test_a_runner_keeps_nothing_of_its_caller_open(queue, tmp_path):
    read_end, write_end = os.pipe()
    try:
        subprocess.run([str(queue.command), "queue", "add", "--shell", "--", until(tmp_path, "a")],
                       env=queue.env, pass_fds=(write_end,), check=True, stdout=subprocess.DEVNULL)
    finally:
        os.close(write_end)
    poll("the job", (tmp_path / "a.on").exists)
    with open(read_end, "rb") as reader:
        assert select.select([reader], [], [], 0)[0] and reader.read() == b""
    (tmp_path / "a").touch()
    queue.wait()


def test_waiting_goes_on_over_the_runners_death(queue, tmp_path):
    job = queue.shell(until(tmp_path, "a"), "--memory", "20GiB")
    behind = queue.shell("true", "--memory", "20GiB")
    poll("the job", (tmp_path / "a.on").exists)
    waiting = subprocess.Popen([str(queue.command), "queue", "wait", str(behind)], env=queue.env)
    first = queue.kill_runner()
    poll("another runner", lambda: queue.runner_pid() not in (None, first))
    (tmp_path / "a").touch()
    assert waiting.wait(timeout=60) == 0
    queue.wait(job, behind)


def test_a_job_whose_supervisor_is_killed_is_lost_with_its_program(queue, tmp_path):
    job = queue.shell(f"echo $$ > {tmp_path}/pid; setsid sleep 600 & echo $! > {tmp_path}/other; "
                      + until(tmp_path, "a"))
    poll("the job", (tmp_path / "a.on").exists)
    kill(queue.supervisors()[job])
    ended = queue.wait(job, status=1)[0]
    assert (ended["state"], ended["exit_status"]) == ("lost", None)
    assert ended["reason"] == "its supervisor ended without a word"
    for name in ("pid", "other"):
        assert not is_alive(int((tmp_path / name).read_text()))
    assert queue.partitions() == {}


def test_a_lost_job_is_tried_again_if_it_may_be(queue, tmp_path):
    job = queue.shell(f"echo x >> {tmp_path}/tries; [ $CHRONOS_JOB_ATTEMPT = 2 ] || sleep 600",
                      "--retries", 1)
    poll("the job", (tmp_path / "tries").exists)
    kill(queue.supervisors()[job])
    assert queue.wait(job)[0]["attempt"] == 2
    assert (tmp_path / "tries").read_text() == "x\nx\n"


def test_after_a_reboot_what_ran_is_lost_and_what_waited_runs(queue, tmp_path):
    running = queue.shell(until(tmp_path, "a"), "--memory", "20GiB")
    waiting = queue.shell("true", "--memory", "20GiB")
    poll("the job", (tmp_path / "a.on").exists)
    queue.reboot()
    # What makes it another boot: the id that the jobs were started under.
    with sqlite3.connect(queue.queue_folder / "queue.db") as database:
        database.execute("UPDATE jobs SET boot_id = 'another' WHERE state IN (1, 2)")
    database.close()
    assert queue.state_of(running) == "running"  # nobody has looked yet
    ended = queue.wait(running, waiting, status=1)
    assert [one["state"] for one in ended] == ["lost", "done"]
    assert ended[0]["reason"] == "the machine was started anew"


@pytest.mark.skipif(not FULL, reason="long: waits for the database's patience to end")
def test_an_end_that_the_database_would_not_take_is_not_forgotten(queue, tmp_path):
    job = queue.shell(until(tmp_path, "a") + "; exit 9")
    poll("the job", (tmp_path / "a.on").exists)
    with sqlite3.connect(queue.queue_folder / "queue.db", isolation_level=None) as database:
        database.execute("BEGIN IMMEDIATE")
        (tmp_path / "a").touch()
        last_word = queue.queue_folder / "attempts" / f"{job}.1"
        poll("its last word", lambda: last_word.read_bytes().startswith(b"{"))
        poll("its supervisor's end", lambda: job not in queue.supervisors())
        database.execute("ROLLBACK")
    database.close()
    assert queue.wait(job, status=1)[0]["exit_status"] == 9
    assert not last_word.exists()


def test_two_runners_of_one_user_are_one(queue):
    foreground = subprocess.Popen([str(queue.daemon)], env=queue.env, stderr=subprocess.PIPE,
                                  text=True)
    poll("the runner", lambda: queue.runner_pid() == foreground.pid)
    second = subprocess.run([str(queue.daemon)], env=queue.env, capture_output=True, text=True,
                            timeout=60, check=False)
    assert second.returncode == 1
    assert second.stderr.startswith(
        f"another chronosd of yours is running (pid {foreground.pid})")
    job = queue.shell("true")
    queue.wait(job)
    assert queue.runner_pid() == foreground.pid
    foreground.send_signal(signal.SIGTERM)
    assert foreground.wait(timeout=60) == 0
    foreground.stderr.close()


def test_one_by_hand_takes_over_from_one_on_demand(queue, tmp_path):
    job = queue.shell(until(tmp_path, "a"))
    poll("the job", (tmp_path / "a.on").exists)
    on_demand = queue.runner_pid()
    by_hand = subprocess.Popen([str(queue.daemon)], env=queue.env, stderr=subprocess.DEVNULL)
    poll("the change", lambda: queue.runner_pid() == by_hand.pid)
    assert not is_alive(on_demand)
    (tmp_path / "a").touch()
    assert queue.wait(job)[0]["attempt"] == 1
    by_hand.terminate()
    assert by_hand.wait(timeout=60) == 0


def test_an_idle_runner_on_demand_leaves_and_uses_no_processor(queue):
    runner = subprocess.Popen([str(queue.daemon), "--on-demand", "--idle", "2s"], env=queue.env)
    poll("the runner", lambda: queue.runner_pid() == runner.pid)
    queue.wait(queue.shell("true"))

    def ticks():
        with open(f"/proc/{runner.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def switches():
        with open(f"/proc/{runner.pid}/status", encoding="ascii") as file:
            return [int(line.split()[1]) for line in file if line.startswith("voluntary")][0]

    # Until what the job's end brought with it has been dealt with.
    before = (ticks(), switches())
    while True:
        try:
            runner.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            now = (ticks(), switches())
            if now == before:
                break
            before = now
        else:
            raise AssertionError("it left before it was idle")
    assert runner.wait(timeout=60) == 0
    assert queue.runner_pid() is None


def test_a_runner_whose_head_waits_for_others_uses_no_processor_either(queue):
    with holder(queue, "20GiB") as held:
        job = queue.shell("true", "--memory", "24GiB")
        poll("its place in line", lambda: queue.files("ticket"))
        runner = queue.runner_pid()

        def switches():
            with open(f"/proc/{runner}/status", encoding="ascii") as file:
                return [int(line.split()[1]) for line in file if line.startswith("voluntary")][0]

        def is_still():
            """Not once in a time in which a look each second would be seen."""
            before = switches()
            time.sleep(1.5)
            return switches() == before

        poll("its peace", is_still)
        assert queue.state_of(job) == "pending"
        kill(held.pid)  # of which no file tells
        queue.wait(job)


def test_a_job_behind_the_head_hears_of_the_end_of_somebodys_process(queue_box):
    queue = queue_box(2)
    with holder(queue, "20GiB") as first, holder(queue, "20GiB", device=1) as second:
        head = queue.shell("true", "--memory", "24GiB", "--device", 0)
        behind = queue.shell("true", "--memory", "24GiB", "--device", 1, "--duration", "1m")
        poll("its place in line", lambda: queue.files("ticket"))
        kill(second.pid)  # of whose device the head wants nothing
        queue.wait(behind)
        assert queue.state_of(head) == "pending"
        kill(first.pid)
        queue.wait(head)


def test_the_unit_is_one_that_a_service_manager_takes(tmp_path):
    if not (BUILD / "CMakeCache.txt").exists():
        pytest.skip("the build has no CMakeCache.txt: it is an installed tree itself")
    subprocess.run(["cmake", "--install", BUILD, "--prefix", tmp_path], check=True,
                   stdout=subprocess.DEVNULL)
    unit = tmp_path / "share" / "systemd" / "user" / "chronosd.service"
    assert f"ExecStart={tmp_path}/bin/chronosd\n" in unit.read_text()
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed; the rest has been seen")
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    verified = subprocess.run(["systemd-analyze", "--user", "--man=no", "verify", unit], text=True,
                              env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
                              capture_output=True, timeout=60, check=False)
    assert "chronosd" not in verified.stdout + verified.stderr, verified.stderr


def test_a_service_manager_is_told(queue, tmp_path):
    import socket
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(60)
        runner = subprocess.Popen([str(queue.daemon)], stderr=subprocess.DEVNULL,
                                  env={**queue.env, "NOTIFY_SOCKET": str(path)})
        assert manager.recv(4096).startswith(b"READY=1")
        # Jobs are not the service: they must not speak in its name.
        job = queue.shell("echo ${NOTIFY_SOCKET:-none}")
        queue.wait(job)
        assert queue.log(job) == "none\n"
        runner.terminate()
        assert manager.recv(4096) == b"STOPPING=1"
        assert runner.wait(timeout=60) == 0


def test_every_job_ends_once_however_often_the_runner_is_killed(queue_box):
    """A short form of the acceptance; the whole is 500 jobs, 50 kills and 2 reboots."""
    jobs, kills, reboots = by_level((20, 2, 0), (40, 5, 1), (500, 50, 2))
    print(storm(queue_box(4), jobs=jobs, kills=kills, reboots=reboots))

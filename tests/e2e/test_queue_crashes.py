"""The queue under deaths: runners and supervisors that are killed, reboots, full databases."""

import signal
import sqlite3
import subprocess

from queue_storm import storm
from queueing import kill, poll, queue, queue_box  # noqa: F401
from running import is_alive
from support import by_level, built

pytestmark = built


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

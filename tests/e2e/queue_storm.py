"""Many jobs, a runner that is killed again and again, and reboots: every job ends exactly once, and
no device ever has more on it than it has. By hand: `python3 tests/e2e/queue_storm.py 500 50 2`.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from queueing import CLIENT, GIB, PATIENCE, QueueBox, gpus  # noqa: E402

# Says when it begins and when it has done its work; holds a lock of its own meanwhile, so that two
# of one job at once would be seen.
JOB = """
exec 9>>{marks}/{number}.lock; flock -n 9 || echo twice >> {marks}/{number}.twice
echo $CHRONOS_JOB_ATTEMPT >> {marks}/{number}.began
sleep {seconds} | {client} --size {size} --hold 60 9>&- || exit 1
echo $CHRONOS_JOB_ATTEMPT >> {marks}/{number}.ended
"""


def lines_of(path):
    try:
        return path.read_text().split()
    except FileNotFoundError:
        return []


def make_jobs(count, marks, seed):
    chance = random.Random(seed)
    jobs = []
    for number in range(count):
        gib = chance.choice([1, 2, 3, 4, 6, 8, 12, 16, 20, 24])
        command = JOB.format(marks=marks, number=number, client=CLIENT,
                             seconds=round(chance.uniform(0.05, 1.0), 2), size=gib * GIB)
        jobs.append({"command": command, "memory": f"{gib}GiB", "name": f"storm{number % 7}",
                     "duration": chance.choice(["2m", "5m", "10m"]), "retries": 20,
                     "priority": chance.choice([0, 0, 0, 1])})
    return jobs


def bound(runs, devices=4, total=24):
    """How long these (gib, seconds) take if each is put, longest times largest first, wherever it
    can begin first: an offline best fit that knows everything."""
    free_at = [[] for _ in range(devices)]  # (end, gib) of what is on each
    end = 0.0
    for gib, seconds in sorted(runs, key=lambda run: -run[0] * run[1]):
        best = None
        for device in range(devices):
            for begin in sorted({0.0, *(one[1] for one in free_at[device])}):
                points = {begin, *(one[0] for one in free_at[device]
                                   if begin < one[0] < begin + seconds)}
                if all(sum(one[2] for one in free_at[device] if one[0] <= at < one[1]) + gib
                       <= total for at in points):
                    if best is None or begin < best[0]:
                        best = (begin, device)
                    break
        begin, device = best
        free_at[device].append((begin, begin + seconds, gib))
        end = max(end, begin + seconds)
    return end


def storm(box, jobs, kills, reboots, seed=7):
    marks = box.folder / "marks"
    marks.mkdir()
    began = time.monotonic()
    specs = make_jobs(jobs, marks, seed)
    ids = box.add_lines(specs)
    chance = random.Random(seed + 1)
    # By what has been done, not by the clock: a slow machine is killed as often as a fast one.
    blows = sorted([(chance.uniform(0.02, 0.9), "kill") for _ in range(kills)]
                   + [((one + 1) / (reboots + 1), "reboot") for one in range(reboots)])
    killed = rebooted = 0
    give_up = time.monotonic() + max(PATIENCE, jobs)
    while blows:
        over = len(box.ask("list", "--state", "over")["jobs"])
        assert time.monotonic() < give_up, f"{over} of {jobs} are over"
        if over < blows[0][0] * jobs * 0.95:
            box.queue("wait", "--timeout", "0.02s", status=None)  # and so there is a runner
            continue
        if over == jobs:
            break  # a machine on which the jobs are quicker than our commands: fewer blows, then
        if blows[0][1] == "reboot":
            box.reboot()
            rebooted += 1
        elif box.kill_runner() is not None:
            killed += 1
        else:
            box.queue("resume")
            continue
        blows.pop(0)
        if over < jobs:
            box.queue("resume")  # the next runner
    while box.queue("wait", "--timeout", "30s", status=None).returncode != 0:
        left = box.ask("list", "--state", "open")["jobs"]
        assert left and time.monotonic() < give_up, left[:3]
    return judge(box, ids, specs, marks, killed, rebooted, time.monotonic() - began)


def judge(box, ids, specs, marks, killed, rebooted, seconds):
    attempts = []
    tries = lost = 0
    for number, job in enumerate(ids):
        shown = box.job(job)
        assert shown["state"] == "done", shown
        states = [one["state"] for one in shown["attempts"]]
        assert states.count("done") == 1 and states[-1] == "done", shown
        assert set(states) <= {"done", "lost", "failed"}, shown
        begun = [int(one) for one in lines_of(marks / f"{number}.began")]
        known = [one["attempt"] for one in shown["attempts"]]
        # Whatever was started is known, no attempt was started twice, and none beside another.
        assert len(set(begun)) == len(begun) and set(begun) <= set(known), (begun, shown)
        assert lines_of(marks / f"{number}.twice") == [], shown
        assert str(known[-1]) in lines_of(marks / f"{number}.ended")
        tries += len(states)
        lost += states.count("lost") + states.count("failed")
        if rebooted == 0:
            assert states == ["done"], shown
        last = shown["attempts"][-1]
        gib = int(specs[number]["memory"][:-3])
        attempts.append((gib, last["ended_at"] - last["started_at"], last["started_at"],
                         last["ended_at"]))
    with box.driver.witness() as witness:
        for device in range(4):
            assert witness.over_limit(device) == 0, f"device {device} was over"
            assert witness.held(device) == 0
    assert box.partitions() == {}
    took = max(one[3] for one in attempts) - min(one[2] for one in attempts)
    best = bound([one[:2] for one in attempts])
    return (f"{len(ids)} jobs, {tries} attempts ({lost} lost), {killed} runners killed, {rebooted} "
            f"reboots, {seconds:.0f} s; {took:.1f} s from the first start to the last end, the "
            f"offline best fit of the same jobs {best:.1f} s ({took / best:.2f})")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="chronos-storm-") as scratch:
        made = QueueBox(Path(scratch), devices=gpus(4))
        try:
            print(storm(made, *(int(word) for word in sys.argv[1:4])))
        finally:
            made.close()

"""`chronos create --wait`: in line for memory, first come first served, and out of it when killed."""

import json
import os
import random
import re
import signal
import subprocess
import time

import pytest

from people import lab, make_lab, needs_root, reachable_build, users  # noqa: F401
from support import MIB, PATIENCE, built, by_level, poll
from support import any_box, box, fake_box, pocl  # noqa: F401

pytestmark = built


class Waiter:
    """A `chronos create --wait` at work. `place` is its line on stderr, once it is in line."""

    def __init__(self, box, memory, *arguments, name, duration="1h", wait=("--wait",), **options):
        options.setdefault("env", box.env)
        self.box, self.name = box, name
        self.process = subprocess.Popen(
            [str(box.command), "create", "0", str(memory), duration, "--name", name, *wait,
             *map(str, arguments)], text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, **options)
        box.children.append(self.process)

    def in_line(self):
        line = self.process.stderr.readline()
        assert line.startswith("Waiting for "), line
        return line

    def result(self):
        out, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, errors

    def made(self):
        status, out, errors = self.result()
        assert status == 0, errors
        assert out.startswith(f"Created partition {self.name} ")

    @property
    def is_waiting(self):
        return self.process.poll() is None


def tickets(box):
    return box.files("ticket")


def test_with_room_it_does_not_wait(any_box):
    done = any_box.chronos("create", 0, 0.5, "1h", "--wait", "--name", "p1")
    assert done.stderr == ""
    assert done.stdout.startswith("Created partition p1 ")
    assert tickets(any_box) == []


@pytest.mark.parametrize("arguments", [
    ("--wait", "0", "0.5", "1h"),
    ("0", "--wait", "0.5", "1h"),
    ("0", "0.5", "--wait", "1h"),
    ("0", "0.5", "1h", "--wait"),
    ("0", "0.5", "1h", "--wait", "5s"),
    ("--wait", "5s", "0", "0.5", "1h"),
    ("0", "0.5", "1h", "--wait=5s"),
    ("--name", "p1", "--wait", "--user", "root", "0", "0.5", "1h"),
])
def test_where_the_option_may_stand(box, arguments):
    if "--user" in arguments and os.geteuid() != 0:
        pytest.skip("names root")
    box.chronos("create", *arguments)
    (entry,) = box.partitions().values()
    assert (entry["memory_fraction"], entry["duration_seconds"]) == (0.5, 3600)


@pytest.mark.parametrize("how", ["release", "expiry", "free", "exit", "kill"])
def test_it_gets_what_becomes_free(box, how):
    """A partition ends, its programs free what they hold, or die: whoever waits is served."""
    box.create("60%", "old", duration="2s" if how == "expiry" else "1h")
    holder = None
    if how in ("free", "exit", "kill"):
        holder = box.session(partition="old")
        assert holder(f"make({MIB})") == 0
    waiter = Waiter(box, "100%", name="new")
    line = waiter.in_line()
    assert re.fullmatch(r"Waiting for 24 GiB on device 0 \(9\.60 GiB available\); next, old of \S+ "
                        r"ends in .+\n", line), line
    assert len(tickets(box)) == 1
    if how != "expiry":
        assert waiter.is_waiting
        box.chronos("release", "old")
    if holder is not None:
        assert waiter.is_waiting  # what it holds still counts
        if how == "free":
            assert holder("drop()") == 0
        elif how == "exit":
            assert holder.end() == 0
        else:
            holder.kill()
    waiter.made()
    assert set(box.partitions()) == {"new"}
    assert tickets(box) == []


def test_what_an_expired_partition_holds_is_waited_for(box):
    box.create("60%", "old", duration="1s")
    holder = box.session(partition="old")
    assert holder(f"make({MIB})") == 0
    waiter = Waiter(box, "100%", name="new")
    waiter.in_line()
    poll("the end of the old", lambda: box.partitions()["old"]["state"] == "draining")
    assert waiter.is_waiting
    assert holder("drop()") == 0
    waiter.made()


def test_first_come_first_served(box):
    """The small one behind the large one waits, though there is room for it; so does a plain
    create, and another device is another line."""
    box.create("60%", "old")
    large = Waiter(box, "80%", name="large")
    large.in_line()
    small = Waiter(box, "10%", name="small")
    assert "behind 1 other in line" in small.in_line()
    refused = box.chronos("create", 0, "10%", "1h", "--name", "quick", status=3)
    assert refused.stderr.startswith("Not enough available memory on device 0 (asked 2.40 GiB, "
                                     "available 9.60 GiB, but ")
    assert "waits in line for 19.2 GiB; `chronos create --wait` joins the line" in refused.stderr
    assert box.chronos("available", 0).stdout == "40.00\n"
    assert large.is_waiting and small.is_waiting
    box.chronos("release", "old")
    large.made()
    small.made()
    assert set(box.partitions()) == {"large", "small"}
    box.create("10%", "quick")


def test_each_device_has_its_line(fake_box):
    box = fake_box(devices=[{"name": "one"}, {"name": "two"}])
    box.create("60%", "old")
    waiter = Waiter(box, "80%", name="new")
    waiter.in_line()
    box.create("90%", "other", device=1)
    assert waiter.is_waiting
    box.chronos("release", "old")
    waiter.made()


@pytest.mark.parametrize("number, status", [(signal.SIGINT, -signal.SIGINT),
                                            (signal.SIGTERM, -signal.SIGTERM),
                                            (signal.SIGKILL, -signal.SIGKILL)])
def test_who_leaves_makes_way(box, number, status):
    box.create("60%", "old")
    large = Waiter(box, "80%", name="large")
    large.in_line()
    small = Waiter(box, "10%", name="small")
    small.in_line()
    large.process.send_signal(number)
    assert large.process.wait(timeout=PATIENCE) == status
    small.made()
    box.create("1%", "tidy")  # and nothing is left
    assert tickets(box) == []
    assert set(box.partitions()) == {"old", "small", "tidy"}


def test_who_is_stopped_cannot_hold_up_the_line(box):
    box.create("60%", "old")
    first, second = Waiter(box, "80%", name="first"), None
    first.in_line()
    second = Waiter(box, "70%", name="second")
    second.in_line()
    first.process.send_signal(signal.SIGSTOP)
    box.chronos("release", "old")
    second.made()
    # Nor those who do not wait.
    box.chronos("release", "second")
    box.create("90%", "third")
    box.chronos("release", "third")
    first.process.send_signal(signal.SIGCONT)
    first.made()


def test_the_time_to_wait_is_bounded(box):
    box.create("60%", "old")
    refused = box.chronos("create", 0, "80%", "1h", "--wait", "1s", status=3)
    waiting, line = refused.stderr.splitlines()
    assert waiting.startswith("Waiting for ")
    assert line.startswith("Not enough available memory on device 0 (asked 19.2 GiB; waited 1s)")
    assert tickets(box) == []
    assert box.chronos("create", 0, "80%", "1h", "--wait", "0", status=3).stdout == ""


@pytest.mark.parametrize("arguments, status, line", [
    (("0", "0.5", "1h", "--wait", "soon"), 2, "soon"),
    (("0", "0.5", "1h", "--wait=-1"), 2, "-1"),
    (("0", "100GiB", "1h", "--wait"), 3, "nothing to wait for"),
    (("7", "0.5", "1h", "--wait"), 2, "7"),
    (("0", "0.5", "1h", "--wait", "--name", "old"), 1, "the name old is in use"),
])
def test_what_waiting_cannot_mend(box, arguments, status, line):
    box.create("60%", "old")
    refused = box.chronos("create", *arguments, status=status)
    assert len(refused.stderr.splitlines()) == 1
    assert line in refused.stderr
    assert tickets(box) == []


def test_json(box):
    box.create("60%", "old")
    waiter = Waiter(box, "80%", "--json", name="new")
    waiter.in_line()
    box.chronos("release", "old")
    status, out, _ = waiter.result()
    assert (status, json.loads(out)["partition_id"]) == (0, "new")


def test_many_in_line_are_served_in_order_and_none_is_lost(box):
    """A third of them are killed meanwhile. Each needs the whole device."""
    count, dice = by_level(12, 50, 200), random.Random(4)
    box.create("100%", "old")
    waiters = []
    for number in range(count):
        waiters.append(Waiter(box, "100%", name=f"w{number}"))
        waiters[-1].in_line()
    victims = set(dice.sample(range(count), count // 3))
    for number in victims:
        waiters[number].process.kill()
    box.chronos("release", "old")
    order = []
    for number, waiter in enumerate(waiters):
        if number not in victims:
            waiter.made()
            assert list(box.partitions()) == [f"w{number}"]
            order.append(number)
            box.chronos("release", f"w{number}")
    assert order == [number for number in range(count) if number not in victims]
    box.create("100%", "last")
    assert tickets(box) == []


# --- between users ------------------------------------------------------------------------------

@needs_root
def test_users_wait_in_one_line(lab):
    lab.alice("create", 0, "60%", "1h", "--name", "old")
    bob = Waiter(lab, "80%", name="bobs", env=lab.bob.env, **lab.bob.identity)
    bob.in_line()
    alice = Waiter(lab, "30%", name="alices", env=lab.alice.env, **lab.alice.identity)
    alice.in_line()
    lab.alice("release", "old")
    bob.made()
    assert lab.partitions()["bobs"]["owner"] == lab.bob.name
    assert alice.is_waiting
    lab.bob("release", "bobs")
    alice.made()


@needs_root
def test_a_forged_ticket_moves_nobody_forward(lab):
    """Bob writes a ticket that says it was the first, or that asks for more than there is."""
    lab.alice("create", 0, "60%", "1h", "--name", "old")
    alice = Waiter(lab, "80%", name="alices", env=lab.alice.env, **lab.alice.identity)
    alice.in_line()
    bob = Waiter(lab, "90%", name="bobs", env=lab.bob.env, **lab.bob.identity)
    bob.in_line()
    mine, = [path for path in tickets(lab) if path.name.split(".")[1] == str(lab.bob.uid)]
    patch = lab.bob.python(
        "import sys\n"
        "with open(sys.argv[1], 'r+b') as file:\n"
        "    file.seek(48); file.write((0).to_bytes(8, 'little'))\n"  # its number
        , mine)
    assert patch.returncode == 0, patch.stderr
    lab.alice("release", "old")
    alice.made()
    assert bob.is_waiting
    lab.alice("release", "alices")
    bob.made()


@needs_root
@pytest.mark.parametrize("lie", ["more than there is", "garbage", "truncated", "nobody", "folder"])
def test_a_ticket_that_is_none_holds_nobody_up(lab, lie):
    lab.chronos("create", 0, "60%", "1h", "--name", "old")
    bob = Waiter(lab, "90%", name="bobs", env=lab.bob.env, **lab.bob.identity)
    bob.in_line()
    ticket, = tickets(lab)
    code = {
        "more than there is": "f = open(p, 'r+b'); f.seek(88); f.write((1 << 45).to_bytes(8, 'little'))",
        "garbage": "f = open(p, 'r+b'); f.write(os.urandom(64))",
        "truncated": "os.truncate(p, 3)",
        "nobody": "os.chmod(p, 0)",
        "folder": "os.unlink(p); os.mkdir(p)",
    }[lie]
    done = lab.bob.python(f"import os, sys; p = sys.argv[1]; {code}", ticket)
    assert done.returncode == 0, done.stderr
    lab.alice("create", 0, "30%", "1h", "--name", "alices")
    assert bob.is_waiting


@needs_root
def test_a_ticket_in_anothers_name_counts_for_nothing(lab):
    lab.chronos("create", 0, "60%", "1h", "--name", "old")
    bob = Waiter(lab, "90%", name="bobs", env=lab.bob.env, **lab.bob.identity)
    bob.in_line()
    ticket, = tickets(lab)
    fake = ticket.with_name(ticket.name.replace(str(lab.bob.uid), str(lab.alice.uid)))
    done = lab.bob.python("import os, sys; os.rename(sys.argv[1], sys.argv[2])", ticket, fake)
    assert done.returncode == 0, done.stderr
    lab.alice("create", 0, "30%", "1h", "--name", "alices")


def test_a_waiter_does_not_poll(box):
    """First in line with nothing to come, it sleeps: its counts of context switches stand still."""
    box.create("60%", "old")
    waiter = Waiter(box, "80%", name="new")
    waiter.in_line()

    def switches():
        with open(f"/proc/{waiter.process.pid}/status", encoding="ascii") as file:
            return re.findall(r"ctxt_switches:\s+(\d+)", file.read())

    def settled():
        before = switches()
        time.sleep(1.5)
        return switches() == before

    poll("the waiter to sleep", settled)
    waiter.process.kill()




def test_growth_does_not_overtake_those_in_line(box):
    box.create("60%", "old")
    box.create("10%", "mine")
    waiter = Waiter(box, "50%", name="new")
    waiter.in_line()
    refused = box.chronos("resize", "mine", "20%", status=3)
    assert "waits in line for 12 GiB" in refused.stderr
    box.chronos("resize", "mine", "5%")
    waiter.process.kill()
    waiter.process.wait()
    box.chronos("resize", "mine", "20%")


# --- chronos run --wait ------------------------------------------------------------------------

def run_in_line(box, *arguments, memory="50%", **options):
    command = [str(box.command), "run", "--device", "0", "--memory", memory, "--duration", "1h",
               *arguments]
    process = subprocess.Popen(command, text=True, env=box.env, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    box.children.append(process)
    return process


def test_run_waits_in_line(box):
    box.create("100%", "all")
    waiters = [run_in_line(box, "--name", "r", "--wait", "--", "printenv", "CHRONOS_PARTITION"),
               run_in_line(box, "--wait", "1h", "echo", "there")]
    for waiter in waiters:
        assert waiter.stderr.readline().startswith("Waiting for 12 GiB on device 0 (0 B available)")
    assert len(tickets(box)) == 2
    box.chronos("release", "all")
    out, errors = waiters[0].communicate(timeout=PATIENCE)
    assert waiters[0].returncode == 0 and out.startswith("r@"), errors
    assert waiters[1].communicate(timeout=PATIENCE)[0] == "there\n"
    assert box.partitions() == {} and tickets(box) == []


def test_run_gives_up(box):
    box.create("100%", "all")
    refused = run_in_line(box, "--wait", "100ms", "--", "true")
    _, errors = refused.communicate(timeout=PATIENCE)
    assert refused.returncode == 125
    assert "Not enough available memory on device 0 (asked 12 GiB; waited 100ms" in errors
    waiter = run_in_line(box, "--wait", "--", "true")
    waiter.stderr.readline()
    waiter.send_signal(signal.SIGTERM)
    assert waiter.wait(timeout=PATIENCE) == -signal.SIGTERM
    assert tickets(box) == [] and list(box.partitions()) == ["all"]
    for arguments, words in (((*"--wait soon -- true".split(),), "soon"),
                             (("--wait=", "--", "true"), "--wait")):
        process = run_in_line(box, *arguments)
        assert words in process.communicate(timeout=PATIENCE)[1]
        assert process.returncode == 125
    alone = box.chronos("run", "--partition", "all", "--wait", "--", "true", status=125)
    assert "--wait" in alone.stderr

"""Two users of one machine, each with a queue and a runner, on devices that they share."""

import json
import os
import shutil

import pytest
from people import lab, make_lab, needs_root, reachable_build, users  # noqa: F401
from queueing import CLIENT, GIB, PATIENCE, kill, poll
from running import is_alive
from support import built

pytestmark = [built, needs_root]


class Queue:
    """Somebody's queue in a folder of theirs."""

    def __init__(self, lab, name):
        self.person = lab.people[name]
        self.home = lab.folder / f"home-{name}"
        self.home.mkdir(mode=0o700)
        os.chown(self.home, self.person.uid, self.person.gid)
        self.person.env["XDG_STATE_HOME"] = str(self.home)
        self.person.env.pop("XDG_RUNTIME_DIR", None)

    def __call__(self, *arguments, **options):
        return self.person("queue", *arguments, cwd=self.home, **options)

    def ask(self, verb, *arguments, status=0, **options):
        return json.loads(self(verb, "--json", *arguments, status=status, **options).stdout)

    def shell(self, line, *options):
        return self.ask("add", *options, "--shell", "--", line)["jobs"][0]

    def wait(self, *jobs, status=0):
        return self.ask("wait", *jobs, "--timeout", f"{PATIENCE - 5}s", status=status)["jobs"]

    def close(self):
        self("cancel", "--all", status=None)
        self("wait", "--timeout", "30s", status=None)
        runner = self.ask("list")["runner_pid"]
        if runner is not None:
            kill(runner)


@pytest.fixture
def two(lab):
    """(the machine, alice's queue, bob's)"""
    alice, bob = Queue(lab, "alice"), Queue(lab, "bob")
    yield lab, alice, bob
    alice.close()
    bob.close()


# Opens what it is told to, and says "leave" to a socket, as a runner that takes over would.
INTRUDER = """
import os, socket, sys
for path in sys.argv[2:]:
    try:
        os.listdir(path) if os.path.isdir(path) else open(path, "rb").close()
        print("opened", path)
    except OSError:
        pass
with socket.socket(socket.AF_UNIX) as end:
    try:
        end.connect(sys.argv[1])
        end.send(b"leave\\n")
        print("answer", end.recv(100))
    except OSError as error:
        print("refused", error.errno)
"""


def test_nobody_sees_or_ends_the_jobs_of_somebody_else(two):
    lab, alice, bob = two
    gate = alice.home / "gate"
    job = alice.shell(f"touch {gate}.on; until [ -e {gate} ]; do sleep 0.05; done",
                      "--memory", "1GiB", "--env", "SECRET=tell nobody")
    poll("her job", (alice.home / "gate.on").exists)
    runner = alice.ask("list")["runner_pid"]
    assert bob("list").stdout == "No jobs\n"
    for verb in ("show", "logs", "cancel", "retry", "pause"):
        assert f"no job {job} in the queue" in bob(verb, job, status=1).stderr
    # Her folder, by its name.
    elsewhere = {**bob.person.env, "XDG_STATE_HOME": str(alice.home)}
    for arguments in (["list"], ["cancel", job], ["cancel", "--all"], ["add", "--", "true"]):
        refused = bob(*arguments, env=elsewhere, status=1)
        assert refused.stderr.count("\n") == 1 and refused.stdout == "", refused
    folder = alice.home / "chronos"
    paths = [folder, *folder.rglob("*")]
    socket = json.loads((folder / "runner").read_text())["socket"]
    intruded = bob.person.python(INTRUDER, socket, *paths)
    assert intruded.stdout == "refused 13\n", intruded
    # And if she has left all doors open, her runner still looks who comes.
    for path in (alice.home, folder):
        path.chmod(0o755)
    os.chmod(socket, 0o666)
    # It hangs up: before or after he has said something (EPIPE, ECONNRESET).
    assert bob.person.python(INTRUDER, socket).stdout in ("answer b''\n", "refused 32\n",
                                                          "refused 104\n")
    assert alice.ask("list")["runner_pid"] == runner and is_alive(runner)
    held = next(iter(lab.partitions()))
    assert bob.person("release", held, status=1).stderr.startswith(
        f"Permission denied: partition owned by {alice.person.name}")
    gate.touch()
    assert alice.wait(job)[0]["state"] == "done"


def test_two_queues_share_a_device_and_take_turns(two):
    lab, alice, bob = two
    client = lab.folder / "client"
    shutil.copy(CLIENT, client)
    client.chmod(0o755)
    def work(seconds):
        return f"sleep {seconds} | {client} --size {24 * GIB} --hold 60"
    many = [alice.shell(work(0.1), "--memory", "24GiB", "--duration", "1m") for _ in range(25)]
    one = bob.shell(work(0.1), "--memory", "24GiB", "--duration", "1m")
    small = bob.shell(work(0.1).replace(str(24 * GIB), str(GIB)), "--memory", "1GiB",
                      "--duration", "1m")
    assert [job["state"] for job in bob.wait(one, small)] == ["done", "done"]
    # Hers were all before his, and yet his did not wait for all of them.
    states = [job["state"] for job in alice.ask("list")["jobs"]]
    assert states.count("done") > 0 and states.count("pending") > 0, states
    alice("cancel", *many[5:], status=None)
    ended = {job["state"] for job in alice.wait(*many, status=None)}
    assert ended <= {"done", "cancelled"}
    with lab.driver.witness() as witness:
        assert witness.over_limit(0) == 0
        assert witness.high_water(0) == 24 * GIB

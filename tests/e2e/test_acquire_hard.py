"""`chronos acquire` where it is hard: kills, storms, what can never be, what others do meanwhile."""

import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest

from acquiring import FOUR, Lot, hold, nvml_gpu
from people import lab, make_lab, needs_root, reachable_build, users  # noqa: F401
from support import FULL, GIB, PATIENCE, PYTHON, ROOT, built, by_level, poll
from support import box, fake_box, pocl  # noqa: F401

pytestmark = built


@pytest.fixture
def lot(fake_box, tmp_path):
    return Lot(fake_box(devices=FOUR), tmp_path)


# --- what can never be --------------------------------------------------------------------------

@pytest.mark.parametrize("option", ["--gpus", "--only", "--ban", "--min-free", "--max-power",
                                    "--max-utilization", "--duration", "--look-every", "--name"])
def test_an_empty_value_is_not_the_same_as_none(lot, option):
    """As where a script's variable is not set."""
    refused = lot.acquire(option, "", "--", "true", status=2)
    line, = refused.stderr.splitlines()
    assert option in line
    assert lot.held() == []


def test_what_can_never_be_free_is_not_waited_for(lot):
    lot.say(*(nvml_gpu(index, free=24 * GIB) for index in range(4)))
    refused = lot.acquire("--gpus", 2, "--min-free", "25GiB", "--wait", "--", "true", status=3)
    line, = refused.stderr.splitlines()
    assert line.startswith("Not enough devices with 25 GiB: 2 asked for, of 4 (device 0: has 24 GiB")
    assert lot.acquire("--gpus", 2, "--min-free", "24GiB", "--wait", "--", "true").stderr == ""
    refused = lot.acquire("--gpus", 5, "--wait", "--", "true", status=3)
    assert "5 asked for, of 4" in refused.stderr


def test_a_machine_without_gpus(pocl):
    refused = pocl.chronos("acquire", "--wait", "--", "true", status=3)
    assert refused.stderr.startswith("there is no GPU here (`chronos stats` lists")
    assert pocl.chronos("acquire", "--only", 0, "--", "true").stderr == ""
    refused = pocl.chronos("acquire", "--only", 0, "--max-power", "9kW", "--", "true", status=2)
    assert "9kW" in refused.stderr


@pytest.mark.skipif(not FULL, reason="a source that hangs costs its ten seconds")
def test_a_library_that_hangs_is_asked_once(lot):
    lot.say("hang nvmlDeviceGetMemoryInfo", *(nvml_gpu(index) for index in range(4)))
    start = time.monotonic()
    refused = lot.acquire("--min-free", "1GiB", "--wait", "--", "true", status=3).stderr
    assert time.monotonic() - start < 19
    assert refused.count("nobody says how much of its memory is free") == 4


# --- waiting -----------------------------------------------------------------------------------

def test_wait_without_a_time(lot):
    process = hold(lot, "--gpus", 4)
    waiters = [lot.start("--wait", "--", "echo", "mine"), lot.start("--wait", "echo", "mine"),
               lot.start("--wait", "1h", "echo", "mine")]
    for waiter in waiters:
        assert waiter.stderr.readline().startswith("Waiting for 1 of 4 devices")
    process.communicate("\n", timeout=PATIENCE)
    for waiter in waiters:
        out, errors = waiter.communicate(timeout=PATIENCE)
        assert (waiter.returncode, out) == (0, "mine\n"), errors


def test_what_the_policy_forbids_does_not_end_the_wait_for_the_rest(lot, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text("[devices.0]\nclosed = true\n", encoding="utf-8")
    env = {**lot.box.env, "CHRONOS_CONFIG": str(config)}
    lot.say(*(nvml_gpu(index, power=120000) for index in range(4)))
    refused = lot.acquire("--max-power", "80W", "--", "true", status=3, env=env).stderr
    assert refused.count("draws 120 W, more than 80 W") == 3
    assert "policy: device 0 is closed" in refused
    waiter = lot.start("--max-power", "80W", "--wait", "--look-every", "100ms", "--json", "--",
                       "true", env=env)
    line = waiter.stderr.readline()
    assert line.startswith("Waiting until devices are fit: device 1 draws 120 W")
    # Told once, whatever the numbers are meanwhile.
    lot.say(*(nvml_gpu(index, power=130000) for index in range(4)))
    lot.say(*(nvml_gpu(index, power=0 if index == 2 else 140000) for index in range(4)))
    out, errors = waiter.communicate(timeout=PATIENCE)
    assert json.loads(out)["partitions"][0]["device"] == 2
    assert errors == ""
    # What forbids all of them is said at once, and also if it comes later.
    config.write_text('[limits]\nmemory = "50%"\n', encoding="utf-8")
    refused = lot.acquire("--max-power", "80W", "--wait", "--", "true", status=1, env=env)
    assert "policy:" in refused.stderr
    config.write_text("[devices.0]\nclosed = true\n", encoding="utf-8")
    lot.say(*(nvml_gpu(index, power=120000) for index in range(4)))
    waiter = lot.start("--max-power", "80W", "--wait", "--look-every", "100ms", "--", "true", env=env)
    waiter.stderr.readline()
    config.write_text('[limits]\nmemory = "50%"\n', encoding="utf-8")
    _, errors = waiter.communicate(timeout=PATIENCE)
    assert waiter.returncode == 1 and "policy:" in errors


def test_a_value_that_nobody_knows_is_not_waited_for(lot):
    lot.say("fail nvmlDeviceGetPowerUsage 3", *(nvml_gpu(index) for index in range(4)))
    refused = lot.acquire("--max-power", "80W", "--wait", "--", "true", status=3)
    line, = refused.stderr.splitlines()
    assert line.count("nobody says what power it draws") == 4 and "waiting would not help" in line
    # Of enough devices it is known; and what was known once may be again.
    lot.say(*(nvml_gpu(index, power=120000) for index in range(4)))
    waiter = lot.start("--max-power", "80W", "--wait", "--look-every", "50ms", "--", "true")
    assert "draws 120 W" in waiter.stderr.readline()
    lot.say("fail nvmlInit_v2 9")
    assert "nobody says what power it draws" in waiter.stderr.readline()
    waiter.send_signal(signal.SIGTERM)
    _, errors = waiter.communicate(timeout=PATIENCE)
    assert (waiter.returncode, errors) == (-signal.SIGTERM, "")
    assert lot.held() == []


# --- ends --------------------------------------------------------------------------------------

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_reach_the_program(lot, number):
    process = lot.start("--gpus", 2, "--", "sh", "-c", "echo $$; exec sleep 600",
                        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))  # under nohup, too
    child = int(process.stdout.readline())
    process.send_signal(number)
    assert process.wait(timeout=PATIENCE) == 128 + number
    assert not os.path.exists(f"/proc/{child}")
    assert lot.held() == []


@pytest.mark.parametrize("command, status", [
    (("sh", "-c", "exit 7"), 7), (("sh", "-c", "kill -9 $$"), 137), (("/",), 126),
    (("/no/such/program",), 127)])
def test_the_status(lot, command, status):
    lot.acquire("--gpus", 2, "--", *command, status=status)
    assert lot.box.files("grant") == [] == lot.box.files("ledger")


def test_its_program_does_not_outlive_it(lot):
    """Nothing refuses a program of CUDA the device that somebody else has by then."""
    process = lot.start("--gpus", 4, "--", "sh", "-c", "echo $$; exec sleep 600")
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    poll("the end of the program", lambda: not os.path.exists(f"/proc/{child}"))
    assert lot.acquire("--gpus", 4, "--wait", "1m", "--", "true").returncode == 0


def test_the_end_of_its_time(lot):
    ended = lot.acquire("--duration", "300ms", "--on-expiry", "kill", "--", "sleep", "600", status=124)
    assert "has ended; the program is killed" in ended.stderr
    assert lot.held() == []


def test_a_stopped_holder_holds(lot):
    process = hold(lot, "--gpus", 4)
    process.send_signal(signal.SIGSTOP)
    try:
        refused = lot.acquire("--wait", "100ms", "--", "true", status=3)
        assert refused.stderr.count("held by") == 4
    finally:
        process.send_signal(signal.SIGCONT)
    process.communicate("\n", timeout=PATIENCE)


# --- one inside another ------------------------------------------------------------------------

def test_one_inside_another(lot):
    inner = (f"{lot.box.command} acquire --gpus 3 -- env | grep VISIBLE; "
             f"{lot.box.command} acquire --gpus 4 -- true")
    done = lot.acquire("--only", "2", "--", "sh", "-c", inner, status=3)
    assert done.stdout.count("GPU-0000000") == 3 and "GPU-00000002" not in done.stdout
    assert "device 2: held by" in done.stderr
    done = lot.box.chronos("run", "--device", 1, "--memory", "1GiB", "--duration", "1h", "--", "sh", "-c",
                           f"{lot.box.command} acquire --gpus 3 --json -- true")
    assert [one["device"] for one in json.loads(done.stdout)["partitions"]] == [0, 2, 3]


def test_the_callers_own_variables_are_replaced(lot):
    """What a caller has set counts otherwise, or names what is somebody else's."""
    env = {**lot.box.env, "CUDA_VISIBLE_DEVICES": "3", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"}
    out = lot.acquire("--only", "1", "--", "env", env=env).stdout.splitlines()
    assert [line for line in out if line.startswith("CUDA_") and "DEVICE" in line] == [
        "CUDA_DEVICE_ORDER=PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES=GPU-00000001-d72c-4106-c12f-20bd9faed9f6"]


# --- many at once ------------------------------------------------------------------------------

# Says so if somebody else is on one of its devices. Whoever was killed may be about to go.
HOLDER = """
import fcntl, os, sys, time
folder, gpus, number, seconds = sys.argv[1:]
locks = []
for uuid in os.environ["CUDA_VISIBLE_DEVICES"].split(","):
    lock = open(os.path.join(folder, uuid), "a+")
    other = ""
    while not other:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            lock.seek(0)
            other = lock.read()
    if other:
        if not os.path.exists(os.path.join(folder, "doomed." + other)):
            open(os.path.join(folder, "TWICE"), "a").write(f"{number} and {other} on {uuid}; ")
        fcntl.flock(lock, fcntl.LOCK_EX)
    lock.truncate(0)
    lock.write(number)
    lock.flush()
    locks.append(lock)
assert len(locks) == int(gpus)
open(os.path.join(folder, "begun." + number), "w").close()
time.sleep(float(seconds))
"""


def test_a_storm(lot, tmp_path):
    """Never two on one device, no deadlock, and nobody starves, though some are killed."""
    luck = random.Random(7)
    folder = tmp_path / "storm"
    folder.mkdir()
    script = folder / "holder.py"
    script.write_text(HOLDER, encoding="utf-8")
    started = {}
    for number in range(by_level(12, 18, 90)):
        gpus = luck.choice([1, 1, 2, 3])
        started[number] = lot.start("--gpus", gpus, "--wait", "5m", "--duration", "10m", "--", PYTHON,
                                    "-S", script, folder, gpus, number, luck.uniform(0, 0.1),
                                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL)
    doomed = set(luck.sample(sorted(started), len(started) // 3))
    for number in doomed:
        time.sleep(luck.uniform(0, 0.05))
        (folder / f"doomed.{number}").touch()
        started[number].kill()
    for number, process in started.items():
        status = process.wait(timeout=5 * PATIENCE)
        assert status == 0 or number in doomed, (number, status)
        assert (folder / f"begun.{number}").exists() or number in doomed
    assert not (folder / "TWICE").exists(), (folder / "TWICE").read_text(encoding="utf-8")
    poll("that all is given back", lambda: lot.held() == [])
    assert lot.box.files("ticket") == [] or lot.acquire("--gpus", 4, "--", "true").returncode == 0


@needs_root
def test_two_users_at_once(make_lab):
    """Of all who want the same two, one at a time has both."""
    lab = make_lab(devices=FOUR)
    turns = lab.folder / "turns"
    turns.mkdir()
    turns.chmod(0o777)
    alone = f"mkdir {turns}/taken && sleep 0.02 && echo $0 && rmdir {turns}/taken"
    waiting = []
    for number in range(10):
        person = lab.alice if number % 2 else lab.bob
        command = [str(lab.command), "acquire", "--gpus", "2", "--only", "0,1", "--wait", "5m", "--",
                   "sh", "-c", alone, person.name]
        waiting.append((person, subprocess.Popen(command, text=True, env=person.env,
                                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                                 stderr=subprocess.DEVNULL, **person.identity)))
        lab.children.append(waiting[-1][1])
    for person, process in waiting:
        out, _ = process.communicate(timeout=5 * PATIENCE)
        assert (process.returncode, out) == (0, f"{person.name}\n")


# --- two users in Python -----------------------------------------------------------------------

HOLD = """
import chronos, sys
with chronos.acquire(2, only=[0, 1]) as gpus:
    print(list(gpus), flush=True)
    sys.stdin.readline()
"""
WAIT = """
import chronos, datetime, pickle
try:
    chronos.acquire(2, only=[0, 1], wait=0.2)
except chronos.NotEnoughMemory as error:
    error = pickle.loads(pickle.dumps(error))
    print([(one.device, one.partition.owner) for one in error.obstacles])
    left = [one.partition.expires_at - datetime.datetime.now(datetime.timezone.utc)
            for one in error.obstacles]
    print([datetime.timedelta(hours=23) < one < datetime.timedelta(days=1) for one in left])
    print(error)
print("waiting", flush=True)
with chronos.acquire(2, only=[0, 1], wait="5m") as gpus:
    print(list(gpus), {one.owner for one in chronos.Partitioner().list()})
"""


@needs_root
def test_two_users_in_python(make_lab):
    lab = make_lab(devices=FOUR)
    package = lab.folder / "python"
    shutil.copytree(ROOT / "python" / "chronos", package / "chronos",
                    ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["chmod", "-R", "a+rX", str(package)], check=True)
    library = lab.command.parent.parent / "lib" / "libchronos.so"

    def start(person, code):
        env = {**person.env, "PYTHONPATH": str(package), "CHRONOS_LIBRARY": str(library)}
        process = subprocess.Popen([PYTHON, "-c", code], text=True, env=env, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, **person.identity)
        lab.children.append(process)
        return process

    alice = start(lab.alice, HOLD)
    assert alice.stdout.readline() == "[0, 1]\n", alice.stderr.read()
    bob = start(lab.bob, WAIT)
    name = lab.alice.name
    assert bob.stdout.readline() == f"[(0, '{name}'), (1, '{name}')]\n", bob.stderr.read()
    assert bob.stdout.readline() == "[True, True]\n"
    line = bob.stdout.readline()
    assert line.count(f"held by {name} until 20") == 2
    assert bob.stdout.readline() == "waiting\n"
    poll("bob's place in line", lambda: lab.files("ticket"))
    alice.communicate("\n", timeout=PATIENCE)
    out, errors = bob.communicate(timeout=PATIENCE)
    assert out == f"[0, 1] {{'{lab.bob.name}'}}\n", errors

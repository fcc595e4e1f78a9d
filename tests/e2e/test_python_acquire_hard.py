"""The Python package: whole devices where it is hard: PyTorch in trouble, forks, a full machine."""

import subprocess

import pytest

from gpu_trees import GPUS, UUIDS, Trees
from inside import inside, variables
from people import needs_root
from support import ROOT, built
from support import fake_box  # noqa: F401

pytestmark = built
STANDIN = ROOT / "tests" / "e2e" / "standin" / "gpus"


@pytest.fixture
def four(fake_box, tmp_path):
    box = fake_box(devices=GPUS)
    box.trees = Trees(tmp_path)
    box.env.update(box.trees.variables)
    return box


def test_pytorchs_device_in_trouble_and_in_nested_blocks(four):
    """After a failed kernel every call of CUDA fails: what is held goes back all the same."""
    path = variables(four)["PYTHONPATH"]
    lines, errors = inside(four, """
import torch, warnings
now = torch.cuda.current_device
with chronos.acquire(only=[2]):
    with chronos.acquire(only=[1]):
        print(now(), end=" ")
        try:
            with chronos.acquire(only=[3]):
                print(now(), end=" ")
                raise KeyError
        except KeyError:
            print(now(), end=" ")
    print(now(), end=" ")
print(now(), machine.list())
working = torch.cuda.set_device
def broken(number):
    raise RuntimeError("CUDA error: device-side assert triggered")
try:
    torch.cuda.set_device = broken
    with chronos.acquire(only=[1]):
        pass
except RuntimeError as error:
    print(error, machine.list(), os.environ.get("CHRONOS_PARTITION"))
for strict in (False, True):
    torch.cuda.set_device = working
    try:
        with warnings.catch_warnings():
            if strict:
                warnings.simplefilter("error")
            with chronos.acquire(only=[1]):
                torch.cuda.set_device = broken
    except chronos.ChronosWarning as error:
        print("raised", end=" ")
    print(machine.list(), os.environ.get("CHRONOS_PARTITION"))
""", PYTHONPATH=f"{path}:{STANDIN}", TEST_TORCH_UUIDS=",".join(reversed(UUIDS)))
    assert lines == ["2 0 2 1 0 []", "CUDA error: device-side assert triggered [] None", "[] None",
                     "raised [] None"]
    assert errors.count("PyTorch's current device could not be set back to 0: CUDA error") == 1


def test_no_condition_is_lost_for_being_large(four):
    lines, _ = inside(four, """
for arguments in (dict(min_free=2**70), dict(min_free=2**46 - 1, wait=True), dict(max_power=1e30)):
    try:
        with chronos.acquire(**arguments) as gpus:
            print(list(gpus))
    except (chronos.NotEnoughMemory, chronos.InvalidRequest) as error:
        print(type(error).__name__, getattr(error, "obstacles", [])[:1])
""")
    assert lines[0].startswith("InvalidRequest") or "NotEnoughMemory" in lines[0]
    assert lines[1].startswith("NotEnoughMemory (Obstacle(device=0, reason='has 24 GiB in all'")
    assert lines[2] == "[0]"


def test_a_refusal_in_a_forked_child_while_a_thread_is_in_the_c_librarys_clock(four):
    """It tells until when; of the time zones' lock the child has a copy that nobody will ever open."""
    lines, _ = inside(four, """
import ctypes, signal, threading
localtime = ctypes.CDLL(None).localtime_r
stop = threading.Event()
def ask():
    when, told = ctypes.c_long(1), ctypes.create_string_buffer(64)
    while not stop.is_set():
        localtime(ctypes.byref(when), told)
threads = [threading.Thread(target=ask) for _ in range(3)]
for thread in threads: thread.start()
statuses = set()
with chronos.acquire(4):
    for _ in range(30):
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            try:
                chronos.acquire(4)
            except chronos.NotEnoughMemory as error:
                os._exit(0 if len(error.obstacles) == 4 else 1)
            os._exit(2)
        statuses.add(os.waitpid(child, 0)[1])
        if statuses != {0}:
            break
stop.set()
for thread in threads: thread.join()
print(statuses)
""")
    assert lines == ["{0}"]


@needs_root
def test_what_there_is_no_room_to_write_down_is_not_made_by_halves(four):
    """The state directory is full after the first of two."""
    four.state.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=1777", "tmpfs", four.state],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
    try:
        lines, _ = inside(four, """
state = os.environ["CHRONOS_STATE_DIR"]
with chronos.acquire():
    pass  # leaves what is written down once
room = os.statvfs(state)
with open(os.path.join(state, "ballast"), "wb") as file:
    os.posix_fallocate(file.fileno(), 0, (room.f_bavail - 9) * room.f_frsize)  # one takes six pages
with chronos.acquire(1) as gpus:
    print(list(gpus))
try:
    chronos.acquire(2)
except chronos.NoRoom:
    print([one for one in machine.list()])
    print([name for name in os.listdir(state) if name.endswith(("grant", "ledger"))])
""")
    finally:
        subprocess.run(["umount", four.state], check=True)
    assert lines == ["[0]", "[]", "[]"]

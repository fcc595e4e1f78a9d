"""The Python package: whole devices that are held by this process, all or none."""

import pytest

from gpu_trees import GPUS, UUIDS, Trees
from inside import inside, variables
from support import GIB, REFUSED, ROOT, built
from support import fake_box  # noqa: F401

pytestmark = built
STANDIN = ROOT / "tests" / "e2e" / "standin" / "gpus"


@pytest.fixture
def four(fake_box, tmp_path):
    box = fake_box(devices=GPUS)
    box.trees = Trees(tmp_path)
    box.env.update(box.trees.variables)
    return box


def test_devices_are_held_and_given_back(four):
    lines, _ = inside(four, """
with chronos.acquire(2, name="train") as gpus:
    print(list(gpus), len(gpus), gpus[0], gpus[-1], gpus[:1], 1 in gpus, gpus)
    print([(p.partition_id, p.device, p.memory_fraction, p.state) for p in machine.list()])
    print([p.partition_id for p in gpus.partitions], machine.get_available(gpus[0]))
print(machine.list())
held = chronos.acquire(only=[3])
print(list(held), len(machine.list()), os.environ.get("CHRONOS_PARTITION"))
held.release()
held.release()
print(machine.list())
""")
    assert lines == ["[0, 1] 2 0 1 [0] True <Acquisition of 0, 1>",
                     "[('train.0', 0, 1.0, 'active'), ('train.1', 1, 1.0, 'active')]",
                     "['train.0', 'train.1'] 0.0", "[]", "[3] 1 None", "[]"]


def test_all_or_none_and_exactly_one_holder(four):
    lines, _ = inside(four, """
with chronos.acquire(3) as gpus:
    for wanted in (2, 1):
        try:
            with chronos.acquire(wanted) as others:
                print(list(others), end=" ")
        except chronos.NotEnoughMemory as error:
            print("no", len(machine.list()), error.message, end="; ")
    print(len(machine.list()))
machine.create(2, "1MiB", 60)  # a partition is in the way, however small
print(list(chronos.acquire(3)))
""")
    assert lines == ["no 3 Not enough free devices: 2 asked for, of 4; [3] 3", "[0, 1, 3]"]


def test_inside_other_devices_are_refused(four):
    lines, _ = inside(four, """
contexts = [cl.context(number) for number in range(4)]
def tried():
    return [make(1, context) for context in contexts]
with chronos.acquire(2, only=[2, 0, 1]) as gpus:
    print(list(gpus), tried(), make(24 << 10, contexts[gpus[0]]), make(9000, contexts[gpus[1]]))
    drop()
print(tried(), os.environ.get("CHRONOS_PARTITION"))
""")
    held = [int(number) for number in lines[0][1:lines[0].index("]")].split(",")]
    expected = [0 if number in held else REFUSED for number in range(4)]
    assert lines == [f"{held} {expected} {REFUSED} 0", "[0, 0, 0, 0] None"]


def test_a_holder_that_is_killed_gives_its_devices_back(four):
    lines, _ = inside(four, """
import multiprocessing, signal
def hold(begun):
    gpus = chronos.acquire(4)
    begun.set()
    signal.pause()
if __name__ == "__main__":
    begun = multiprocessing.Event()
    worker = multiprocessing.Process(target=hold, args=(begun,))
    worker.start()
    assert begun.wait(60)
    print(len(machine.list()))
    worker.kill()
    worker.join()
    print(list(chronos.acquire(4)))
""")
    assert lines == ["4", "[0, 1, 2, 3]"]


def test_who_waits_gets_them_when_they_are_free(four):
    lines, _ = inside(four, """
import threading
first = chronos.acquire(3)
got = []
thread = threading.Thread(target=lambda: got.append(chronos.acquire(2, wait="1m")))
thread.start()
while not [n for n in os.listdir(os.environ["CHRONOS_STATE_DIR"]) if n.endswith(".ticket")]:
    time.sleep(0.01)
print(got)
first.release()
thread.join()
print(len(got[0]), len(machine.list()))
for wait in (0, 0.05, "50ms"):
    try:
        chronos.acquire(3, wait=wait)
    except chronos.InvalidRequest:
        print("not a time", end=" ")
    except chronos.NotEnoughMemory as error:
        print("waited" in str(error), end=" ")
print(len(machine.list()))
""")
    assert lines[:2] == ["[]", "2 2"]
    assert lines[2].split()[:2] == ["True", "True"] and lines[2].endswith(" 2")


def test_a_forked_child_that_leaves_the_block_gives_nothing_back(four):
    lines, _ = inside(four, """
with chronos.acquire(2) as gpus:
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        print(len(machine.list()))
if child == 0:
    os._exit(0 if os.environ.get("CHRONOS_PARTITION") is None else 1)
print(machine.list())
""")
    assert lines == ["2", "[]"]


def test_an_error_in_the_block_gives_them_back(four):
    lines, _ = inside(four, """
try:
    with chronos.acquire(2):
        raise KeyError("mine")
except KeyError as error:
    print(error, machine.list())
""")
    assert lines == ["'mine' []"]


@pytest.mark.parametrize("arguments, error, words", [
    ("0", "InvalidRequest", "gpus"), ("-1", "InvalidRequest", "gpus"),
    ("10**30", "InvalidRequest", "gpus"), ("True", "TypeError", "gpus"),
    ("'2'", "TypeError", "gpus"), ("5", "NotEnoughMemory", "5 asked for, of 4"),
    ("only=[]", "InvalidRequest", "only"), ("only='0'", "TypeError", "only"),
    ("only=3", "TypeError", "only"), ("only=['0']", "TypeError", "device"),
    ("2, only=[0, 0]", "NotEnoughMemory", "2 asked for, of 1"), ("only=[9]", "NoDevice", "9"),
    ("only=[-1]", "InvalidRequest", "device"),
    ("min_free='much'", "InvalidRequest", "min_free"), ("min_free=0.5", "TypeError", "min_free"),
    ("min_free='50%'", "InvalidRequest", "min_free"), ("min_free=-1", "InvalidRequest", "min_free"),
    ("min_free=10**30", "InvalidRequest", "min_free"), ("min_free='5'", "InvalidRequest", "min_free"),
    ("max_power='80W'", "TypeError", "max_power"), ("max_power=-1", "InvalidRequest", "max_power"),
    ("max_power=float('nan')", "InvalidRequest", "max_power"),
    ("max_utilization=10**400", "InvalidRequest", "max_utilization"),
    ("max_utilization=True", "TypeError", "max_utilization"), ("debug=1", "TypeError", "debug"),
    ("look_every='soon'", "InvalidRequest", "look_every"),
    ("duration='soon'", "InvalidRequest", "duration"), ("duration=None", "TypeError", "duration"),
    ("wait='soon'", "InvalidRequest", "soon"), ("wait=[]", "TypeError", "wait"),
    ("name='a/b'", "InvalidRequest", "name"), ("name=1", "TypeError", "name"),
    ("only=range(70)", "NoDevice", "4"),
])
def test_bad_arguments(four, arguments, error, words):
    lines, _ = inside(four, f"""
try:
    chronos.acquire({arguments})
except Exception as error:
    print(type(error).__name__, str(error).replace("\\n", "|"), sep="|")
print(machine.list())
""")
    name, _, said = lines[0].partition("|")
    assert name == error and words in said and "|" not in said, lines
    assert lines[1] == "[]"


def test_devices_that_are_no_gpus_have_to_be_named(fake_box):
    box = fake_box(devices=[{"name": "A", "memory_bytes": GIB, "type": "cpu", "uuid": "a" * 32},
                            {"name": "B", "memory_bytes": GIB, "type": "gpu", "uuid": "b" * 32}])
    lines, _ = inside(box, """
(gpu,), (cpu,) = ([d.device for d in machine.stats() if d.type == kind] for kind in ("GPU", "CPU"))
print(list(chronos.acquire()) == [gpu], [g.device for g in chronos.gpus()] == [gpu],
      list(chronos.acquire(only=[cpu])) == [cpu])
""")
    assert lines == ["True True True"]


# ---- What GPUs say ------------------------------------------------------------------------------


def test_what_gpus_say(four):
    four.trees[1](free=5 * GIB, busy=97, watts=210.5)
    four.trees[2](free=None, watts=None)
    lines, _ = inside(four, """
for gpu in chronos.gpus():
    print(gpu.device, gpu.name, gpu.source, gpu.total_bytes, gpu.free_bytes, gpu.power_watts,
          gpu.power_limit_watts, gpu.utilization_percent, gpu.uuid == gpu.uuid.lower(), gpu.pci)
""")
    assert lines[1:3] == [f"1 Stand-in B amdgpu {24 * GIB} {5 * GIB} 210.5 250.0 97.0 True "
                          "0000:42:00.0",
                          f"2 Stand-in A amdgpu {24 * GIB} None None 250.0 0.0 True 0000:43:00.0"]
    assert len(lines) == 4


def test_only_devices_that_meet_the_conditions_are_held(four):
    four.trees[0](free=5 * GIB)
    four.trees[1](busy=97)
    four.trees[2](watts=210)
    lines, _ = inside(four, """
def taken(*arguments, **conditions):
    try:
        with chronos.acquire(*arguments, **conditions) as gpus:
            return list(gpus)
    except chronos.NotEnoughMemory as error:
        assert "of 4" in error.message, error
        return error.hint.count("device ")
print(taken(min_free="20GiB"), taken(3, min_free="20GiB"), taken(4, min_free="20GiB"))
print(taken(2, max_utilization=1), taken(3, max_power=80), taken(3, max_power=80.5, max_utilization=1))
print(taken(min_free="20 GiB", max_power=80, max_utilization=1), taken(min_free="23.5GiB"))
print(taken(4, min_free="20GiB", max_power=80, max_utilization=1, debug=True), machine.list())
""")
    assert lines == ["[1] [1, 2, 3] 1", "[0, 2] [0, 1, 3] 2", "[3] 4", "[0, 1, 2, 3] []"]


def test_what_nobody_says_meets_no_condition(four):
    for number in range(4):
        four.trees[number](free=None, watts=None)
    lines, _ = inside(four, """
for conditions in (dict(min_free=1), dict(max_power=1000), dict(max_utilization=100)):
    try:
        print(list(chronos.acquire(**conditions)))
    except chronos.NotEnoughMemory as error:
        print("nobody says" in error.hint, machine.list())
""")
    assert lines == ["True []", "True []", "[0]"]


def test_who_waits_looks_again(four):
    for number in range(4):
        four.trees[number](busy=50)
    lines, _ = inside(four, f"""
import threading
got = []
def wait():
    got.append(chronos.acquire(max_utilization=1, wait="1m", look_every=0.05))
thread = threading.Thread(target=wait)
thread.start()
try:
    chronos.acquire(max_utilization=1, wait=0.2, look_every=0.05)
except chronos.NotEnoughMemory as error:
    print(len(got), "busy" in error.hint)
with open({str(four.trees.folder / 'class/drm/card2/device/gpu_busy_percent')!r}, "w") as file:
    file.write("0\\n")
thread.join()
print(list(got[0]))
""")
    assert lines == ["0 True", "[2]"]


def test_the_environment_for_programs(four):
    lines, _ = inside(four, """
before = dict(os.environ)
with chronos.acquire(only=[2]) as gpus:
    print(sorted(gpus.environment), gpus.environment["ROCR_VISIBLE_DEVICES"])
    print(all(name not in os.environ for name in gpus.environment if name not in before))
""")
    assert "ROCR_VISIBLE_DEVICES" in lines[0] and lines[0].endswith(" 2") and lines[1] == "True"


# ---- PyTorch ------------------------------------------------------------------------------------


def test_pytorchs_device_is_set_and_restored(four):
    """PyTorch numbers the devices in an order of its own."""
    path = variables(four)["PYTHONPATH"]
    lines, errors = inside(four, """
with chronos.acquire():
    print("torch" in sys.modules)
import torch
torch.cuda.set_device(2)
for wanted in (0, 2):
    with chronos.acquire(only=[wanted]):
        print(torch.cuda.current_device(), end=" ")
    print(torch.cuda.current_device())
with chronos.acquire(only=[3]) as gpus:
    print(torch.cuda.current_device())
""", PYTHONPATH=f"{path}:{STANDIN}", TEST_TORCH_UUIDS=",".join([UUIDS[2], UUIDS[1], UUIDS[0]]))
    assert lines == ["False", "2 2", "0 2", "2"]
    assert errors.count("ChronosWarning: device 3 is not known to be any of PyTorch's") == 1

"""GPU Scheduler's calls: every Python block of its document, as it stands but for the edits that are
named here, and its promises. PyTorch, and what GPUs say, are stand-ins (tests/e2e/standin/gpus,
gpu_trees.py). With CHRONOS_SEEDS the blocks are compared with the document's too."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, Tuple

import pytest

from gpu_trees import GPUS, UUIDS, Trees
from inside import PACKAGE, inside, variables
from scheduler_blocks import BLOCKS
from support import GIB, ROOT, built
from support import fake_box, pocl  # noqa: F401

pytestmark = built
STANDIN = ROOT / "tests" / "e2e" / "standin" / "gpus"
MODULES = ROOT / "python" / "chronos" / "compat" / "modules"
TORCHS = [UUIDS[number] for number in (3, 2, 1, 0)]  # PyTorch's own order


class Case(NamedTuple):
    says: str = ""
    given: str = ""
    edits: Tuple[Tuple[str, str], ...] = ()
    after: str = ""


MODEL = "import torch\nmodel = torch.Model()\n"
IMPORT = "from gpu_scheduler import GPUScheduler\n"
HERE = (("# Your code here", "print(gpu_ids, torch.cuda.current_device())"),)
# Free are, by Chronos's numbers, 1 and 2, which are 2 and 1 to PyTorch; 0 is busy, 3 is full.
CASES = {
    1: Case("", MODEL, after="assert model.went == [2, 2], model.went\n"),
    2: Case("", MODEL + IMPORT, after="assert (device1.number, device2.number, device3.number) "
            "== (0, 2, 2)\nassert torch.cuda.current_device() == 0\n"),
    3: Case(r"Using GPU: 2 on device: cuda:2", MODEL,
            after="assert model.went == [2] and device.number == 2\n"),
    4: Case(r"Using GPUs: \[2, 1\]", IMPORT,
            after="assert (device, device1, device2) == ('cuda:2', 'cuda:2', 'cuda:1')\n"),
    5: Case(r"Using GPU: 3", IMPORT),
    6: Case(r"GPU 0: Stand-in B\n  Memory: 1024MB free / 24576MB total\n  Power: 15.0W / 250.0W\n"
            r"  Utilization: 0.0%\n(?:.*\n){8}GPU 3: Stand-in A\n.*\n.*\n  Utilization: 97.0%\n"
            r"Found 2 free GPUs"),
    # whose body is the one comment
    7: Case(r"\[2\] 2", "import torch\n", HERE),
}
END = "\nimport chronos\nprint('==', chronos.Partitioner().list())\n"


@pytest.fixture
def four(fake_box, tmp_path):
    box = fake_box(devices=GPUS)
    box.trees = Trees(tmp_path)
    box.trees[0](busy=97)
    box.trees[3](free=GIB)
    box.env.update(box.trees.variables)
    return box


def scheduled(box, code, *, torch=True, begin="", **more):
    """`gpu_scheduler` comes by PYTHONPATH."""
    path = [variables(box)["PYTHONPATH"], str(MODULES), *([str(STANDIN)] if torch else [])]
    return inside(box, code, begin=begin, PYTHONPATH=":".join(path),
                  TEST_TORCH_UUIDS=",".join(TORCHS), **more)


def test_no_block_is_left_out():
    assert CASES.keys() == BLOCKS.keys()


@pytest.mark.parametrize("number", CASES)
def test_block(four, number):
    case, code = CASES[number], BLOCKS[number]
    for words, instead in case.edits:
        assert words in code
        code = code.replace(words, instead)
    lines, errors = scheduled(four, case.given + code + case.after + END)
    assert re.fullmatch(case.says, "\n".join(lines[:-1])), (lines, errors)
    assert lines[-1] == "== []"


def test_the_blocks_are_those_of_the_document():
    folder = os.environ.get("CHRONOS_SEEDS")
    if not folder:
        pytest.skip("CHRONOS_SEEDS names no folder with the documents")
    text = (Path(folder) / "gpu-scheduler-readme.md").read_text(encoding="utf-8")
    assert re.findall(r"^```python\n(.*?)^```", text, re.M | re.S) == list(BLOCKS.values())


def test_its_names_and_defaults():
    code = """
import inspect
from chronos.compat.gpu_scheduler import *
import chronos.compat.gpu_scheduler as module
print(sorted(module.__all__))
print(inspect.signature(GPUScheduler))
"""
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": PACKAGE},
                          text=True, capture_output=True, check=True, timeout=60)
    names, signature = done.stdout.splitlines()
    assert names == str(["GPUScheduler", "find_free_gpus", "get_gpu_info", "get_gpu_memory_usage",
                         "get_gpu_names", "get_gpu_power_usage", "get_gpu_utilization",
                         "get_total_num_gpus"])
    assert re.findall(r"(\w+): [^=]*= ([^,)]*)", signature) == [
        ("memory_free_threshold_gb", "20"), ("power_threshold_w", "80"),
        ("utilization_threshold_percent", "1"), ("max_wait_time", "inf"), ("poll_interval", "10"),
        ("specific_gpus", "None"), ("timeout", "10"), ("num_gpus", "1"), ("debug_mode", "False")]


def test_without_torch_gpus_have_chronoss_numbers(four):
    lines, _ = scheduled(four, """
from gpu_scheduler import *
print(get_total_num_gpus(), [gpu["gpu_id"] for gpu in find_free_gpus(20)])
with GPUScheduler(num_gpus=2) as gpu_ids:
    print(gpu_ids, find_free_gpus(20))
print([gpu["memory_free"] >> 10 for gpu in get_gpu_memory_usage()])
print([gpu["power_draw"] for gpu in get_gpu_power_usage()], get_gpu_names()[1]["name"],
      [gpu["utilization"] for gpu in get_gpu_utilization()])
""", torch=False)
    assert lines == ["4 [1, 2]", "[1, 2] []", "[23, 23, 23, 1]",
                     "[15.0, 15.0, 15.0, 15.0] Stand-in B [97.0, 0.0, 0.0, 0.0]"]


def test_banned_and_specific_gpus(four):
    lines, _ = scheduled(four, """
import gpu_scheduler.gpu_info as info
from gpu_scheduler import GPUScheduler, find_free_gpus
def taken(**more):
    try:
        with GPUScheduler(max_wait_time=0, **more) as gpu_ids:
            return gpu_ids
    except TimeoutError as error:
        return str(error)[:22]
print(taken(), taken(specific_gpus=[1]), taken(specific_gpus=[0]), taken(specific_gpus=[7]))
info.BANNED_GPUS.append(2)
print(taken(), [gpu["gpu_id"] for gpu in find_free_gpus()])
info.BANNED_GPU_NAMES.append("A")
print(taken(), [gpu["gpu_id"] for gpu in find_free_gpus()])
""")
    assert lines == ["[2] [1] Couldn't acquire 1 GPU Couldn't acquire GPUs:", "[1] [0, 1]",
                     "Couldn't acquire 1 GPU [0]"]


def test_debug_mode_and_waiting(four):
    lines, _ = scheduled(four, """
from gpu_scheduler import GPUScheduler
with GPUScheduler(debug_mode=True, num_gpus=4) as gpu_ids:
    print(gpu_ids)
    try:
        GPUScheduler(debug_mode=True).__enter__()
    except RuntimeError as error:
        print("held by" in str(error))
    try:
        GPUScheduler(max_wait_time=0.05, poll_interval=0.01).__enter__()
    except TimeoutError as error:
        print("held by" in str(error), "within 0.05 seconds" in str(error))
scheduler = GPUScheduler(memory_free_threshold_gb=0, power_threshold_w=None,
                         utilization_threshold_percent=100, num_gpus=4, timeout=1)
with scheduler as gpu_ids:
    print(len(gpu_ids), scheduler.gpu_ids is gpu_ids)
print(scheduler.gpu_ids)
for arguments in (dict(num_gpus=0), dict(memory_free_threshold_gb=float("nan")), dict(num_gpus="1"),
                  dict(memory_free_threshold_gb="20"), dict(max_wait_time=float("nan"))):
    try:
        GPUScheduler(**arguments).__enter__()
    except (ValueError, TypeError) as error:
        print(type(error).__name__, end=" ")
""")
    assert lines[0] == "[3, 2, 1, 0]"
    assert lines[1:5] == ["True", "True True", "4 True", "[]"]
    assert lines[5].split() == ["InvalidRequest", "InvalidRequest", "TypeError", "TypeError",
                                "InvalidRequest"]


def test_without_gpus_debug_mode_takes_what_there_is(pocl):
    """For development on a machine that has none."""
    lines, _ = scheduled(pocl, """
from gpu_scheduler import GPUScheduler, get_total_num_gpus, get_gpu_info
with GPUScheduler(debug_mode=True) as gpu_ids:
    print(gpu_ids)
print(get_total_num_gpus(), get_gpu_info())
try:
    GPUScheduler().__enter__()
except TimeoutError as error:
    print(error)
""", torch=False)
    assert lines == ["[0]", "0 []", "Couldn't acquire GPUs: there are none that may be used"]


def test_it_does_not_wait_for_what_nobody_says(four):
    """The vendor's library is missing: nothing starts, and nothing hangs."""
    four.env["CHRONOS_TEST_SYS"] = "/nonexistent"
    lines, _ = scheduled(four, """
from gpu_scheduler import GPUScheduler
try:
    GPUScheduler().__enter__()
except TimeoutError as error:
    print(error)
""")
    assert lines[0].count("nobody says how much of its memory is free") == 4


def test_install_and_path(four):
    lines, _ = scheduled(four, """
import subprocess, sys, types
sys.path[:] = [entry for entry in sys.path if "compat" not in entry]
import chronos.compat
chronos.compat.install()
chronos.compat.install()
import gpu_scheduler, gpu_scheduler.gpu_info
from chronos.compat import gpu_scheduler as ours
print(gpu_scheduler is ours, gpu_scheduler.gpu_info is ours.gpu_info)
sys.modules["gpu_scheduler"] = types.ModuleType("gpu_scheduler")
try:
    chronos.compat.install()
except chronos.InvalidRequest as error:
    print(error.message)
done = subprocess.run([sys.executable, "-m", "chronos.compat", "path"], capture_output=True, text=True)
print(done.stdout.strip() == chronos.compat.path())
done = subprocess.run([sys.executable, "-m", "chronos.compat"], capture_output=True, text=True)
print(done.returncode, done.stdout, done.stderr.strip())
""", torch=False)
    assert lines == ["True True", "another gpu_scheduler has been imported already, from None",
                     "True", "2  usage: python -m chronos.compat path"]


def test_it_comes_by_its_own_name_only_where_asked_for():
    code = "import chronos, importlib.util as u; print(u.find_spec('gpu_scheduler'))"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": PACKAGE},
                          text=True, capture_output=True, check=True, timeout=60)
    assert done.stdout == "None\n"

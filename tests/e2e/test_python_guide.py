"""Every Python block of the documents that Chronos was specified by, in an interpreter of its own, as
it stands but for the edits that are named here. What wants CUDA is a stand-in that allocates through
PyOpenCL (tests/e2e/standin). With CHRONOS_SEEDS, a folder that has the documents, the blocks are
compared with them too."""

import os
import pwd
import re
from pathlib import Path
from typing import NamedTuple, Tuple

import pytest

from guide_blocks import BLOCKS
from inside import inside, variables
from support import GIB, PYTHON, ROOT, built
from support import fake_box  # noqa: F401

pytestmark = built
STANDIN = ROOT / "tests" / "e2e" / "standin"


class Case(NamedTuple):
    says: str  # all that it prints, as a pattern
    given: str = ""  # what it takes from the text around it, or from its reader
    edits: Tuple[Tuple[str, str], ...] = ()
    after: str = ""
    left: int = 0  # partitions that it leaves for their time to end
    charged: bool = False  # it allocated in the partition, and still holds that
    as_root: bool = False


MACHINE = "from chronos import Partitioner, ChronosError\npartitioner = Partitioner()\n"
MODEL = "import torch\nmodel = torch.nn.Linear(9, 9)\n"
DATA = "X = y = X_train = y_train = data = None\n"
TRAIN = """
import torch
held = []
def train_model():
    held.append(torch.nn.Linear(99, 99).cuda())
def train_epoch(model=None):
    assert partitioner.list()[0].time_remaining_seconds > 0
    if not held:
        train_model()
"""
STUDENTS = [entry.pw_name for entry in pwd.getpwall()][:20]
HUB = """
import types
from chronos import Partitioner
c = types.SimpleNamespace(Spawner=types.SimpleNamespace())
def create_chronos_partition(user):
    Partitioner().create(0, 0.2, "8h", user=user, name="hub-" + user)
def release_chronos_partition(user):
    Partitioner().release("hub-" + user)
"""
HUB_AFTER = """
spawner = types.SimpleNamespace(user=types.SimpleNamespace(name="nobody"))
c.Spawner.pre_spawn_hook(spawner)
print([(p.partition_id, p.username) for p in Partitioner().list()])
c.Spawner.post_stop_hook(spawner)
"""
ONE = r"partition_0001"

CASES = {
    ("readme", 1): Case("", MACHINE + TRAIN, charged=True),
    ("readme", 2): Case("", DATA, charged=True),
    ("readme", 3): Case("", MACHINE + TRAIN + "MyModel = torch.nn.Module\n", charged=True),
    ("readme", 4): Case(r"Time left: (7200|7[01]\d\d)s",
                        DATA + "import torch\nbuild_model = torch.nn.Module\n", charged=True),
    ("user-guide", 1): Case(rf"Created: {ONE}\nUsing 50\.0% of GPU 0", charged=True),
    ("user-guide", 2): Case(rf"Partition: {ONE}", charged=True),
    ("user-guide", 3): Case(
        rf"ID: {ONE}\n  Memory: 50\.0%\n  Time left: (3600|3[45]\d\d)s\n  Owner: \S+",
        MACHINE + "partitioner.create(device=0, memory=0.5, duration=3600)\n", left=1),
    ("user-guide", 4): Case(r"GPU 0: 100\.0% available", MACHINE, left=1),
    ("user-guide", 5): Case(
        r"Failed: Not enough available memory on device 0[^\n]*(\n[^\n]+)*",
        MACHINE + "partitioner.create(device=0, memory=0.5, duration=3600)\n",
        after="assert abs(partition.memory_fraction - 0.4) < 1e-3\n", left=2),
    ("user-guide", 6): Case(
        r"Time remaining: [12]\d\d seconds\nTime almost up, saving checkpoint\.\.\.",
        MACHINE + MODEL, (("duration=3600", "duration=299"),),  # less than the five minutes
        "import os\nassert os.path.getsize('checkpoint.pt') > 0\n", left=1),
    ("user-guide", 7): Case(r"Training with 40\.0% GPU memory", charged=True),
    ("user-guide", 8): Case(
        "\n".join(rf"Allocated GPU {i % 2} to {re.escape(name)}: partition_{i + 1:04d}"
                  for i, name in enumerate(STUDENTS)), "",
        # the literal ... of the list, and users that this machine has
        (('["student1", "student2", ..., "student20"]', repr(STUDENTS)),),
        left=len(STUDENTS), as_root=True),
    ("user-guide", 9): Case(
        rf"Partition: {ONE}(\nTime remaining: (7200|7[01]\d\d) seconds){{2}}", DATA, charged=True),
    ("user-guide", 10): Case("", MACHINE + TRAIN, charged=True),
    ("user-guide", 11): Case(
        "", MACHINE + "partitioner.create(device=0, memory=0.5, duration=3600)\n",
        after="assert partition.memory_fraction == 0.3\n", left=2),
    ("user-guide", 12): Case("", MACHINE + MODEL + TRAIN, charged=True,
                             after="import os\nassert os.path.exists('checkpoint_990.pt')\n"),
    ("user-guide", 13): Case(
        "", MACHINE + TRAIN + "def train_chunk(chunk):\n    train_model()\n",
        # three pieces of advice, which do not fit into one device together
        (("device=0, memory=0.5, duration=7200)  # 2", "device=1, memory=0.5, duration=7200)  # 2"),),
        left=2, charged=True),
    ("user-guide", 14): Case(
        "5 minutes left!\nsaved",
        MACHINE + "training = True\ndef save_checkpoint():\n    print('saved')\n",
        (("duration=3600", "duration=299"),), left=1),  # less than the five minutes
    ("faq", 1): Case("", MACHINE, after="assert (p1.device, p2.device) == (0, 1)\n", left=2),
    ("faq", 2): Case(r"\[\('hub-nobody', 'nobody'\)\]", HUB, after=HUB_AFTER, as_root=True),
}

BEGIN = "import chronos, os\nos.chdir(os.environ['TEST_FOLDER'])\n"
END = """
import chronos as _chronos
_all = _chronos.Partitioner().list()
print("==", sum(p.active for p in _all), sum(p.used_bytes for p in _all) > 0)
"""


def test_no_block_is_left_out():
    assert CASES.keys() == BLOCKS.keys()


@pytest.mark.parametrize("document, number", CASES)
def test_block(fake_box, document, number):
    case, code = CASES[document, number], BLOCKS[document, number]
    if case.as_root and os.geteuid() != 0:
        pytest.skip("root makes partitions for others")
    for words, instead in case.edits:
        assert words in code
        code = code.replace(words, instead)
    box = fake_box(devices=[{"name": "A", "memory_bytes": 10 * GIB},
                            {"name": "B", "memory_bytes": 10 * GIB}])
    path = variables(box)["PYTHONPATH"]
    lines, errors = inside(box, case.given + code + case.after + END, begin=BEGIN, python=PYTHON,
                           PYTHONPATH=f"{path}:{STANDIN}", TEST_FOLDER=str(box.folder))
    assert re.fullmatch(case.says, "\n".join(lines[:-1])), lines
    assert lines[-1] == f"== {case.left} {case.charged}", (lines, errors)


@pytest.mark.parametrize("document", ["readme", "user-guide", "faq"])
def test_the_blocks_are_those_of_the_document(document):
    folder = os.environ.get("CHRONOS_SEEDS")
    if not folder:
        pytest.skip("CHRONOS_SEEDS names no folder with the documents")
    text = (Path(folder) / f"chronos-{document}.md").read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    ours = [code for (name, _), code in BLOCKS.items() if name == document]
    assert found == ours

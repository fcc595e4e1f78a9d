"""Every call that the shim takes part in, right and wrong, answers as if the shim were not there.

In a partition as large as the device; tests/clients/parity makes the calls and prints the answers.
"""

import difflib
import re

import pytest

from support import CLIENTS, ROOT, built, every_box, own_lines  # noqa: F401
from support import box, fake_box, intel, pocl  # noqa: F401

pytestmark = built

PARITY = CLIENTS / "parity"
# Both doors; the layer alone; the driver's table alone.
WAYS = {"both": ("named", ()), "layer": ("layers", ()), "driver": ("named", ("--hide-layers",))}
ENTRY = re.compile(r"^CHRONOS_(?:ENTRY|EXTENSION)\((\w+)", re.MULTILINE)
# These take or give what a program has built or imported; test_kinds.py has them.
ELSEWHERE = re.compile(r"Program|Kernel|Import|From(GL|EGL|VA|DX9|D3D)|External")


@pytest.fixture
def answers(every_box):
    """The bare answers of the driver; the partition is made after them."""
    bare = every_box.run(PARITY, door=None)
    assert bare.returncode == 0, bare.stdout[-500:] + bare.stderr
    every_box.create("100%")
    return every_box, bare.stdout.splitlines()


@pytest.mark.parametrize("lifetime", ["callbacks", "counts"])
@pytest.mark.parametrize("way", WAYS)
def test_every_call_answers_as_without_the_shim(answers, way, lifetime):
    box, bare = answers
    door, arguments = WAYS[way]
    held = box.run(PARITY, *arguments, door=door,
                   variables={"CHRONOS_PARTITION": "p1", "CHRONOS_LIFETIME": lifetime})
    assert held.returncode == 0, held.stdout[-500:] + held.stderr
    differences = difflib.unified_diff(bare, held.stdout.splitlines(), "bare", way, n=0, lineterm="")
    assert list(differences)[:20] == []
    assert own_lines(held.stderr) == []
    partition = box.partitions()["p1"]
    assert (partition["used_bytes"], partition["refusals"]) == (0, 0)
    assert partition["peak_bytes"] > 0  # it was there


def test_the_answers_are_of_every_entry_point(answers):
    _, bare = answers
    text = "\n".join(bare)
    names = [name for file in ("entry_points.def", "extensions.def")
             for name in ENTRY.findall((ROOT / "shim" / file).read_text(encoding="ascii"))]
    assert len(names) > 30
    silent = {"clGetDeviceInfo": "device info", "clSVMFree": "clSVMAlloc"}
    missing = [name for name in names
               if not ELSEWHERE.search(name) and silent.get(name, name) not in text]
    assert missing == []

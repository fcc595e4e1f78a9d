"""The Python package under `mypy --strict`, by the typing rules of the oldest and the newest Python
that it is for; and what a typed program sees of it."""

import re
import subprocess
from pathlib import Path

import pytest

from support import FULL, ROOT

MYPY = ROOT / "build" / "docs" / "venv" / "bin" / "mypy"
VERSIONS = ("3.9", "3.13")
pytestmark = [pytest.mark.skipif(not FULL, reason="reads the whole package anew"),
              pytest.mark.skipif(not MYPY.exists(), reason=f"{MYPY} is not there")]


def mypy(folder, *arguments):
    done = subprocess.run(
        [MYPY, "--strict", "--cache-dir", folder / "cache", "--no-error-summary", "--no-pretty",
         *map(str, arguments)],
        cwd=ROOT, text=True, capture_output=True, check=False, timeout=300)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_the_whole_package_is_strictly_typed(tmp_path, version):
    assert mypy(tmp_path, "--python-version", version) == (0, "")
    # Nothing is left out: each module is among those that were looked at.
    package = ROOT / "python" / "chronos"
    seen = {Path(str(path)[:-len(".meta.json")]).name
            for path in (tmp_path / "cache" / version / "chronos").rglob("*.meta.json")}
    assert {path.stem for path in package.rglob("*.py")} <= seen


PROGRAM = """
from datetime import timedelta
import chronos
from chronos import Partition, PartitionInfo, Partitioner

async def waits() -> None:
    async with await Partitioner().create_async(0, "50%", timedelta(hours=1), wait=True) as p:
        reveal_type(p)

def save(partition: Partition) -> None: ...

with Partitioner().create(device=0, memory=0.5, duration="1h") as partition:
    reveal_type(partition)
    reveal_type(partition.time_remaining)
    partition.on_expiring(save, before="5m").cancel()
    reveal_type(partition.usage().peak_bytes)
    reveal_type(chronos.run(["true"], partition=partition).returncode)
infos: list[PartitionInfo] = Partitioner().list()
try:
    Partitioner().release("x")
except chronos.NotEnoughMemory as error:
    reveal_type(error.available)
Partitioner().create(device="0")
Partitioner().create(memory=None)
partition.extend(b"1h")
partition.on_expiring(None)
chronos.nosuch
"""
REVEALED = ["Partition", "Partition", "int", "int", "int", "int | None"]
WRONG = ["arg-type", "arg-type", "arg-type", "arg-type", "attr-defined"]


def test_a_typed_program_sees_the_packages_types(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    status, said = mypy(tmp_path, "--python-version", "3.13", program)
    revealed = [text.replace("builtins.", "").rpartition("partition.")[2]
                for text in re.findall(r'Revealed type is "(.*)"', said)]
    revealed = [re.sub(r"Union\[int, None\]|Optional\[int\]", "int | None", text)
                for text in revealed]
    assert revealed == REVEALED, said
    assert status == 1 and re.findall(r"error: .*\[([a-z-]+)\]$", said, re.M) == WRONG, said

"""`cmake --install` gives a tree that works from wherever it is moved to."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import BUILD


@pytest.fixture
def moved_tree(tmp_path):
    if not (BUILD / "CMakeCache.txt").exists():
        pytest.skip("the build has no CMakeCache.txt: it is an installed tree itself")
    first = tmp_path / "first"
    subprocess.run(["cmake", "--install", BUILD, "--prefix", first], check=True,
                   stdout=subprocess.DEVNULL)
    second = tmp_path / "moved" / "here"
    second.parent.mkdir()
    shutil.move(first, second)
    return second


def test_a_moved_installation_works(moved_tree, chronos, fake_driver):
    program = next(moved_tree.glob("bin/chronos"))
    env = {name: value for name, value in chronos.env.items() if not name.startswith("CHRONOS_LIB")}

    def run(*args):
        return subprocess.run([program, *args], env=env, capture_output=True, text=True, timeout=60)

    made = run("create", "0", "0.5", "1h", "--name", "p1")
    assert made.returncode == 0, made.stderr
    seen = run("run", "--partition", "p1", "--", "sh", "-c", 'echo "$LD_PRELOAD"')
    shim = Path(seen.stdout.strip())
    assert shim.is_relative_to(moved_tree) and shim.exists()
    refused = run("run", "--partition", "p1", "--", BUILD / "tests" / "clients" / "linked_c",
                  "--size", str(6 << 30))
    assert refused.returncode == 3 and "partition p1: refused" in refused.stderr
    assert run("release", "p1").returncode == 0


def test_nothing_in_it_names_where_it_was_built(moved_tree):
    build = os.fsencode(BUILD)
    for file in moved_tree.rglob("*"):
        if file.is_file() and file.suffix != ".debug" and os.access(file, os.X_OK):
            dynamic = subprocess.run(["readelf", "-d", file], capture_output=True, check=False).stdout
            assert b"RUNPATH" not in dynamic and b"RPATH" not in dynamic
            assert build not in dynamic

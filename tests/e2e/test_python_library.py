"""The Python package: what `import chronos` costs, and installations that are not whole."""

import os
import subprocess
import sys

import pytest
from python_package import BUILD, ROOT, flat_installation, python, state_dir  # noqa: F401

CALL = """
import chronos
try:
    chronos.Partitioner()
except chronos.LibraryNotFound as error:
    print(error)
"""


def library_of(tmp_path, source):
    path = tmp_path / "libchronos.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(path), "-x", "c", "-"], input=source,
                   text=True, check=True)
    return path


def said(library, code=CALL):
    env = {**os.environ, "PYTHONPATH": str(ROOT / "python"), "CHRONOS_LIBRARY": str(library)}
    env.pop("OPENCL_LAYERS", None)  # of the tests themselves
    return subprocess.run([sys.executable, "-W", "error", "-c", code], env=env, check=True,
                          stdout=subprocess.PIPE, text=True, timeout=60).stdout


@pytest.mark.parametrize("source, why", [
    ('const char* chronos_version(void) { return "0.0.9"; }',
     "is version 0.0.9, and 0.1 or later is needed"),
    ('const char* chronos_version(void) { return "one"; }', "is version one, and 0.1"),
    ('const char* chronos_version(void) { return "0.1.0"; }', "undefined symbol: chronos_"),
    ("int other;", "is not a libchronos.so"),
])
def test_a_library_that_does_not_fit(tmp_path, source, why):
    words = said(library_of(tmp_path, source))
    assert words.startswith("Could not find Chronos library: ")
    assert why in words
    assert "set CHRONOS_LIBRARY to libchronos.so" in words


EVERY_CALL = """
import asyncio, sys
import chronos
from chronos import _expiring, _scope
info = chronos.PartitionInfo("p", "p", 0, None, 0.5, 1, 0, 0, 0, 0, 60, 60, None, "u", "u", 1, "active",
                             {}, "p@0")
partition = chronos.Partition(info)
calls = [chronos.Partitioner, chronos.doctor, chronos.environment, lambda: chronos.run(["true"]),
         lambda: chronos.popen(["true"]), lambda: chronos.run(["true"], memory=0.5, duration=60),
         lambda: chronos.environment("p"), lambda: partition.time_remaining,
         lambda: partition.expires_at, partition.usage, partition.info, partition.enter,
         partition.release, partition.__enter__, lambda: partition.extend(60),
         lambda: partition.resize(0.5), lambda: partition.run(["true"]),
         lambda: partition.popen(["true"]), lambda: partition.on_expiring(print)]
for call in calls:
    try:
        call()
        print("no error from", call)
    except chronos.LibraryNotFound as error:
        assert "CHRONOS_LIBRARY" in error.hint, error
assert partition._repr_html_() is None and "p" in repr(partition)
assert not _scope.entered() and not _expiring._watcher._notices
print(len(calls), "calls")
"""


def test_every_call_without_a_library_says_what_to_do(tmp_path):
    for library in ("/nosuch.so", __file__, library_of(tmp_path, "int other;")):
        assert said(library, "import warnings; warnings.simplefilter('ignore')\n" + EVERY_CALL
                    ) == "19 calls\n"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "python"), "CHRONOS_LIBRARY": "/nosuch.so"}
    done = subprocess.run([sys.executable, "-m", "chronos", "list"], env=env, text=True,
                          capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("chronos: Could not find Chronos library: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:100],
                                    lambda data: data[:len(data) // 8], lambda data: b"#!/bin/sh"])
def test_a_library_that_is_damaged(tmp_path, damage):
    path = tmp_path / "libchronos.so"
    path.write_bytes(damage((BUILD / "lib" / "libchronos.so").read_bytes()))
    assert said(path).startswith("Could not find Chronos library: ")


def test_importing_needs_no_library():
    code = "import chronos, os; print(chronos.Partitioner, os.environ.get('OPENCL_LAYERS'))"
    assert said("/nosuch.so", code) == "<class 'chronos.partitioner.Partitioner'> None\n"


def test_without_a_shim_a_partition_cannot_be_entered(tmp_path, state_dir):
    library = flat_installation(tmp_path)
    (tmp_path / "chronos" / "libchronos_shim.so").unlink()
    code = """
import chronos
try:
    with chronos.Partitioner().create(0, 0.5, 60):
        print("inside")
except chronos.SystemFailure as error:
    print(error.message, chronos.Partitioner().list())
"""
    assert said(library, code) == "libchronos_shim.so is missing from this installation []\n"


def test_importing_is_cheap():
    """`import chronos` takes a millisecond or two, because it brings nothing along."""
    code = """
import sys
before = set(sys.modules)
import chronos
print(*sorted(set(sys.modules) - before))
from chronos import Partitioner
print(*sorted(set(sys.modules) - before))
"""
    first, second = python(code).splitlines()
    brought = {name for name in first.split() if not name.startswith("chronos")}
    assert brought <= {"__future__"}
    heavy = {"asyncio", "subprocess", "multiprocessing", "json", "ctypes", "dataclasses", "inspect",
             "pathlib", "socket", "logging"}
    assert not heavy & set(second.split())


def test_the_names_are_found_only_when_they_are_used():
    code = """
import chronos
assert set(chronos.__all__) <= set(dir(chronos))
for name in chronos.__all__:
    assert getattr(chronos, name) is getattr(chronos, name)
try:
    chronos.nosuch
except AttributeError as error:
    print(error)
from chronos import *
print(Partitioner, run)
"""
    lines = python(code).splitlines()
    assert lines[0] == "module 'chronos' has no attribute 'nosuch'"
    assert lines[1].startswith("<class 'chronos.partitioner.Partitioner'> <function run")

"""The Python package: programs started under the shim."""

import os
import subprocess
import sys

import pytest
from python_package import BUILD, flat_installation, partitioner, python, state_dir  # noqa: F401

import chronos

SHIM = BUILD / "lib" / "libchronos_shim.so"
needs_shim = pytest.mark.skipif(not SHIM.exists(), reason="the shim is not built")


@pytest.fixture
def installed(tmp_path):
    """Runs code with a flat installation whose shim does nothing."""
    flat_installation(tmp_path)

    def run(code, **environment):
        env = {k: v for k, v in os.environ.items() if k not in ("CHRONOS_LIBRARY", "LD_PRELOAD")}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env={**env, "PYTHONPATH": str(tmp_path), **environment},
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
            cwd=tmp_path,
        )
        assert done.returncode == 0
        return done.stdout

    run.shim = str(tmp_path / "chronos" / "libchronos_shim.so")
    return run


def test_a_program_gets_the_shim_and_the_partition(installed):
    code = """
import chronos, sys
show = [sys.executable, "-c", "import os\\nfor n in ('LD_PRELOAD', 'OPENCL_LAYERS', "
        "'CHRONOS_PARTITION', 'MINE'): print(os.environ.get(n))"]
with chronos.Partitioner().create(0, 0.5, 60, name="p") as p:
    print(p.handle, flush=True)
    for which in (p, "p", p.handle, chronos.Partitioner().list()[0], [p, "p"]):
        done = chronos.run(show, partition=which, check=True, capture_output=True, text=True)
        print(done.stdout, end="")
"""
    lines = installed(code, MINE="kept").splitlines()
    assert lines[1:] == [installed.shim, installed.shim, lines[0], "kept"] * 5


def test_the_users_own_preloads_and_layers_stay_behind_the_shim(installed):
    code = """
import chronos
p = chronos.Partitioner().create(0, 0.5, 60)
env = chronos.environment(p, {"LD_PRELOAD": "/a.so /old/libchronos_shim.so:/b.so",
                              "OPENCL_LAYERS": "/with blank/l.so:", b"BYTES": b"x"})
print(env["LD_PRELOAD"], env["OPENCL_LAYERS"], env["BYTES"], sorted(env), sep="\\n")
"""
    assert installed(code).splitlines() == [
        f"{installed.shim}:/a.so:/b.so",
        f"{installed.shim}:/with blank/l.so",
        "x",
        "['BYTES', 'CHRONOS_PARTITION', 'CHRONOS_STATE_DIR', 'LD_PRELOAD', 'OPENCL_LAYERS']",
    ]


def test_without_a_partition_named_the_environments_or_ones_own_apply(installed):
    code = """
import chronos, os
try:
    chronos.environment()
except chronos.PartitionNotFound as error:
    print(error.message.split(" is ")[1])
first = chronos.Partitioner().create(0, 0.1, 60)
second = chronos.Partitioner().create(0, 0.1, 60, name="second")
print(chronos.environment().get("CHRONOS_PARTITION"))
os.environ["CHRONOS_PARTITION"] = "second"
print(chronos.environment()["CHRONOS_PARTITION"] == second.handle)
print(chronos.environment(env={}).get("CHRONOS_PARTITION"))
"""
    assert installed(code) == "active\nNone\nTrue\nNone\n"


def test_a_relative_state_directory_is_made_absolute(installed, tmp_path):
    code = """
import chronos
with chronos.Partitioner().create(0, 0.1, 60) as p:
    print(chronos.environment(p)["CHRONOS_STATE_DIR"])
"""
    assert installed(code, CHRONOS_STATE_DIR="states") == f"{tmp_path}/states\n"


def test_nothing_runs_under_a_partition_that_cannot_be_used(installed):
    code = """
import chronos
ended = chronos.Partitioner().create(0, 0.1, 60)
ended.release()
for which in (ended, "nosuch", "", [], "a\\0b", "a,"):
    try:
        chronos.run(["touch", "it-ran"], partition=which)
    except (chronos.PartitionNotFound, chronos.InvalidRequest) as error:
        print(type(error).__name__)
for which in (7, [None], b"p"):
    try:
        chronos.run(["touch", "it-ran"], partition=which)
    except TypeError as error:
        print("TypeError")
"""
    assert installed(code).split() == (
        ["PartitionNotFound"] * 2 + ["InvalidRequest"] * 3 + ["PartitionNotFound"]
    ) + ["TypeError"] * 3
    assert not os.path.exists(os.path.join(os.path.dirname(installed.shim), "..", "it-ran"))


def test_without_a_shim_nothing_runs(tmp_path):
    flat_installation(tmp_path)
    (tmp_path / "chronos" / "libchronos_shim.so").unlink()
    code = f"""
import sys, os; sys.path.insert(0, {str(tmp_path)!r}); del os.environ["CHRONOS_LIBRARY"]
import chronos
p = chronos.Partitioner().create(0, 0.1, 60)
try:
    chronos.run(["true"], partition=p)
except chronos.SystemFailure as error:
    print(error.message)
"""
    assert python(code) == "libchronos_shim.so is missing from this installation\n"


@needs_shim
def test_a_program_is_held_to_its_partition(partitioner):
    pytest.importorskip("pyopencl")
    code = """
import pyopencl as cl
context = cl.create_some_context(interactive=False)
kept = []
try:
    for _ in range(64):
        kept.append(cl.Buffer(context, cl.mem_flags.READ_WRITE, 4 << 20))
except cl.MemoryError:
    pass
print(len(kept))
"""
    with partitioner.create(0, "64MiB", 60) as partition:
        done = chronos.run(
            ["/usr/bin/python3", "-c", code],
            partition=partition,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout == "16\n", done.stderr
        assert "refused 4 MiB on device 0" in done.stderr
        assert partition.info().peak_bytes == 64 << 20
        assert partition.info().refusals > 0

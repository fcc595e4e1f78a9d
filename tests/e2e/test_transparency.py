"""Whoever is in no partition, or does not reach its limit, sees no difference."""

import shutil
import subprocess

import pytest

from support import CLIENTS, MIB, PYTHON, SHIM, built, own_lines
from support import any_box, box, fake_box, pocl  # noqa: F401

pytestmark = built

# Each call is made with and without a place for its error.
BAD_CALLS = """
import ctypes, sys
import opencl as cl
the = cl.context()
memory = ctypes.create_string_buffer(4096)
region = (ctypes.c_size_t * 2)
good, _ = cl.buffer(the, 8192)
part, _ = cl.sub_buffer(good, 0, 4096)

def made(function, *arguments):
    error = ctypes.c_int(12345)
    with_error = function(*arguments, ctypes.byref(error))
    without = function(*arguments, None)
    return with_error is None, error.value, without is None

create, sub = cl.create_buffer, cl.create_sub_buffer
print("no context", made(create, None, 1, 64, None))
print("size 0", made(create, the, 1, 0, None))
print("read and write only", made(create, the, 2 | 4, 64, None))
print("unknown flags", made(create, the, 1 << 40, 64, None))
print("use host pointer, none given", made(create, the, 8, 64, None))
print("copy host pointer, none given", made(create, the, 32, 64, None))
print("host pointer, no flag", made(create, the, 1, 64, memory))
print("use and copy", made(create, the, 8 | 32, 64, memory))
print("use and alloc", made(create, the, 8 | 16, 64, memory))
print("sub-buffer of nothing", made(sub, None, 1, 0x1220, region(0, 64)))
print("sub-buffer, no region", made(sub, good, 1, 0x1220, None))
print("sub-buffer, bad type", made(sub, good, 1, 0x1221, region(0, 64)))
print("sub-buffer, size 0", made(sub, good, 1, 0x1220, region(0, 0)))
print("sub-buffer, beyond", made(sub, good, 1, 0x1220, region(8192, 64)))
print("sub-buffer of a sub-buffer", made(sub, part, 1, 0x1220, region(0, 64)))
print("retain nothing", cl.retain(None))
print("release nothing", cl.release(None))
print("watch nothing", cl.on_destroy(None, cl.CALLBACK(lambda *_: None), None))
print("watch with nothing", cl.on_destroy(good, cl.CALLBACK(), None))
print("info of no device", cl.device_info(None, 0x101F, 8, memory, None))
print("info of an unknown kind", cl.device_info(cl.devices()[0], 0x9999, 8, memory, None))
print("info into too little", cl.device_info(cl.devices()[0], 0x101F, 4, memory, None))
error = ctypes.c_int(12345)
print("context of no devices", cl.create_context(None, 0, None, None, None, error), error.value)
device = (ctypes.c_void_p * 1)(cl.devices()[0])
print("context, none counted", cl.create_context(None, 0, device, None, None, error), error.value)
print("context of a null device",
      cl.create_context(None, 1, (ctypes.c_void_p * 1)(None), None, None, error), error.value)
print("context, data without callback",
      cl.create_context(None, 1, device, None, memory, error), error.value)
"""


def outcome(result):
    return result.returncode, result.stdout


def alike(box, *command):
    """The same status and output bare, under the shim without any partition, and by layer."""
    bare = box.run(*command, door=None)
    for door in ("owned", "layers"):
        shimmed = box.run(*command, door=door)
        assert outcome(shimmed) == outcome(bare), shimmed.stderr
        assert own_lines(shimmed.stderr) == []
    return bare


@pytest.mark.parametrize("client", ["props", "linked_c", "dlopen_c", "late_c"])
def test_clients_without_a_partition(any_box, client):
    assert alike(any_box, CLIENTS / client).stdout


@pytest.mark.parametrize("client", ["props", "linked_c", "late_c"])
@pytest.mark.parametrize("lifetime", ["callbacks", "counts"])
def test_clients_in_a_large_partition(any_box, client, lifetime):
    bare = any_box.run(CLIENTS / client, door=None)
    any_box.create("50%")
    for door in ("run", "named", "layers"):
        held = any_box.run(CLIENTS / client, door=door, variables={"CHRONOS_LIFETIME": lifetime})
        assert outcome(held) == outcome(bare), held.stderr
        assert own_lines(held.stderr) == []
    assert any_box.used() == 0


def test_bad_calls_get_the_drivers_own_errors(any_box):
    bare = alike(any_box, PYTHON, "-c", BAD_CALLS)
    assert bare.returncode == 0, bare.stderr
    assert "size 0 (True, -61, True)" in bare.stdout
    any_box.create("50%")
    for door in ("run", "named", "layers"):
        held = any_box.python(BAD_CALLS, door=door)
        assert outcome(held) == outcome(bare), held.stderr
        assert own_lines(held.stderr) == []
    assert any_box.used() == 0


def test_clinfo_without_a_partition(any_box):
    alike(any_box, "clinfo", "--raw") if shutil.which("clinfo") else pytest.skip("no clinfo")


def test_no_opencl_platform_at_all(box):
    empty = box.folder / "empty"
    empty.mkdir()
    variables = {"OCL_ICD_VENDORS": f"{empty}/"}
    bare = box.run(CLIENTS / "linked_c", door=None, variables=variables)
    held = box.run(CLIENTS / "linked_c", door="owned", variables=variables)
    assert outcome(held) == outcome(bare)
    assert held.stderr == bare.stderr


def test_another_users_or_an_ended_partition_changes_nothing(box):
    box.create(MIB)
    box.chronos("release", "p1")
    result = box.run(CLIENTS / "linked_c", "--size", 2 * MIB, door="owned")
    assert (result.returncode, result.stderr) == (0, "")


def test_a_partition_on_another_device_changes_nothing(fake_box):
    box = fake_box(devices=[{"memory_bytes": 1 << 30, "count": 2}])
    box.create(MIB, device=1)
    result = box.run(CLIENTS / "linked_c", "--size", 2 * MIB, door="owned")
    assert (result.returncode, result.stderr) == (0, "")
    result = box.run(CLIENTS / "linked_c", "--size", 2 * MIB, "--device", 1, door="owned")
    assert result.returncode == 3


@pytest.mark.parametrize("log, lines", [("error", 0), ("warn", 1), ("info", 1)])
def test_chronos_log_decides_what_is_said(box, log, lines):
    box.create(MIB)
    result = box.run(CLIENTS / "linked_c", "--size", 2 * MIB, variables={"CHRONOS_LOG": log})
    assert (result.returncode, len(own_lines(result.stderr))) == (3, lines)


def test_programs_without_opencl_are_left_alone(box):
    box.create(MIB)
    env = {**box.env, "LD_PRELOAD": str(SHIM), "CHRONOS_PARTITION": "p1"}
    for command in (["/bin/true"], ["bash", "-c", "true"], ["bash", "-c", "ls / | sort | tail -1"],
                    [PYTHON, "-c", "print(1)"], ["env", "-i", "/bin/true"]):
        bare = subprocess.run(command, env=box.env, capture_output=True, check=False, timeout=60)
        held = subprocess.run(command, env=env, capture_output=True, check=False, timeout=60)
        assert (held.returncode, held.stdout, held.stderr) == (
            bare.returncode, bare.stdout, bare.stderr)
    assert box.partitions()["p1"]["processes"] == []

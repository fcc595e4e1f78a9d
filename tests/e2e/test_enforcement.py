"""A program in a partition gets what the partition has, to the byte, whichever way it comes in."""

import ctypes.util
import os
import re
import subprocess

import pytest

from support import (CLIENTS, DOORS, GIB, INVALID_SIZE, MIB, PYTHON, REFUSED, ROOT, built,
                     only_line, own_lines)
from support import any_box, box, fake_box, pocl  # noqa: F401

pytestmark = built

LIMIT = 64 * MIB
WHEEL = ROOT / "build" / "venv" / "bin" / "python3"


def has_pyopencl(python):
    return subprocess.run([python, "-c", "import pyopencl"], capture_output=True,
                          check=False).returncode == 0


def assert_explained(errors, asked, used, *, limit="64 MiB", partition="p1", sharers=1):
    """One Chronos line, with asked, used, limit, device and how many share the partition."""
    line = only_line(errors)
    pattern = (rf"chronos: partition {partition}: refused {re.escape(asked)} on device 0 \(.+\): "
               rf"{re.escape(used)} of {re.escape(limit)} in use by {sharers} process(es)?")
    assert re.fullmatch(pattern, line), line


# --- C programs, by every way in ----------------------------------------------------------------

@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("client", ["linked_c", "dlopen_c"])
def test_c_program_is_refused_past_the_limit(any_box, client, door):
    any_box.create(LIMIT)
    result = any_box.run(CLIENTS / client, "--size", 16 * MIB, "--count", 6, door=door)
    assert result.stdout.splitlines() == ["ok 16777216"] * 4 + ["error -4"] * 2
    assert result.returncode == 3  # the program's own
    assert_explained(result.stderr, "16 MiB", "64 MiB")
    assert any_box.used() == 0


@pytest.mark.parametrize("door", DOORS)
def test_the_last_byte_fits_and_the_next_does_not(any_box, door):
    any_box.create(LIMIT)
    exact = any_box.run(CLIENTS / "linked_c", "--size", LIMIT, door=door)
    assert (exact.returncode, exact.stdout) == (0, f"ok {LIMIT}\n"), exact.stderr
    assert own_lines(exact.stderr) == []
    beyond = any_box.run(CLIENTS / "linked_c", "--size", LIMIT + 1, door=door)
    assert (beyond.returncode, beyond.stdout) == (3, "error -4\n")
    only_line(beyond.stderr)


def test_byte_by_byte_up_to_the_limit(any_box):
    any_box.create(LIMIT)
    session = any_box.session()
    assert session(f"[make({LIMIT} - 1), make(1), make(1), drop(), make(2), make(1)]") == [
        0, 0, REFUSED, 0, REFUSED, 0]
    assert any_box.used() == LIMIT
    assert any_box.partitions()["p1"]["peak_bytes"] == LIMIT
    assert any_box.partitions()["p1"]["refusals"] == 2
    only_line(session.errors())


def test_no_program_is_refused_what_was_freed(any_box):
    any_box.create(LIMIT)
    session = any_box.session()
    assert session(f"[(make({LIMIT}), drop()) for _ in range(50)]") == [[0, 0]] * 50
    assert own_lines(session.errors()) == []


def test_the_driver_agrees(box):
    """The driver's own count of what it holds is what the partition says."""
    box.create(LIMIT)
    session = box.session()
    session("[make(MIB * n) for n in range(1, 14)]")
    assert session("len(held)") == 10  # 55 MiB: no 11 more, nor 12, nor 13
    assert box.held() == box.used() == 55 * MIB
    session("make(9 * MIB)")
    assert box.held() == box.used() == LIMIT


def test_refusals_cost_the_driver_nothing(box):
    box.create(LIMIT)
    session = box.session()
    assert session(f"[make({LIMIT} + 1) for _ in range(100)]") == [REFUSED] * 100
    with box.witnessed() as witness:
        assert witness.allocations() == 0
    assert box.used() == 0


@pytest.mark.parametrize("size", [(1 << 46) - 1, 1 << 46, (1 << 63) + 1, (1 << 64) - 1])
def test_sizes_beyond_all_reason_are_the_drivers_to_refuse(box, size):
    box.create(LIMIT)
    session = box.session()
    assert session(f"[make(MIB), make({size}), make(MIB)]") == [0, INVALID_SIZE, 0]
    assert box.used() == 2 * MIB


def test_what_some_device_could_hold_is_refused_without_the_driver(fake_box):
    """A driver that gives more in one piece than it says that the device has."""
    box = fake_box(devices=[{"memory_bytes": GIB, "max_alloc_bytes": 4 * GIB}])
    box.create(LIMIT)
    session = box.session()
    assert session("[make(2 * GIB), make(4 * GIB), make(4 * GIB + 1)]") == [REFUSED, REFUSED,
                                                                           INVALID_SIZE]
    with box.witnessed() as witness:
        assert witness.allocations() == 0
    assert box.used() == 0


def test_every_kind_of_buffer_is_charged(any_box):
    any_box.create(LIMIT)
    session = any_box.session()
    assert session("make(MIB, flags=cl.READ_WRITE | cl.ALLOC_HOST_PTR)") == 0
    session("memory = ctypes.create_string_buffer(2 * MIB)")
    assert session("cl.buffer(the_context, 2 * MIB, cl.USE_HOST_PTR, memory)[1]") == 0
    assert any_box.used() == 3 * MIB
    assert session("cl.buffer(the_context, 62 * MIB, cl.USE_HOST_PTR, memory)[1]") == REFUSED


def test_a_null_errcode_is_no_way_in(any_box):
    any_box.create(LIMIT)
    session = any_box.session()
    assert session("make(60 * MIB)") == 0
    assert session("cl.create_buffer(the_context, cl.READ_WRITE, 5 * MIB, None, None)") is None
    assert session("cl.create_buffer(the_context, cl.READ_WRITE, MIB, None, None) is None") is False
    assert any_box.used() == 61 * MIB


def test_the_programs_own_status_and_output_come_back(box):
    box.create(LIMIT)
    result = box.run("sh", "-c", "echo out; echo err >&2; exit 42")
    assert (result.returncode, result.stdout, result.stderr) == (42, "out\n", "err\n")


# --- Python -------------------------------------------------------------------------------------

CTYPES = """
import opencl as cl
context = cl.context()
print(cl.buffer(context, 48 << 20)[1], cl.buffer(context, 17 << 20)[1])
"""

PYOPENCL = """
import pyopencl as cl
context = cl.Context([cl.get_platforms()[0].get_devices()[0]])
first = cl.Buffer(context, cl.mem_flags.READ_WRITE, 48 << 20)
try:
    cl.Buffer(context, cl.mem_flags.READ_WRITE, 17 << 20)
except cl.MemoryError as error:
    print("MemoryError", error.code)
first.release()
print(cl.Buffer(context, cl.mem_flags.READ_WRITE, 64 << 20).size)
"""


@pytest.mark.parametrize("door", DOORS)
def test_ctypes_on_libopencl(any_box, door):
    any_box.create(LIMIT)
    result = any_box.python(CTYPES, door=door)
    assert (result.returncode, result.stdout) == (0, "0 -4\n"), result.stderr
    assert_explained(result.stderr, "17 MiB", "48 MiB")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("python", [PYTHON, str(WHEEL)], ids=["debian", "wheel"])
def test_pyopencl(any_box, python, door):
    if not os.path.exists(python) or not has_pyopencl(python):
        pytest.skip(f"no PyOpenCL for {python}")
    any_box.create(LIMIT)
    result = any_box.run(python, "-c", PYOPENCL, door=door)
    assert (result.returncode, result.stdout) == (0, "MemoryError -4\n67108864\n"), result.stderr
    assert_explained(result.stderr, "17 MiB", "48 MiB")


@pytest.mark.parametrize("door", ["run", "named"])
def test_training_fits_or_gets_a_memory_error(pocl, door):
    pocl.create("1GiB")
    train = ROOT / "examples" / "train.py"
    small = pocl.run(PYTHON, train, "--steps", 5, "--batch", 1024, door=door)
    # Five steps teach nothing (status 1), but the loss was computed.
    assert small.returncode in (0, 1), small.stderr
    assert "loss" in small.stdout
    assert own_lines(small.stderr) == []
    large = pocl.run(PYTHON, train, "--batch", 2_000_000, door=door)
    assert large.returncode == 3, large.stdout + large.stderr
    line = only_line(large.stderr)
    assert line.startswith("chronos: partition p1: refused ") and " of 1 GiB in use " in line
    assert pocl.used() == 0


def test_training_reaches_its_loss(pocl):
    pocl.create("1GiB")
    result = pocl.run(PYTHON, ROOT / "examples" / "train.py")
    assert result.returncode == 0, result.stdout + result.stderr
    assert own_lines(result.stderr) == []


# --- what programs size themselves by -----------------------------------------------------------

GLOBAL, MAX_ALLOC, CONSTANT, FREE_AMD = 0x101F, 0x1010, 0x1020, 0x4039


def test_size_queries_answer_with_the_partitions_numbers(any_box):
    any_box.create(LIMIT)
    bare, held = any_box.session(door=None), any_box.session()
    for what in (GLOBAL, MAX_ALLOC, CONSTANT):
        ask = f"cl.number_of(cl.devices()[0], {what})"
        driver, shown = bare(ask), held(ask)
        assert shown == min(driver, LIMIT)
    assert held(f"cl.number_of(cl.devices()[0], {GLOBAL})") == LIMIT


def test_free_memory_is_limit_less_used(fake_box):
    box = fake_box(devices=[{"memory_bytes": GIB, "free_memory_amd": True}])
    box.create(LIMIT)
    session = box.session()
    ask = f"cl.number_of(cl.devices()[0], {FREE_AMD})"
    assert session(ask) == 64 * 1024  # KiB
    other = box.session()
    other("make(10 * MIB)")
    session("make(MIB)")
    assert session(ask) == 53 * 1024
    # Two numbers, free memory and its largest block, for who asks for both.
    assert session("[(two := (ctypes.c_ulong * 2)()), "
                   f"cl.device_info(cl.devices()[0], {FREE_AMD}, 16, two, None), list(two)][1:]"
                   ) == [0, [53 * 1024] * 2]


QUERIES = """[[error := cl.device_info(cl.devices()[0], what, room, value, size),
  (size._obj.value if size is not None else None), (bytes(value or b"").hex() if wrote else "")]
 for what in (0x101F, 0x1010, 0x1020, 0x102B, 0x4039, 0x9999)
 for room in (0, 1, 4, 7, 8, 9, 16, 64)
 for value in (None, ctypes.create_string_buffer(b"x" * 64, 64))
 for size in (None, ctypes.byref(ctypes.c_size_t(77)))
 for wrote in (value is not None and room < 8,)]"""


def test_size_queries_take_small_and_null_buffers_as_the_driver_does(any_box):
    """Errors, reported sizes, and that too small a buffer stays untouched."""
    any_box.create(LIMIT)
    bare = any_box.session(door=None)(QUERIES)
    assert any_box.session()(QUERIES) == bare
    assert any_box.session(door="layers")(QUERIES) == bare


def test_clinfo_shows_the_partition(any_box):
    any_box.create(LIMIT)
    shown = any_box.run("clinfo", "--raw")
    assert shown.returncode == 0, shown.stderr
    rows = re.findall(r"(CL_DEVICE_GLOBAL_MEM_SIZE|CL_DEVICE_MAX_MEM_ALLOC_SIZE)\s+(\d+)",
                      shown.stdout)
    assert ("CL_DEVICE_GLOBAL_MEM_SIZE", str(LIMIT)) in rows
    assert all(int(number) <= LIMIT for _, number in rows)
    assert own_lines(shown.stderr) == []


def test_clpeak_sizes_itself_by_the_partition_and_completes(pocl):
    if ctypes.util.find_library("OpenCL") is None or not os.path.exists("/usr/bin/clpeak"):
        pytest.skip("clpeak is not installed")
    pocl.create("256MiB")
    result = pocl.run("clpeak", "--global-bandwidth", timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Global memory bandwidth" in result.stdout
    assert "Out of memory" not in result.stdout + result.stderr
    assert own_lines(result.stderr) == []
    assert 0 < pocl.partitions()["p1"]["peak_bytes"] <= 256 * MIB

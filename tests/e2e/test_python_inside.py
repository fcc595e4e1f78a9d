"""The Python package: an interpreter that is held to a partition which it made itself."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from inside import inside
from support import GIB, LIBRARY, MIB, PYTHON, REFUSED, ROOT, SHIM, built, only_line
from support import box, fake_box, pocl  # noqa: F401

pytestmark = built

WHEELS_PYTHON = ROOT / "build" / "venv" / "bin" / "python3"  # with PyOpenCL's wheel: its own loader


# ---- PyOpenCL on PoCL ---------------------------------------------------------------------------

PYOPENCL = """
import chronos
import pyopencl as cl
machine = chronos.Partitioner()
with machine.create(device=0, memory="1GiB", duration="10m") as partition:
    context = cl.create_some_context(interactive=False)
    print(context.devices[0].global_mem_size)
    try:
        cl.Buffer(context, cl.mem_flags.READ_WRITE, 2 << 30)
    except cl.MemoryError as error:
        print(error)
    kept = cl.Buffer(context, cl.mem_flags.READ_WRITE, 512 << 20)
    print(partition.usage())
print([(p.state, p.used_bytes) for p in machine.list()])
cl.Buffer(context, cl.mem_flags.READ_WRITE, 2 << 30).release()
kept.release()
print(machine.list(), machine.get_available(0))
"""


@pytest.mark.parametrize("python", [PYTHON, WHEELS_PYTHON], ids=["debian", "wheel"])
def test_a_partition_binds_pyopencl_in_the_same_interpreter(pocl, python):
    if not Path(python).exists():
        pytest.skip(f"{python} is not there")
    lines, errors = inside(pocl, PYOPENCL, begin="", python=python)
    assert lines[0] == str(GIB)
    assert "MEM_OBJECT_ALLOCATION_FAILURE" in lines[1]
    assert lines[2].startswith(
        f"Usage(used_bytes={512 * MIB}, peak_bytes={512 * MIB}, limit_bytes={GIB}, refusals=")
    assert not lines[2].endswith("refusals=0)")
    assert lines[3:] == [f"[('draining', {512 * MIB})]", "[] 100.0"]
    assert "refused 2 GiB on device 0" in only_line(errors)


# ---- Enter, leave, nest -------------------------------------------------------------------------


def test_a_context_from_before_is_charged_inside_and_free_after(box):
    lines, _ = inside(box, """
context = cl.context()
print(make(100, context))
with machine.create(0, "64MiB", 60) as partition:
    print(make(65, context), make(40, context), used(partition))
print(make(100, context), [p.used_bytes // MIB for p in machine.list()])
drop()
print(machine.list())
""")
    assert lines == ["0", f"{REFUSED} 0 40", "0 [40]", "[]"]
    assert box.held() == 0


def test_of_nested_partitions_the_inner_one_counts(box):
    lines, errors = inside(box, """
context = cl.context()
with machine.create(0, "100MiB", 60) as outer:
    make(10, context)
    with machine.create(0, "50MiB", 60) as inner:
        print(make(60, context), make(20, context), used(outer), used(inner))
        outer.enter()
        print(make(60, context), used(outer), used(inner))
        outer.leave()
    print(make(20, context), used(outer))
drop()
print(machine.list())
""")
    assert lines == [f"{REFUSED} 0 10 20", "0 70 20", "0 90", "[]"]


def test_enter_leave_and_release_by_hand(box):
    lines, _ = inside(box, """
context = cl.context()
partition = machine.create(0, "64MiB", 60).enter()
print(make(65, context), os.environ["CHRONOS_PARTITION"] == partition.handle)
partition.leave()
print(os.environ.get("CHRONOS_PARTITION"))
try:
    partition.leave()
except chronos.InvalidRequest as error:
    print(error)
partition.enter().enter()
partition.leave()
print(make(65, context))  # still in it once
print(partition.release(), make(65, context), os.environ.get("CHRONOS_PARTITION"))
for ended in (partition, machine.create(0, 0.5, 60)):
    ended.release()
    try:
        ended.enter()
    except chronos.PartitionNotFound as error:
        print("ended")
print(make(65, context))
""")
    assert lines == [f"{REFUSED} True", "None",
                     "partition partition_0001 has not been entered here", str(REFUSED),
                     "True 0 None", "ended", "ended", "0"]


def test_what_the_program_was_started_in_stays_behind_what_it_enters(fake_box):
    box = fake_box(devices=[{"memory_bytes": GIB, "uuid": "1" * 32},
                            {"memory_bytes": GIB, "uuid": "2" * 32}])
    box.create(64 * MIB, name="outer", device=0)
    lines, _ = inside(box, """
first, second = cl.context(0), cl.context(1)
print(make(65, first), make(65, second))
with machine.create(1, "80MiB", 60):
    print(make(65, first), make(65, second), make(20, second))
print(make(65, first), make(1, second), os.environ["CHRONOS_PARTITION"])
""", CHRONOS_PARTITION="outer", LD_PRELOAD=str(SHIM))
    # By CHRONOS_PARTITION alone the second device is refused, before and after.
    assert lines == [f"{REFUSED} {REFUSED}", f"{REFUSED} 0 {REFUSED}", f"{REFUSED} {REFUSED} outer"]


def test_other_devices_are_refused_inside(fake_box):
    box = fake_box(devices=[{"memory_bytes": GIB, "uuid": "1" * 32},
                            {"memory_bytes": GIB, "uuid": "2" * 32}])
    lines, errors = inside(box, """
first, second = cl.context(0), cl.context(1)
with machine.create(0, "64MiB", 60, name="here"):
    print(make(1, first), make(1, second))
print(make(1, second))
""")
    assert lines == [f"0 {REFUSED}", "0"]
    assert "is not in partition here" in only_line(errors)


def test_a_partition_whose_time_is_up_refuses_until_it_is_left(box):
    lines, _ = inside(box, """
context = cl.context()
with machine.create(0, "64MiB", 0.05) as partition:
    while partition.time_remaining or machine.list():
        time.sleep(0.01)
    print(make(1, context))
print(make(1, context))
""")
    assert lines == [str(REFUSED), "0"]


def test_any_number_of_partitions_in_one_process(box):
    """More than there are numbers for in receipts; none costs a descriptor for good."""
    lines, _ = inside(box, """
context = cl.context()
for i in range(280):
    with machine.create(0, "64MiB", 60) as partition:
        assert (make(65, context), make(2, context)) == (%d, 0), i
        assert used(partition) == 2
    drop()
    if i == 20:
        before = len(os.listdir("/proc/self/fd"))
print(len(os.listdir("/proc/self/fd")) - before, machine.list())
""" % REFUSED)
    assert lines == ["0 []"]


def test_what_is_kept_of_many_partitions_goes_back_to_the_right_one(box):
    lines, _ = inside(box, """
context = cl.context()
buffers = {}
for i in range(270):
    with machine.create(0, "8MiB", 60, name=f"p{i}"):
        assert make(2, context) == 0
    if i % 30 == 0:
        buffers[f"p{i}"] = held.pop()
    drop()
print(len(machine.list()), {p.used_bytes // MIB for p in machine.list()})
with machine.create(0, "8MiB", 60, name="last") as last:
    for name, buffer in buffers.items():
        cl.release(buffer)
        assert name not in [p.name for p in machine.list()]
    print(used(last), [p.name for p in machine.list()])
""")
    assert lines == ["9 {2}", "0 ['last']"]
    assert box.held() == 0


def test_the_block_of_another_users_partition_is_not_entered(box):
    if os.geteuid() != 0:
        pytest.skip("acts as another user")
    lines, _ = inside(box, """
context = cl.context()
with machine.create(0, "64MiB", 60, user="nobody") as partition:
    print(make(65, context), os.environ.get("CHRONOS_PARTITION"))
    try:
        partition.enter()
    except chronos.PermissionDenied as error:
        print(error.message)
print(machine.list())
""")
    assert lines == ["0 None", "Permission denied: partition owned by nobody", "[]"]


def test_threads_share_what_was_entered(box):
    lines, _ = inside(box, """
import threading
context = cl.context()
refused = []
def work():
    for _ in range(200):
        made, error = cl.buffer(context, MIB)
        refused.append(error)
        if made is not None:
            cl.release(made)
with machine.create(0, "3MiB", 60) as partition:
    kept = [cl.buffer(context, MIB) for _ in range(3)]
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print(set(refused), used(partition))
""")
    assert lines == [f"{{{REFUSED}}} 3"]


def test_threads_that_enter_and_leave_at_once(box):
    """Whichever partition counts at a time, nothing is lost and nothing passes a limit."""
    lines, _ = inside(box, """
import threading
context = cl.context()
errors = []
def work():
    try:
        for _ in range(50):
            with machine.create(0, "4MiB", 60) as partition:
                made, error = cl.buffer(context, MIB)
                if made is not None:
                    cl.release(made)
    except BaseException as error:
        errors.append(error)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(errors, machine.list(), os.environ.get("CHRONOS_PARTITION"), make(65, context))
""")
    assert lines == ["[] [] None 0"]


# ---- Before and after OpenCL --------------------------------------------------------------------


def test_the_users_own_layers_stay(box):
    code = "import os, chronos; print(os.environ['OPENCL_LAYERS'])"
    for given, expected in [("", f"{SHIM}"), ("/mine.so", f"{SHIM}:/mine.so"),
                            (f"/mine.so:/old/{SHIM.name}", f"{SHIM}:/mine.so"),
                            (f"{SHIM}:/mine.so", f"{SHIM}:/mine.so"),
                            (f"/gone/{SHIM.name}:/mine.so", f"{SHIM}:/mine.so")]:
        assert inside(box, code, begin="", OPENCL_LAYERS=given)[0] == [expected]


def test_opencl_that_was_started_before_is_warned_of(box):
    code = """
import warnings
import opencl as cl
context = cl.context()
import chronos
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    with chronos.Partitioner().create(0, "64MiB", 60, name="late"):
        for warning in caught:
            print(warning.category.__name__, warning.filename == __file__, warning.message)
        print(cl.buffer(context, 65 << 20)[1], chronos.doctor()["interpreter"]["opencl"])
"""
    lines, _ = inside(box, code, begin="")
    assert lines[0].startswith("ChronosWarning True OpenCL was started in this interpreter before "
                               "chronos was imported: what it allocates is not counted in partition "
                               "late. Import chronos before")
    assert lines[1:] == ["0 passed by"]


def test_opencl_that_has_not_been_used_yet_needs_no_warning(box):
    code = """
import opencl as cl  # opens the loader, and calls nothing
import chronos
with chronos.Partitioner().create(0, "64MiB", 60):
    print(chronos.doctor()["interpreter"]["opencl"])
    print(cl.buffer(cl.context(), 65 << 20)[1], chronos.doctor()["interpreter"]["opencl"])
"""
    lines, errors = inside(box, code, begin="")
    assert lines == ["not started", f"{REFUSED} reached"]
    assert "Warning" not in errors


def test_calls_that_passed_by_are_warned_of_when_the_block_ends(box):
    """A driver that nobody's loader opened."""
    code = f"""
import ctypes
with machine.create(0, "64MiB", 60):
    ctypes.CDLL({str(LIBRARY)!r})
"""
    _, errors = inside(box, code)
    assert "ChronosWarning: OpenCL calls of this interpreter passed by partition" in errors


def test_the_shim_that_was_preloaded_is_told(box):
    lines, _ = inside(box, """
with machine.create(0, "64MiB", 60):
    print(make(65), chronos.doctor()["interpreter"]["opencl"])
print(make(65))
""", LD_PRELOAD=str(SHIM))
    assert lines == [f"{REFUSED} reached", "0"]


def test_of_two_copies_of_the_shim_the_active_one_is_told(box, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(SHIM, other)
    lines, _ = inside(box, """
with machine.create(0, "64MiB", 60) as partition:
    print(make(65), make(10), used(partition))
print(make(65))
""", LD_PRELOAD=str(other / SHIM.name))
    assert lines == [f"{REFUSED} 0 10", "0"]


def test_an_older_shim_in_the_process_is_an_error(box, tmp_path):
    old = tmp_path / SHIM.name
    subprocess.run(["cc", "-shared", "-Wl,-soname," + SHIM.name, "-o", str(old), "-x", "c",
                    "/dev/null"], check=True)
    lines, _ = inside(box, """
try:
    with machine.create(0, "64MiB", 60):
        pass
except chronos.SystemFailure as error:
    print(error)
print(machine.list(), os.environ.get("CHRONOS_PARTITION"))
""", LD_PRELOAD=str(old))
    assert lines == ["an older Chronos is at work in this process already (start it without "
                     "LD_PRELOAD, or with the libchronos_shim.so of this package)", "[] None"]


def test_the_doctors_facts(box):
    lines, _ = inside(box, """
facts = chronos.doctor()
print(facts["healthy"], {f["topic"] for f in facts["findings"]} > {"driver", "loader", "doors"})
print(sorted(facts["interpreter"]), facts["interpreter"]["version"] == chronos.__version__)
""")
    assert lines == ["True True", "['entered', 'executable', 'layers', 'library', 'opencl', 'shim', "
                     "'version'] True"]

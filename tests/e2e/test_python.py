"""The Python package, with real processes, on PoCL."""

import ctypes
import getpass
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("CHRONOS_BUILD", ROOT / "build" / "release"))
SHIM = BUILD / "lib" / "libchronos_shim.so"
sys.path.insert(0, str(ROOT / "python"))
os.environ.setdefault("CHRONOS_LIBRARY", str(BUILD / "lib" / "libchronos.so"))

import chronos  # noqa: E402
from chronos import ChronosError, Partition, Partitioner, PartitionInfo  # noqa: E402

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="acts as other users")
needs_shim = pytest.mark.skipif(not SHIM.exists(), reason="the shim is not built")


@pytest.fixture(autouse=True)
def state_dir(monkeypatch):
    path = tempfile.mkdtemp(prefix="chronos-e2e-", dir="/dev/shm")
    os.chmod(path, 0o1777)
    monkeypatch.setenv("CHRONOS_STATE_DIR", path)
    monkeypatch.delenv("CHRONOS_PARTITION", raising=False)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def partitioner():
    return Partitioner()


def python(code, interpreter=sys.executable, **kwargs):
    """A Python program of its own; its output."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
    done = subprocess.run(
        [interpreter, "-W", "error", "-c", code],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        **kwargs,
    )
    assert done.returncode == 0
    return done.stdout


# ---- Making, listing, ending --------------------------------------------------------------------


def test_a_partition_is_made_seen_by_another_process_and_released(partitioner):
    partition = partitioner.create(device=0, memory=0.5, duration=3600)
    assert partition.partition_id == "partition_0001"
    assert partition.name is None
    assert partition.device == 0
    assert partition.memory_fraction == 0.5
    assert partition.duration == 3600
    assert 3590 <= partition.time_remaining <= 3600
    assert "partition_0001 True" in python(
        "import chronos\nfor p in chronos.Partitioner().list(): print(p.partition_id, p.active)"
    )
    assert partition.release() is True
    assert partition.release() is False
    assert partition.time_remaining == 0
    assert partitioner.list() == []


def test_listed_partitions_have_both_families_of_names(partitioner):
    partitioner.create(device=0, memory="1MiB", duration="90s", name="small")
    (info,) = partitioner.list()
    assert isinstance(info, PartitionInfo)
    assert info.partition_id == info.name == "small"
    assert info.device_index == info.device == 0
    assert info.duration_seconds == info.duration == 90
    assert info.time_remaining_seconds == info.time_remaining
    assert 80 <= info.time_remaining <= 90
    assert info.username == info.owner == info.creator == getpass.getuser()
    assert info.process_id == info.pid == os.getpid()
    assert info.active is True and info.state == "active"
    assert info.limit_bytes == 1 << 20
    assert info.used_bytes == info.peak_bytes == info.refusals == 0
    assert info.processes == {}
    assert info.handle.startswith("small@")
    assert partitioner.find("small").handle == info.handle


@pytest.mark.parametrize(
    "memory, limit",
    [("64MiB", 64 << 20), (64 << 20, 64 << 20), ("64MB", 64_000_000), ("1.5KiB", 1536)],
)
def test_sizes(partitioner, memory, limit):
    assert partitioner.create(0, memory, 60).limit_bytes == limit


@pytest.mark.parametrize("memory", [0.25, "0.25", "25%", Fraction(1, 4)])
def test_shares(partitioner, memory):
    assert partitioner.create(0, memory, 60).memory_fraction == 0.25
    assert partitioner.get_available(0) == 75.0


@pytest.mark.parametrize("memory", [1, 1.0, "100%"])
def test_the_whole_device(partitioner, memory):
    partitioner.create(0, memory, 60)
    assert partitioner.get_available(0) == 0.0


@pytest.mark.parametrize(
    "duration, seconds",
    [(90, 90), (90.0, 90), ("90", 90), ("1m30s", 90), (timedelta(minutes=1.5), 90), (0.25, 1)],
)
def test_durations(partitioner, duration, seconds):
    assert partitioner.create(0, 0.1, duration).duration == seconds


def test_ten_tenths_fit(partitioner):
    for _ in range(10):
        partitioner.create(device=0, memory=0.1, duration=60)
    with pytest.raises(chronos.NotEnoughMemory):
        partitioner.create(device=0, memory=0.1, duration=60)


def test_too_much_memory_says_how_much_there_is(partitioner):
    partitioner.create(0, 0.75, 60)
    total = partitioner.stats()[0].total_bytes
    with pytest.raises(chronos.NotEnoughMemory) as caught:
        partitioner.create(0, 0.5, 60)
    assert str(caught.value).startswith("Not enough available memory on device 0 (asked ")
    assert caught.value.message == "Not enough available memory on device 0"
    assert caught.value.device == 0
    assert caught.value.asked == pytest.approx(total / 2, abs=2)
    assert caught.value.available == pytest.approx(total / 4, abs=2)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), copy.asked, str(copy)) == (
        chronos.NotEnoughMemory,
        caught.value.asked,
        str(caught.value),
    )


def test_a_partition_ends_when_its_time_is_up(partitioner):
    partition = partitioner.create(0, 0.5, 0.2)
    deadline = time.monotonic() + 10
    while partitioner.list():
        assert time.monotonic() < deadline
    assert partition.time_remaining == 0
    assert partitioner.get_available(0) == 100.0
    assert partition.release() is False


# ---- The context manager ------------------------------------------------------------------------


def test_the_context_manager_releases(partitioner):
    with partitioner.create(0, 0.5, 60) as partition:
        assert isinstance(partition, Partition)
        assert len(partitioner.list()) == 1
    assert partitioner.list() == []


def test_the_context_manager_releases_after_an_error(partitioner):
    with pytest.raises(KeyError):
        with partitioner.create(0, 0.5, 60):
            raise KeyError("mine")
    assert partitioner.list() == []


def test_leaving_after_the_partition_has_ended_is_no_error(partitioner):
    with partitioner.create(0, 0.5, 60, name="p") as partition:
        partitioner.release("p")
        successor = partitioner.create(0, 0.5, 60, name="p")
        assert partition.time_remaining == 0
    assert [p.handle for p in partitioner.list()] == [successor.handle]


def test_a_forked_child_that_leaves_the_block_does_not_release(partitioner):
    code = """
import os, chronos
with chronos.Partitioner().create(0, 0.5, 60) as p:
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        print(len(chronos.Partitioner().list()))
"""
    assert python(code) == "1\n"
    assert partitioner.list() == []


def test_a_forked_child_can_use_what_it_inherits(partitioner):
    code = """
import os, chronos
p = chronos.Partitioner()
partition = p.create(0, 0.25, 60)
child = os.fork()
if child == 0:
    p.create(0, 0.25, 60)
    assert partition.release() and len(p.list()) == 1
else:
    assert os.waitpid(child, 0)[1] == 0
    assert partition.time_remaining == 0
"""
    python(code)
    assert [p.partition_id for p in partitioner.list()] == ["partition_0002"]


def test_many_threads(partitioner):
    failures = []

    def work():
        try:
            for _ in range(20):
                with partitioner.create(0, 0.1, 60) as p:
                    assert p.time_remaining > 0
                    assert any(q.handle == p.handle for q in partitioner.list())
        except BaseException as error:  # a thread's own would be lost
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert partitioner.list() == []


# ---- Bad arguments ------------------------------------------------------------------------------

NAN, INFINITY, HUGE = float("nan"), float("inf"), 10**5000


@pytest.mark.parametrize(
    "memory",
    [0, 0.0, -0.0, -0.5, -1, 1.5, NAN, INFINITY, -INFINITY, 5e-324, 1e300, HUGE, -HUGE, 2, 50]
    + [2**46, Fraction(HUGE)]
    + ["", "0", "nan", "1e400", "12 parsecs", "0.5\0", "1GiB\n", "\ud800", "x" * 100_000, "½"],
    ids=lambda value: type(value).__name__,
)
def test_bad_memory(partitioner, memory):
    with pytest.raises(chronos.InvalidRequest) as caught:
        partitioner.create(0, memory, 60)
    assert "memory" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert partitioner.list() == []


@pytest.mark.parametrize(
    "duration",
    [0, 0.0, -1, NAN, INFINITY, 1e300, 5e-324, HUGE, -HUGE, timedelta(0), timedelta(days=-1)]
    + [100 * 366 * 86400, "", "0", "12 parsecs", "1h\0", "\udcff", "-5", "1m1h"],
    ids=lambda value: type(value).__name__,
)
def test_bad_duration(partitioner, duration):
    with pytest.raises(chronos.InvalidRequest) as caught:
        partitioner.create(0, 0.1, duration)
    assert "duration" in str(caught.value)
    assert partitioner.list() == []


@pytest.mark.parametrize(
    "device",
    [-1, 99, 2**31 - 1, 2**31, 2**32, 2**64, -(2**31) - 1, HUGE],
    ids=lambda value: type(value).__name__,
)
def test_unknown_devices(partitioner, device):
    with pytest.raises((chronos.NoDevice, chronos.InvalidRequest)):
        partitioner.create(device, 0.1, 60)
    with pytest.raises((chronos.NoDevice, chronos.InvalidRequest)):
        partitioner.get_available(device)


@pytest.mark.parametrize(
    "arguments",
    [
        dict(device="0"),
        dict(device=0.0),
        dict(device=True),
        dict(device=None),
        dict(memory=None),
        dict(memory=True),
        dict(memory=b"1GiB"),
        dict(memory=[0.5]),
        dict(memory=1j),
        dict(duration=None),
        dict(duration=False),
        dict(duration=b"1h"),
        dict(duration=object()),
        dict(user=0),
        dict(user=b"root"),
        dict(name=7),
        dict(name=b"p"),
    ],
    ids=str,
)
def test_wrong_types(partitioner, arguments):
    with pytest.raises(TypeError) as caught:
        partitioner.create(**{**dict(device=0, memory=0.1, duration=60), **arguments})
    assert next(iter(arguments)) in str(caught.value)
    assert partitioner.list() == []


@pytest.mark.parametrize(
    "name", ["", "a/b", "..", "a\nb", "a\0b", "partition_0001", "-x", "n" * 64, "\ud800", "ä"]
)
def test_bad_names(partitioner, name):
    with pytest.raises(chronos.InvalidRequest):
        partitioner.create(0, 0.1, 60, name=name)


def test_a_name_in_use(partitioner):
    partitioner.create(0, 0.1, 60, name="p")
    with pytest.raises(chronos.NameInUse):
        partitioner.create(0, 0.1, 60, name="p")


@pytest.mark.parametrize("user", ["", "no such user", "root\0", "-1", "../root"])
def test_unknown_users(partitioner, user):
    with pytest.raises(chronos.InvalidRequest) as caught:
        partitioner.create(0, 0.1, 60, user=user)
    assert "user" in str(caught.value)


@pytest.mark.parametrize("id", ["nosuch", "partition_9999", "../x", "a\nb", "x" * 300, "p@0", "@"])
def test_unknown_ids(partitioner, id):
    partitioner.create(0, 0.1, 60)
    for call in (partitioner.release, partitioner.find):
        with pytest.raises(chronos.PartitionNotFound) as caught:
            call(id)
        assert str(caught.value).startswith("Partition not found or already released: ")
        assert "\n" not in str(caught.value)
    assert len(partitioner.list()) == 1


@pytest.mark.parametrize("id, error", [(None, TypeError), (1, TypeError), (b"p", TypeError)])
def test_ids_of_wrong_types(partitioner, id, error):
    for call in (partitioner.release, partitioner.find):
        with pytest.raises(error):
            call(id)


# ---- Users --------------------------------------------------------------------------------------


@needs_root
def test_another_users_partition_can_be_seen_but_not_released(partitioner):
    partitioner.create(0, 0.5, 60, name="roots")
    code = """
import chronos
p = chronos.Partitioner()
print([i.owner for i in p.list()])
for call in (lambda: p.release("roots"), lambda: p.create(0, 0.1, 60, user="root"),
             lambda: chronos.environment("roots")):
    try:
        call()
    except chronos.PermissionDenied as error:
        print(error.message)
"""
    assert _as_nobody(code).splitlines() == [
        "['root']",
        "Permission denied: partition owned by root",
        "Permission denied: only administrators can create partitions for other users",
        "Permission denied: partition owned by root",
    ]


@needs_root
def test_root_makes_and_releases_partitions_of_others(partitioner):
    partition = partitioner.create(0, 0.5, 60, user="nobody")
    (info,) = partitioner.list()
    assert (info.owner, info.creator) == ("nobody", "root")
    assert _as_nobody("import chronos\nchronos.Partitioner().release('partition_0001')") == ""
    assert partition.release() is False


def _as_nobody(code):
    """Runs Python code as `nobody`, with a copy of package and library that nobody can read."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        installation = _flat_installation(Path(folder))
        return python(
            f"import sys; sys.path.insert(0, {folder!r})\n"
            f"import os; os.environ['CHRONOS_LIBRARY'] = {str(installation)!r}\n" + code,
            interpreter="/usr/bin/python3",  # one under /root would be closed to nobody
            user=65534,
            group=65534,
            extra_groups=[],
            cwd="/",
        )


def _flat_installation(folder):
    """Library, helper and an empty shim in one folder, as in a wheel; the library's path."""
    shutil.copytree(ROOT / "python" / "chronos", folder / "chronos")
    home = folder / "chronos"
    shutil.copy(os.environ["CHRONOS_LIBRARY"], home / "libchronos.so")
    shutil.copy(BUILD / "libexec" / "chronos" / "chronos-probe", home)
    subprocess.run(
        ["cc", "-shared", "-o", str(home / "libchronos_shim.so"), "-x", "c", "/dev/null"], check=True
    )
    return home / "libchronos.so"


# ---- Starting programs --------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path):
    """Runs code with a flat installation whose shim does nothing."""
    _flat_installation(tmp_path)

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
    _flat_installation(tmp_path)
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


# ---- The library --------------------------------------------------------------------------------


def test_a_library_that_is_not_there():
    code = """
import chronos
try:
    chronos.Partitioner()
except chronos.LibraryNotFound as error:
    print(str(error).split(":")[0])
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "python"), "CHRONOS_LIBRARY": "/nosuch.so"}
    for library in ("/nosuch.so", "/lib/x86_64-linux-gnu/libm.so.6", __file__):
        env["CHRONOS_LIBRARY"] = library
        out = subprocess.run(
            [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True, check=True
        ).stdout
        assert out == "Could not find Chronos library\n"


def test_the_versions_agree():
    library = ctypes.CDLL(os.environ["CHRONOS_LIBRARY"])
    library.chronos_version.restype = ctypes.c_char_p
    assert library.chronos_version().decode() == chronos.__version__


def test_every_public_name_is_there():
    for name in chronos.__all__:
        assert getattr(chronos, name).__doc__


def test_a_damaged_file_is_warned_of(partitioner, state_dir):
    partitioner.create(0, 0.1, 60)
    (grant,) = Path(state_dir).glob("*.grant")
    grant.write_bytes(b"garbage")
    with pytest.warns(chronos.ChronosWarning, match="ignored"):
        assert partitioner.list() == []


# ---- The user guide's examples, with a stand-in for what needs a CUDA framework -----------------


class Torch:
    """Stands in for torch: any attribute, called with anything."""

    def __getattr__(self, name):
        return Torch()

    def __call__(self, *arguments):
        return Torch()


torch = Torch()


def test_guide_basic_usage(capsys):
    partitioner = Partitioner()
    partition = partitioner.create(device=0, memory=0.5, duration=3600)
    print(f"Created: {partition.partition_id}")
    print(f"Using {partition.memory_fraction*100}% of GPU {partition.device}")
    model = torch.nn.Sequential(...).cuda()
    partition.release()
    assert model is not None
    assert capsys.readouterr().out == "Created: partition_0001\nUsing 50.0% of GPU 0\n"


def test_guide_list_partitions(partitioner, capsys):
    with partitioner.create(device=0, memory=0.5, duration=3600):
        partitions = partitioner.list()
        for p in partitions:
            print(f"ID: {p.partition_id}")
            print(f"  Memory: {p.memory_fraction*100}%")
            print(f"  Time left: {p.time_remaining_seconds}s")
            print(f"  Owner: {p.username}")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["ID: partition_0001", "  Memory: 50.0%"]
    assert lines[3] == f"  Owner: {getpass.getuser()}"


def test_guide_check_availability(partitioner):
    available = partitioner.get_available(device=0)
    assert f"GPU 0: {available:.1f}% available" == "GPU 0: 100.0% available"
    if available > 50:
        partition = partitioner.create(device=0, memory=0.5, duration=3600)
    assert partition.memory_fraction == 0.5


def test_guide_error_handling(partitioner, capsys):
    partitioner.create(device=0, memory=0.5, duration=3600)
    try:
        partition = partitioner.create(device=0, memory=0.9, duration=3600)
    except ChronosError as e:
        print(f"Failed: {e}")
        available = partitioner.get_available(device=0) / 100.0
        partition = partitioner.create(device=0, memory=available * 0.8, duration=3600)
    assert partition.memory_fraction == pytest.approx(0.4)
    assert capsys.readouterr().out.startswith("Failed: Not enough available memory on device 0")


def test_guide_time_remaining(partitioner, capsys):
    partition = partitioner.create(device=0, memory=0.5, duration=3600)
    time_left = partition.time_remaining
    print(f"Time remaining: {time_left} seconds")
    if time_left < 300:
        torch.save(torch.state_dict(), "checkpoint.pt")
    assert capsys.readouterr().out in [f"Time remaining: {s} seconds\n" for s in (3599, 3600)]


def test_guide_individual_research():
    partitioner = Partitioner()
    with partitioner.create(device=0, memory=0.4, duration=14400) as p:
        for epoch in range(100):
            if p.time_remaining < 600:
                pytest.fail("four hours are left")
    assert partitioner.list() == []


@needs_root
def test_guide_classroom(partitioner, monkeypatch, capsys):
    # Edits: real user names instead of student1..20, and one device.
    for i, student in enumerate(["nobody", "daemon", "no such student"]):
        try:
            partition = partitioner.create(device=0, memory=0.05, duration=3600, user=student)
            print(f"Allocated GPU {0} to {student}: {partition.partition_id}")
        except ChronosError as e:
            print(f"Failed to allocate for {student}: {e}")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "Allocated GPU 0 to nobody: partition_0001",
        "Allocated GPU 0 to daemon: partition_0002",
    ]
    assert lines[2].startswith("Failed to allocate for no such student: unknown user")


def test_guide_appropriate_durations(partitioner):
    partitioner.create(device=0, memory=0.2, duration=600)
    for chunk in range(4):
        with partitioner.create(device=0, memory=0.5, duration=7200) as p:
            assert p.duration == 7200


def test_show_stats_is_what_chronos_stats_prints(partitioner, capsys):
    assert partitioner.show_stats() is None
    out = capsys.readouterr().out
    assert out.startswith("Device statistics:\n=================\nDevice 0: ")
    assert "    Active partitions: 0\n" in out

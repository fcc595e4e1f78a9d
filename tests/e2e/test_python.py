"""The Python package: partitions made, listed and ended, by real processes, on PoCL."""

import ctypes
import getpass
import os
import pickle
import subprocess
import sys
import threading
import time
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from python_package import ROOT, as_nobody, needs_root, partitioner, python, state_dir  # noqa: F401

import chronos
from chronos import Partition, PartitionInfo


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


def test_a_partition_is_extended(partitioner):
    partition = partitioner.create(0, 0.5, 60)
    assert partition.extend("1m").duration == 120
    assert partition.extend(30).duration == 150
    assert partitioner.extend(partition, timedelta(minutes=1)).duration_seconds == 210
    assert partitioner.extend(partition.partition_id, 90.0).duration_seconds == 300
    assert 290 <= partition.time_remaining <= 300
    with pytest.raises(chronos.InvalidRequest):
        partition.extend(0)
    with pytest.raises(TypeError):
        partition.extend(None)
    partition.release()
    with pytest.raises(chronos.PartitionNotFound):
        partition.extend("1h")


def test_a_partition_is_resized(partitioner):
    partition = partitioner.create(0, "64MiB", 60)
    assert partition.resize("128MiB").limit_bytes == partition.limit_bytes == 128 << 20
    info = partitioner.resize(partition, 0.25, drain=True)
    assert (info.memory_fraction, info.draining_bytes) == (0.25, 0)
    assert partitioner.get_available(0) == 75.0
    partitioner.create(0, 0.5, 60)
    with pytest.raises(chronos.NotEnoughMemory) as caught:
        partition.resize(0.75)
    total = partitioner.stats()[0].total_bytes
    assert caught.value.device == 0
    assert caught.value.asked == pytest.approx(0.75 * total, abs=2)
    assert caught.value.available == pytest.approx(0.5 * total, abs=2)  # its own included
    assert partition.info().memory_fraction == 0.25
    with pytest.raises(chronos.PartitionNotFound):
        partitioner.resize("nosuch", 0.5)


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
    assert as_nobody(code).splitlines() == [
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
    assert as_nobody("import chronos\nchronos.Partitioner().release('partition_0001')") == ""
    assert partition.release() is False


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

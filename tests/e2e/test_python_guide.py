"""The Python examples of the original's user guide, with a stand-in for the CUDA framework."""

import getpass

import pytest
from python_package import needs_root, partitioner, state_dir  # noqa: F401

from chronos import ChronosError, Partitioner


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

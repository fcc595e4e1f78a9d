"""The Python package: bad arguments are refused with words, and change nothing."""

from datetime import timedelta
from fractions import Fraction

import pytest
from python_package import partitioner, state_dir  # noqa: F401

import chronos

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
        dict(duration=...),
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

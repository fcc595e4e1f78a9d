"""What the library answers with, as values: they do not change, and can be pickled.

Named tuples, because dataclasses alone would double what ``import chronos`` costs.
"""

from __future__ import annotations

import datetime
from typing import Any, Dict, Mapping, NamedTuple, Optional

__all__ = ["DeviceStats", "PartitionInfo", "Usage", "device_stats", "partition_info"]


class PartitionInfo(NamedTuple):
    """A partition as it was when it was looked at. Bytes and whole seconds; None where unknown.

    Example::

        for p in Partitioner().list():
            print(p.partition_id, p.owner, p.used_bytes, "of", p.limit_bytes)
    """

    #: The name if it has one, else ``partition_0001`` and so on.
    partition_id: str
    #: The name it was given; None if it has none.
    name: Optional[str]
    #: Number of the device, as the partition's creator saw it.
    device: Optional[int]
    device_name: Optional[str]
    #: The share of the device, in (0, 1].
    memory_fraction: float
    limit_bytes: int
    used_bytes: int
    #: What must be freed before it takes no more of the device than its limit: all that is held
    #: once it has ended, else what is held above a limit that was lowered.
    draining_bytes: int
    peak_bytes: int
    #: How many allocations were refused.
    refusals: int
    duration_seconds: int
    time_remaining_seconds: int
    #: With its time zone, UTC; None if the wall clock cannot say.
    expires_at: Optional[datetime.datetime]
    owner: str
    creator: str
    #: The process that created it.
    pid: Optional[int]
    #: ``"active"``, or ``"draining"``: it has ended, but programs still hold memory in it.
    state: str
    #: Bytes held, by process; not of those in containers that cannot be looked into from here.
    processes: Mapping[int, int]
    #: An id that no later partition of the same name can have.
    handle: str

    @property
    def device_index(self) -> Optional[int]:
        """The same as ``device``."""
        return self.device

    @property
    def duration(self) -> int:
        """The same as ``duration_seconds``."""
        return self.duration_seconds

    @property
    def time_remaining(self) -> int:
        """The same as ``time_remaining_seconds``."""
        return self.time_remaining_seconds

    @property
    def username(self) -> str:
        """The same as ``owner``."""
        return self.owner

    @property
    def process_id(self) -> Optional[int]:
        """The same as ``pid``."""
        return self.pid

    @property
    def active(self) -> bool:
        """False once it has ended, while programs still hold memory in it."""
        return self.state == "active"


class DeviceStats(NamedTuple):
    """A device and how much of it is in use, in bytes; None where unknown.

    Example::

        for d in Partitioner().stats():
            print(d.device, d.name, d.available_bytes, "of", d.total_bytes)
    """

    device: int
    name: Optional[str]
    vendor: Optional[str]
    #: ``"GPU"``, ``"Accelerator"``, ``"CPU"`` or ``"Custom"``.
    type: str
    opencl_version: Optional[str]
    platform: Optional[str]
    uuid: Optional[str]
    pci: Optional[str]
    total_bytes: int
    #: Held by programs in partitions.
    used_bytes: int
    #: The limits of all active partitions.
    reserved_bytes: int
    #: Still held in partitions that have ended, or above a limit that was lowered.
    draining_bytes: int
    #: What a new partition can get.
    available_bytes: int
    active_partitions: int


class Usage(NamedTuple):
    """What programs have in a partition, all together, in bytes.

    Example::

        usage = partition.usage()
        print(f"{usage.used_bytes / usage.limit_bytes:.0%} in use, {usage.refusals} refusals")
    """

    #: Held now.
    used_bytes: int
    #: Most that was held at once.
    peak_bytes: int
    limit_bytes: int
    #: How many allocations were refused.
    refusals: int


def _known(fields: Any, answer: Mapping[str, Any]) -> Dict[str, Any]:
    # Fields that a newer library adds are not ours to know.
    return {name: answer[name] for name in fields if name in answer}


def partition_info(answer: Mapping[str, Any]) -> PartitionInfo:
    values = _known(PartitionInfo._fields, answer)
    values["processes"] = {entry["pid"]: entry["used_bytes"] for entry in answer["processes"]
                           if entry["pid"] is not None}
    if answer["expires_at"] is not None:
        text = answer["expires_at"].replace("Z", "+00:00")  # as Python 3.9 and 3.10 want it
        values["expires_at"] = datetime.datetime.fromisoformat(text)
    return PartitionInfo(**values)


def device_stats(answer: Mapping[str, Any]) -> DeviceStats:
    return DeviceStats(**_known(DeviceStats._fields, answer))

"""Time-limited GPU memory partitions that hold.

Example::

    import chronos

    with chronos.Partitioner().create(device=0, memory=0.5, duration="1h") as partition:
        chronos.run(["python3", "train.py"], partition=partition)

Units: bytes, seconds, shares of a device in (0, 1], percent in 0..100. Every failure is a
:class:`ChronosError`; a wrong type of argument is a TypeError.
"""

from .errors import (
    Busy,
    ChronosError,
    ChronosWarning,
    Damaged,
    Expired,
    InternalError,
    InUse,
    InvalidRequest,
    LibraryNotFound,
    NameInUse,
    NoDevice,
    NoRoom,
    NotEnoughMemory,
    PartitionNotFound,
    PermissionDenied,
    SystemFailure,
)
from .partitioner import DeviceStats, Partition, PartitionInfo, Partitioner
from .run import environment, run

__version__ = "0.1.0"

__all__ = [
    "Busy",
    "ChronosError",
    "ChronosWarning",
    "Damaged",
    "DeviceStats",
    "Expired",
    "InUse",
    "InternalError",
    "InvalidRequest",
    "LibraryNotFound",
    "NameInUse",
    "NoDevice",
    "NoRoom",
    "NotEnoughMemory",
    "Partition",
    "PartitionInfo",
    "PartitionNotFound",
    "Partitioner",
    "PermissionDenied",
    "SystemFailure",
    "environment",
    "run",
]

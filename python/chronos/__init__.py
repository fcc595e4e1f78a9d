"""Time-limited GPU memory partitions that hold.

Example::

    import chronos  # before anything that uses OpenCL
    import pyopencl

    with chronos.Partitioner().create(device=0, memory="1GiB", duration="1h"):
        train()  # allocates at most 1 GiB

Importing this readies the shim for OpenCL in this interpreter and in its children; it acts once a
partition applies. Units: bytes, seconds, shares of a device in (0, 1], percent in 0..100. Every
failure is a :class:`ChronosError`; a wrong type of argument is a TypeError.
"""

from . import _layer

TYPE_CHECKING = False  # typing's own would cost `import chronos` more than all else
if TYPE_CHECKING:
    from typing import Any, List

    from ._acquire import Acquisition, GpuFacts, acquire, gpus
    from ._doctor import doctor
    from ._expiring import ExpiryNotice
    from ._programs import environment, popen, run
    from ._records import DeviceStats, PartitionInfo, Usage
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
        Obstacle,
        PartitionNotFound,
        PermissionDenied,
        SystemFailure,
    )
    from .partition import Partition
    from .partitioner import Partitioner

__version__ = "0.1.0"

__all__ = [
    "Acquisition",
    "Busy",
    "ChronosError",
    "ChronosWarning",
    "Damaged",
    "DeviceStats",
    "Expired",
    "ExpiryNotice",
    "GpuFacts",
    "InUse",
    "InternalError",
    "InvalidRequest",
    "LibraryNotFound",
    "NameInUse",
    "NoDevice",
    "NoRoom",
    "NotEnoughMemory",
    "Obstacle",
    "Partition",
    "PartitionInfo",
    "PartitionNotFound",
    "Partitioner",
    "PermissionDenied",
    "SystemFailure",
    "Usage",
    "acquire",
    "doctor",
    "environment",
    "gpus",
    "popen",
    "run",
]

_MODULES = {
    "Acquisition": "_acquire",
    "GpuFacts": "_acquire",
    "acquire": "_acquire",
    "gpus": "_acquire",
    "doctor": "_doctor",
    "ExpiryNotice": "_expiring",
    "environment": "_programs",
    "popen": "_programs",
    "run": "_programs",
    "DeviceStats": "_records",
    "PartitionInfo": "_records",
    "Usage": "_records",
    "Partition": "partition",
    "Partitioner": "partitioner",
}

_layer.ready()


def load_ipython_extension(ipython: "Any") -> None:
    """For ``%load_ext chronos``: the magics ``%%partition`` and ``%partition``."""
    from ._notebook import load

    load(ipython)


def unload_ipython_extension(ipython: "Any") -> None:
    """For ``%unload_ext chronos``."""
    from ._notebook import unload

    unload(ipython)


if not TYPE_CHECKING:  # to a type checker any name would be there

    def __getattr__(name: str) -> "Any":
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        value = getattr(importlib.import_module("." + _MODULES.get(name, "errors"), __name__), name)
        globals()[name] = value
        return value


def __dir__() -> "List[str]":
    return sorted({*globals(), *__all__})

"""Partitions: made, listed, and ended."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, fields
from types import TracebackType
from typing import Any, Dict, List, Mapping, Optional, Type, TypeVar, Union

from . import _library
from ._arguments import Duration, Memory, device_number, duration_text, memory_text
from ._arguments import optional_bytes, text_bytes
from .errors import ChronosError, ChronosWarning, Expired, PartitionNotFound

__all__ = ["DeviceStats", "Partition", "PartitionInfo", "Partitioner"]

_T = TypeVar("_T", "PartitionInfo", "DeviceStats")


def _pick(cls: Type[_T], answer: Mapping[str, Any], **more: Any) -> _T:
    # Fields that a newer library adds are not ours to know.
    values = {f.name: answer[f.name] for f in fields(cls) if f.name in answer}
    return cls(**{**values, **more})


@dataclass(frozen=True)
class PartitionInfo:
    """A partition as it was when it was listed. Bytes and whole seconds; None where unknown.

    Example::

        for p in Partitioner().list():
            print(p.partition_id, p.owner, p.used_bytes, "of", p.limit_bytes)
    """

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
    #: UTC, as in RFC 3339.
    expires_at: Optional[str]
    owner: str
    creator: str
    #: The process that created it.
    pid: Optional[int]
    #: ``"active"``, or ``"draining"``: it has ended, but programs still hold memory in it.
    state: str
    #: Bytes held, by process.
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


@dataclass(frozen=True)
class DeviceStats:
    """A device and how much of it is in use, in bytes; None where unknown."""

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


def _partition_info(answer: Mapping[str, Any]) -> PartitionInfo:
    processes = {entry["pid"]: entry["used_bytes"] for entry in answer["processes"]}
    return _pick(PartitionInfo, answer, processes=processes)


class Partition:
    """A partition that this program made; :meth:`Partitioner.create` returns it.

    It exists apart from this object: dropping the object does not end it. As a context manager it
    is released at the end of the block, by the process that entered the block (not by a forked
    child that leaves it too).

    Example::

        with Partitioner().create(device=0, memory=0.5, duration=3600) as partition:
            chronos.run(["python3", "train.py"], partition=partition)
    """

    def __init__(self, info: PartitionInfo) -> None:
        self._info = info
        self._entered_by: Optional[int] = None

    @property
    def partition_id(self) -> str:
        """The name if it has one, else ``partition_0001`` and so on."""
        return self._info.partition_id

    @property
    def name(self) -> Optional[str]:
        """The name it was given; None if it has none."""
        return self._info.name

    @property
    def handle(self) -> str:
        """An id that no later partition of the same name can have; fit for CHRONOS_PARTITION."""
        return self._info.handle

    @property
    def device(self) -> Optional[int]:
        """Number of the device."""
        return self._info.device

    @property
    def memory_fraction(self) -> float:
        """The share of the device, in (0, 1]."""
        return self._info.memory_fraction

    @property
    def limit_bytes(self) -> int:
        """How many bytes programs in the partition can hold, all together."""
        return self._info.limit_bytes

    @property
    def duration(self) -> int:
        """The time from its creation to its end, in seconds, rounded up."""
        return self._info.duration_seconds

    @property
    def time_remaining(self) -> int:
        """Whole seconds until it ends; 0 once it has ended. Asks the registry each time.

        Raises ChronosError if the registry cannot be read.
        """
        try:
            return self.info().time_remaining_seconds
        except PartitionNotFound:
            return 0

    def info(self) -> PartitionInfo:
        """How the partition stands now: use, peak, refusals, processes.

        Raises PartitionNotFound once it has ended and nothing is held in it any more.

        Example::

            print(partition.info().used_bytes, "of", partition.limit_bytes)
        """
        library = _library.load()
        return _partition_info(library.call("chronos_find_json", self.handle.encode("ascii")))

    def extend(self, duration: Duration) -> PartitionInfo:
        """Lets the partition last ``duration`` longer; programs in it go on.

        Takes seconds, a timedelta, or text (``"30m"``). Returns how the partition stands then.
        Raises Expired or PartitionNotFound (it has ended already), PermissionDenied (only who
        created it, or root), InvalidRequest (more than 100 years in all), Busy, SystemFailure.

        Example::

            partition.extend("30m")
        """
        self._info = _extended(self.handle, duration)
        return self._info

    def resize(self, memory: Memory, drain: bool = False) -> PartitionInfo:
        """Changes the limit of the partition; programs see it at their next allocation.

        Args:
            memory: a share or a size, as for :meth:`Partitioner.create`.
            drain: also below what its programs hold. They get no more until they hold less, and
                what they hold counts against the device until then (``draining_bytes``).

        Returns how the partition stands then.

        Raises:
            NotEnoughMemory: the device has not that much; ``available`` includes what the
                partition has.
            InUse: its programs hold more than that (without ``drain``).
            Expired, PartitionNotFound, PermissionDenied, InvalidRequest, Busy, SystemFailure.

        Example::

            partition.resize("2GiB")
        """
        self._info = _resized(self.handle, memory, drain)
        return self._info

    def release(self) -> bool:
        """Ends the partition. Programs in it keep the memory that they hold and get no more.

        Returns True if this ended it, False if it had ended already (released, or out of time).
        Raises PermissionDenied, Busy, SystemFailure.

        Example::

            partition.release()
        """
        try:
            _library.load().call("chronos_release_json", self.handle.encode("ascii"))
        except (PartitionNotFound, Expired):
            return False
        return True

    def __enter__(self) -> "Partition":
        self._entered_by = os.getpid()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        if self._entered_by != os.getpid():
            return
        try:
            self.release()
        except ChronosError as failure:
            if error is None:
                raise
            # The block's own error is what matters.
            warnings.warn(
                f"partition {self.partition_id} was not released: {failure}",
                ChronosWarning,
                stacklevel=2,
            )

    def __repr__(self) -> str:
        return (
            f"<Partition {self.partition_id}: {self.limit_bytes} bytes of device {self.device} "
            f"for {self.duration} s>"
        )


class Partitioner:
    """The partitions of this machine. Objects hold nothing: any number, in any thread or process.

    Raises LibraryNotFound if libchronos.so is not installed.

    Example::

        partitioner = Partitioner()
        partition = partitioner.create(device=0, memory="4GiB", duration="1h30m", name="train")
        print(f"{partitioner.get_available(device=0):.1f} % left")
        partition.release()
    """

    def __init__(self) -> None:
        self._library = _library.load()

    def create(
        self,
        device: int = 0,
        memory: Memory = 0.5,
        duration: Duration = 3600,
        user: Optional[str] = None,
        name: Optional[str] = None,
    ) -> Partition:
        """Reserves memory of a device for a time.

        Args:
            device: number of the device, from 0.
            memory: a share as float in (0, 1] or text (``"50%"``), or a size in bytes as int or
                text (``"4GiB"``, ``"512MB"``). The int 1 is the whole device, as 1.0 is.
            duration: seconds, a timedelta, or text (``"90s"``, ``"1h30m"``); at most 100 years.
            user: whose partition it is, by name; None for the caller. Only root can name another.
            name: an id of your own choice instead of ``partition_0001``: letters, digits, ``.``,
                ``_``, ``-``.

        Raises:
            NotEnoughMemory: with ``asked`` and ``available``, in bytes.
            InvalidRequest: memory, duration, user or name are not acceptable.
            NameInUse, PermissionDenied, NoDevice, NoRoom, Busy, SystemFailure.
            TypeError: an argument of another type.

        Example::

            partition = Partitioner().create(device=0, memory=0.5, duration=3600)
        """
        answer = self._library.call(
            "chronos_create",
            device_number(device),
            _library.encode("memory", memory_text(memory)),
            _library.encode("duration", duration_text(duration)),
            optional_bytes("user", user),
            optional_bytes("name", name),
        )
        return Partition(_partition_info(answer))

    def list(self) -> List[PartitionInfo]:
        """The partitions of all users, oldest first, those that have ended last.

        Raises SystemFailure. Warns (ChronosWarning) of state files of yours that are damaged.

        Example::

            for p in Partitioner().list():
                print(p.partition_id, f"{p.time_remaining_seconds} s")
        """
        answer = self._library.call("chronos_list_json")
        _warn(answer)
        return [_partition_info(entry) for entry in answer["partitions"]]

    def find(self, partition_id: str) -> PartitionInfo:
        """One partition, by id, name or handle. Raises PartitionNotFound, SystemFailure.

        Example::

            print(Partitioner().find("train").used_bytes)
        """
        return _partition_info(
            self._library.call("chronos_find_json", text_bytes("partition id", partition_id))
        )

    def release(self, partition_id: Union[str, Partition, PartitionInfo]) -> None:
        """Ends a partition before its time is up.

        Raises PartitionNotFound (it has ended already, too), PermissionDenied, InvalidRequest
        (several have that name: use the number), Busy, SystemFailure.

        Example::

            Partitioner().release("partition_0001")
        """
        self._library.call(
            "chronos_release_json", text_bytes("partition id", _id_of(partition_id))
        )

    def extend(
        self, partition_id: Union[str, Partition, PartitionInfo], duration: Duration
    ) -> PartitionInfo:
        """Lets a partition last ``duration`` longer; see :meth:`Partition.extend`.

        Example::

            Partitioner().extend("train", "30m")
        """
        return _extended(_id_of(partition_id), duration)

    def resize(
        self,
        partition_id: Union[str, Partition, PartitionInfo],
        memory: Memory,
        drain: bool = False,
    ) -> PartitionInfo:
        """Changes the limit of a partition; see :meth:`Partition.resize`.

        Example::

            Partitioner().resize("train", "25%", drain=True)
        """
        return _resized(_id_of(partition_id), memory, drain)

    def get_available(self, device: int = 0) -> float:
        """The share of a device that a new partition can get, in percent (0 to 100), rounded down
        to hundredths. Raises NoDevice, SystemFailure.

        Example::

            if Partitioner().get_available(device=0) > 50:
                ...
        """
        answer = self._library.call("chronos_available_json", device_number(device))
        return float(answer["available_percent"])

    def stats(self, refresh: bool = False) -> List[DeviceStats]:
        """Every OpenCL device and how much of it is in use. With ``refresh``, asks the drivers
        again instead of using what is remembered (that can take seconds).

        Raises NoDevice, SystemFailure. Warns (ChronosWarning) of drivers that do not answer.

        Example::

            free = sum(d.available_bytes for d in Partitioner().stats())
        """
        answer = self._library.call("chronos_stats_json", int(bool(refresh)))
        _warn(answer)
        return [_pick(DeviceStats, entry) for entry in answer["devices"]]

    def show_stats(self) -> None:
        """Prints what ``chronos stats`` prints, to ``sys.stdout``. Raises NoDevice, SystemFailure.

        Example::

            Partitioner().show_stats()
        """
        print(self._library.stats_text(), end="")

    def __repr__(self) -> str:
        return "<Partitioner>"


def _id_of(partition: Union[str, Partition, PartitionInfo]) -> str:
    return partition.handle if isinstance(partition, (Partition, PartitionInfo)) else partition


def _extended(partition_id: str, duration: Duration) -> PartitionInfo:
    answer = _library.load().call(
        "chronos_extend_json",
        text_bytes("partition id", partition_id),
        _library.encode("duration", duration_text(duration)),
    )
    return _partition_info(answer)


def _resized(partition_id: str, memory: Memory, drain: bool) -> PartitionInfo:
    answer = _library.load().call(
        "chronos_resize_json",
        text_bytes("partition id", partition_id),
        _library.encode("memory", memory_text(memory)),
        int(bool(drain)),
    )
    return _partition_info(answer)


def _warn(answer: Dict[str, Any]) -> None:
    for line in answer.get("warnings", []):
        warnings.warn(str(line), ChronosWarning, stacklevel=3)

"""Partitions: made, listed, and ended."""

from __future__ import annotations

import warnings
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

from . import _library
from ._arguments import (
    Duration,
    Memory,
    device_number,
    duration_text,
    flag,
    memory_text,
    optional_bytes,
    text_bytes,
    timeout_text,
)
from ._records import DeviceStats, PartitionInfo, device_stats, partition_info
from ._waiting import Waiter
from .errors import ChronosError, ChronosWarning
from .partition import Partition, extended, resized

__all__ = ["Partitioner"]


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
        wait: Union[bool, Duration] = False,
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
            wait: True to wait in line until there is room, first come first served; or how long at
                most, as ``duration``. Ctrl-C leaves the line.

        Raises:
            NotEnoughMemory: with ``asked`` and ``available``, in bytes. With ``wait``: the time is
                up, or the device is too small.
            InvalidRequest: memory, duration, user or name are not acceptable.
            NameInUse, PermissionDenied, NoDevice, NoRoom, Busy, SystemFailure.
            TypeError: an argument of another type.

        Example::

            partition = Partitioner().create(device=0, memory=0.5, duration=3600, wait="10m")
        """
        return self._create(device, memory, duration, user, name, wait)

    async def create_async(
        self,
        device: int = 0,
        memory: Memory = 0.5,
        duration: Duration = 3600,
        user: Optional[str] = None,
        name: Optional[str] = None,
        wait: Union[bool, Duration] = False,
    ) -> Partition:
        """As :meth:`create`, without blocking the event loop. Cancelling it leaves the line.

        Example::

            async with await Partitioner().create_async(0, 0.5, "1h", wait=True) as partition:
                ...
        """
        make, undo = self._request(device, memory, duration, user, name, wait, False)
        return Partition(partition_info(await Waiter(make, undo).wait_async()))

    def _create(
        self,
        device: int,
        memory: Memory,
        duration: Duration,
        user: Optional[str],
        name: Optional[str],
        wait: Union[bool, Duration],
        held: bool = False,
    ) -> Partition:
        make, undo = self._request(device, memory, duration, user, name, wait, held)
        answer = make(-1) if wait is False else Waiter(make, undo).wait()
        return Partition(partition_info(answer))

    def _request(
        self,
        device: int,
        memory: Memory,
        duration: Duration,
        user: Optional[str],
        name: Optional[str],
        wait: Union[bool, Duration],
        held: bool,
    ) -> Tuple[Callable[[int], Dict[str, Any]], Callable[[Dict[str, Any]], None]]:
        # What makes the partition, until a descriptor can be read, and what takes it back. All that
        # can be wrong with the arguments is said here, in the caller's thread.
        flags = (_library.HELD if held else 0) | (0 if wait is False else _library.WAIT)
        timeout = None if wait is False else timeout_text(wait)
        arguments = (
            device_number(device),
            _library.encode("memory", memory_text(memory)),
            _library.encode("duration", duration_text(duration)),
            optional_bytes("user", user),
            optional_bytes("name", name),
            flags,
            None if timeout is None else _library.encode("wait", timeout),
        )
        library = self._library

        def make(cancel_fd: int) -> Dict[str, Any]:
            return library.call("chronos_create_with", *arguments, cancel_fd)

        def undo(answer: Dict[str, Any]) -> None:
            try:
                library.call("chronos_release_json", answer["handle"].encode("ascii"))
            except ChronosError:
                pass  # it has ended, or will when its time is up

        return make, undo

    def list(self) -> List[PartitionInfo]:
        """The partitions of all users, oldest first, those that have ended last.

        Raises SystemFailure. Warns (ChronosWarning) of state files of yours that are damaged.

        Example::

            for p in Partitioner().list():
                print(p.partition_id, f"{p.time_remaining_seconds} s")
        """
        answer = self._library.call("chronos_list_json")
        _warn(answer)
        return [partition_info(entry) for entry in answer["partitions"]]

    def find(self, partition_id: str) -> PartitionInfo:
        """One partition, by id, name or handle. Raises PartitionNotFound, SystemFailure.

        Example::

            print(Partitioner().find("train").used_bytes)
        """
        return partition_info(
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
        return extended(_id_of(partition_id), duration)

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
        return resized(_id_of(partition_id), memory, drain)

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
        answer = self._library.call("chronos_stats_json", int(flag("refresh", refresh)))
        _warn(answer)
        return [device_stats(entry) for entry in answer["devices"]]

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


def _warn(answer: Dict[str, Any]) -> None:
    for line in answer.get("warnings", []):
        warnings.warn(str(line), ChronosWarning, stacklevel=3)

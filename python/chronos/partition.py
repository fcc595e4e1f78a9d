"""A partition that this program made."""

from __future__ import annotations

import datetime
import os
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Type

from . import _library, _scope
from ._arguments import (
    Duration,
    Memory,
    duration_seconds,
    duration_text,
    flag,
    memory_text,
    text_bytes,
)
from ._records import PartitionInfo, Usage, partition_info
from .errors import ChronosError, ChronosWarning, Expired, InvalidRequest, PartitionNotFound

if TYPE_CHECKING:
    import subprocess

    from ._expiring import ExpiryNotice
    from ._programs import Command

__all__ = ["Partition"]


class Partition:
    """A partition that this program made; :meth:`Partitioner.create` returns it.

    It exists apart from this object: dropping the object does not end it. As a context manager it
    is entered, and released at the end of the block by the process that entered it (not by a forked
    child that leaves the block too). A partition that was made for another user is only released.

    Example::

        with Partitioner().create(device=0, memory=0.5, duration=3600) as partition:
            train()  # this interpreter, and what it starts, are held to the partition
    """

    def __init__(self, info: PartitionInfo) -> None:
        self._info = info
        self._blocks: List[int] = []  # by which process each was entered
        self._tokens: List[object] = []

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

    @property
    def expires_at(self) -> Optional[datetime.datetime]:
        """When it ends, or ended, by the wall clock, in UTC; None if the clock cannot say.

        Raises ChronosError if the registry cannot be read.

        Example::

            print(f"until {partition.expires_at.astimezone():%H:%M}")
        """
        try:
            self._info = self.info()
        except PartitionNotFound:
            pass
        return self._info.expires_at

    def usage(self) -> Usage:
        """What programs hold in it now, all together, and have held at most.

        Raises PartitionNotFound once it has ended and nothing is held in it any more.

        Example::

            print(partition.usage().peak_bytes)
        """
        now = self.info()
        return Usage(now.used_bytes, now.peak_bytes, now.limit_bytes, now.refusals)

    def info(self) -> PartitionInfo:
        """How the partition stands now: use, peak, refusals, processes.

        Raises PartitionNotFound once it has ended and nothing is held in it any more.

        Example::

            print(partition.info().used_bytes, "of", partition.limit_bytes)
        """
        library = _library.load()
        return partition_info(library.call("chronos_find_json", self.handle.encode("ascii")))

    def extend(self, duration: Duration) -> PartitionInfo:
        """Lets the partition last ``duration`` longer; programs in it go on.

        Takes seconds, a timedelta, or text (``"30m"``). Returns how the partition stands then.
        Raises Expired or PartitionNotFound (it has ended already), PermissionDenied (only who
        created it, or root), InvalidRequest (more than 100 years in all), Busy, SystemFailure.

        Example::

            partition.extend("30m")
        """
        self._info = extended(self.handle, duration)
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
        self._info = resized(self.handle, memory, drain)
        return self._info

    def enter(self) -> "Partition":
        """From now on this interpreter's OpenCL allocations are charged to this partition.

        That holds for all threads, for contexts made before too, and for children: forked, spawned,
        from a fork server, or started with ``subprocess``. Of several entered partitions on one
        device the last one counts. What has been allocated stays with the partition that it was
        charged to. Allocations on a device of which this interpreter has no partition are refused,
        as in ``chronos run``. :meth:`leave` takes one ``enter`` back, :meth:`release` all.

        Returns the partition itself.

        Raises:
            Expired, PartitionNotFound: it has ended. PermissionDenied: it is another user's.
            SystemFailure: the shim is missing, or an older one is at work in this process.

        Warns (ChronosWarning) if OpenCL was started before chronos was imported.

        Example::

            partition = Partitioner().create(device=0, memory="1GiB", duration="1h").enter()
        """
        self._enter(2)
        return self

    def leave(self) -> None:
        """Takes the last :meth:`enter` back; the partition goes on. Raises InvalidRequest if this
        interpreter is not in it.

        Example::

            partition.leave()
        """
        if not self._tokens:
            raise InvalidRequest(f"partition {self.partition_id} has not been entered here")
        self._leave(2)

    def _enter(self, stacklevel: int) -> None:
        _library.load().call("chronos_scope_json", self.handle.encode("ascii"))
        token = object()
        _scope.enter(token, self.handle, self.partition_id, stacklevel + 1)
        self._tokens.append(token)

    def _leave(self, stacklevel: int) -> None:
        _scope.leave(self._tokens.pop(), self.partition_id, stacklevel + 1)

    def release(self) -> bool:
        """Ends the partition, and leaves it if it was entered. Programs in it keep the memory that
        they hold and get no more.

        Returns True if this ended it, False if it had ended already (released, or out of time).
        Raises PermissionDenied, Busy, SystemFailure.

        Example::

            partition.release()
        """
        try:
            _library.load().call("chronos_release_json", self.handle.encode("ascii"))
            ended = True
        except (PartitionNotFound, Expired):
            ended = False
        while self._tokens:
            self._leave(2)
        return ended

    def on_expiring(
        self, callback: Callable[["Partition"], object], before: Duration = "5m"
    ) -> "ExpiryNotice":
        """Calls ``callback(partition)`` once, ``before`` the partition ends, in a thread of its
        own.

        If the partition is extended the call comes later; if it is released before, never. With
        less time left than ``before`` the call comes at once. A forked child does not call. What
        the callback raises goes to ``threading.excepthook``.

        Args:
            callback: takes the partition.
            before: seconds, a timedelta, or text (``"30m"``).

        Returns an :class:`ExpiryNotice`, whose ``cancel()`` takes it back.

        Raises:
            PartitionNotFound: it has ended. InvalidRequest, TypeError: wrong arguments.

        Example::

            partition.on_expiring(lambda p: save("checkpoint.pt"), before="5m")
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {type(callback).__name__}")
        from ._expiring import watch

        return watch(self, callback, duration_seconds(before, "before"))

    def run(self, args: "Command", **kwargs: Any) -> "subprocess.CompletedProcess[Any]":
        """Runs a program in this partition; see :func:`chronos.run`, whose arguments it takes.

        Example::

            done = partition.run(["python3", "train.py"], capture_output=True, text=True)
        """
        from ._programs import run

        return run(args, partition=self, **kwargs)

    def popen(self, args: "Command", **kwargs: Any) -> "subprocess.Popen[Any]":
        """Starts a program in this partition; see :func:`chronos.popen`, whose arguments it takes.

        Example::

            program = partition.popen(["python3", "train.py"])
        """
        from ._programs import popen

        return popen(args, partition=self, **kwargs)

    def __enter__(self) -> "Partition":
        if self._info.owner == self._info.creator:
            try:
                self._enter(2)
            except BaseException:
                self._release_quietly(3)
                raise
        self._blocks.append(os.getpid())
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        if self._blocks.pop() != os.getpid():
            if self._tokens:
                self._leave(2)
        elif error is None:
            self.release()
        else:
            self._release_quietly(3)  # the block's own error is what matters

    def _release_quietly(self, stacklevel: int) -> None:
        try:
            self.release()
        except ChronosError as failure:
            warnings.warn(
                f"partition {self.partition_id} was not released: {failure}",
                ChronosWarning,
                stacklevel=stacklevel,
            )

    async def __aenter__(self) -> "Partition":
        return self.__enter__()

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __repr__(self) -> str:
        return (
            f"<Partition {self.partition_id}: {self.limit_bytes} bytes of device {self.device} "
            f"for {self.duration} s>"
        )

    def _repr_html_(self) -> Optional[str]:
        from ._notebook import partition_html

        return partition_html(self)


def extended(partition_id: str, duration: Duration) -> PartitionInfo:
    answer = _library.load().call(
        "chronos_extend_json",
        text_bytes("partition id", partition_id),
        _library.encode("duration", duration_text(duration)),
    )
    return partition_info(answer)


def resized(partition_id: str, memory: Memory, drain: bool) -> PartitionInfo:
    answer = _library.load().call(
        "chronos_resize_json",
        text_bytes("partition id", partition_id),
        _library.encode("memory", memory_text(memory)),
        int(flag("drain", drain)),
    )
    return partition_info(answer)

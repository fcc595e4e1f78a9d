"""Callbacks shortly before partitions end: one thread, which sleeps until the next is due."""

from __future__ import annotations

import os
import select
import struct
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, List, Optional

from .errors import ChronosError, PartitionNotFound, SystemFailure

if TYPE_CHECKING:
    from .partition import Partition

__all__ = ["ExpiryNotice", "watch"]

_CLOCK = 7  # CLOCK_BOOTTIME, which deadlines are on: it goes on while the machine sleeps
_FLAGS = 0o2000000 | 0o4000  # TFD_CLOEXEC | TFD_NONBLOCK
_ABSOLUTE = 1  # TFD_TIMER_ABSTIME
_RETRY_SECONDS = 5.0  # where the registry could not be read


class ExpiryNotice:
    """A callback that waits for its time; :meth:`Partition.on_expiring` returns it.

    Example::

        notice = partition.on_expiring(save, before="5m")
        train()
        notice.cancel()
    """

    def __init__(
        self, partition: "Partition", callback: Callable[["Partition"], object], before: float
    ) -> None:
        self._partition, self._callback, self._before = partition, callback, before
        self._due = 0.0

    def cancel(self) -> None:
        """The callback will not be called; nothing happens if it has been.

        Example::

            notice.cancel()
        """
        _watcher.remove(self)

    def _look(self) -> bool:
        """Whether it is time; else sets when to look again. Raises PartitionNotFound."""
        info = self._partition.info()
        if not info.active:
            raise PartitionNotFound("it has ended")
        left = info.time_remaining_seconds - self._before
        self._due = time.clock_gettime(_CLOCK) + left
        return left <= 0


class _Timer:
    """A timer of the kernel's on the clock that deadlines are on, with a way to be woken."""

    def __init__(self) -> None:
        import ctypes

        self._c = ctypes.CDLL(None, use_errno=True)
        self._fd = self._c.timerfd_create(_CLOCK, _FLAGS)
        if self._fd < 0:
            raise SystemFailure(f"timerfd_create: {os.strerror(ctypes.get_errno())}")
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._poll.register(self._read, select.POLLIN)

    def wake(self) -> None:
        try:
            os.write(self._write, b"x")
        except BlockingIOError:
            pass  # it is woken already

    def sleep_until(self, due: Optional[float]) -> None:
        # 0 would disarm it, and so would a time before the machine was started.
        when = 0.0 if due is None else max(due, 1e-9)
        spec = struct.pack("@4l", 0, 0, int(when), int(when % 1 * 1e9))
        self._c.timerfd_settime(self._fd, _ABSOLUTE, spec, None)
        for fd, _ in self._poll.poll():
            if fd == self._read:
                os.read(fd, 4096)

    def close(self) -> None:
        for fd in (self._fd, self._read, self._write):
            os.close(fd)


class _Watcher:
    """The thread and what it waits for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notices: List[ExpiryNotice] = []
        self._timer: Optional[_Timer] = None

    def add(self, notice: ExpiryNotice) -> None:
        with self._lock:
            self._notices.append(notice)
            if self._timer is not None:
                self._timer.wake()
                return
            try:
                self._timer = _Timer()
                threading.Thread(target=self._run, name="chronos-expiry", daemon=True).start()
            except BaseException:
                self._notices.remove(notice)
                if self._timer is not None:
                    self._timer.close()
                    self._timer = None
                raise

    def remove(self, notice: ExpiryNotice) -> None:
        with self._lock:
            if notice in self._notices:
                self._notices.remove(notice)
            if self._timer is not None:
                self._timer.wake()

    def forget(self) -> None:
        """In a forked child, which has no such thread."""
        self._lock = threading.Lock()
        self._notices = []
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    def _run(self) -> None:
        timer = self._timer
        assert timer is not None
        while True:
            with self._lock:
                if not self._notices:
                    self._timer = None
                    timer.close()
                    return
                due = min(notice._due for notice in self._notices)
                now = time.clock_gettime(_CLOCK)
                ready = [notice for notice in self._notices if notice._due <= now]
            for notice in ready:
                self._serve(notice)
            if not ready:
                timer.sleep_until(due)

    def _serve(self, notice: ExpiryNotice) -> None:
        try:
            if not notice._look():
                return  # it has been extended
        except PartitionNotFound:
            self._take(notice)
            return
        except ChronosError:
            notice._due = time.clock_gettime(_CLOCK) + _RETRY_SECONDS
            return
        if self._take(notice):
            try:
                notice._callback(notice._partition)
            except BaseException:
                kind, error, trace = sys.exc_info()
                arguments: Any = (kind, error, trace, threading.current_thread())
                threading.excepthook(threading.ExceptHookArgs(arguments))

    def _take(self, notice: ExpiryNotice) -> bool:
        with self._lock:
            if notice not in self._notices:
                return False
            self._notices.remove(notice)
            return True


_watcher = _Watcher()
os.register_at_fork(after_in_child=_watcher.forget)


def watch(
    partition: "Partition", callback: Callable[["Partition"], object], before: float
) -> ExpiryNotice:
    notice = ExpiryNotice(partition, callback, before)
    notice._look()  # raises what is wrong with the partition now, in the caller's thread
    _watcher.add(notice)
    return notice

"""Waiting in line for memory, in a thread of its own: so that Ctrl-C and asyncio can end it."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional

if TYPE_CHECKING:
    import asyncio

__all__ = ["Waiter"]


class Waiter:
    """A request that waits. ``make`` blocks until its descriptor can be read; ``undo`` takes back
    what it has made.

    Used once. The thread that starts it and its own share what is below, in this order: the own
    thread writes the result, then says that it has ended.
    """

    def __init__(
        self, make: Callable[[int], Dict[str, Any]], undo: Callable[[Dict[str, Any]], None]
    ) -> None:
        self._make, self._undo = make, undo
        self._cancel_read, self._cancel_write = os.pipe()
        self._closing = threading.Lock()
        self._cancelled = False
        self._answer: Optional[Dict[str, Any]] = None
        self._error: Optional[BaseException] = None
        self._thread: Optional[threading.Thread] = None
        self._ended = threading.Event()  # joining a thread cannot be interrupted and taken up again
        self._tell: Callable[[], object] = self._ended.set

    def _run(self) -> None:
        try:
            self._answer = self._make(self._cancel_read)
        except BaseException as error:
            self._error = error
        with self._closing:
            os.close(self._cancel_read)
            os.close(self._cancel_write)
            self._cancel_write = -1
            if self._cancelled:
                self._take_back()
        try:
            self._tell()
        except RuntimeError:  # the event loop has been closed: nobody gets what was made
            self._take_back()

    def _take_back(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            self._undo(answer)

    def _cancel(self) -> None:
        with self._closing:
            self._cancelled = True
            if self._cancel_write >= 0:
                os.write(self._cancel_write, b"x")
            else:
                self._take_back()

    def _result(self) -> Dict[str, Any]:
        error, self._error = self._error, None
        if error is not None:
            raise error
        assert self._answer is not None
        return self._answer

    def _start(self) -> None:
        # Daemonic: who is in line when the interpreter ends is gone from it.
        self._thread = threading.Thread(target=self._run, name="chronos-wait", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no thread can be had
            os.close(self._cancel_read)
            os.close(self._cancel_write)
            self._cancel_write = -1
            self._ended.set()
            raise

    def wait(self) -> Dict[str, Any]:
        """Blocks. Whatever interrupts it (KeyboardInterrupt) leaves the line."""
        try:
            self._start()
            self._ended.wait()
        except BaseException:
            self._cancel()
            if self._thread is not None and self._thread.ident is not None:
                self._ended.wait()
            raise
        return self._result()

    async def wait_async(self) -> Dict[str, Any]:
        """As :meth:`wait`, for a coroutine; cancelling it leaves the line."""
        import asyncio

        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            if not ended.done():
                ended.set_result(None)

        self._tell = lambda: loop.call_soon_threadsafe(tell)
        self._start()
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError:
            self._cancel()
            await ended  # some microseconds
            raise
        except BaseException:  # the coroutine is thrown away
            self._cancel()
            raise
        return self._result()

"""libchronos.so, found and called. Knows nothing of partitions; see chronos.h for the functions.

Threads: a :class:`Library` may be used by any thread; calls release the interpreter's lock. The
last error is kept per thread by libchronos itself. A forked child can go on using it.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, Optional

from .errors import InvalidRequest, LibraryNotFound, error_from

__all__ = ["Library", "encode", "load"]

_FILE = "libchronos.so"
_MAX_INT = 2**31 - 1

_TEXT = ctypes.c_char_p
_HANDLE = ctypes.c_void_p
_OUT = ctypes.POINTER(ctypes.c_void_p)  # c_char_p would copy the text and lose its address
_SIGNATURES = {
    "chronos_partitioner_create": ([], _HANDLE),
    "chronos_partitioner_destroy": ([_HANDLE], None),
    "chronos_create": (
        [_HANDLE, ctypes.c_int, _TEXT, _TEXT, _TEXT, _TEXT, _OUT],
        ctypes.c_int,
    ),
    "chronos_release_json": ([_HANDLE, _TEXT, _OUT], ctypes.c_int),
    "chronos_extend_json": ([_HANDLE, _TEXT, _TEXT, _OUT], ctypes.c_int),
    "chronos_resize_json": ([_HANDLE, _TEXT, _TEXT, ctypes.c_int, _OUT], ctypes.c_int),
    "chronos_find_json": ([_HANDLE, _TEXT, _OUT], ctypes.c_int),
    "chronos_list_json": ([_HANDLE, _OUT], ctypes.c_int),
    "chronos_stats_json": ([_HANDLE, ctypes.c_int, _OUT], ctypes.c_int),
    "chronos_stats_text": ([_HANDLE, _OUT], ctypes.c_int),
    "chronos_available_json": ([_HANDLE, ctypes.c_int, _OUT], ctypes.c_int),
    "chronos_scope_json": ([_HANDLE, _TEXT, _OUT], ctypes.c_int),
    "chronos_shim_path": ([_OUT], ctypes.c_int),
    "chronos_last_error_json": ([], _TEXT),
    "chronos_version": ([], _TEXT),
    "chronos_free": ([ctypes.c_void_p], None),
}


def encode(what: str, text: str) -> bytes:
    """`text` as C takes it. Raises InvalidRequest for what C would read differently."""
    try:
        encoded = text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidRequest(f"invalid {what} {text!r:.60}: it is not valid Unicode") from None
    if b"\0" in encoded:
        raise InvalidRequest(f"invalid {what} {text!r:.60}: it contains a NUL character")
    return encoded


def _candidates() -> Iterator[str]:
    named = os.environ.get("CHRONOS_LIBRARY")
    if named:
        yield os.path.abspath(named)  # and nothing else: a wrong name must not go unnoticed
        return
    package = Path(__file__).resolve().parent
    root = package.parent.parent
    places = [
        package / _FILE,  # a wheel
        root / "build" / "release" / "lib" / _FILE,  # a source tree
        root / "build" / "debug" / "lib" / _FILE,
    ]
    for place in places:
        if place.is_file():
            yield str(place)
    yield _FILE  # wherever the system's loader looks


class Library:
    """The loaded libchronos.so with one handle."""

    def __init__(self, path: str) -> None:
        self._c = ctypes.CDLL(path)
        for name, (arguments, result) in _SIGNATURES.items():
            function = getattr(self._c, name)
            function.argtypes = arguments
            function.restype = result
        self._handle: Optional[int] = self._c.chronos_partitioner_create()
        if not self._handle:
            raise self._error(None)

    def __del__(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle:
            self._handle = None
            self._c.chronos_partitioner_destroy(handle)

    def _error(self, code: Optional[int]) -> Exception:
        report: Dict[str, Any] = json.loads(self._c.chronos_last_error_json() or b"{}")
        return error_from(int(report.get("code", 0)) if code is None else code, report)

    def text(self, function: str, *arguments: Any) -> str:
        """The text that a function of the library gives out. Raises the error that it reports."""
        out = ctypes.c_void_p()
        code = getattr(self._c, function)(*arguments, ctypes.byref(out))
        if code != 0:
            raise self._error(code)
        try:
            return ctypes.string_at(out.value or 0).decode("utf-8", "surrogateescape")
        finally:
            self._c.chronos_free(out)

    def call(self, function: str, *arguments: Any) -> Dict[str, Any]:
        """As :meth:`text` for a function that takes the handle first and answers with JSON."""
        answer = json.loads(self.text(function, self._handle, *arguments))
        if not isinstance(answer, dict):
            raise TypeError(f"{function} answered with {type(answer).__name__}")
        return answer

    def stats_text(self) -> str:
        return self.text("chronos_stats_text", self._handle)

    def shim_path(self) -> str:
        """Absolute path of libchronos_shim.so. Raises SystemFailure if it cannot be used."""
        return self.text("chronos_shim_path")

    def version(self) -> str:
        return str(self._c.chronos_version().decode("ascii"))

    @staticmethod
    def device(number: int) -> int:
        """`number` if it fits a C int: ctypes would cut it silently."""
        if not 0 <= number <= _MAX_INT:
            shown = str(number) if abs(number) < 2**64 else "of that many digits"
            raise InvalidRequest(
                f"invalid device {shown}",
                "devices are numbered from 0; Partitioner().show_stats() lists them",
            )
        return number


@functools.lru_cache(maxsize=None)
def load() -> Library:
    """Finds and loads libchronos.so, once.

    Looks at CHRONOS_LIBRARY; else in the package (a wheel), in the build folder of a source tree,
    and where the system's loader looks. Raises LibraryNotFound.
    """
    if sys.platform != "linux":
        raise LibraryNotFound("Chronos runs on Linux only")
    problems = []
    for path in _candidates():
        try:
            return Library(path)
        except (OSError, AttributeError) as error:
            problems.append(str(error))
    raise LibraryNotFound(
        "Could not find Chronos library: " + "; ".join(problems),
        "build it (cmake --build --preset release), or set CHRONOS_LIBRARY to libchronos.so",
    )

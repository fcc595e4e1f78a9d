"""libchronos.so, found and called. Knows nothing of partitions; see chronos.h for the functions.

Threads: a :class:`Library` may be used by any thread; calls release the interpreter's lock. The
last error is kept per thread by libchronos itself. A forked child can go on using it.
"""

from __future__ import annotations

import os
import sys
from _thread import allocate_lock  # threading is more than all else that is imported here

TYPE_CHECKING = False  # typing, ctypes and json are more than `import chronos` may cost
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, Optional

__all__ = ["HELD", "WAIT", "Library", "encode", "load", "shim_path"]

#: The oldest libchronos.so that has everything that is called here.
_NEEDED = (0, 1)
#: Flags of chronos_create_with().
HELD, WAIT = 1, 2

_FILE, _SONAME = "libchronos.so", "libchronos.so.0"
_MAX_INT = 2**31 - 1

# Arguments and result: (h)andle, (i)nt, (d)ouble, (t)ext, (o)ut: a text that is given out, (v)oid.
_SIGNATURES = {
    "chronos_partitioner_create": ("", "h"),
    "chronos_partitioner_destroy": ("h", "v"),
    "chronos_create_with": ("hittttitio", "i"),
    "chronos_acquire_json": ("htiddddttitio", "i"),
    "chronos_facts_json": ("ho", "i"),
    "chronos_release_json": ("hto", "i"),
    "chronos_extend_json": ("htto", "i"),
    "chronos_resize_json": ("httio", "i"),
    "chronos_find_json": ("hto", "i"),
    "chronos_list_json": ("ho", "i"),
    "chronos_stats_json": ("hio", "i"),
    "chronos_stats_text": ("ho", "i"),
    "chronos_available_json": ("hio", "i"),
    "chronos_scope_json": ("hto", "i"),
    "chronos_shim_path": ("o", "i"),
    "chronos_command_path": ("o", "i"),
    "chronos_doctor_json": ("o", "i"),
    "chronos_last_error_json": ("", "t"),
    "chronos_version": ("", "t"),
    "chronos_free": ("h", "v"),
}


def encode(what: str, text: str) -> bytes:
    """`text` as C takes it. Raises InvalidRequest for what C would read differently."""
    from .errors import InvalidRequest

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
    package = os.path.dirname(os.path.realpath(__file__))
    build = os.path.join(os.path.dirname(os.path.dirname(package)), "build")
    for folder in (
        package,  # a wheel
        os.path.join(build, "release", "lib"),  # a source tree
        os.path.join(build, "debug", "lib"),
        os.path.join(build, "editable", "lib"),  # pip install -e
    ):
        place = os.path.join(folder, _FILE)
        if os.path.isfile(place):
            yield place
    yield _SONAME  # wherever the system's loader looks
    yield _FILE


def _check_whole(path: str) -> None:
    # The system's loader maps a file that was cut off, and dies of it.
    import struct

    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(64)
        if len(head) < 64 or head[:5] != b"\x7fELF\x02":
            raise OSError(f"{path} is not a library for this machine")
        start, each, count = struct.unpack_from("=Q14xHH", head, 32)
        if each != 56 or start > size:
            raise OSError(f"{path} is damaged")
        file.seek(start)
        table = file.read(each * count)
    if len(table) < each * count:
        raise OSError(f"{path} is cut off")
    for at in range(0, len(table), each):
        offset, length = struct.unpack_from("=8xQ16xQ", table, at)
        if offset + length > size:
            raise OSError(f"{path} is cut off")


def shim_path() -> str:
    """Absolute path of libchronos_shim.so, found without loading anything where that can be: where
    :meth:`Library.shim_path` looks. Raises LibraryNotFound, SystemFailure."""
    for library in _candidates():
        folder = os.path.dirname(os.path.realpath(library))
        for place in ("libchronos_shim.so", "../lib/libchronos_shim.so"):
            path = os.path.realpath(os.path.join(folder, place))
            if os.path.isabs(library) and os.path.isfile(path) and not set(": \t\n") & set(path):
                return path
        break
    return load().shim_path()


class Library:
    """The loaded libchronos.so with one handle."""

    def __init__(self, path: str) -> None:
        # Here and not at each call: a child that is forked while another thread imports something
        # can never import it.
        import ctypes
        import json

        from .errors import error_from

        self._parse, self._error_from = json.loads, error_from
        types: Dict[str, Any] = {
            "h": ctypes.c_void_p,
            "i": ctypes.c_int,
            "d": ctypes.c_double,
            "t": ctypes.c_char_p,
            "o": ctypes.POINTER(ctypes.c_void_p),  # c_char_p would lose the address of the text
            "v": None,
        }
        self.path = path
        if "/" in path:
            _check_whole(path)
        self._c = ctypes.CDLL(path)
        self._new_out, self._by_reference = ctypes.c_void_p, ctypes.byref
        self._string_at = ctypes.string_at
        self._check_version(ctypes.c_char_p)
        for name, (arguments, result) in _SIGNATURES.items():
            function = getattr(self._c, name)
            function.argtypes = [types[letter] for letter in arguments]
            function.restype = types[result]
        self._handle: Optional[int] = self._c.chronos_partitioner_create()
        if not self._handle:
            raise self._error(None)

    def _check_version(self, text: Any) -> None:
        try:
            function = self._c.chronos_version
        except AttributeError:
            raise OSError(f"{self.path} is not a libchronos.so") from None
        function.restype = text
        version = function().decode("ascii", "replace")
        try:
            numbers = tuple(int(part) for part in version.split(".")[:2])
        except ValueError:
            numbers = ()
        if numbers < _NEEDED:
            needed = ".".join(map(str, _NEEDED))
            raise OSError(f"{self.path} is version {version}, and {needed} or later is needed")

    def __del__(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle:
            self._handle = None
            self._c.chronos_partitioner_destroy(handle)

    def _error(self, code: Optional[int]) -> Exception:
        report: Dict[str, Any] = self._parse(self._c.chronos_last_error_json() or b"{}")
        return self._error_from(int(report.get("code", 0)) if code is None else code, report)

    def text(self, function: str, *arguments: Any) -> str:
        """The text that a function of the library gives out. Raises the error that it reports."""
        out = self._new_out()
        code = getattr(self._c, function)(*arguments, self._by_reference(out))
        if code != 0:
            raise self._error(code)
        try:
            return self._string_at(out.value or 0).decode("utf-8", "surrogateescape")
        finally:
            self._c.chronos_free(out)

    def call(self, function: str, *arguments: Any) -> Dict[str, Any]:
        """As :meth:`answer` for a function that takes the handle first."""
        return self.answer(function, self._handle, *arguments)

    def answer(self, function: str, *arguments: Any) -> Dict[str, Any]:
        """As :meth:`text` for a function that answers with JSON."""
        answer = self._parse(self.text(function, *arguments))
        if not isinstance(answer, dict):
            raise TypeError(f"{function} answered with {type(answer).__name__}")
        return answer

    def stats_text(self) -> str:
        return self.text("chronos_stats_text", self._handle)

    def shim_path(self) -> str:
        """Absolute path of libchronos_shim.so. Raises SystemFailure if it cannot be used."""
        return self.text("chronos_shim_path")

    def command_path(self) -> str:
        """Absolute path of the command ``chronos``. Raises SystemFailure if it is missing."""
        return self.text("chronos_command_path")

    def version(self) -> str:
        return str(self._c.chronos_version().decode("ascii"))

    @staticmethod
    def device(number: int) -> int:
        """`number` if it fits a C int: ctypes would cut it silently."""
        if not 0 <= number <= _MAX_INT:
            from .errors import InvalidRequest

            shown = str(number) if abs(number) < 2**64 else "of that many digits"
            raise InvalidRequest(
                f"invalid device {shown}",
                "devices are numbered from 0; Partitioner().show_stats() lists them",
            )
        return number


_loading = allocate_lock()
_loaded: Optional[Library] = None


def _after_fork_in_child() -> None:
    global _loading
    _loading = allocate_lock()  # a thread that does not exist here may have held it


os.register_at_fork(after_in_child=_after_fork_in_child)


def load() -> Library:
    """Finds and loads libchronos.so, once.

    Looks at CHRONOS_LIBRARY; else in the package (a wheel), in the build folder of a source tree,
    and where the system's loader looks. Raises LibraryNotFound.
    """
    global _loaded
    if _loaded is None:
        with _loading:
            if _loaded is None:
                _loaded = _find()
    return _loaded


def _find() -> Library:
    from .errors import LibraryNotFound

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
        "install chronos-gpu again, in a source tree build it (cmake --build --preset release), or "
        "set CHRONOS_LIBRARY to libchronos.so",
    )

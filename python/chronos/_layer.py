"""The shim in this process: announced as an OpenCL layer, and told which partitions apply.

An ICD loader reads OPENCL_LAYERS at its first call and never again, so :func:`ready` runs on
import. The shim itself is loaded when a partition is first entered, or by the loader.
"""

from __future__ import annotations

import os

from . import _library

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional

__all__ = ["NOT_STARTED", "PASSED_BY", "REACHED", "Shim", "merged", "ready", "shim"]

SHIM = "libchronos_shim.so"

#: OPENCL_LAYERS as it was before :func:`ready`.
given = os.environ.get("OPENCL_LAYERS")

# How OpenCL stands in this process: enum ChronosShimReach of shim/control.hpp.
NOT_STARTED, REACHED, PASSED_BY = 0, 1, 2
_NO_MEMORY = -1


def merged(path: str, entries: List[str]) -> str:
    """A list for LD_PRELOAD or OPENCL_LAYERS: the shim first, the user's own behind."""
    others = [entry for entry in entries if entry and os.path.basename(entry) != SHIM]
    return ":".join([path, *others])


def ready() -> None:
    """Names the shim in OPENCL_LAYERS, for this process and its children. Keeps the user's own
    layers, and a shim that is named already. Does nothing where Chronos is not installed whole.
    """
    entries = os.environ.get("OPENCL_LAYERS", "").split(":")
    if os.path.basename(entries[0]) == SHIM and os.path.exists(entries[0]):
        return
    try:
        path = _library.shim_path()
    except Exception:  # whoever asks for a partition is told; an import must not fail for it
        return
    os.environ["OPENCL_LAYERS"] = merged(path, entries)


class Shim:
    """The shim, loaded. Any thread."""

    def __init__(self, path: str) -> None:
        import ctypes

        from .errors import SystemFailure

        try:
            library = ctypes.CDLL(path)
            self._use = library.chronos_shim_use
            self._reach = library.chronos_shim_reach
        except (OSError, AttributeError) as error:
            raise SystemFailure(
                f"cannot use {path}: {error}", "the installation is not of one piece; repeat it"
            ) from None
        self._use.argtypes, self._use.restype = [ctypes.c_char_p], ctypes.c_int
        self._reach.argtypes, self._reach.restype = [], ctypes.c_int

    @staticmethod
    def _checked(result: int) -> int:
        if result >= 0:
            return result
        if result == _NO_MEMORY:
            raise MemoryError("out of memory")
        from .errors import SystemFailure

        raise SystemFailure(
            "an older Chronos is at work in this process already",
            "start it without LD_PRELOAD, or with the libchronos_shim.so of this package",
        )

    def use(self, partitions: Optional[str]) -> None:
        """From now on these partitions (handles, separated by commas) get the allocations of this
        process; None: those that CHRONOS_PARTITION named at its start."""
        self._checked(self._use(None if partitions is None else partitions.encode()))

    def reach(self) -> int:
        """NOT_STARTED, REACHED or PASSED_BY."""
        return self._checked(self._reach())


_shim: Optional[Shim] = None


def shim() -> Shim:
    """The shim of this installation. Raises SystemFailure, LibraryNotFound."""
    global _shim
    if _shim is None:  # two threads at once get the same from the dynamic linker
        _shim = Shim(_library.load().shim_path())
    return _shim

"""Which partitions this interpreter is in: those that were entered, the last one first.

One list for the whole process, because OpenCL's libraries allocate from threads of their own.
Children get it too: forked ones by the shim's memory, all others by CHRONOS_PARTITION.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from typing import Any, Dict, List, Optional, Tuple

from . import _frameworks, _layer
from .errors import ChronosWarning

__all__ = ["enter", "entered", "leave"]

_VARIABLE = "CHRONOS_PARTITION"

_lock = threading.RLock()
_entries: List[Tuple[object, str]] = []  # (token, handle), the last entered last
_inherited: Optional[str] = None  # CHRONOS_PARTITION before the first was entered

_STARTED_BEFORE = (
    "OpenCL was started in this interpreter before chronos was imported: what it allocates is not "
    "counted in partition {}. Import chronos before anything that uses OpenCL (in a notebook, "
    "restart the kernel first), or start the program with `chronos run`."
)
_PASSED_BY = (
    "OpenCL calls of this interpreter passed by partition {}: what it allocated was not counted. "
    "Start the program with `chronos run`; `chronos doctor` says more."
)


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()  # a thread that does not exist here may have held it


os.register_at_fork(after_in_child=_after_fork_in_child)


def entered() -> List[str]:
    """The handles of the partitions that were entered, the last one first."""
    with _lock:
        handles = [handle for _, handle in reversed(_entries)]
    return list(dict.fromkeys(handles))


def _apply() -> None:
    names = entered()
    if names:
        if _inherited:
            names.append(_inherited)
        text = ",".join(names)
        _layer.shim().use(text)
        os.environ[_VARIABLE] = text
    else:
        _layer.shim().use(None)
        if _inherited is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = _inherited
    _tell_servers()


def enter(token: object, handle: str, shown: str, stacklevel: int) -> None:
    """Puts the partition `handle` before all others; `token` takes it away again.

    Raises SystemFailure, LibraryNotFound: then nothing has changed.
    """
    global _inherited
    _layer.ready()
    shim = _layer.shim()
    with _lock:
        if not _entries:
            _inherited = os.environ.get(_VARIABLE)
        _entries.append((token, handle))
        try:
            _apply()
        except BaseException:
            del _entries[-1]
            raise
    _frameworks.ready()
    if shim.reach() == _layer.PASSED_BY:
        warnings.warn(_STARTED_BEFORE.format(shown), ChronosWarning, stacklevel=stacklevel + 1)


def leave(token: object, shown: str, stacklevel: int) -> None:
    """Takes away what `token` put there; nothing if there is nothing."""
    with _lock:
        kept = [entry for entry in _entries if entry[0] is not token]
        if len(kept) == len(_entries):
            return
        passed_by = _layer.shim().reach() == _layer.PASSED_BY
        _entries[:] = kept
        _apply()
    if passed_by:
        warnings.warn(_PASSED_BY.format(shown), ChronosWarning, stacklevel=stacklevel + 1)


class _Environment:
    """Unpickled, sets the variables in the process that does it, which needs no chronos for it."""

    def __reduce__(self) -> Tuple[Any, Tuple[str]]:
        values = {name: os.environ.get(name) for name in (_VARIABLE, "OPENCL_LAYERS")}
        return exec, (
            f"import os\nfor n, v in {values!r}.items():\n"
            "    os.environ.pop(n, None) if v is None else os.environ.__setitem__(n, v)",
        )


def _tell_servers() -> None:
    # A fork server has the environment of the moment when it was started. What multiprocessing
    # sends to each child of it, and to spawned ones, gets the variables of today.
    spawn: Any = sys.modules.get("multiprocessing.spawn")
    if spawn is None or hasattr(spawn.get_preparation_data, "chronos"):
        return
    original = spawn.get_preparation_data

    def get_preparation_data(name: str) -> Dict[str, Any]:
        data: Dict[str, Any] = original(name)
        return {"chronos": _Environment(), **data}

    get_preparation_data.chronos = True  # type: ignore[attr-defined]
    spawn.get_preparation_data = get_preparation_data

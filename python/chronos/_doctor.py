"""What works here, and what does not."""

from __future__ import annotations

import os
import sys
from typing import Any, Dict

from . import _layer, _library, _scope

__all__ = ["doctor"]

_OPENCL = {
    _layer.NOT_STARTED: "not started",
    _layer.REACHED: "reached",
    _layer.PASSED_BY: "passed by",
}


def doctor() -> Dict[str, Any]:
    """What ``chronos doctor --json`` finds on this machine, and how this interpreter stands.

    Asks every driver, in child processes: that takes up to some seconds (at most about 25).

    Returns:
        ``healthy`` (bool), ``findings`` (each with ``status``, ``topic``, ``text`` and ``remedy``),
        and the facts behind them; under ``interpreter``: ``opencl``, which is ``"not started"``,
        ``"reached"`` (allocations are counted) or ``"passed by"`` (it was started before chronos
        was imported; restart the interpreter), ``entered`` (handles of partitions), ``library``,
        ``shim``, ``version`` and ``layers`` (OPENCL_LAYERS).

    Raises:
        LibraryNotFound: libchronos.so is missing. SystemFailure: the shim is.

    Example::

        facts = chronos.doctor()
        for finding in facts["findings"]:
            print(finding["status"], finding["text"])
        assert facts["interpreter"]["opencl"] != "passed by"
    """
    library = _library.load()
    answer = library.answer("chronos_doctor_json")
    answer["interpreter"] = {
        "executable": sys.executable,
        "version": library.version(),
        "library": library.path,
        "shim": library.shim_path(),
        "layers": os.environ.get("OPENCL_LAYERS"),
        "opencl": _OPENCL[_layer.shim().reach()],
        "entered": _scope.entered(),
    }
    return answer

"""Other schedulers' modules, on Chronos: :mod:`chronos.compat.gpu_scheduler`.

Programs that import them by their own names get these with :func:`install`, or without a change to
the program by a folder for PYTHONPATH::

    $ PYTHONPATH=$(python3 -m chronos.compat path) python3 train.py
"""

from __future__ import annotations

import importlib
import os
import sys

from ..errors import InvalidRequest

__all__ = ["install", "path"]

# Of each module that is stood in for, all of its modules.
_MODULES = ("gpu_scheduler", "gpu_scheduler.gpu_info")


def path() -> str:
    """The folder for PYTHONPATH.

    Example::

        env = {**os.environ, "PYTHONPATH": chronos.compat.path()}
    """
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "modules")


def install() -> None:
    """From now on ``import gpu_scheduler`` gets :mod:`chronos.compat.gpu_scheduler`, in this process.

    Raises InvalidRequest if another ``gpu_scheduler`` has been imported already.

    Example::

        import chronos.compat
        chronos.compat.install()
        from gpu_scheduler import GPUScheduler
    """
    for name in _MODULES:
        ours = importlib.import_module(f"{__name__}.{name}")
        theirs = sys.modules.get(name)
        if theirs is not None and theirs is not ours:
            raise InvalidRequest(
                f"another {name} has been imported already, from "
                f"{getattr(theirs, '__file__', None)}",
                "call chronos.compat.install() before that",
            )
        sys.modules[name] = ours

"""Other schedulers' modules, on reservations that hold.

:mod:`chronos.compat.gpu_scheduler` and :mod:`chronos.compat.kairos`. Programs that import them by
their own names get these with :func:`install`, or without a change to the program by a folder for
PYTHONPATH::

    $ PYTHONPATH=$(python3 -m chronos.compat path) python3 train.py
"""

from __future__ import annotations

import importlib
import os
import sys

from ..errors import InvalidRequest

__all__ = ["install", "path"]

# Of each package that is stood in for, all of its modules.
_PACKAGES = {
    "gpu_scheduler": ("gpu_scheduler", "gpu_scheduler.gpu_info"),
    "kairos": ("kairos",),
}


def path() -> str:
    """The folder for PYTHONPATH.

    Example::

        env = {**os.environ, "PYTHONPATH": chronos.compat.path()}
    """
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "modules")


def install(*packages: str) -> None:
    """From now on ``import gpu_scheduler`` and ``import kairos`` get ours, in this process.

    Args:
        packages: Those to stand in for; none: all that there are.

    Raises InvalidRequest for a name that is not one of them, or if another package of that name has
    been imported already; then nothing is changed.

    Example::

        import chronos.compat
        chronos.compat.install("gpu_scheduler")
        from gpu_scheduler import GPUScheduler
    """
    found = {}
    for package in packages or tuple(_PACKAGES):
        if package not in _PACKAGES:
            raise InvalidRequest(
                f"there is nothing to stand in for {package!r}",
                f"there is for {' and '.join(_PACKAGES)}",
            )
        for name in _PACKAGES[package]:
            ours = importlib.import_module(f"{__name__}.{name}")
            theirs = sys.modules.get(name)
            if theirs is not None and theirs is not ours:
                raise InvalidRequest(
                    f"another {name} has been imported already, from "
                    f"{getattr(theirs, '__file__', None)}",
                    "call chronos.compat.install() before that",
                )
            found[name] = ours
    sys.modules.update(found)

"""PyOpenCL's error for memory that could not be had, made a ``MemoryError`` too.

``pyopencl.MemoryError`` has the name of Python's own and is no subclass of it, so ``except
MemoryError`` around code that goes over its partition would not catch it. In an interpreter that has
entered a partition it is both. Nothing else about it changes, and who catches it by its own name
still does.
"""

from __future__ import annotations

import sys
from typing import Any, Optional

__all__ = ["ready"]

_MODULE = "pyopencl"


def _join(module: Any) -> None:
    error: Any = getattr(module, "MemoryError", None)
    if isinstance(error, type) and not issubclass(error, MemoryError):
        try:
            error.__bases__ = (*error.__bases__, MemoryError)
        except TypeError:
            pass  # made in a way that does not allow it: it stays what it was


class _Finder:
    """Leaves the finding to those behind it in ``sys.meta_path``, and sees what they found."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[Any]:
        if name != _MODULE:
            return None
        spec = None
        for finder in list(sys.meta_path):
            if not isinstance(finder, _Finder) and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    break
        loader: Any = getattr(spec, "loader", None)
        execute = getattr(loader, "exec_module", None)
        if execute is not None:

            def exec_module(module: Any) -> None:
                execute(module)
                _join(module)

            try:
                loader.exec_module = exec_module  # of this one import's loader
            except AttributeError:
                pass
        return spec


def ready() -> None:
    """Sees to PyOpenCL, whether it has been imported or will be. Any thread."""
    module = sys.modules.get(_MODULE)
    if module is not None:
        _join(module)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        # Never taken out again: another thread may be going through the list.
        sys.meta_path.insert(0, _Finder())

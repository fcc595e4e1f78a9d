"""Drop-in replacements for systems that scheduled by looking at free memory.

Each module has the names and the behaviour of one of them, on reservations that hold. To let a
program that says ``import kairos`` have ours, without changing it::

    PYTHONPATH=$(python -m chronos.compat path) python experiments.py
"""

from __future__ import annotations

import os

__all__ = ["toplevel_path"]


def toplevel_path() -> str:
    """The folder that holds the opt-in top-level modules; for ``PYTHONPATH`` or ``sys.path``."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "toplevel")

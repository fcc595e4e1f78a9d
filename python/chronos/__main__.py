"""``python -m chronos`` and the console script ``chronos``: the command of this installation.

It takes this process's place, so that signals, statuses and process ids are its own.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from . import _layer, _library
from .errors import ChronosError

__all__ = ["main"]

_FAILED = 1


def main() -> NoReturn:
    """Runs ``chronos`` with this program's arguments, and does not return.

    Example::

        $ python -m chronos create 0 0.5 1h
    """
    try:
        command = _library.load().command_path()
    except ChronosError as error:
        print(f"chronos: {error}", file=sys.stderr)
        raise SystemExit(_FAILED) from None
    # What an interpreter has changed for itself, and a program that it starts would inherit.
    if _layer.given is None:
        os.environ.pop("OPENCL_LAYERS", None)
    else:
        os.environ["OPENCL_LAYERS"] = _layer.given
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execv(command, ["chronos", *sys.argv[1:]])
    except OSError as error:
        print(f"chronos: cannot start {command}: {error.strerror}", file=sys.stderr)
        raise SystemExit(_FAILED) from None


if __name__ == "__main__":
    main()

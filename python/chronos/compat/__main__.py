"""``python -m chronos.compat path``: the folder for PYTHONPATH."""

from __future__ import annotations

import sys

from . import path

if __name__ == "__main__":
    if sys.argv[1:] != ["path"]:
        print("usage: python -m chronos.compat path", file=sys.stderr)
        raise SystemExit(2)
    print(path())

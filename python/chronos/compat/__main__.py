"""``python -m chronos.compat path``: prints the folder of the opt-in top-level modules."""

from __future__ import annotations

import sys

from . import toplevel_path


def main() -> int:
    """Returns the exit status."""
    if sys.argv[1:] == ["path"]:
        print(toplevel_path())
        return 0
    print("usage: python -m chronos.compat path", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())

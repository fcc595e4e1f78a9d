"""Sizes and times as people read them."""

from __future__ import annotations

__all__ = ["size_text", "time_text"]


def size_text(count: int) -> str:
    """``"512 MiB"``, ``"1.50 GiB"``: three digits or all of them."""
    size, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    digits = 0 if size == int(size) else 2 if size < 10 else 1 if size < 100 else 0
    return f"{size:.{digits}f} {unit}"


def time_text(seconds: int) -> str:
    """``"45 s"``, ``"9 min"``, ``"2 h 05 min"``, ``"3 d 1 h"``: rounded down."""
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours = seconds // 60, seconds // 3600
    if hours == 0:
        return f"{minutes} min"
    if hours < 24:
        return f"{hours} h {minutes % 60:02} min"
    return f"{hours // 24} d {hours % 24} h"

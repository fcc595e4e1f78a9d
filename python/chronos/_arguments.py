"""Arguments as people give them in Python, made what libchronos takes.

A wrong type is a TypeError; a value that C could not take as it is, or would take for another, is
InvalidRequest. All else is for libchronos to judge.
"""

from __future__ import annotations

import datetime
import math
import numbers
import re
from decimal import Decimal
from typing import Optional, SupportsFloat, Union

from . import _library
from .errors import InvalidRequest

__all__ = [
    "Duration",
    "Memory",
    "device_number",
    "duration_seconds",
    "duration_text",
    "flag",
    "memory_text",
    "optional_bytes",
    "size_bytes",
    "text_bytes",
    "timeout_text",
]

#: A share of a device (0.5; ``"50%"``) or a size (bytes as int; ``"4GiB"``).
Memory = Union[float, int, str]
#: Seconds, a ``timedelta``, or text such as ``"90s"``, ``"1h30m"``, ``"8h"``, ``"2d"``.
Duration = Union[float, int, str, datetime.timedelta]

_LARGEST_SHARE_LIKE_INT = 100


def number_text(what: str, value: SupportsFloat) -> str:
    # The shortest decimal that is this number, without exponent, which libchronos does not read.
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidRequest(f"invalid {what}: {number} is not a finite number")
    return format(Decimal(repr(number)), "f")


def _is_real(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def memory_text(memory: object) -> str:
    if isinstance(memory, str):
        return memory
    if not _is_real(memory):
        raise TypeError(
            f"memory must be a share (0.5), bytes (int) or text ('4GiB'), "
            f"not {type(memory).__name__}"
        )
    if isinstance(memory, numbers.Integral):
        count = int(memory)
        if count == 1:
            return "1"  # the whole device, as 1.0
        if 1 < count <= _LARGEST_SHARE_LIKE_INT:
            raise InvalidRequest(
                f"invalid memory {count}: unclear whether it is percent or bytes",
                f"say {count / 100} or '{count}%' for a share, or a size such as '{count}GiB'",
            )
        if not 0 < count < 2**46:
            raise InvalidRequest("invalid memory: a size must be above 0 and below 64 TiB")
        return f"{count}B"
    assert isinstance(memory, numbers.Real)
    return number_text("memory", memory)


_SIZE_UNITS = {"k": 1, "m": 2, "g": 3, "t": 4}


def size_bytes(what: str, size: object) -> int:
    """Bytes as int or text, as libchronos reads sizes; 0 is one too."""
    if isinstance(size, str):
        found = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?) ?([kmgt])?(i)?(b)?", size, re.I | re.A)
        if found is None or (found[3] and not found[2]) or not (found[2] or found[4]):
            raise InvalidRequest(f"invalid {what} {size!r:.60}", "say a size such as 20GiB")
        # As everywhere: K and KiB are 1024 bytes, KB are 1000.
        base = 1000 if found[4] and not found[3] else 1024
        count = Decimal(found[1]) * base ** _SIZE_UNITS.get((found[2] or "").lower(), 0)
    elif isinstance(size, numbers.Integral) and not isinstance(size, bool):
        count = Decimal(int(size)) if abs(int(size)) < 2**63 else Decimal(2**63)
    else:
        raise TypeError(f"{what} must be bytes (int) or text ('20GiB'), not {type(size).__name__}")
    if not 0 <= count < 2**46:
        raise InvalidRequest(f"invalid {what}: a size must be below 64 TiB, and not below 0")
    return int(count)


def duration_text(duration: object, what: str = "duration") -> str:
    if isinstance(duration, str):
        return duration
    if not _is_real(duration):
        if isinstance(duration, datetime.timedelta):
            return number_text(what, duration.total_seconds())
        raise TypeError(
            f"{what} must be seconds, a timedelta or text ('1h30m'), "
            f"not {type(duration).__name__}"
        )
    assert isinstance(duration, numbers.Real)
    return number_text(what, duration)


def timeout_text(wait: object) -> Optional[str]:
    """How long to wait at most, for libchronos; None: for ever. `wait` is not False."""
    if wait is True:
        return None
    text = duration_text(wait, "wait")
    if not isinstance(wait, str) and float(text) == 0:
        return "0"
    return text


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def duration_seconds(duration: object, what: str) -> float:
    """`duration` as a number; 0 is one too. Raises InvalidRequest, TypeError."""
    text = duration_text(duration, what).strip()
    try:
        seconds = float(text)
    except ValueError:
        if not re.fullmatch(r"(\d+(\.\d+)?[wdhms])+", text):
            raise InvalidRequest(
                f"invalid {what} {text!r:.60}", "say seconds, or 90s, 5m, 1h30m"
            ) from None
        parts = re.findall(r"([\d.]+)([wdhms])", text)
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 0 <= seconds < math.inf:
        raise InvalidRequest(f"invalid {what} {text!r:.60}: 0 seconds or more")
    return seconds


def flag(what: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{what} must be True or False, not {type(value).__name__}")
    return value


def optional_bytes(what: str, text: Optional[str]) -> Optional[bytes]:
    return None if text is None else text_bytes(what, text)


def text_bytes(what: str, text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"{what} must be str, not {type(text).__name__}")
    return _library.encode(what, text)


def device_number(device: object) -> int:
    if isinstance(device, bool) or not isinstance(device, numbers.Integral):
        raise TypeError(f"device must be int, not {type(device).__name__}")
    return _library.Library.device(int(device))

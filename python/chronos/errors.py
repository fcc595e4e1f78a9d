"""What can go wrong: every failure of Chronos is a :class:`ChronosError`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple, Type

if TYPE_CHECKING:
    from ._records import PartitionInfo

__all__ = [
    "Busy",
    "ChronosError",
    "ChronosWarning",
    "Damaged",
    "Expired",
    "InUse",
    "InternalError",
    "InvalidRequest",
    "LibraryNotFound",
    "NameInUse",
    "NoDevice",
    "NoRoom",
    "NotEnoughMemory",
    "Obstacle",
    "PartitionNotFound",
    "PermissionDenied",
    "SystemFailure",
]


class ChronosError(Exception):
    """Chronos refused or failed.

    Attributes:
        message: one line, what was wrong.
        hint: one line, what to do next; None if there is nothing to say.

    Example::

        try:
            partition = partitioner.create(device=0, memory=0.9, duration="1h")
        except ChronosError as error:
            print(f"Failed: {error}")
    """

    def __init__(self, message: str, hint: Optional[str] = None) -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class InvalidRequest(ChronosError, ValueError):
    """The request itself is wrong: a size, a duration, a name, a user."""


class Obstacle(NamedTuple):
    """Why :func:`chronos.acquire` could not have a device.

    Example::

        except chronos.NotEnoughMemory as refusal:
            for one in refusal.obstacles:
                if one.partition is not None:
                    print(one.device, one.partition.username, one.partition.expires_at)
    """

    #: Number of the device.
    device: int
    #: ``"held by alice until ..."``, ``"draws 120 W, more than 80 W"``.
    reason: str
    #: That holds it; None if nobody does, but it is not fit.
    partition: Optional[PartitionInfo]


class NotEnoughMemory(ChronosError):
    """The device has not that much unreserved memory.

    Attributes:
        device: number of the device; None if unknown.
        asked: bytes that were asked for; None if unknown.
        available: bytes that a partition could have had just after the refusal; None if unknown.
        obstacles: of :func:`chronos.acquire`, why each device was not to be had
            (:class:`Obstacle`); empty otherwise.
    """

    def __init__(
        self,
        message: str,
        hint: Optional[str] = None,
        device: Optional[int] = None,
        asked: Optional[int] = None,
        available: Optional[int] = None,
        obstacles: Sequence[Obstacle] = (),
    ) -> None:
        super().__init__(message, hint)
        self.obstacles: Tuple[Obstacle, ...] = tuple(obstacles)
        # So that it can be pickled.
        self.args = (message, hint, device, asked, available, self.obstacles)
        self.device = device
        self.asked = asked
        self.available = available


class PartitionNotFound(ChronosError, LookupError):
    """There is no such partition, or it has ended."""


class NameInUse(ChronosError):
    """The owner already has a partition of that name."""


class PermissionDenied(ChronosError):
    """The partition is somebody else's, or the policy forbids it, or it takes an administrator."""


class Expired(ChronosError):
    """The partition's time is up, or it was released, while programs still hold memory in it."""


class Damaged(ChronosError):
    """A state file is truncated, garbage or of another version."""


class Busy(ChronosError):
    """Another process has held the registry for too long (5 seconds)."""


class InUse(ChronosError):
    """The partition's programs hold more memory than that."""


class NoDevice(ChronosError):
    """There is no OpenCL, no such device, or a driver that fails."""


class NoRoom(ChronosError):
    """There is no space left in the state directory."""


class SystemFailure(ChronosError):
    """A system call failed, or a part of the installation is missing."""


class InternalError(ChronosError):
    """A defect in Chronos; please report it."""


class LibraryNotFound(ChronosError):
    """libchronos.so is missing, or is not one that this package can use."""


class ChronosWarning(UserWarning):
    """Something does not do what one may expect: OpenCL was started before chronos was imported, a
    damaged state file of yours was left out, a driver does not answer."""


# The values of chronos.h.
NO_CAPACITY = -2
NO_MEMORY = -12
_CLASSES: Dict[int, Type[ChronosError]] = {
    -1: InvalidRequest,
    -3: PartitionNotFound,
    -4: NameInUse,
    -5: PermissionDenied,
    -6: Expired,
    -7: Damaged,
    -8: Busy,
    -9: NoDevice,
    -10: NoRoom,
    -11: SystemFailure,
    -14: InUse,
}


def _obstacle(answer: Mapping[str, Any]) -> Obstacle:
    from ._records import partition_info

    held_by = answer["partition"]
    return Obstacle(
        answer["device"], answer["reason"], None if held_by is None else partition_info(held_by)
    )


def error_from(code: int, report: Mapping[str, Any]) -> Exception:
    """The exception for a result code and what chronos_last_error_json() says of it."""
    message = str(report.get("message") or f"error {code}")
    hint = report.get("hint")
    if code == NO_MEMORY:
        return MemoryError(message)
    if code == NO_CAPACITY:
        return NotEnoughMemory(
            message,
            hint,
            report.get("device"),
            report.get("asked_bytes"),
            report.get("available_bytes"),
            [_obstacle(one) for one in report.get("obstacles") or ()],
        )
    return _CLASSES.get(code, InternalError)(message, hint)

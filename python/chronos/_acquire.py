"""Whole devices, held by this process, and what GPUs say of themselves."""

from __future__ import annotations

import math
import numbers
import os
import sys
import warnings
from collections.abc import Iterable as IterableOf
from collections.abc import Sequence as SequenceOf
from types import TracebackType
from typing import (
    Any,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Type,
    Union,
    overload,
)

from . import _library
from ._arguments import (
    Duration,
    device_number,
    duration_seconds,
    duration_text,
    flag,
    optional_bytes,
    size_bytes,
    timeout_text,
)
from ._records import PartitionInfo, partition_info
from ._waiting import Waiter
from .errors import ChronosError, ChronosWarning, InvalidRequest
from .partition import Partition

__all__ = ["Acquisition", "GpuFacts", "acquire", "gpus", "torch_numbers"]

_NOT_ASKED = -1.0


class GpuFacts(NamedTuple):
    """What a GPU said of itself when it was looked at; None: nobody says.

    Example::

        for gpu in chronos.gpus():
            print(gpu.device, gpu.name, gpu.free_bytes, gpu.utilization_percent)
    """

    #: Number of the device.
    device: int
    name: Optional[str]
    #: 32 hexadecimal digits.
    uuid: Optional[str]
    #: ``"0000:65:00.0"``.
    pci: Optional[str]
    #: Who says it: ``"nvml"``, ``"amdgpu"``, ``"i915"``, ``"xe"`` or ``"opencl"``.
    source: str
    total_bytes: Optional[int]
    #: By all programs, in a partition or not.
    used_bytes: Optional[int]
    free_bytes: Optional[int]
    power_watts: Optional[float]
    power_limit_watts: Optional[float]
    utilization_percent: Optional[float]
    temperature_celsius: Optional[float]
    #: Bytes held, by process; None for those of whom nobody says how many.
    processes: Optional[Mapping[int, Optional[int]]]
    #: Whether ``processes`` has all of them, of other users too.
    all_processes: bool


def gpus() -> List[GpuFacts]:
    """What the machine's GPUs say of themselves, by their vendors' tools. May take some seconds.

    Raises NoDevice, SystemFailure. Warns (ChronosWarning) of sources that fail.

    Example::

        idle = [g.device for g in chronos.gpus() if g.utilization_percent == 0]
    """
    from .partitioner import Partitioner

    answer = _library.load().call("chronos_facts_json")
    for line in answer["warnings"]:
        warnings.warn(str(line), ChronosWarning, stacklevel=2)
    are_gpus = {device.device for device in Partitioner().stats() if device.type == "GPU"}
    found = []
    for entry in answer["devices"]:
        if entry["device"] not in are_gpus:
            continue
        values = {name: entry[name] for name in GpuFacts._fields}
        if entry["processes"] is not None:
            values["processes"] = {one["pid"]: one["used_bytes"] for one in entry["processes"]}
        found.append(GpuFacts(**values))
    return found


class Acquisition(SequenceOf):  # type: ignore[type-arg]
    """Devices that :func:`acquire` holds: a sequence of their numbers, and a context manager.

    Example::

        with chronos.acquire(2) as gpus:
            print(gpus[0], list(gpus), gpus.partitions)
    """

    def __init__(self, infos: Sequence[PartitionInfo], environment: Mapping[str, str]) -> None:
        self._partitions = tuple(Partition(info) for info in infos)
        self._environment = dict(environment)
        self._owner = os.getpid()
        self._torch_device: Optional[int] = None

    @property
    def partitions(self) -> Tuple[Partition, ...]:
        """The partition that each device is held by, in the order of the numbers."""
        return self._partitions

    @property
    def environment(self) -> Dict[str, str]:
        """Variables for programs that are to see these devices only: CUDA_VISIBLE_DEVICES and the
        like. They are not put into this process's own, where libraries that have looked already
        would number devices otherwise than those that have not.

        Example::

            subprocess.run(command, env={**os.environ, **gpus.environment})
        """
        return dict(self._environment)

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> List[int]: ...

    def __getitem__(self, index: Union[int, slice]) -> Union[int, List[int]]:
        return self._numbers()[index]

    def __len__(self) -> int:
        return len(self._partitions)

    def _numbers(self) -> List[int]:
        return [int(partition.device or 0) for partition in self._partitions]

    def release(self) -> None:
        """Gives the devices back, before the block ends or where there is none.

        Raises Busy, SystemFailure.

        Example::

            gpus.release()
        """
        failure: Optional[ChronosError] = None
        for partition in self._partitions:
            try:
                partition.release()
            except ChronosError as error:
                failure = error
        if failure is not None:
            raise failure

    def __enter__(self) -> "Acquisition":
        try:
            for partition in reversed(self._partitions):  # the first one counts first
                partition._enter(2)
            self._torch_device = _set_torch_device(self._numbers())
        except BaseException:
            self._release_quietly()
            raise
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        before, self._torch_device = self._torch_device, None
        try:
            _restore_torch_device(before)
        finally:
            if self._owner != os.getpid():  # a forked child, whose parent goes on holding them
                for partition in self._partitions:
                    if partition._tokens:
                        partition._leave(2)
            elif error is None:
                self.release()
            else:
                self._release_quietly()  # the block's own error is what matters

    def _release_quietly(self) -> None:
        for partition in self._partitions:
            partition._release_quietly(4)

    def __repr__(self) -> str:
        return f"<Acquisition of {', '.join(map(str, self._numbers()))}>"


def acquire(
    gpus: int = 1,
    *,
    min_free: Union[int, str, None] = None,
    max_power: Optional[float] = None,
    max_utilization: Optional[float] = None,
    wait: Union[bool, Duration] = False,
    only: Optional[Iterable[int]] = None,
    debug: bool = False,
    duration: Duration = "1d",
    name: Optional[str] = None,
    look_every: Duration = "10s",
) -> Acquisition:
    """Holds whole devices, all or none: nobody else gets memory of them in a partition.

    Others see each as a partition of 100 %. They are given back when the block ends, when this
    process ends, however it does, or after ``duration``. What is held is then looked at; what does
    not meet the conditions is given back, and others are tried. Inside the block this interpreter
    and its children are held to the devices: OpenCL allocations on others are refused. If PyTorch
    has been imported, the first of them is its current device inside.

    Args:
        gpus: how many.
        min_free: only devices with so much memory free: bytes, or text (``"20GiB"``).
        max_power: only devices that draw no more, in watts.
        max_utilization: only devices that are no busier, in percent.
        wait: True to wait until there are enough, in line, first come first served; or how long at
            most, as ``duration``. Ctrl-C leaves the line.
        only: numbers of the devices to choose from, in the order in which they are preferred; None
            for all GPUs.
        debug: whether to hold them without looking at them.
        duration: how long they are held at most: seconds, a timedelta, or text (``"8h"``).
        name: of the partition; of several, the name of each is this, a full stop and the number of
            its device.
        look_every: when who waits looks again at devices that did not meet the conditions.

    Raises:
        NotEnoughMemory: not so many are free now, or were in that time, or ever can be; says who
            holds what until when, and what does not meet the conditions, and has it in
            ``obstacles``. What nobody says of a device (:func:`gpus`) does not meet them.
        InvalidRequest: an argument is not acceptable.
        NameInUse, PermissionDenied, NoDevice, NoRoom, Busy, SystemFailure.
        TypeError: an argument of another type.

    Example::

        with chronos.acquire(2, min_free="20GiB", wait="1h", only=[0, 2, 3]) as gpus:
            train(devices=list(gpus))
    """
    if isinstance(gpus, bool) or not isinstance(gpus, numbers.Integral):
        raise TypeError(f"gpus must be int, not {type(gpus).__name__}")
    if not 0 < gpus < 2**31:
        raise InvalidRequest("invalid gpus: at least 1")
    library = _library.load()
    candidates = _candidates(only)
    least = _NOT_ASKED if min_free is None else float(size_bytes("min_free", min_free))
    power, utilization = _most("max_power", max_power), _most("max_utilization", max_utilization)
    if flag("debug", debug):
        least, power, utilization = _NOT_ASKED, _NOT_ASKED, _NOT_ASKED
    timeout = None if wait is False else timeout_text(wait)
    arguments = (
        candidates,
        int(gpus),
        least,
        power,
        utilization,
        duration_seconds(look_every, "look_every"),
        _library.encode("duration", duration_text(duration)),
        optional_bytes("name", name),
        0 if wait is False else _library.WAIT,
        None if timeout is None else _library.encode("wait", timeout),
    )

    def make(cancel_fd: int) -> Dict[str, Any]:
        return library.call("chronos_acquire_json", *arguments, cancel_fd)

    def undo(answer: Dict[str, Any]) -> None:
        for entry in answer["partitions"]:
            try:
                library.call("chronos_release_json", entry["handle"].encode("ascii"))
            except ChronosError:
                pass  # it has ended, or will with this process

    answer = make(-1) if wait is False else Waiter(make, undo).wait()
    infos = [partition_info(entry) for entry in answer["partitions"]]
    return Acquisition(infos, answer["environment"])


def _candidates(only: Optional[Iterable[int]]) -> Optional[bytes]:
    if only is None:
        return None
    if isinstance(only, (str, bytes)) or not isinstance(only, IterableOf):
        raise TypeError(f"only must be numbers of devices, not {type(only).__name__}")
    found = list(dict.fromkeys(device_number(one) for one in only))
    if not found:
        raise InvalidRequest("only names no device", "None stands for all GPUs")
    return ",".join(map(str, found)).encode("ascii")


def _most(what: str, value: object) -> float:
    if value is None:
        return _NOT_ASKED
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{what} must be a number, not {type(value).__name__}")
    try:
        most = float(value)
    except OverflowError:
        most = math.inf
    if not 0 <= most < math.inf:
        raise InvalidRequest(f"invalid {what}: 0 or more, and finite")
    return most


# ---- PyTorch ------------------------------------------------------------------------------------


def _cuda() -> Any:
    # Of a PyTorch that is imported already: this is no reason to.
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return cuda if cuda is not None and cuda.is_available() else None


def _hexadecimal(value: object) -> str:
    return str(value).lower().replace("gpu-", "").replace("-", "")


def torch_numbers() -> Optional[Dict[int, int]]:
    """PyTorch's numbers by ours, of the devices that both know by UUID or PCI address. None where
    PyTorch has not been imported, or has no device."""
    cuda = _cuda()
    if cuda is None:
        return None
    from .partitioner import Partitioner

    found = {}
    theirs: Dict[str, int] = {}
    for number in range(cuda.device_count()):
        facts = cuda.get_device_properties(number)
        uuid, bus = getattr(facts, "uuid", None), getattr(facts, "pci_bus_id", None)
        if uuid is not None:
            theirs[_hexadecimal(uuid)] = number
        if bus is not None:
            domain, slot = getattr(facts, "pci_domain_id", 0), getattr(facts, "pci_device_id", 0)
            theirs[f"{domain:04x}:{bus:02x}:{slot:02x}.0"] = number
    for device in Partitioner().stats():
        for identity in (device.uuid, device.pci):
            if identity in theirs:
                found[device.device] = theirs[identity]
    return found


def _set_torch_device(held: List[int]) -> Optional[int]:
    """Makes the first of the held devices PyTorch's current one; returns which was."""
    known = torch_numbers()
    if known is None or not held:
        return None
    if held[0] not in known:
        warnings.warn(
            f"device {held[0]} is not known to be any of PyTorch's: its current device stays",
            ChronosWarning,
            stacklevel=3,
        )
        return None
    cuda = _cuda()
    before = int(cuda.current_device())
    cuda.set_device(known[held[0]])
    return before


def _restore_torch_device(before: Optional[int]) -> None:
    if before is None:
        return
    try:
        cuda = _cuda()
        if cuda is not None:
            cuda.set_device(before)
    except Exception as error:  # after a failed kernel every call of CUDA fails
        warnings.warn(
            f"PyTorch's current device could not be set back to {before}: {error}",
            ChronosWarning,
            stacklevel=4,
        )

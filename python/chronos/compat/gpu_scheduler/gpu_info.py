"""What GPU Scheduler tells of GPUs, and which of them it must not use."""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from typing import Any, Dict, Iterable, List, Optional

from ..._acquire import GpuFacts, gpus, torch_numbers
from ...errors import InvalidRequest
from ...partitioner import Partitioner

__all__ = [
    "BANNED_GPUS",
    "BANNED_GPU_NAMES",
    "find_free_gpus",
    "get_gpu_info",
    "get_gpu_memory_usage",
    "get_gpu_names",
    "get_gpu_power_usage",
    "get_gpu_utilization",
    "get_total_num_gpus",
]

#: Numbers of GPUs that are never used.
BANNED_GPUS: List[int] = []
#: GPUs with one of these in their name are never used.
BANNED_GPU_NAMES: List[str] = []

_MIB, _GIB = 1 << 20, 1 << 30


def import_torch() -> None:
    """PyTorch, where it is installed: its numbers and its current device are what users go by."""
    if "torch" not in sys.modules and importlib.util.find_spec("torch") is not None:
        importlib.import_module("torch")


def _numbers(without_gpus: bool = False) -> Dict[int, int]:
    """GPUs' numbers here, by Chronos's. `without_gpus`: where there are none, any device's."""
    devices = Partitioner().stats()
    ours = [device.device for device in devices if device.type == "GPU"]
    if without_gpus and not ours:
        return {device.device: device.device for device in devices}
    theirs = torch_numbers()
    if not theirs:  # no PyTorch, or one that tells neither UUIDs nor PCI addresses
        return {number: number for number in ours}
    return {number: theirs[number] for number in ours if number in theirs}


def _is_banned(number: int, name: Optional[str]) -> bool:
    return number in BANNED_GPUS or any(banned in (name or "") for banned in BANNED_GPU_NAMES)


def candidates(
    specific: Optional[Iterable[int]] = None, without_gpus: bool = False
) -> Dict[int, int]:
    """The numbers of GPUs that may be used, by Chronos's."""
    names = {device.device: device.name for device in Partitioner().stats()}
    wanted = None if specific is None else set(specific)
    return {
        device: number
        for device, number in _numbers(without_gpus).items()
        if (wanted is None or number in wanted) and not _is_banned(number, names.get(device))
    }


def min_free_bytes(gibibytes: object) -> Optional[int]:
    if isinstance(gibibytes, bool) or not isinstance(gibibytes, (int, float)):
        raise TypeError(
            f"memory_free_threshold_gb must be a number, not {type(gibibytes).__name__}"
        )
    if not 0 <= gibibytes < math.inf:
        raise InvalidRequest("invalid memory_free_threshold_gb: 0 or more, and finite")
    return math.ceil(gibibytes * _GIB) if gibibytes > 0 else None


def most_utilization(percent: Optional[float]) -> Optional[float]:
    if isinstance(percent, (int, float)) and percent >= 100:
        return None
    return percent


def _facts() -> List[GpuFacts]:
    import_torch()
    numbers = _numbers()
    found = [fact._replace(device=numbers[fact.device]) for fact in gpus() if fact.device in numbers]
    return sorted(found, key=lambda fact: fact.device)


def _mebibytes(count: Optional[int]) -> Optional[int]:
    return None if count is None else count // _MIB


def _memory(fact: GpuFacts) -> Dict[str, Any]:
    return {
        "gpu_id": fact.device,
        "memory_used": _mebibytes(fact.used_bytes),
        "memory_total": _mebibytes(fact.total_bytes),
        "memory_free": _mebibytes(fact.free_bytes),
    }


def _power(fact: GpuFacts) -> Dict[str, Any]:
    return {
        "gpu_id": fact.device,
        "power_draw": fact.power_watts,
        "power_limit": fact.power_limit_watts,
    }


def _all(fact: GpuFacts) -> Dict[str, Any]:
    return {
        **_memory(fact),
        **_power(fact),
        "utilization": fact.utilization_percent,
        "name": fact.name,
    }


def get_gpu_memory_usage() -> List[Dict[str, Any]]:
    """``gpu_id``, ``memory_used``, ``memory_total`` and ``memory_free`` (MiB) of each GPU.

    Example::

        free = {gpu["gpu_id"]: gpu["memory_free"] for gpu in get_gpu_memory_usage()}
    """
    return [_memory(fact) for fact in _facts()]


def get_gpu_names() -> List[Dict[str, Any]]:
    """``gpu_id`` and ``name`` of each GPU.

    Example::

        print(get_gpu_names()[0]["name"])
    """
    return [{"gpu_id": fact.device, "name": fact.name} for fact in _facts()]


def get_gpu_power_usage() -> List[Dict[str, Any]]:
    """``gpu_id``, ``power_draw`` and ``power_limit`` (watts) of each GPU.

    Example::

        print(get_gpu_power_usage()[0]["power_draw"])
    """
    return [_power(fact) for fact in _facts()]


def get_gpu_utilization() -> List[Dict[str, Any]]:
    """``gpu_id`` and ``utilization`` (percent) of each GPU.

    Example::

        print(get_gpu_utilization()[0]["utilization"])
    """
    return [{"gpu_id": fact.device, "utilization": fact.utilization_percent} for fact in _facts()]


def get_gpu_info() -> List[Dict[str, Any]]:
    """All of the above of each GPU, in one dictionary each.

    Example::

        for gpu in get_gpu_info():
            print(gpu["gpu_id"], gpu["name"], gpu["memory_free"])
    """
    return [_all(fact) for fact in _facts()]


def get_total_num_gpus() -> int:
    """How many GPUs there are.

    Example::

        print(get_total_num_gpus())
    """
    import_torch()
    return len(_numbers())


def find_free_gpus(
    memory_free_threshold_gb: float = 1,
    power_threshold_w: Optional[float] = None,
    utilization_threshold_percent: float = 1,
) -> List[Dict[str, Any]]:
    """As :func:`get_gpu_info`, those that meet the thresholds now and of which nobody holds anything.

    That they still are free when one takes them is certain only with :class:`GPUScheduler`.

    Example::

        print(len(find_free_gpus(memory_free_threshold_gb=20)), "free GPUs")
    """
    least = min_free_bytes(memory_free_threshold_gb)
    utilization = most_utilization(utilization_threshold_percent)
    import_torch()
    usable = candidates()
    held = {d.device for d in Partitioner().stats() if d.available_bytes < d.total_bytes}
    free = {number for device, number in usable.items() if device not in held}

    def meets(fact: GpuFacts) -> bool:
        # What nobody says does not meet a threshold.
        return (
            (least is None or (fact.free_bytes is not None and fact.free_bytes >= least))
            and (
                power_threshold_w is None
                or (fact.power_watts is not None and fact.power_watts <= power_threshold_w)
            )
            and (
                utilization is None
                or (
                    fact.utilization_percent is not None
                    and fact.utilization_percent <= utilization
                )
            )
        )

    return [_all(fact) for fact in _facts() if fact.device in free and meets(fact)]

"""GPU Scheduler's calls, with its names, arguments and defaults, on :func:`chronos.acquire`.

GPUs are held in the registry: visible in ``chronos list``, in line first come first served, and
given back if the process dies. GPUs have PyTorch's numbers where PyTorch is installed and says by UUID
or PCI address which is which, else the numbers of ``chronos stats``. Memory is in MiB, power in
watts; what nobody says is None, and never meets a threshold.

Example::

    from chronos.compat.gpu_scheduler import GPUScheduler

    with GPUScheduler(memory_free_threshold_gb=20) as gpu_ids:
        device = f"cuda:{gpu_ids[0]}"
"""

from __future__ import annotations

import math
from types import TracebackType
from typing import Iterable, List, Optional, Type

from ..._acquire import Acquisition, acquire
from ...errors import InvalidRequest, NotEnoughMemory
from .gpu_info import (
    candidates,
    find_free_gpus,
    get_gpu_info,
    get_gpu_memory_usage,
    get_gpu_names,
    get_gpu_power_usage,
    get_gpu_utilization,
    get_total_num_gpus,
    min_free_bytes,
    most_utilization,
    import_torch,
)

__all__ = [
    "GPUScheduler",
    "find_free_gpus",
    "get_gpu_info",
    "get_gpu_memory_usage",
    "get_gpu_names",
    "get_gpu_power_usage",
    "get_gpu_utilization",
    "get_total_num_gpus",
]


class GPUScheduler:
    """Holds GPUs for a block, and makes the first PyTorch's current device in it.

    Args:
        memory_free_threshold_gb: only GPUs with so many GiB free; 0: however much.
        power_threshold_w: only GPUs that draw no more watts; None: however much.
        utilization_threshold_percent: only GPUs that are no busier; 100: however busy.
        max_wait_time: how many seconds to wait for them at most.
        poll_interval: seconds between looks at GPUs that were not free.
        specific_gpus: numbers of the GPUs to choose from; None for all.
        timeout: was for locks in files; has no effect.
        num_gpus: how many.
        debug_mode: holds GPUs that nobody holds, whatever they do, without waiting. On a machine
            without any GPU: any device of OpenCL.

    Entering raises:

    - TimeoutError: there were not so many in that time, or at once: there are not so many at all, or
      nobody says of them what the thresholds are about. Says who holds what until when. In debug
      mode this is a RuntimeError.
    - ChronosError: anything else; InvalidRequest and TypeError for wrong arguments.

    Example::

        with GPUScheduler(num_gpus=2, max_wait_time=3600) as gpu_ids:
            print(gpu_ids)
    """

    def __init__(
        self,
        memory_free_threshold_gb: float = 20,
        power_threshold_w: Optional[float] = 80,
        utilization_threshold_percent: float = 1,
        max_wait_time: float = math.inf,
        poll_interval: float = 10,
        specific_gpus: Optional[Iterable[int]] = None,
        timeout: float = 10,
        num_gpus: int = 1,
        debug_mode: bool = False,
    ) -> None:
        self.memory_free_threshold_gb = memory_free_threshold_gb
        self.power_threshold_w = power_threshold_w
        self.utilization_threshold_percent = utilization_threshold_percent
        self.max_wait_time = max_wait_time
        self.poll_interval = poll_interval
        self.specific_gpus = None if specific_gpus is None else list(specific_gpus)
        self.timeout = timeout
        self.num_gpus = num_gpus
        self.debug_mode = debug_mode
        self.gpu_ids: List[int] = []
        self._held: Optional[Acquisition] = None

    def __enter__(self) -> List[int]:
        if self._held is not None:
            raise InvalidRequest("this GPUScheduler holds GPUs already", "make another one")
        import_torch()
        numbers = candidates(self.specific_gpus, self.debug_mode)
        held = self._acquired(list(numbers))
        held.__enter__()
        self._held = held
        self.gpu_ids = [numbers[device] for device in held]
        return self.gpu_ids

    def _acquired(self, devices: List[int]) -> Acquisition:
        failure = RuntimeError if self.debug_mode else TimeoutError
        if not devices:
            raise failure("Couldn't acquire GPUs: there are none that may be used")
        forever = self.max_wait_time == math.inf
        try:
            return acquire(
                self.num_gpus,
                min_free=min_free_bytes(self.memory_free_threshold_gb),
                max_power=self.power_threshold_w,
                max_utilization=most_utilization(self.utilization_threshold_percent),
                wait=False if self.debug_mode else True if forever else self.max_wait_time,
                only=devices,
                debug=self.debug_mode,
                look_every=self.poll_interval,
            )
        except NotEnoughMemory as error:
            raise failure(
                f"Couldn't acquire {self.num_gpus} GPUs within {self.max_wait_time} seconds: {error}"
            ) from error

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        held, self._held, self.gpu_ids = self._held, None, []
        if held is not None:
            held.__exit__(kind, error, traceback)

"""``import kairos`` for programs written for Kairos; see chronos.compat.kairos."""

from chronos.compat.kairos import GPUScheduler, GPUSlot, Job

__version__ = "0.1.0"
__all__ = ["GPUScheduler", "GPUSlot", "Job"]

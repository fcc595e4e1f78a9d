"""How late things happen."""

import os
import sys

from . import waiting
from .setting import ROOT


def expiry(setting):
    """Many partitions end within a second, on this machine as it is and with every core busy."""
    count = 20 if setting.quick else 100
    for name, cores in (("no load of ours", 0), ("a busy loop for each core", os.cpu_count())):
        with setting.fresh_state() as state, waiting.busy_cores(cores):
            late = waiting.sigterm_lateness(
                setting.chronos, setting.program("sigterm_witness"), state, setting.environment,
                count)
        setting.add("SIGTERM after the deadline", name, late, max_ns=max(late))


def wake_up(setting):
    """In process here, so that starting a command is no part of it."""
    os.environ["CHRONOS_LIBRARY"] = setting.library
    sys.path.insert(0, str(ROOT / "python"))
    import chronos

    for how in ("release", "expiry"):
        with setting.fresh_state() as state:
            os.environ["CHRONOS_STATE_DIR"] = state
            late = waiting.wake_up_lateness(
                setting.chronos, chronos.Partitioner(), state, setting.environment,
                10 if setting.quick else 40, how)
        setting.add("a waiter's turn", f"after {how}", late, max_ns=max(late))

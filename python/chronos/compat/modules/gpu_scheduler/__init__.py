"""Stands for ``gpu_scheduler`` where this folder's parent is on the path."""

import sys

from chronos.compat import gpu_scheduler
from chronos.compat.gpu_scheduler import gpu_info

sys.modules[__name__] = gpu_scheduler
sys.modules[__name__ + ".gpu_info"] = gpu_info

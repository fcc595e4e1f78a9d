"""Programs started under the shim, so that a partition's limit binds them."""

from __future__ import annotations

import os
import subprocess
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Union

from . import _library
from .partitioner import Partition, PartitionInfo

__all__ = ["Command", "PartitionLike", "environment", "run"]

#: A partition, or its id, name or handle.
PartitionLike = Union[Partition, PartitionInfo, str]
Command = Union[str, bytes, "os.PathLike[str]", Sequence[Union[str, bytes, "os.PathLike[str]"]]]

_SHIM = "libchronos_shim.so"


def _id(partition: object) -> str:
    if isinstance(partition, (Partition, PartitionInfo)):
        return partition.handle
    if not isinstance(partition, str):
        raise TypeError(
            f"partition must be a Partition, an id or a name, not {type(partition).__name__}"
        )
    return partition


def _ids(partition: Union[PartitionLike, Iterable[PartitionLike]]) -> str:
    if isinstance(partition, (Partition, PartitionInfo, str)) or not isinstance(
        partition, Iterable
    ):
        return _id(partition)
    return ",".join(_id(one) for one in partition)


def _merged(shim: str, entries: List[str]) -> str:
    others = [e for e in entries if e and os.path.basename(e) != _SHIM]
    return ":".join([shim, *others])


def environment(
    partition: Union[PartitionLike, Iterable[PartitionLike], None] = None,
    env: Optional[Mapping[Any, Any]] = None,
) -> Dict[str, str]:
    """The environment in which a program is held to a partition; for launchers of your own.

    Args:
        partition: a Partition, an id or a name, or several of them (for several devices). None:
            those that CHRONOS_PARTITION names in ``env``, else the caller's own active partitions.
        env: the environment to start from; None for this process's. Its own LD_PRELOAD and
            OPENCL_LAYERS stay, behind the shim.

    Raises:
        PartitionNotFound: there is no such partition; with None, the caller has none.
        Expired: it has ended. PermissionDenied: it is somebody else's.
        InvalidRequest: nothing is named.
        SystemFailure: the shim is missing from this installation.

    Example::

        subprocess.Popen(["python3", "train.py"], env=chronos.environment("train"))
    """
    library = _library.load()
    base: Mapping[Any, Any] = os.environ if env is None else env
    result = {os.fsdecode(name): os.fsdecode(value) for name, value in base.items()}
    shim = library.shim_path()
    if partition is None:
        inherited = result.get("CHRONOS_PARTITION")
        ids = _library.encode("partition", inherited) if inherited else None
    else:
        ids = _library.encode("partition", _ids(partition))
    scope = library.call("chronos_scope_json", ids)

    preload = result.get("LD_PRELOAD", "").replace(":", " ").split()
    result["LD_PRELOAD"] = _merged(shim, preload)
    result["OPENCL_LAYERS"] = _merged(shim, result.get("OPENCL_LAYERS", "").split(":"))
    if scope["implicit"]:
        result.pop("CHRONOS_PARTITION", None)  # the shim looks its user's own up
    else:
        result["CHRONOS_PARTITION"] = scope["handles"]
    # The partitions were found in this process's state directory, so the program must use it too;
    # absolute, because it may start in another directory.
    state_dir = os.environ.get("CHRONOS_STATE_DIR")
    if state_dir:
        result["CHRONOS_STATE_DIR"] = os.path.abspath(state_dir)
    else:
        result.pop("CHRONOS_STATE_DIR", None)
    return result


def run(
    args: Command,
    *,
    partition: Union[PartitionLike, Iterable[PartitionLike], None] = None,
    env: Optional[Mapping[Any, Any]] = None,
    **kwargs: Any,
) -> "subprocess.CompletedProcess[Any]":
    """``subprocess.run`` for a program that is held to a partition.

    The program and what it starts get no more memory of the device than the partition has. Once
    the partition has ended, allocations are refused; the program itself is left to run (``chronos
    run --on-expiry`` can end it).

    Args:
        args: the program and its arguments, as for subprocess.run.
        partition, env: as for :func:`environment`, with its errors.
        kwargs: everything else that subprocess.run takes.

    Example::

        with Partitioner().create(device=0, memory="1GiB", duration="10m") as partition:
            done = chronos.run(["python3", "train.py"], partition=partition, check=True)
    """
    return subprocess.run(args, env=environment(partition, env), **kwargs)

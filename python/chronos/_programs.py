"""Programs started in a partition, in the manners of ``subprocess``."""

from __future__ import annotations

import functools
import os
import signal
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    Iterable,
    List,
    Mapping,
    Optional,
    Sequence,
    Type,
    Union,
)

from . import _layer, _library
from ._arguments import Duration, Memory
from ._records import PartitionInfo
from .errors import InvalidRequest
from .partition import Partition
from .partitioner import Partitioner

if TYPE_CHECKING:
    import subprocess

__all__ = ["Command", "PartitionLike", "environment", "popen", "run"]

#: A partition, or its id, name or handle.
PartitionLike = Union[Partition, PartitionInfo, str]
Command = Union[str, bytes, "os.PathLike[str]", Sequence[Union[str, bytes, "os.PathLike[str]"]]]

_ON_EXPIRY = ("refuse", "terminate", "kill")


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


def _variables(env: Optional[Mapping[Any, Any]]) -> Dict[str, str]:
    base: Mapping[Any, Any] = os.environ if env is None else env
    if not isinstance(base, Mapping):
        raise TypeError(f"env must be a mapping, not {type(base).__name__}")
    result = {os.fsdecode(name): os.fsdecode(value) for name, value in base.items()}
    # Partitions are found in this process's state directory, so the program must use it too;
    # absolute, because it may start in another directory.
    state_dir = os.environ.get("CHRONOS_STATE_DIR")
    if state_dir:
        result["CHRONOS_STATE_DIR"] = os.path.abspath(state_dir)
    else:
        result.pop("CHRONOS_STATE_DIR", None)
    return result


def _scope(
    partition: Union[PartitionLike, Iterable[PartitionLike], None], variables: Mapping[str, str]
) -> Dict[str, Any]:
    # {"implicit", "handles"}: what the program would run in.
    if partition is None:
        inherited = variables.get("CHRONOS_PARTITION")
        ids = _library.encode("partition", inherited) if inherited else None
    else:
        ids = _library.encode("partition", _ids(partition))
    return _library.load().call("chronos_scope_json", ids)


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
    shim = _library.load().shim_path()
    result = _variables(env)
    scope = _scope(partition, result)
    preload = result.get("LD_PRELOAD", "").replace(":", " ").split()
    result["LD_PRELOAD"] = _layer.merged(shim, preload)
    result["OPENCL_LAYERS"] = _layer.merged(shim, result.get("OPENCL_LAYERS", "").split(":"))
    if scope["implicit"]:
        result.pop("CHRONOS_PARTITION", None)  # the shim looks its user's own up
    else:
        result["CHRONOS_PARTITION"] = scope["handles"]
    return result


def _words(args: Command, shell: bool, executable: Optional[Any]) -> List[Union[str, bytes]]:
    # What subprocess would execute.
    words: List[Union[str, bytes]]
    if isinstance(args, (str, bytes, os.PathLike)):
        words = [os.fspath(args)]
    else:
        words = [os.fspath(word) for word in args]
    if shell:
        return [os.fspath(executable or "/bin/sh"), "-c", *words]
    if not words:
        raise InvalidRequest("no program to run")
    if executable is not None:
        words[0] = os.fspath(executable)
    return words


def _prepared(
    args: Command,
    partition: Union[PartitionLike, Iterable[PartitionLike], None],
    on_expiry: Optional[str],
    env: Optional[Mapping[Any, Any]],
    options: Dict[str, Any],
) -> List[Union[str, bytes]]:
    # `chronos run` before the program; `options` for subprocess, with the environment.
    library = _library.load()
    library.shim_path()  # missing, it is an exception and not status 125
    command: List[Union[str, bytes]] = [library.command_path(), "run"]
    if on_expiry is not None:
        if not isinstance(on_expiry, str):
            raise TypeError(f"on_expiry must be str, not {type(on_expiry).__name__}")
        if on_expiry not in _ON_EXPIRY:
            raise InvalidRequest(
                f"invalid on_expiry {on_expiry!r:.60}", "say " + ", ".join(map(repr, _ON_EXPIRY))
            )
        command += ["--on-expiry", on_expiry]
    words = _words(args, options.pop("shell", False), options.pop("executable", None))
    variables = _variables(env)
    scope = _scope(partition, variables)
    if not scope["implicit"]:
        command += ["--partition", scope["handles"]]
    options["env"] = variables
    return [*command, "--", *words]


def _status(returncode: int) -> int:
    # Where a signal ended `chronos run` itself, before it had a program to pass it on to.
    return 128 - returncode if returncode < 0 else returncode


def _kill(supervisor: int) -> None:
    # `chronos run` cannot pass SIGKILL on. Stopped, it starts nothing more; then what it has
    # started is killed, and it.
    os.kill(supervisor, signal.SIGSTOP)
    os.waitid(os.P_PID, supervisor, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    try:
        with open(f"/proc/{supervisor}/task/{supervisor}/children", encoding="ascii") as children:
            for child in children.read().split():
                os.kill(int(child), signal.SIGKILL)
    except OSError:
        pass  # it has none, or none that may be killed
    os.kill(supervisor, signal.SIGKILL)


@functools.lru_cache(maxsize=None)
def _popen_class() -> "Type[subprocess.Popen[Any]]":
    import subprocess

    class Program(subprocess.Popen):  # type: ignore[type-arg]
        """A program under ``chronos run``; see :func:`chronos.popen`."""

        _status: Optional[int] = None

        @property
        def returncode(self) -> Any:
            return self._status

        @returncode.setter
        def returncode(self, value: Any) -> None:
            self._status = None if value is None else _status(value)

        def send_signal(self, sig: int) -> None:
            if sig != signal.SIGKILL:
                super().send_signal(sig)
            elif self.poll() is None:
                _kill(self.pid)

    return Program


def popen(
    args: Command,
    *,
    partition: Union[PartitionLike, Iterable[PartitionLike], None] = None,
    on_expiry: Optional[str] = None,
    env: Optional[Mapping[Any, Any]] = None,
    **kwargs: Any,
) -> "subprocess.Popen[Any]":
    """``subprocess.Popen`` for a program that is held to a partition, under ``chronos run``.

    Signals go on to the program; ``kill()`` kills it. ``returncode`` is as in :func:`run`.

    Args:
        args: the program and its arguments, as for subprocess.Popen.
        partition, env: as for :func:`environment`, with its errors.
        on_expiry: what happens when the partition's time is up: ``"refuse"`` (allocations; the
            default), ``"terminate"`` or ``"kill"`` (the program and all that it has started).
        kwargs: everything else that subprocess.Popen takes.

    Example::

        with chronos.popen(["python3", "train.py"], partition="train", text=True) as program:
            program.wait(timeout=600)
    """
    words = _prepared(args, partition, on_expiry, env, kwargs)
    program = _popen_class()(words, **kwargs)
    program.args = args
    return program


def run(
    args: Command,
    *,
    partition: Union[PartitionLike, Iterable[PartitionLike], None] = None,
    device: Optional[int] = None,
    memory: Optional[Memory] = None,
    duration: Optional[Duration] = None,
    name: Optional[str] = None,
    wait: Union[bool, Duration] = False,
    on_expiry: Optional[str] = None,
    env: Optional[Mapping[Any, Any]] = None,
    **kwargs: Any,
) -> "subprocess.CompletedProcess[Any]":
    """``subprocess.run`` for a program that is held to a partition, under ``chronos run``.

    The program and what it starts get no more memory of the device than the partition has. With
    ``memory`` and ``duration`` it gets a partition of its own, which ends with it, or with this
    process.

    Args:
        args: the program and its arguments, as for subprocess.run.
        partition, env: as for :func:`environment`, with its errors.
        device, memory, duration, name, wait: as for :meth:`Partitioner.create`, with its errors;
            ``device`` is 0 if only the others are given. Not together with ``partition``.
        on_expiry: as for :func:`popen`.
        kwargs: everything else that subprocess.run takes: ``text``, ``timeout``, ``check``,
            ``cwd``, ``capture_output``, ``input`` and so on.

    Returns:
        A CompletedProcess whose ``returncode`` is the program's own, 128 + n if signal n ended it;
        124 if the time was up and the program was ended, 125 if Chronos failed, 126 if the program
        cannot be executed, 127 if it was not found.

    Raises:
        subprocess.TimeoutExpired: with ``timeout``. subprocess.CalledProcessError: with ``check``.

    Example::

        done = chronos.run(["python3", "train.py"], device=0, memory="1GiB", duration="10m")
        print(done.returncode)
    """
    if device is None and memory is None and duration is None:
        if name is not None or wait is not False:
            raise InvalidRequest("name and wait go with memory and duration")
        return _completed(args, partition, on_expiry, env, kwargs)
    if partition is not None:
        raise InvalidRequest("partition and device, memory, duration exclude each other")
    if memory is None or duration is None:
        raise InvalidRequest("memory and duration go together")
    own = Partitioner()._create(
        0 if device is None else device, memory, duration, None, name, wait, held=True
    )
    try:
        return _completed(args, own, on_expiry, env, kwargs)
    finally:
        own.release()


def _completed(
    args: Command,
    partition: Union[PartitionLike, Iterable[PartitionLike], None],
    on_expiry: Optional[str],
    env: Optional[Mapping[Any, Any]],
    kwargs: Dict[str, Any],
) -> "subprocess.CompletedProcess[Any]":
    import subprocess

    check, timeout = kwargs.pop("check", False), kwargs.pop("timeout", None)
    data = kwargs.pop("input", None)
    if data is not None:
        if kwargs.get("stdin") is not None:
            raise InvalidRequest("stdin and input exclude each other")
        kwargs["stdin"] = subprocess.PIPE
    if kwargs.pop("capture_output", False):
        if kwargs.get("stdout") is not None or kwargs.get("stderr") is not None:
            raise InvalidRequest("capture_output and stdout, stderr exclude each other")
        kwargs["stdout"] = kwargs["stderr"] = subprocess.PIPE
    with popen(args, partition=partition, on_expiry=on_expiry, env=env, **kwargs) as program:
        try:
            out, err = program.communicate(data, timeout=timeout)
        except BaseException:  # TimeoutExpired, KeyboardInterrupt
            program.kill()
            raise  # waits for its end first
    done: "subprocess.CompletedProcess[Any]" = subprocess.CompletedProcess(
        args, program.returncode, out, err
    )
    if check:
        done.check_returncode()
    return done

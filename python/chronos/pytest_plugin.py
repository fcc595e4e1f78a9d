"""Partitions for tests: ``@pytest.mark.gpu_memory("1GiB")`` and ``pytest --gpu-memory 0.3``.

pytest finds this by its entry point; ``-p chronos.pytest_plugin`` names it by hand. Loaded before
the tests, it also readies the shim before any of them starts OpenCL. Until a marker or the option
is used it does nothing else.

Example::

    @pytest.mark.gpu_memory("1GiB", device=0)
    def test_training_fits():
        train()
"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any, Dict, Generator, List, NamedTuple, Tuple, Union

import pytest

if TYPE_CHECKING:
    from ._records import Usage
    from .partition import Partition

__all__: List[str] = []

_MARKER = (
    "gpu_memory(memory, device=0, duration='1h', may_exceed=False, wait=False): gives the test a "
    "partition of GPU memory, from before its fixtures to after them. The test fails if an "
    "allocation was refused, unless may_exceed. For several devices, mark it several times; of "
    "markers for one device the closest counts. (chronos)"
)


class _Limit(NamedTuple):
    """What one marker asks for."""

    memory: Union[float, int, str]
    device: int
    duration: Any
    may_exceed: bool
    wait: Any


class _Held(NamedTuple):
    """A limit, and the partition that it became."""

    limit: _Limit
    partition: "Partition"


_Row = Tuple[str, int, int, int, int]  # test, device, and in bytes peak and limit; refusals

_held: pytest.StashKey[List[_Held]] = pytest.StashKey()
_judged: pytest.StashKey[Dict[int, int]] = pytest.StashKey()  # refusals told already, by device
_GONE = -1
_rows: pytest.StashKey[List[_Row]] = pytest.StashKey()
_whole_run: pytest.StashKey["Partition"] = pytest.StashKey()
_whole_run_usage: pytest.StashKey["Usage"] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chronos", "GPU memory (chronos)")
    group.addoption(
        "--gpu-memory",
        metavar="MEMORY",
        help="run all tests in one partition of GPU memory, a share (0.3, 30%%) or a size (4GiB); "
        "with pytest-xdist the workers share it",
    )
    group.addoption(
        "--gpu-device",
        metavar="N",
        type=int,
        default=0,
        help="the device of --gpu-memory (default: 0)",
    )
    group.addoption(
        "--gpu-duration",
        metavar="TIME",
        default="8h",
        help="how long --gpu-memory lasts at most (default: 8h); it ends with pytest",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)


# ---- The whole run ------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    config = session.config
    memory = config.getoption("--gpu-memory")
    if memory is None or config.getoption("collectonly") or hasattr(config, "workerinput"):
        return  # a worker of pytest-xdist is in the partition by CHRONOS_PARTITION
    from .errors import ChronosError

    limit = _Limit(
        memory, config.getoption("--gpu-device"), config.getoption("--gpu-duration"), False, False
    )
    try:
        config.stash[_whole_run] = _entered(limit)
    except ChronosError as error:
        raise pytest.UsageError(f"--gpu-memory {memory}: {error}") from None


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    partition = session.config.stash.get(_whole_run, None)
    if partition is not None:
        from .errors import ChronosError

        try:
            session.config.stash[_whole_run_usage] = partition.usage()
        except ChronosError:
            pass  # its time was up; the summary says so


def pytest_unconfigure(config: pytest.Config) -> None:
    partition = config.stash.get(_whole_run, None)
    if partition is not None:
        del config.stash[_whole_run]
        _released(partition)


# ---- A test -------------------------------------------------------------------------------------


def gpu_memory(
    memory: Union[float, int, str],
    device: int = 0,
    duration: Any = "1h",
    may_exceed: bool = False,
    wait: Any = False,
) -> _Limit:
    # Named as the marker, because Python's own messages about arguments name it.
    from ._arguments import device_number, flag

    return _Limit(memory, device_number(device), duration, flag("may_exceed", may_exceed), wait)


def _limits(item: pytest.Item) -> List[_Limit]:
    found: Dict[int, _Limit] = {}
    for mark in item.iter_markers("gpu_memory"):  # the closest first
        limit = gpu_memory(*mark.args, **mark.kwargs)
        found.setdefault(limit.device, limit)
    return list(found.values())


def pytest_runtest_setup(item: pytest.Item) -> None:
    # After the skip marks were looked at, before the fixtures.
    if item.get_closest_marker("gpu_memory") is None:
        return
    from .errors import ChronosError, NoDevice

    held = item.stash[_held] = []
    item.stash[_judged] = {}
    try:
        for limit in _limits(item):
            held.append(_Held(limit, _entered(limit)))
        return
    except (ChronosError, TypeError) as error:
        problem, skip = f"gpu_memory: {error}", isinstance(error, NoDevice)
    # Out here, so that pytest does not show the error twice.
    if skip:
        pytest.skip(problem)
    pytest.fail(problem, pytrace=False)


@pytest.hookimpl(trylast=True, specname="pytest_runtest_setup")
def pytest_chronos_after_setup(item: pytest.Item) -> None:
    _judge(item)


@pytest.hookimpl(trylast=True, specname="pytest_runtest_call")
def pytest_chronos_after_call(item: pytest.Item) -> None:
    _judge(item)


@pytest.hookimpl(trylast=True, specname="pytest_runtest_teardown")
def pytest_chronos_after_teardown(item: pytest.Item) -> None:
    _judge(item)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, None]:
    yield
    from .errors import ChronosError

    rows = item.stash[_rows] = []
    held = item.stash.get(_held, [])
    for limit, partition in reversed(held):
        try:
            usage = partition.usage()
            rows.append(
                (item.nodeid, limit.device, usage.peak_bytes, usage.limit_bytes, usage.refusals)
            )
        except ChronosError:
            pass  # its time was up, and the test has failed for it
        _released(partition)
    item.stash[_held] = []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[Any]"
) -> Generator[None, Any, None]:
    outcome = yield
    if _held not in item.stash:
        return
    report = outcome.get_result()
    if call.when == "teardown":
        report.chronos_rows = item.stash.get(_rows, [])
    elif report.failed:
        # One that failed by itself, of a MemoryError most likely.
        lines = [line for _, line in _over(item)]
        if lines:
            report.sections.append(("GPU memory", "\n".join(lines)))


def _over(item: pytest.Item) -> List[Tuple[bool, str]]:
    """What is to be said of allocations that were refused since this was last asked, and whether
    the test may have that."""
    from ._text import size_text
    from .errors import ChronosError

    judged, found = item.stash[_judged], []
    for limit, partition in item.stash.get(_held, []):
        if judged.get(limit.device) == _GONE:
            continue
        try:
            usage = partition.usage()
        except ChronosError as error:
            judged[limit.device] = _GONE
            found.append((False, f"gpu_memory: the partition is gone: {error}"))
            continue
        new = usage.refusals - judged.get(limit.device, 0)
        judged[limit.device] = usage.refusals
        if new > 0:
            found.append(
                (
                    limit.may_exceed,
                    f"gpu_memory: {new} {'allocation' if new == 1 else 'allocations'} refused on "
                    f"device {limit.device}: asked for {limit.memory}, limit "
                    f"{size_text(usage.limit_bytes)}, peak {size_text(usage.peak_bytes)}, "
                    f"now {size_text(usage.used_bytes)}",
                )
            )
    return found


def _judge(item: pytest.Item) -> None:
    if item.stash.get(_held, None):
        lines = [line for allowed, line in _over(item) if not allowed]
        if lines:
            pytest.fail("\n".join(lines), pytrace=False)


# ---- Partitions ---------------------------------------------------------------------------------


def _entered(limit: _Limit) -> "Partition":
    from .errors import NotEnoughMemory
    from .partitioner import Partitioner

    def make() -> "Partition":
        # Held: a pytest that is killed leaves nothing behind.
        return Partitioner()._create(
            limit.device, limit.memory, limit.duration, None, None, limit.wait, held=True
        )

    try:
        partition = make()
    except NotEnoughMemory:
        # What the last test that failed had in its variables is kept alive for a debugger, until
        # pytest calls the next one; that is dropped a little earlier here.
        for name in ("last_type", "last_value", "last_traceback", "last_exc"):
            vars(sys).pop(name, None)
        gc.collect()
        partition = make()
    try:
        return partition.enter()
    except BaseException:
        _released(partition)
        raise


def _released(partition: "Partition") -> None:
    partition._release_quietly(3)


# ---- The summary --------------------------------------------------------------------------------


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    rows = [tuple(row) for report in reports for row in getattr(report, "chronos_rows", ())]
    whole_run = config.stash.get(_whole_run, None)
    if not rows and whole_run is None:
        return
    from ._text import size_text

    terminalreporter.section("GPU memory")
    lines = [("peak", "limit", "refused", "device", "test")]
    if whole_run is not None:
        usage = config.stash.get(_whole_run_usage, None)
        if usage is None:
            terminalreporter.line(f"partition {whole_run.partition_id} of the run has ended early")
        else:
            lines.append(
                (
                    size_text(usage.peak_bytes),
                    size_text(usage.limit_bytes),
                    str(usage.refusals),
                    str(whole_run.device),
                    "(the whole run)",
                )
            )
    for test, device, peak, limit, refusals in sorted(rows, key=lambda row: -row[2]):
        lines.append((size_text(peak), size_text(limit), str(refusals), str(device), test))
    widths = [max(map(len, column)) for column in list(zip(*lines))[:-1]]
    for *cells, test in lines if len(lines) > 1 else []:
        terminalreporter.line("  ".join([*map(str.rjust, cells, widths), test]))

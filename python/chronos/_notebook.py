"""``%load_ext chronos``: the magics ``%%partition`` and ``%partition``, and how a partition looks.

Works in IPython and in Jupyter; needs nothing that IPython does not have.
"""

from __future__ import annotations

import argparse
import ast
import html
import inspect
import os
import shlex
from types import CodeType
from typing import TYPE_CHECKING, Any, List, NoReturn, Optional, Tuple

from ._records import PartitionInfo
from ._text import size_text, time_text
from .errors import ChronosError, PartitionNotFound

if TYPE_CHECKING:
    from .partition import Partition

__all__ = ["info_html", "load", "partition_html", "unload"]

_MAGIC = "partition"
_USAGE = "%%partition [--memory 0.5] [--duration 1h] [--device 0] [--name NAME]"
# What IPython.core.magic.output_can_be_silenced sets, in IPython 8.5 and later.
_SILENCED_BY_SEMICOLON = "_ipython_magic_output_can_be_silenced"


class _Usage(Exception):
    pass


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _Usage(f"{message} (usage: {_USAGE})")


def _parser() -> _Parser:
    parser = _Parser(prog="%%partition", add_help=False, allow_abbrev=False)
    parser.add_argument("--memory", default="0.5")
    parser.add_argument("--duration", default="1h")
    parser.add_argument("--device", type=int, default=0)
    parser.add_argument("--name")
    return parser


def load(ipython: Any) -> None:
    """Adds the magics to an IPython shell."""

    def cell_magic(line: str, cell: str) -> object:
        __tracebackhide__ = True
        return _run_cell(ipython, line, cell)

    def line_magic(line: str) -> object:
        __tracebackhide__ = True
        if line.strip():
            raise _shown(f"%partition takes no arguments; for a cell: {_USAGE}")
        return _entered()

    cell_magic.__doc__ = (
        f"Runs the cell in a partition of GPU memory, which ends with it::\n\n  {_USAGE}"
    )
    line_magic.__doc__ = "The partitions that this interpreter is in, the innermost first."
    setattr(cell_magic, _SILENCED_BY_SEMICOLON, True)
    ipython.register_magic_function(cell_magic, "cell", _MAGIC)
    ipython.register_magic_function(line_magic, "line", _MAGIC)


def unload(ipython: Any) -> None:
    """Takes the magics away."""
    for kind in ("cell", "line"):
        ipython.magics_manager.magics[kind].pop(_MAGIC, None)


def _shown(message: object) -> Exception:
    # What IPython shows as one line, without a traceback.
    import importlib  # for type checkers where there is no IPython

    error: Exception = importlib.import_module("IPython.core.error").UsageError(str(message))
    return error


def _run_cell(shell: Any, line: str, cell: str) -> object:
    __tracebackhide__ = True
    body, last = _compiled(shell, cell)
    partition = _made(line)
    try:
        partition.__enter__()
    except ChronosError as error:
        raise _shown(error) from None
    # Not a `with` block around the errors of Chronos: those of the cell are the user's to see.
    try:
        exec(body, shell.user_ns)
        return None if last is None else eval(last, shell.user_ns)
    finally:
        partition.__exit__(None, None, None)


def _made(line: str) -> "Partition":
    from .partitioner import Partitioner

    try:
        options = _parser().parse_args(shlex.split(line))
        # Held: it ends with the kernel too, however that ends.
        return Partitioner()._create(
            options.device,
            options.memory,
            options.duration,
            None,
            options.name,
            False,
            held=True,
        )
    except (_Usage, ValueError, ChronosError) as error:
        raise _shown(error) from None


def _compiled(shell: Any, cell: str) -> Tuple[CodeType, Optional[CodeType]]:
    """The cell's code, and that of a last expression, which is the cell's value."""
    __tracebackhide__ = True
    source = shell.transform_cell(cell)
    name = shell.compile.cache(source, shell.execution_count)
    tree = shell.transform_ast(shell.compile.ast_parse(source, filename=name))
    flags = shell.compile.flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    last: Optional[CodeType] = None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        expression = ast.Expression(tree.body.pop().value)
        last = compile(expression, name, "eval", flags, True)
    body = compile(tree, name, "exec", flags, True)
    for code in filter(None, (body, last)):
        if code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
            raise _shown("no `await` in a %%partition cell; use partition.enter() and leave()")
    return body, last


# ---- How partitions look ------------------------------------------------------------------------


class Entered:
    """What ``%partition`` shows."""

    def __init__(self, infos: List[PartitionInfo]) -> None:
        self.infos = infos

    def __repr__(self) -> str:
        return "\n".join(map(_info_text, self.infos)) or "This interpreter is in no partition."

    def _repr_html_(self) -> Optional[str]:
        return "".join(map(info_html, self.infos)) or None


def _entered() -> Entered:
    from .partitioner import Partitioner

    infos = []  # also what the kernel was started in
    for handle in filter(None, os.environ.get("CHRONOS_PARTITION", "").split(",")):
        try:
            infos.append(Partitioner().find(handle))
        except PartitionNotFound:
            pass
        except ChronosError as error:
            raise _shown(error) from None
    return Entered(infos)


def _use(info: PartitionInfo) -> str:
    refused = f", {info.refusals} refused" if info.refusals else ""
    return f"{size_text(info.used_bytes)} of {size_text(info.limit_bytes)}{refused}"


def _time(info: PartitionInfo) -> str:
    return f"{time_text(info.time_remaining_seconds)} left" if info.active else "ended"


def _info_text(info: PartitionInfo) -> str:
    return f"{info.partition_id} on device {info.device}: {_use(info)}, {_time(info)}"


def _bar(share: float, text: str, color: str) -> str:
    percent = 100 * min(max(share, 0.0), 1.0)
    return (
        '<div style="display:inline-block;width:12em;height:.7em;border:1px solid #888">'
        f'<div style="width:{percent:.1f}%;height:100%;background:{color}"></div></div> '
        f"{html.escape(text)}<br>"
    )


def info_html(info: PartitionInfo) -> str:
    """A partition with a bar of its use and one of the time left."""
    title = f"<b>{html.escape(info.partition_id)}</b> on device {html.escape(str(info.device))}"
    if info.device_name:
        title += f", {html.escape(info.device_name)}"
    use = _bar(info.used_bytes / max(info.limit_bytes, 1), _use(info), "#4a7ebb")
    left = _bar(info.time_remaining_seconds / max(info.duration_seconds, 1), _time(info), "#6aa84f")
    return f"<div>{title}<br>{use}{left}</div>"


def partition_html(partition: "Partition") -> Optional[str]:
    """None where the registry cannot be read: the text stands for it then."""
    try:
        return info_html(partition.info())
    except PartitionNotFound:
        return f"<div><b>{html.escape(partition.partition_id)}</b>: ended</div>"
    except ChronosError:
        return None

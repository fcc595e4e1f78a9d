"""docs/coverage.md's section "Programs": reading it, and writing it from what was measured."""

from clients import CLIENTS_TABLE, DOORS, REPORT

HEADING = "## Programs"
LAST = "Measured with"
INTRODUCTION = """\
Real programs in a partition of 64 MiB, through each door alone. *same*: with a fitting size, the
program's output and status are those without Chronos; the figure is the most that was charged then.
*refused*: with a size that the device has and the partition has not, the program reports its own
out-of-memory. *0 left*: nothing is charged at its end, nor, where a program can be made to wait,
before that, once it has given everything back.

`scripts/test` measures what is quick, `scripts/test --full` every row; `tests/e2e/matrix/report`
writes this section from the results.
"""


def section():
    """The section's text, empty if there is none."""
    text = REPORT.read_text(encoding="utf-8") if REPORT.exists() else ""
    start = text.find(f"{HEADING}\n")
    if start < 0:
        return ""
    end = text.find("\n## ", start)
    return text[start:end + 1] if end >= 0 else text[start:]


def _rows(text):
    return [[cell.strip() for cell in line.strip("|").split("|")]
            for line in text.splitlines() if line.startswith("|")]


def columns(text):
    return _rows(text)[0][1:-1]


def cells(text):
    """{program: {column: cell}}"""
    header, _, *rows = _rows(text)
    return {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}


def _size(size):
    if size < 1 << 20:
        return f"{size / 1024:.0f} KiB"
    return f"{size / (1 << 20):.1f} MiB"


def _row(client, result, old):
    old = old.get(client.name, {})
    result = result or {"cells": {}, "peak_bytes": {}}
    shown = []
    for door, title in DOORS.items():
        text = result["cells"].get(door)
        if text is None:
            shown.append(old.get(title, "not measured"))
        else:
            peak = result["peak_bytes"][door]
            shown.append(f"{text} ({_size(peak)})" if peak else text)
    shown.append(result.get("on") or old.get(LAST, "not measured"))
    return f"| {client.name} | {' | '.join(shown)} |"


def write(results):
    """Writes the section anew; rows that `results` lacks keep what the document says of them."""
    before = section()
    old = cells(before) if before else {}
    lines = [HEADING, "", INTRODUCTION]
    lines.append(f"| Program | {' | '.join(DOORS.values())} | {LAST} |")
    lines.append("|---" * (len(DOORS) + 2) + "|")
    lines += [_row(client, results.get(client.name), old) for client in CLIENTS_TABLE]
    lines.append("")
    for client in CLIENTS_TABLE:
        for why in dict.fromkeys(outside.why for outside in client.outside.values()):
            doors = ", ".join(DOORS[door].removeprefix("only ") for door in client.outside)
            lines.append(f"- {client.name} is not reached through {doors}: {why}.")
    text = REPORT.read_text(encoding="utf-8") if REPORT.exists() else "# Coverage\n\n"
    new = "\n".join(lines) + "\n"
    if before:
        text = text.replace(before, new + ("\n" if before.endswith("\n\n") else ""))
    else:
        text = text.rstrip("\n") + "\n\n" + new
    REPORT.write_text(text, encoding="utf-8")

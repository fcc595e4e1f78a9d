"""The rows of shim/entry_points.def and shim/extensions.def, and the section of docs/coverage.md that
shows them. Run as a program it writes that section anew."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHIM = ROOT / "shim"
COVERAGE = ROOT / "docs" / "coverage.md"
BEGIN = "<!-- calls: begin (tests/e2e/rows.py writes this) -->"
END = "<!-- calls: end -->"

# Functions that make, keep or free something, by their names.
MATTERS = re.compile(r"^cl(Create|Retain|Release)|Alloc|Free|Import")
# A function, its pointer type (cl..._fn, cl..._t, cl_api_cl...) or a constant named alike.
NAME = re.compile(r"(?<![A-Za-z0-9])(?:cl_api_)?(cl[A-Z][A-Za-z0-9]*(?:_APIMediaSurfaceINTEL)?)"
                  r"(?:_fn|_t)?(?![A-Za-z0-9])")


@dataclass
class Row:
    kind: str  # ENTRY, EXTENSION, ASKED, DECIDED
    name: str
    fields: list

    @property
    def tests(self):
        hooked = self.kind in ("ENTRY", "EXTENSION")
        return [part.strip() for part in self.fields[-1].split(",")] if hooked else []


def read_rows(path):
    text = re.sub(r"^\s*(//|#).*$", "", path.read_text(encoding="utf-8"), flags=re.M)
    rows = []
    for kind, body in re.findall(r'CHRONOS_([A-Z]+)\(((?:[^"()]|"[^"]*")*)\)', text):
        name, *fields = re.findall(r'"([^"]*)"|([A-Za-z0-9_]+)', body)
        rows.append(Row(kind, name[1], [quoted or plain for quoted, plain in fields]))
    return rows


def all_rows():
    return read_rows(SHIM / "entry_points.def") + read_rows(SHIM / "extensions.def")


def declared(folder):
    """The functions that the OpenCL headers in `folder` name and that must be decided on."""
    names = set()
    for header in sorted(Path(folder).glob("*.h")):
        text = header.read_text(encoding="utf-8", errors="replace")
        text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.S)
        names.update(name for name in NAME.findall(text) if MATTERS.search(name))
    return names


def undecided(folder):
    return sorted(declared(folder) - {row.name for row in all_rows()})


def _since(row):
    if row.kind == "ENTRY":
        return f"OpenCL {row.fields[0][:-1]}.{row.fields[0][-1]}"
    return row.fields[0]


def render():
    """The section's tables."""
    lines = ["| call | charged | reached by | since | test |", "|---|---|---|---|---|"]
    for row in all_rows():
        if row.tests:
            door = "table" if row.kind == "ENTRY" else "pointer"
            tests = ", ".join(f"`{test}`" for test in row.tests)
            lines.append(f"| `{row.name}` | {row.fields[-2]} | {door} | {_since(row)} | {tests} |")
    lines += ["", "| not hooked | because |", "|---|---|"]
    for row in all_rows():
        if row.kind == "ASKED":
            lines.append(f"| `{row.name}` | the shim itself calls it: {row.fields[-1]} |")
        elif row.kind == "DECIDED":
            lines.append(f"| `{row.name}` | {row.fields[-1]} |")
    return "\n".join(lines) + "\n"


def shown():
    """What docs/coverage.md shows now."""
    text = COVERAGE.read_text(encoding="utf-8")
    return text[text.index(BEGIN) + len(BEGIN):text.index(END)].strip("\n") + "\n"


def write():
    text = COVERAGE.read_text(encoding="utf-8")
    before, after = text[:text.index(BEGIN) + len(BEGIN)], text[text.index(END):]
    COVERAGE.write_text(f"{before}\n{render()}{after}", encoding="utf-8")


if __name__ == "__main__":
    write()

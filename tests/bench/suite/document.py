"""Writes the tables of docs/benchmarks.md, between its markers, and the plots in docs/plots.

<!-- NAME --> to <!-- /NAME --> is what tables.py says of NAME. What the results do not have is left
as it stands.
"""

import re
import sys

from . import plots, tables


def write(docs, results, peers):
    page = docs / "benchmarks.md"
    text = page.read_text()
    sources = tables.Figures(results, peers)
    for name in re.findall(r"^<!-- ([a-z_]+) -->$", text, re.M):
        lines = getattr(tables, name)(sources)
        if lines is None:
            print(f"bench: no figures for the table {name}: left as it is", file=sys.stderr)
            continue
        body = "\n".join(lines)
        text = re.sub(rf"(?s)^<!-- {name} -->$.*?^<!-- /{name} -->$",
                      lambda _: f"<!-- {name} -->\n{body}\n<!-- /{name} -->", text, flags=re.M)
    page.write_text(text)
    folder = docs / "plots"
    folder.mkdir(exist_ok=True)
    for name, drawing in plots.all_of(sources):
        (folder / f"{name}.svg").write_text(drawing)
    print(f"Written: {page} and {folder}")

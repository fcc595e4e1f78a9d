"""docs/security.md names tests; each is there."""

import re
from pathlib import Path

from support import ROOT


def test_each_attacks_test_is_there():
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+)`", text)
    rows = re.findall(r"^\| .* \|$", text.split("## Attacks")[1].split("\n## ")[0], re.MULTILINE)
    assert len(named) == len(rows) - 1 > 20  # but for the heads
    there = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        there.update(re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert set(named) <= there, set(named) - there

"""Sphinx makes the reference of the Python package from its docstrings: scripts/docs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

import chronos  # noqa: E402

project = "Chronos for Python"
version = release = chronos.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
autodoc_member_order = "groupwise"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
nitpicky = True
# Types of the signatures, which the reference does not explain.
nitpick_ignore_regex = [("py:.*", r"(?!chronos\.[A-Za-z]).*"), ("py:.*", r"chronos\._.*"),
                        ("py:.*", r"chronos\.(partition|partitioner|errors)\..*")]
html_theme = "alabaster"
html_show_sourcelink = False

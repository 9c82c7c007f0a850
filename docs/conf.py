"""Sphinx: ``./dev docs`` builds this folder into ``docs/_build/html``; a warning is an error."""

import importlib.util
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

from scalekit import _durations, types

root = Path(__file__).parents[1]

project = "scalekit"
copyright = "the scalekit contributors"
# Read, not imported: the version has one place.
version_line = re.search(r'__version__ = "(.+)"', (root / "src/scalekit/__init__.py").read_text("utf-8"))
assert version_line
version = release = version_line[1]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
templates_path: list[str] = []

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
# Frameworks are the reader's, not ours: where one is missing its shell is documented all the same.
autodoc_mock_imports = [
    name for name in ("flask", "werkzeug", "django") if importlib.util.find_spec(name) is None
]
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "scalekit"
html_static_path = ["_static"]
html_css_files = ["scalekit.css"]
html_copy_source = False
html_show_sphinx = False


def shorten_types(app: Sphinx, *_: Any) -> None:
    """Write ``ASGIApp``, not the twelve words that the alias stands for."""
    aliases = {"Duration": _durations.Duration}
    aliases |= {name: getattr(types, name) for name in ("ASGIApp", "Receive", "Send", "Scope", "SecretKey")}
    written = {stringify_annotation(alias, "smart"): name for name, alias in aliases.items()}
    for annotations in app.env.current_document.autodoc_annotations.values():
        for parameter, text in annotations.items():
            for long in sorted(written, key=len, reverse=True):
                text = text.replace(long, written[long])
            annotations[parameter] = text


def hide_colons(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep napoleon from reading "Results kept: all of them" as a type and its description."""
    if what in ("attribute", "data", "property") and lines:
        lines[0] = lines[0].replace(": ", HIDDEN)  # it looks no further


def show_colons(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = [line.replace(HIDDEN, ": ") for line in lines]


HIDDEN = "\N{WORD JOINER}"


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", hide_colons, priority=400)  # before napoleon, at 500
    app.connect("autodoc-process-docstring", show_colons, priority=600)
    app.connect("object-description-transform", shorten_types, priority=400)  # before autodoc's own, at 500

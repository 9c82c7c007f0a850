"""What the documentation says of where things are."""

import pytest

from tests.docs.blocks import ROOT


@pytest.mark.parametrize("piece", ["cache", "cdn", "database", "storage"])
def test_the_map_of_a_piece_names_every_file(piece: str) -> None:
    """And none that is not there: a file that is added, renamed or split is added, renamed or split there."""
    folder = ROOT / "src/scalekit" / piece
    page = (ROOT / f"docs/reference/{piece}-inside.md").read_text("utf-8")
    named = {word for line in page.splitlines() if line.startswith("| `") for word in line.split("`")[1::2]}
    named = {word for word in named if word.endswith((".py", "/"))}
    files = {path.name for path in folder.glob("*.py")} - {"__init__.py"}
    folders = {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}
    assert named == files | folders

"""What the documentation says of where things are."""

from tests.docs.blocks import ROOT


def test_the_map_of_the_database_names_every_file() -> None:
    """And none that is not there: a file that is added, renamed or split is added, renamed or split there."""
    folder = ROOT / "src/scalekit/database"
    page = (ROOT / "docs/reference/database-inside.md").read_text("utf-8")
    named = {word for line in page.splitlines() if line.startswith("| `") for word in line.split("`")[1::2]}
    named = {word for word in named if word.endswith((".py", "/"))}
    files = {path.name for path in folder.glob("*.py")} - {"__init__.py"}
    folders = {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}
    assert named == files | folders

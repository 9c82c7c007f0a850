"""What the package says of itself."""

import ast
import importlib.metadata
import re
import tomllib
from pathlib import Path

import scalekit

ROOT = Path(__file__).parents[2]
PACKAGE = Path(scalekit.__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_the_version_has_one_place() -> None:
    """The installed version is the module's, and pyproject.toml has none of its own."""
    assert importlib.metadata.version("scalekit") == scalekit.__version__
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]


def test_types_are_shipped() -> None:
    """`py.typed` lies in the installed package (a wheel, under tox), so that type checkers read our types."""
    assert (PACKAGE / "py.typed").is_file()


def test_errors_name_extras_that_exist() -> None:
    """Every `MissingExtra` in the source names an extra of pyproject.toml."""
    named = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "MissingExtra":
                assert isinstance(node.args[0], ast.Constant), f"{path.name}:{node.lineno}"
                named.add(node.args[0].value)
    assert named <= set(PROJECT["optional-dependencies"])


def test_all_is_all() -> None:
    """`scalekit[all]` brings every extra but the demo."""
    (everything,) = PROJECT["optional-dependencies"]["all"]
    extras = re.fullmatch(r"scalekit\[(.+)\]", everything)
    assert extras
    assert set(extras[1].split(",")) == set(PROJECT["optional-dependencies"]) - {"all", "demo"}


def test_the_readme_installs_what_exists() -> None:
    """Every `scalekit[...]` in README.md and the documentation names extras that exist."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    named = {
        extra
        for page in pages
        for extras in re.findall(r"scalekit\[([a-z0-9,]+)\]", page.read_text("utf-8"))
        for extra in extras.split(",")
    }
    assert named <= set(PROJECT["optional-dependencies"])

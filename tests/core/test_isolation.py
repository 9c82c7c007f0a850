"""Each piece alone: an import brings no other piece, and no third party that it does not need."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import scalekit

ROOT = Path(__file__).parents[2]
PACKAGE = Path(scalekit.__file__).parent

PIECES = ("sessions", "database", "cache", "storage", "cdn", "ops")

# What `import scalekit.<piece>` may need. Leaf modules, named after their third party, may need more.
NEEDS: dict[str, set[str]] = {
    "sessions": {"itsdangerous", "msgspec"},
    "database": {"sqlalchemy", "typing_extensions", "greenlet", "itsdangerous"},
    "cache": {"msgspec"},
    "storage": {"anyio", "idna", "typing_extensions"},
    "cdn": set(),
    "ops": set(),
}
# Installed with scalekit itself, and what those need in turn.
CORE = {"itsdangerous", "msgspec", "starlette", "anyio", "idna", "typing_extensions"}
# The reader's own choice, so no extra of ours names them.
FRAMEWORKS = {"flask", "django", "fastapi", "werkzeug", "pydantic"}


def modules(piece: str = "") -> list[str]:
    """Every module of the package, or of a piece."""
    found = []
    for path in sorted((PACKAGE / piece).rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


def alone(allowed: set[str] | None, *names: str) -> list[dict[str, Any]]:
    visible = "*" if allowed is None else ",".join(sorted(allowed))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.core.alone", visible, *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def pieces_in(names: list[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("scalekit.")} & set(PIECES)


def test_importing_scalekit_imports_nothing_else() -> None:
    """`import scalekit` brings itself: no piece, and not even much of the standard library."""
    (outcome,) = alone(set(), "scalekit")
    assert "error" not in outcome
    assert [name for name in outcome["brought"] if name.startswith("scalekit")] == ["scalekit"]


@pytest.mark.parametrize("piece", PIECES)
def test_a_piece_needs_only_its_own(piece: str) -> None:
    """A piece imports where nothing is installed but what it needs, and brings no other piece."""
    (outcome,) = alone(NEEDS[piece], f"scalekit.{piece}")
    if all(importlib.util.find_spec(name) for name in NEEDS[piece] - {"typing_extensions", "idna"}):
        assert "error" not in outcome, outcome["message"]
        assert pieces_in(outcome["brought"]) == {piece}
    else:  # in an environment with another piece's extra alone
        assert outcome["error"] == "MissingExtra", outcome["message"]
        assert pieces_in(outcome["brought"]) <= {piece}  # a failed import is taken back


def test_no_module_of_a_piece_brings_another_piece() -> None:
    """Nor do the leaf modules, with everything installed: all of a piece together bring no other."""
    outcomes = alone(None, *(",".join(modules(piece)) for piece in PIECES))
    for piece, outcome in zip(PIECES, outcomes, strict=True):
        assert pieces_in(outcome["brought"]) <= {piece}


@pytest.mark.timeout(600)  # hundreds of imports, each from the beginning: 15 s of a processor
def test_without_extras_every_module_imports_or_names_its_cure() -> None:
    """With no extra installed a public module works, or says which pip line helps; frameworks are named."""
    extras = set()
    for outcome in alone(CORE, *(name for name in modules() if "._" not in name)):
        if "error" not in outcome or outcome["missing"] in FRAMEWORKS:
            continue
        assert outcome["error"] == "MissingExtra", f"{outcome['module']}: {outcome['message']}"
        assert f"pip install 'scalekit[{outcome['extra']}]'" in outcome["message"], outcome["module"]
        assert "._" not in outcome["message"], "a private module tells nobody what needs it"
        extras.add(outcome["extra"])
    assert extras >= {
        "redis",
        "memcached",
        "encryption",
        "sqlalchemy",
        "forms",
        "s3",
    }  # these cannot do without

"""Pages that name tests as proof name tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, pages

_PROOF = re.compile(r"`(test_\w+\.py)::(test_\w+)`")

WITH_PROOFS = [page for page in pages() if _PROOF.search(page.read_text("utf-8"))]


@cache
def names_in(name: str) -> frozenset[str]:
    """The tests of the files of this name, in any folder."""
    found: set[str] = set()
    for path in (ROOT / "tests").rglob(name):
        tree = ast.parse(path.read_text("utf-8"))
        found |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return frozenset(found)


@pytest.mark.parametrize("page", WITH_PROOFS, ids=lambda page: page.name)
def test_every_proof_exists(page: Path) -> None:
    """21. A test that is renamed or removed takes its claim with it."""
    named = _PROOF.findall(page.read_text("utf-8"))
    assert [f"{file}::{test}" for file, test in named if test not in names_in(file)] == []


def test_the_chapter_is_whole() -> None:
    """21. Each of the 19 requirements of V7 in OWASP ASVS 5.0 has a row, and what is met has a proof."""
    text = (ROOT / "docs/howto/sessions-security.md").read_text("utf-8")
    rows = {row.split("**")[1]: row for row in text.splitlines() if row.startswith("| **")}
    counts = {"7.1": 3, "7.2": 4, "7.3": 2, "7.4": 5, "7.5": 3, "7.6": 2, "3.3": 5, "3.5": 1}
    assert set(rows) == {f"{part}.{n}" for part, count in counts.items() for n in range(1, count + 1)}
    for number, row in rows.items():
        assert _PROOF.search(row) or "**Your part" in row, number


def test_there_are_pages_with_proofs() -> None:
    """The pattern finds what it looks for."""
    assert "sessions-security.md" in {page.name for page in WITH_PROOFS}

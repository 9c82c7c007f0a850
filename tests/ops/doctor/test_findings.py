"""The list of what can be found, the page on it, and where it sends readers."""

import re
from pathlib import Path

import pytest

from scalekit.ops.doctor.findings import KINDS, SEVERITIES, finding, masked, worst_first
from tests.docs.blocks import ROOT

PAGE = ROOT / "docs/howto/ops-doctor.md"


def anchors(page: str) -> set[str]:
    """Those of the headings, as MyST makes them."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#{1,3} (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("code", KINDS)
def test_each_link_leads_somewhere(code: str) -> None:
    """The page is there, and so is its anchor."""
    page, hash, anchor = KINDS[code].link.partition("#")
    assert hash
    assert anchor in anchors(page)


def test_the_page_lists_every_finding() -> None:
    """With how bad it is, and in the same words."""
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \| (.+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert rows == [(code, kind.severity, kind.summary) for code, kind in KINDS.items()]


def test_each_finding_is_proved() -> None:
    """A test beside this one finds it."""
    tests = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert [code for code in KINDS if f'"{code}"' not in tests] == []


def test_no_password_is_shown() -> None:
    """Whatever an error quotes: what stands before the host of a URL is masked."""
    said = "cannot connect to redis://:p@ss/hush@h:1/0, postgresql+asyncpg://app:hush@db/x, https://hush@h"
    assert "hush" not in masked(said)
    assert masked("see https://docs.example/a") == "see https://docs.example/a"
    made = finding("redis-evicts", what=said, cure=said, where=said)
    assert "hush" not in str(made)


def test_the_worst_comes_first() -> None:
    """Errors, then warnings, then notes; and what several objects share is said once."""
    found = [finding(code, what="", cure="", where="") for code in KINDS] * 2
    ordered = worst_first(found)
    assert len(ordered) == len(KINDS)
    ranks = [SEVERITIES.index(one.severity) for one in ordered]
    assert ranks == sorted(ranks, reverse=True)

"""The open elements inside SVG and MathML, however many."""

from collections import Counter
from typing import Any

import pytest

from scalekit.cdn import Assets, HtmlRewriter
from scalekit.cdn import _foreign as foreign

IMAGE = b'<image href="/static/logo.png"/>'


class Counted(Counter[Any]):
    """Counts its look-ups: each stands for one visit to an open element, or for an end tag."""

    looks = 0

    def __getitem__(self, key: Any) -> int:
        type(self).looks += 1
        return super().__getitem__(key)


@pytest.mark.parametrize("inside", [b"", b"<g><foreignObject><div>"])
def test_an_end_tag_that_matches_nothing_costs_one_look(
    assets: Assets, monkeypatch: pytest.MonkeyPatch, inside: bytes
) -> None:
    """Open elements are not gone through for the end tag of none of them, or a page could take for ever."""
    monkeypatch.setattr(foreign, "Counter", Counted)
    Counted.looks = 0
    ends = 1000
    page = b"<svg>" + inside + b"<g>" * 500 + b"</x>" * ends
    rewriter = HtmlRewriter(assets)
    assert rewriter.feed(page) == page
    assert ends <= Counted.looks <= ends + 2 * 510


def test_elements_beyond_the_limit(assets: Assets) -> None:
    """Of deeper pages no more is held, and from there on they pass as they are; up to there they change."""
    changed = IMAGE.replace(b"/static/logo.png", assets.url("logo.png").encode())
    for deep, rest in ((foreign.DEPTH_LIMIT - 1, changed), (foreign.DEPTH_LIMIT, IMAGE)):
        rewriter = HtmlRewriter(assets)
        out = rewriter.feed(b"<svg>" + IMAGE + b"<g>" * deep + IMAGE) + rewriter.feed(b"</g>" * deep + IMAGE)
        out += rewriter.close()
        assert out == b"<svg>" + changed + b"<g>" * deep + rest + b"</g>" * deep + rest
    for _ in range(100):
        rewriter.feed(b"<g>" * 1000)
    assert len(rewriter._foreign._open) == foreign.DEPTH_LIMIT + 1
    assert not rewriter.failed


def test_names_are_forgotten_with_their_elements() -> None:
    """A page with any number of different names, one after the other, holds none of them."""
    content = foreign.ForeignContent()
    content.start(b"svg", {}, self_closing=False)
    for number in range(1000):
        content.start(b"x%d" % number, {}, self_closing=False)
        content.end(b"x%d" % number)
    assert len(content._names) == 1

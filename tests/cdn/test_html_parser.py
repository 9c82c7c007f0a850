"""The rewriter against a real HTML parser: the trees before and after differ as they should, and only so."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from scalekit.cdn import Assets, HtmlRewriter
from tests.cdn.fragments import FOREIGN, HTML, MARKUP
from tests.cdn.oracle import expected
from tests.cdn.trees import html5lib_nodes, lexbor_nodes


def check(assets: Assets, page: bytes, path: str, dice: random.Random) -> None:
    """The rewritten page has the tree that the oracle expects, and any chunking gives the same bytes."""
    whole = HtmlRewriter(assets, path=path, host="testserver")
    result = whole.feed(page) + whole.close()
    assert not whole.failed
    for nodes in (html5lib_nodes, lexbor_nodes):
        assert nodes(result) == expected(nodes(page), assets, path)
    for largest in (1, 4, 40):
        rewriter = HtmlRewriter(assets, path=path, host="testserver")
        pieces, position = [], 0
        while position < len(page):
            size = dice.randint(1, largest)
            pieces.append(rewriter.feed(page[position : position + size]))
            position += size
        assert b"".join(pieces) + rewriter.close() == result


def broken(draw: st.DrawFn, text: str) -> str:
    """``text`` with a few letters lost or added."""
    for _ in range(draw(st.integers(0, 3))):
        position = draw(st.integers(0, max(0, len(text) - 1)))
        text = (
            text[:position]
            + draw(st.sampled_from(["", "<", ">", '"', "'", "=", "/", " ", "-", "!"]))
            + text[position + 1 :]
        )
    return text


@st.composite
def soup(draw: st.DrawFn) -> str:
    """Markup in any order, nothing balanced. html5lib knows no templates, which matters to a base only."""
    pieces = draw(st.lists(st.sampled_from(MARKUP), max_size=12))
    if any("<base" in piece for piece in pieces):
        pieces = [piece for piece in pieces if "template" not in piece and "noscript" not in piece]
    # A style that never ends is a style to a browser, too, but the rewriter leaves it.
    return broken(draw, "".join(pieces)) + "</style>"


@st.composite
def foreign(draw: st.DrawFn) -> str:
    """Balanced SVG and MathML, with HTML at the points where HTML may stand."""

    def svg(depth: int) -> str:
        parts = []
        for _ in range(draw(st.integers(0, 4))):
            kind = draw(st.integers(0, 9))
            if kind < 6 or depth > 3:
                parts.append(draw(st.sampled_from(FOREIGN)))
            elif kind == 6:
                parts.append(f"<svg>{svg(depth + 1)}</svg>")
            elif kind == 7:
                parts.append(f"<g>{svg(depth + 1)}</g>")
            else:
                parts.append(f"<foreignObject>{html(depth + 1)}</foreignObject>")
        return "".join(parts)

    def html(depth: int) -> str:
        parts = []
        for _ in range(draw(st.integers(0, 3))):
            kind = draw(st.integers(0, 6))
            if kind < 4 or depth > 3:
                parts.append(draw(st.sampled_from(HTML)))
            elif kind == 4:
                parts.append(f"<svg viewBox='0 0 1 1'>{svg(depth + 1)}</svg>")
            elif kind == 5:
                out = draw(st.sampled_from(["", "<p>out</p>"]))
                parts.append(f"<math><mi>{html(depth + 1)}</mi><mo/><ms>x</ms>{out}</math>")
            else:
                parts.append(f"<div>{html(depth + 1)}</div>")
        return "".join(parts)

    # What leaves SVG stands last in it: what follows, html5lib closes in another way than the standard.
    leaves = draw(st.sampled_from(["", "<font size=x></font>", "<p>out</p>"]))
    return f"<body><svg>{svg(0)}{leaves}</svg>{html(0)}<img src=/static/logo.png>"


@settings(max_examples=400, deadline=None)
@given(page=soup(), path=st.sampled_from(["/", "/shop/x", "/static/css/x"]), seed=st.integers(0, 1000))
def test_generated_pages(assets: Assets, page: str, path: str, seed: int) -> None:
    """Any tag soup: no attribute changes but those that the oracle changes, and those as it does."""
    check(assets, page.encode(), path, random.Random(seed))


@settings(max_examples=200, deadline=None)
@given(page=foreign(), seed=st.integers(0, 1000))
def test_generated_foreign_content(assets: Assets, page: str, seed: int) -> None:
    """SVG and MathML, nested in each other and in HTML: each element is read in its own namespace."""
    check(assets, page.encode(), "/", random.Random(seed))

"""A page in pieces: the same bytes, little held back, and no fault that could lose a page."""

import logging
import random
import re
from itertools import combinations
from pathlib import Path

import pytest

from scalekit.cdn import Assets, HtmlRewriter, _skimmer
from scalekit.cdn._tokenizer import TAG_LIMIT

PAGE = b"""<!DOCTYPE html><html><head><title>a <img src="/static/logo.png"></title>
<link rel=stylesheet href=static/css/site.css><base href="/shop/../">
<script><!-- <script> "</script>" --></script><script src="/static/app.js"></script>
<style>a{b:url(/static/logo.png)}</style></head><body class="x>y"><!-- <img src="/static/logo.png"> -->
<p style='a:url(/static/hero.webp?&amp;);b:url("/static/logo.png")'>
<a href="/static/logo.png" title='<img src="/static/logo.png">'><img alt="a > b" src='/static/logo.png'></a>
<svg viewBox="0 0 1 1"><title><b>x</b></title><![CDATA[<img src="/static/logo.png">]]>
<image href=/static/logo.png /></svg><textarea><img src=/static/logo.png></textarea>a < b
<img srcset="/static/hero.webp 1x, static/hero@2x.webp 2x"
src=x src=/static/logo.png><img src="/static/img/a&amp;b.png?x&amp;y"></body></html>"""


def in_pieces(assets: Assets, pieces: list[bytes]) -> bytes:
    rewriter = HtmlRewriter(assets)
    return b"".join([rewriter.feed(piece) for piece in pieces]) + rewriter.close()


def test_every_split_gives_the_same_bytes(assets: Assets) -> None:
    """Cut anywhere, in two and in three, the page comes out the same."""
    whole = in_pieces(assets, [PAGE])
    assert whole.count(b"cdn.example.net") == 10
    for cut in range(len(PAGE)):
        assert in_pieces(assets, [PAGE[:cut], PAGE[cut:]]) == whole, cut
    for cut in range(0, len(PAGE), 3):
        assert in_pieces(assets, [PAGE[:cut], PAGE[cut : cut + 5], b"", PAGE[cut + 5 :]]) == whole, cut


@pytest.mark.parametrize(
    "page",
    [
        b"<svg><foreignObject><script>run()</script ><p>x</p></foreignObject></svg>",
        b"<svg><foreignObject><style>p{}</style\n></foreignObject><image href=/static/logo.png /></svg>",
        b"<script>run()</script ><textarea><b></textarea/><img src=/static/logo.png>",
    ],
)
def test_an_end_tag_cut_twice(assets: Assets, page: bytes) -> None:
    """Cut inside the end tag of a text and once more before its ``>``, no byte comes twice."""
    whole = in_pieces(assets, [page])
    for first, second in combinations(range(len(page)), 2):
        pieces = [page[:first], page[first:second], page[second:]]
        assert in_pieces(assets, pieces) == whole, (first, second)


def test_random_chunks_of_a_long_page(assets: Assets) -> None:
    """Many chunks of all sizes, on a page long enough for thousands of tags."""
    page = PAGE.replace(b"<!DOCTYPE html>", b"") * 40
    whole = in_pieces(assets, [page])
    dice = random.Random(7)
    for largest in (1, 3, 50, 1_000, 20_000):
        pieces, position = [], 0
        while position < len(page):
            size = dice.randint(1, largest)
            pieces.append(page[position : position + size])
            position += size
        assert in_pieces(assets, pieces) == whole, largest


@pytest.mark.parametrize(
    ("chunk", "held"),
    [
        (b"<p>text", b""),
        (b"<p>text <", b"<"),
        (b"<p>text </", b"</"),
        (b"<p>text <!-", b"<!-"),
        (b"<p>text <img src='/sta", b"<img src='/sta"),
        (b"<p>text <a href='/sta", b"<a href='/sta"),
        (b"<p>text </div cla", b""),
        (b"<p><!-- text --", b""),
        (b"<script>text </scri", b""),
    ],
)
def test_only_an_incomplete_tag_is_held_back(assets: Assets, chunk: bytes, held: bytes) -> None:
    """Everything goes out at once, except a tag that may have to change and has not ended."""
    rewriter = HtmlRewriter(assets)
    assert rewriter.feed(chunk) == chunk[: len(chunk) - len(held)]
    assert rewriter.close() == held


@pytest.mark.parametrize("length", [TAG_LIMIT - 1, TAG_LIMIT, TAG_LIMIT + 1, 3 * TAG_LIMIT])
def test_a_held_tag_is_bounded(assets: Assets, length: int) -> None:
    """A tag over the limit passes as it is, in one piece or in many; markup goes on behind it."""
    start, end = b'<img src="/static/logo.png" alt="', b'">'
    tag = start + b">" * (length - len(start) - len(end)) + end
    page = tag + b'<svg data-x="' + b"x" * TAG_LIMIT + b'" /><title></title><img src="/static/logo.png">'
    whole = in_pieces(assets, [page])
    url = assets.url("logo.png").encode()
    changed = length <= TAG_LIMIT
    assert whole == page.replace(b"/static/logo.png", url, 2 if changed else 0) or (
        not changed and whole == tag + page[len(tag) :].replace(b"/static/logo.png", url)
    )
    assert (url in whole[:100]) is changed
    pieces = [page[index : index + 1000] for index in range(0, len(page), 1000)]
    assert in_pieces(assets, pieces) == whole
    rewriter = HtmlRewriter(assets)
    held = sent = 0
    for piece in pieces:
        sent += len(rewriter.feed(piece))
        held = max(held, len(rewriter._rest))
    assert held <= TAG_LIMIT + 1000


def test_an_endless_tag_name(assets: Assets) -> None:
    """A name that never ends is let go at the limit too."""
    rewriter = HtmlRewriter(assets)
    out = b"".join(rewriter.feed(b"<" + b"x" * 999) for _ in range(200))
    assert len(out) >= 199_000
    assert out + rewriter.close() == (b"<" + b"x" * 999) * 200


class Measured:
    """A pattern that counts the bytes it has looked through."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self.pattern, self.seen = pattern, 0

    def search(self, page: bytes, start: int, stop: int | None = None) -> re.Match[bytes] | None:
        found = self.pattern.search(page, start, len(page) if stop is None else stop)
        self.seen += (found.end() if found else len(page) if stop is None else stop) - start
        return found


def test_a_long_page_is_looked_through_once(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """A page costs what its length says, also where each of its URLs may be an asset's and brackets in quotes
    have it read in short stretches.
    """
    patterns = {name: Measured(getattr(_skimmer, name)) for name in ("STYLE_URL", "FETCHING_TAG", "SPECIAL")}
    for name, pattern in patterns.items():
        monkeypatch.setattr(_skimmer, name, pattern)
    page = b"<body>" + b'<img src="/logo.png" alt="<">' * 2000
    rewritten = HtmlRewriter(Assets(folder, url="/", cdn="https://cdn.example.net")).rewrite(page)
    assert rewritten.count(b"https://cdn.example.net/logo.") == 2000
    for name, pattern in patterns.items():
        assert pattern.seen < 4 * len(page), name


def test_a_fault_of_the_rewriter_costs_no_byte(
    assets: Assets, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When the rewriter fails, the page goes on as it is from what was held back, and the fault is logged."""
    rewriter = HtmlRewriter(assets)
    first = b"<p><img src='/static/logo.png'>text <img "
    out = rewriter.feed(first)
    assert rewriter.count == 1

    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(rewriter, "_complete", fail)
    monkeypatch.setattr(rewriter, "_jump", fail)
    with caplog.at_level(logging.ERROR, logger="scalekit.cdn"):
        out += rewriter.feed(b"src=/static/logo.png> <img src=/static/logo.png>")
    out += rewriter.feed(b"<img src=/static/logo.png>") + rewriter.close()
    url = assets.url("logo.png").encode()
    plain = b"<img src=/static/logo.png>"
    assert out == b"<p><img src='" + url + b"'>text " + plain + b" " + plain + plain
    assert rewriter.failed
    assert "a fault" in caplog.text


@pytest.mark.parametrize("piece", ["css.spans", "_import_maps._strings", "srcset.urls"])
def test_a_fault_anywhere_costs_no_byte(assets: Assets, monkeypatch: pytest.MonkeyPatch, piece: str) -> None:
    """A fault in what reads styles, import maps or lists: the page as it came, nothing of it counted."""

    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(f"scalekit.cdn.{piece}", fail)
    texts = (b"<style>a{b:url(/static/logo.png)}</style>", b"<img srcset='/static/logo.png 1x'>")
    page = (
        b"<img src=/static/logo.png>" + b'<script type=importmap>{"imports":{"a":"/static/app.js"}}</script>'
    )
    rewriter = HtmlRewriter(assets)
    out = rewriter.feed(b"<p>") + rewriter.feed(page + b"".join(texts))
    assert out + rewriter.close() == b"<p>" + page + b"".join(texts)
    assert rewriter.failed
    assert rewriter.count == 0

"""The styles of a page: ``style`` attributes and ``<style>`` elements."""

from pathlib import Path

import pytest

from scalekit.cdn import Assets, HtmlRewriter
from scalekit.cdn._tokenizer import CONTENT_LIMIT
from tests.cdn.test_html import IMG, done, rewrite


@pytest.mark.parametrize(
    "page",
    [
        b"<p style=\"background: url('/static/logo.png')\">",
        b"<p STYLE = 'background:url( \"/static/logo.png\" ) , URL(/static/hero.webp)'>",
        b"<p id=x class='y'style=background:url(/static/logo.png)>",
        b"<p style='a:url(&quot;/static/logo.png&quot;);b:&amp;c:url(&#39;/static/hero.webp?&amp;b&#39;)'>",
        b"<p style='a:url(/static/logo.png?x#y);b:url(data:static);c:url(/static/gone.png)'>",
        b"<a href='/static/x' style='background:url(/static/logo.png)'>",
        b"<img src='/static/logo.png' style='background:url(/static/hero.webp)'>",
        b"<link rel=canonical href=/x style='a:url(/static/logo.png)'>",
        b"<svg><g style='a:url(/static/logo.png)'/></svg><math><mi style='a:url(/static/logo.png)'></math>",
        b"<style>a{b:url(/static/logo.png)} /* url(/static/x) */ @import '/static/css/site.css' all;</style>",
        b"<STYLE type='TEXT/css' media=print>@font-face{src:url(/static/logo.png) format('x')}</STYLE >",
        b"<style>a>b{c:'</styles>';d:url(\"/static/logo.png\")}</style><style></style>",
        b"<noscript><style>a{b:url(/static/logo.png)}</style></noscript>",
        b"<style>.\xc3\xbc,.\xff{b:url(/static/logo.png)}</style>",
    ],
)
def test_the_urls_of_styles_change(assets: Assets, page: bytes) -> None:
    """``url()`` and ``@import``, however written; nothing else of the style changes."""
    assert rewrite(assets, page) == done(assets, page) != page


@pytest.mark.parametrize(
    "page",
    [
        b"<p title='style=url(/static/logo.png)'>style=url(/static/logo.png)</p>",
        b"<p style='content:\"url(/static/logo.png)\";/* url(/static/logo.png) */'>",
        b"<p style='a:url(/static/x.png)' style='a:url(/static/logo.png)'>",
        b"<p data-style='a:url(/static/logo.png)' xstyle='a:url(/static/logo.png)'>",
        b"<style>/* url(/static/logo.png)</style>",
        b"<style type=text/less>a{b:url(/static/logo.png)}</style>",
        b"<style type=text/css;x>a{b:url(/static/logo.png)}</style>",
        b'<style>a{b:"url(/static/logo.png)"}</style>',
        b"<style><!-- </style><textarea><style>a{b:url(/static/logo.png)}</style></textarea>",
        b"<svg><style>a{b:url(/static/logo.png)}</style></svg>",
        b"<style>a{b:url(/static/logo.png)}",
        b"</p style='a:url(/static/logo.png)'>",
    ],
)
def test_what_is_no_url_of_a_style_stays(assets: Assets, page: bytes) -> None:
    """Strings, comments, other attributes, the second of two, other languages, what does not end."""
    assert rewrite(assets, page) == page


def test_styles_resolve_against_the_page(assets: Assets) -> None:
    """URLs in them are relative to the page or its ``<base>``, as the style is a part of it."""
    page = b"<style>a{b:url(static/logo.png)}</style><p style='a:url(./static/logo.png)'>"
    url = assets.url("logo.png").encode()
    expected = page.replace(b"./static/logo.png", url).replace(b"static/logo.png)}", url + b")}")
    assert rewrite(assets, page) == expected
    assert rewrite(assets, page, "/shop/cart") == page
    based = b"<base href=/static/css/><style>a{b:url(../logo.png)}</style><p style='a:url(../logo.png)'>"
    assert rewrite(assets, based) == based.replace(b"../logo.png", url)
    bare = b"<p>url(<p style='a:url(logo.png)'>url(logo.png)<style>a{b:URL(logo.png)}</style>"
    assert rewrite(assets, bare, "/static/x") == bare.replace(b"l(logo.png)'", b"l(%b)'" % url).replace(
        b"URL(logo.png)", b"URL(%b)" % url
    )


def test_escapes(assets: Assets) -> None:
    """An escaped letter is read; where an escape may hide a query the URL stays."""
    page = (
        rb"<style>a{b:url('/static/\6cogo.png');c:url('/static/logo\.png');d:url(/static/logo.png\?)}</style>"
    )
    url = assets.url("logo.png").encode()
    expected = page.replace(rb"/static/\6cogo.png", url).replace(rb"/static/logo\.png", url)
    assert rewrite(assets, page) == expected


def test_a_filter_has_to_come_from_the_page_itself(assets: Assets, folder: Path) -> None:
    """A part of an SVG may be a filter or a mask, which browsers refuse from another host."""
    page = b"<style>a{filter:url(/static/icons.svg#blur)}</style><p style='a:url(/static/icons.svg)'>"
    assert rewrite(assets, page) == page.replace(
        b"/static/icons.svg)", assets.url("icons.svg").encode() + b")"
    )
    own = Assets(folder)
    assert rewrite(own, page) == page.replace(b"/static/icons.svg", own.url("icons.svg").encode())


def test_letters_of_other_encodings(assets: Assets) -> None:
    """A letter whose second byte looks like a sign of the style sheet's grammar is a letter."""
    style = "a::after{content:'表';b:url(/static/logo.png)}"
    page = f"<style>{style}</style><p title='表' style=\"{style}\">".encode("shift_jis")
    rewriter = HtmlRewriter(assets, charset="shift_jis")
    assert rewriter.rewrite(page) == done(assets, page)
    assert rewriter.count == 2


@pytest.mark.parametrize("size", [CONTENT_LIMIT, CONTENT_LIMIT + 1])
@pytest.mark.parametrize("ended", [True, False])
def test_a_held_style_is_bounded(assets: Assets, size: int, ended: bool) -> None:
    """Over the limit it passes as it is, in one piece or in many; markup goes on behind it."""
    start = b"a{b:url(/static/logo.png)}/*"
    style = start + b"*" * (size - len(start))
    page = b"<p><style>" + style + (b"</style>" + IMG) * ended
    whole = HtmlRewriter(assets)
    result = whole.feed(page) + whole.close()
    if ended:
        changed = done(assets, page) if size == CONTENT_LIMIT else page.replace(IMG, done(assets, IMG))
        assert result == changed
    else:
        assert result == page
    for piece in (4096, 5000):
        rewriter = HtmlRewriter(assets)
        out, held = [], 0
        for index in range(0, len(page), piece):
            out.append(rewriter.feed(page[index : index + piece]))
            held = max(held, len(rewriter._rest))
        assert b"".join(out) + rewriter.close() == result
        assert held <= CONTENT_LIMIT + piece

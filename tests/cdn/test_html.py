"""Which bytes of a page change: one behaviour after another, each written down by hand."""

from pathlib import Path
from typing import Any

import pytest

from scalekit.cdn import Assets, HtmlRewriter
from tests.cdn.conftest import CDN

IMG = b'<img src="/static/logo.png">'


def rewrite(
    assets: Assets, page: bytes, path: str = "/", host: str | None = "shop.example", *, modules: bool = False
) -> bytes:
    """The page rewritten in one piece; byte by byte must give the same."""
    whole = HtmlRewriter(assets, path=path, host=host, modules=modules)
    result = whole.feed(page) + whole.close()
    bytewise = HtmlRewriter(assets, path=path, host=host, modules=modules)
    pieces = [bytewise.feed(page[index : index + 1]) for index in range(len(page))]
    assert b"".join(pieces) + bytewise.close() == result
    assert not whole.failed
    return result


NAMES = ("logo.png", "app.js", "hero.webp", "hero@2x.webp", "movie.mp4", "css/site.css")


def done(assets: Assets, page: bytes, *names: str) -> bytes:
    """``page`` with the plain URLs replaced as text: what a correct rewriter makes of all of them."""
    for name in names or NAMES:
        page = page.replace(b"/static/" + name.encode(), assets.url(name).encode())
    return page


@pytest.mark.parametrize(
    "tag",
    [
        b'<img src="/static/logo.png">',
        b"<img src='/static/logo.png'>",
        b"<img src=/static/logo.png>",
        b"<IMG SRC=/static/logo.png>",
        b"<img\tsrc\n=\r\n'/static/logo.png'\f>",
        b"<img/src=/static/logo.png>",
        b'<img src="/static/logo.png"/>',
        b'<img alt="a > b" src="/static/logo.png">',
        b'<img alt=\'"\' src="/static/logo.png">',
        b'<img a=b"c src="/static/logo.png">',
        b'<img "x" src="/static/logo.png">',
        b'<img hidden src="/static/logo.png" width=1>',
        b'<img alt="" src="/static/logo.png"alt=x>',
        b'<img srcset="/static/hero.webp 1x, /static/hero@2x.webp 2x" src="/static/hero.webp">',
        b'<source srcset="data:image/png;base64,AA, /static/hero.webp">',
        b'<script src="/static/app.js" defer></script>',
        b'<link rel="stylesheet" href="/static/css/site.css">',
        b'<link href="/static/css/site.css" rel=" preload STYLESHEET">',
        b'<link rel=preload as=image imagesrcset="/static/hero.webp 1x">',
        b'<link rel="shortcut icon" href="/static/logo.png">',
        b'<video src="/static/movie.mp4" poster="/static/logo.png"></video>',
        b'<object data="/static/logo.png"></object><embed src="/static/movie.mp4">',
        b'<audio src="/static/movie.mp4"></audio><input type=image src="/static/logo.png">',
        b'<script type="text/javascript" src="/static/app.js" crossorigin></script>',
        b'<img src="/static/logo.png" crossorigin="anonymous" class="no-credentials">',
        b"<noscript>" + IMG + b"</noscript>",
        b"<template>" + IMG + b"</template>",
        b"<svg><image href='/static/logo.png'/><image xlink:href='/static/logo.png'/></svg>",
        b"<svg><foreignObject>" + IMG + b"</foreignObject></svg>",
        b"<math><mi>" + IMG + b"</mi></math>",
    ],
)
def test_what_the_browser_fetches_is_rewritten(assets: Assets, tag: bytes) -> None:
    """Sources of every kind, however the tag is written; nothing else of the tag changes."""
    assert rewrite(assets, tag) == done(assets, tag)
    assert done(assets, tag) != tag


@pytest.mark.parametrize(
    "page",
    [
        b'<a href="/static/logo.png">a link</a>',
        b'<area href="/static/logo.png"><form action="/static/app.js"></form>',
        b'<base href="/static/app.js">',
        b'<iframe src="/static/logo.png"></iframe>',
        b'<object data="/static/icons.svg"></object><embed src="/static/app.js">',
        b'<video><track src="/static/app.js"></video>',
        b'<link rel="canonical" href="/static/logo.png"><link rel=alternate href=/static/logo.png>',
        b'<link rel="manifest" href="/static/app.js"><link href="/static/css/site.css">',
        b"<link rel=preload as=Fetch href=/static/logo.png><link rel=preload as=track href=/static/logo.png>",
        b'<meta http-equiv=refresh content="0; url=/static/logo.png">',
        b'<div data-src="/static/logo.png" title="/static/logo.png">/static/logo.png</div>',
        b'<svg><use href="/static/icons.svg#cart"/><a href="/static/logo.png"/></svg>',
        b"<svg><link rel=icon href='/static/logo.png'/></svg>",
        b"<img src=/static/missing.png><img src=/static/><img src='?static'><img src=#static>",
        b"<img src=https://other.example/static/logo.png><img src=//other.example/static/logo.png>",
        b"<img src=ftp://shop.example/static/logo.png><img src='data:static,/static/logo.png'>",
        b"<img src=/other/static/logo.png><img src=/static/../logo.png>",
        b"<img src><img src=><img src=''>",
    ],
)
def test_links_and_strangers_stay(assets: Assets, page: bytes) -> None:
    """Links are never changed, nor URLs that are no asset: not one byte."""
    assert rewrite(assets, page) == page


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"<!-- ", b" -->"),
        (b"<!-- > ", b" --!>"),
        (b"<!--!> ", b" -->"),
        (b"<!-- <!-- ", b" -->"),
        (b"<textarea>", b"</textarea>"),
        (b"<TITLE>", b"</title\n>"),
        (b"<title></titles>", b"</title/>"),
        (b"<style>", b"</style>"),
        (b"<xmp>", b"</xmp>"),
        (b"<iframe>", b"</iframe>"),
        (b"<noembed>", b"</noembed>"),
        (b"<noframes>", b"</noframes>"),
        (b"<script>", b"</script>"),
        (b"<script><!--", b"</script>"),
        (b"<script><!-- <script>", b"</script>--></script>"),
        (b"<script><!-- <script></script>", b"</script>"),
        (b"<script><!--><script>", b"</script>"),
        (b"<script><!-- --><script>", b"</script>"),
        (b"<svg><![CDATA[", b"]]></svg>"),
        (b"<svg><title><![CDATA[", b"]]></title></svg>"),
        (b"<a title='", b"'>x</a>"),
        (b'<a title="', b'">x</a>'.replace(b'"', b"'") + b'">'),
        (b"<div ", b">"),
        (b"<?php ", b""),
        (b"</ ", b""),
        (b"<!doctype ", b""),
    ],
)
def test_what_is_not_markup_stays_and_ends(assets: Assets, before: bytes, after: bytes) -> None:
    """Comments, raw text, scripts, CDATA and attribute values are text; behind them is markup again."""
    quoted = IMG.replace(b'"', b"") if before.endswith((b'"', b"'")) else IMG
    page = before + quoted + after
    assert rewrite(assets, page + IMG) == page + done(assets, IMG)


@pytest.mark.parametrize(
    "before", [b"<plaintext>", b"<plaintext></plaintext>", b"<script>", b"<!-- ", b"<title>"]
)
def test_what_never_ends(assets: Assets, before: bytes) -> None:
    """``<plaintext>`` lasts to the end of the page, and so does whatever is not closed."""
    assert rewrite(assets, before + IMG) == before + IMG


@pytest.mark.parametrize(
    "before",
    [
        b"<!-->",
        b"<!--->",
        b"<!---->",
        b"<![CDATA[ x ]]>",
        b"<![CDATA[>",
        b"</>",
        b"a < b <3 ",
        b'text = "<b>" ',
        b"it's \" ",
        b'<a b"c>',
        b'<a ="x>',
        b'<a b ="x"="y>',
        b"<svg/><title>x</title>",
        b"<svg><title>x</title><style>",
        b"<svg><script>",
        b"<svg><p></p><title>x</title>",
        b"<svg><font color=red>",
        b"<math><annotation-xml encoding='text/html'><title>x</title>",
        b"<svg><desc><style>x</style>",
        b"<script></script><script src=x></script>",
        b"<script>'<!--' + '-->'</script>",
    ],
)
def test_markup_that_only_looks_like_something_else(assets: Assets, before: bytes) -> None:
    """Empty comments, stray signs, quotes that open nothing, and foreign elements with HTML names."""
    assert rewrite(assets, before + IMG) == before + done(assets, IMG)


def test_self_closing_does_not_count_in_an_unquoted_value(assets: Assets) -> None:
    """``<svg a=/>`` is open, so that its ``<title>`` holds markup; ``<svg a/>`` is closed."""
    page = b"%b<title>" + IMG
    assert rewrite(assets, page % b"<svg a=/>") == done(assets, page) % b"<svg a=/>"
    assert rewrite(assets, page % b"<svg a/>") == page % b"<svg a/>"


def test_the_first_of_duplicate_attributes_counts(assets: Assets) -> None:
    """A browser ignores the second ``src``, so it is not touched, and does not stand in for the first."""
    page = b"<img src=x src=/static/logo.png><img src=/static/logo.png SRC=/static/logo.png>"
    url = assets.url("logo.png").encode()
    assert (
        rewrite(assets, page)
        == b"<img src=x src=/static/logo.png><img src=" + url + b" SRC=/static/logo.png>"
    )


@pytest.mark.parametrize(
    ("value", "name", "suffix"),
    [
        ("static/logo.png", "logo.png", ""),
        ("./static/logo.png", "logo.png", ""),
        ("x/../static/logo.png", "logo.png", ""),
        ("/static/./css/%2e%2E/logo.png", "logo.png", ""),
        ("\\static\\logo.png", "logo.png", ""),
        ("  /static/lo\ngo.png\t", "logo.png", ""),
        ("/static/%6Cogo.png", "logo.png", ""),
        ("/static/img/photo%20one.jpg", "img/photo one.jpg", ""),
        ("/static/img/photo one.jpg", "img/photo one.jpg", ""),
        ("/static/img/bücher.png", "img/bücher.png", ""),
        ("/static/img/b%C3%BCcher.png", "img/bücher.png", ""),
        ("&#47;static&#x2F;logo&period;png", "logo.png", ""),
        ("/static/img/a&amp;b.png", "img/a&b.png", ""),
        ("/static/img/a&b.png", "img/a&b.png", ""),
        ("/static/logo.png?v=1&copy=2", "logo.png", "?v=1&copy=2"),
        ("/static/logo.png?v=1&amp;w=2", "logo.png", "?v=1&amp;w=2"),
        ("/static/icons.svg#cart", "icons.svg", "#cart"),
        ("http://shop.example/static/logo.png", "logo.png", ""),
        ("HTTPS://SHOP.example:443/static/logo.png", "logo.png", ""),
        ("//shop.example/static/logo.png", "logo.png", ""),
    ],
)
def test_urls_are_resolved_before_they_are_looked_up(
    assets: Assets, value: str, name: str, suffix: str
) -> None:
    """Entities, percent-encoding, dot segments, the page's own host: all spellings of an asset find it."""
    page = f'<img src="{value}">'.encode()
    assert rewrite(assets, page) == f'<img src="{assets.url(name)}{suffix}">'.encode()


def test_relative_urls_follow_the_request_path(assets: Assets) -> None:
    """``static/...`` means an asset on ``/`` only; below the assets' own path bare names do."""
    page = b"<img src=static/logo.png><img src=logo.png><img src=../logo.png>"
    url = assets.url("logo.png").encode()
    assert rewrite(assets, page, "/shop/cart") == page
    assert rewrite(assets, page, "/cart") == page.replace(b"static/logo.png", url)
    assert rewrite(assets, page, "/static/x") == page.replace(b"=logo.png", b"=" + url)
    assert rewrite(assets, page, "/static/css/x") == page.replace(b"../logo.png", url)


def test_what_only_looks_like_a_tag_below_the_assets(assets: Assets) -> None:
    """Where every name may be a file's, a tag inside an unquoted value, a comment or a text is none, too."""
    url = assets.url("logo.png").encode()
    for before in (b'<b<img src="logo.png">', b'<a x=<img src="logo.png">', b'<?x <img src="logo.png">'):
        page = before + b'<img src="logo.png">'
        assert rewrite(assets, page, "/static/x") == before + b'<img src="%b">' % url
    page = b'a < b <img class="x" src="logo.png" srcset="../static/logo.png 2x"><img src="gone.png">(<p>url('
    expected = page.replace(b'"logo.png', b'"' + url).replace(b"../static/logo.png", url)
    assert rewrite(assets, page, "/static/x") == expected


def test_a_base_element_moves_relative_urls(assets: Assets) -> None:
    """From the first ``<base href>`` on, URLs resolve against it; on another host nothing is an asset."""
    url = assets.url("logo.png").encode()
    inside = b"<base target=x><base href='/static/css/'><base href=/><img src=../logo.png>"
    assert rewrite(assets, inside) == inside.replace(b"../logo.png", url)
    elsewhere = b"<base href='https://other.example/'><img src=/static/logo.png><img src=static/logo.png>"
    assert rewrite(assets, elsewhere) == elsewhere
    back = elsewhere + b"<img src=//shop.example/static/logo.png>"
    assert rewrite(assets, back) == elsewhere + b"<img src=" + url + b">"


@pytest.mark.parametrize(
    "inert",
    [
        b"<template>%b</template>",
        b"<noscript>%b</noscript>",
        b"<TEMPLATE id=x><template></template>%b</TEMPLATE >",
        b"<template><svg><g></template><template>%b</template>",
        b"<noscript><template></noscript><template>%b</template>",
        b"<template><body>%b</body></template>",
        b"<svg><foreignObject><template></template></foreignObject></svg><noscript>%b</noscript>",
    ],
)
def test_a_base_element_that_is_no_part_of_the_document(assets: Assets, inert: bytes) -> None:
    """In a ``<template>`` or ``<noscript>`` a ``<base>`` says nothing; a real one behind it does."""
    url = assets.url("logo.png").encode()
    for real in (b"", b"<base href=/static/css/>"):
        images = b"<img src=logo.png><img src=static/logo.png><img src=../logo.png>"
        right = b"../logo.png" if real else b"static/logo.png"
        page = inert % b"<base href=/static/>" + real + images
        assert rewrite(assets, page) == page.replace(b"=" + right, b"=" + url)


def test_a_base_element_in_doubt(assets: Assets) -> None:
    """Behind ``<body>`` it may stand in a template or not: what it might resolve is left alone."""
    url = assets.url("logo.png").encode()
    before, after = b"<head></head><BODY class=x><img src=static/logo.png>", b"<img src=/static/logo.png>"
    page = before + b"<p><base href=/static/>" + after + b"<img src=//shop.example/static/logo.png>"
    expected = page.replace(b"src=static/logo.png", b"src=" + url)
    assert rewrite(assets, page) == expected.replace(b"//shop.example/static/logo.png", url)
    settled = b"<base href=/><body><template><base href=/x/></template><img src=static/logo.png>"
    assert rewrite(assets, settled, "/shop/") == settled.replace(b"static/logo.png", url)


def test_hashed_urls_go_to_the_cdn_too(assets: Assets) -> None:
    """A page that names hashed files by path, as ``asset()`` without a CDN does, gets the CDN."""
    asset = assets.get("logo.png")
    assert asset is not None
    url = assets.url(asset.name)
    page = f"<img src=/static/{asset.hashed_name}><img src={url}>".encode()
    assert rewrite(assets, page) == f"<img src={url}><img src={url}>".encode()


def test_integrity(assets: Assets) -> None:
    """A file with ``integrity`` moves only if it keeps its bytes and the tag asks for CORS."""
    stays = (
        b"<script src=/static/app.js integrity=sha384-x></script>"
        b"<link rel=stylesheet href=/static/css/site.css integrity=sha384-x crossorigin>"
    )
    assert rewrite(assets, stays) == stays
    moves = b"<script src=/static/app.js integrity=sha384-x crossorigin=anonymous></script>"
    assert rewrite(assets, moves) == done(assets, moves)


MODULES = (
    b'<script type="module" src="/static/app.js"></script><script type=" &#77;odule" src=/static/app.js>'
    b"</script><link rel=modulepreload href=/static/app.js>"
    b"<script type=module integrity=x src=/static/app.js></script>"
)


def test_modules_go_with_what_they_import(assets: Assets, folder: Path) -> None:
    """If asked for, those whose imports are renamed with them move as any script does; they ask for CORS."""
    for chosen in (assets, Assets(folder)):
        assert chosen.modules == {"app.js"}
        assert rewrite(chosen, MODULES, modules=True) == done(chosen, MODULES) != MODULES
        assert rewrite(chosen, MODULES) == MODULES


def test_other_modules_keep_their_urls(tmp_path: Path) -> None:
    """A module that asks for what has no hashed name would run once more under another, on any host."""
    (tmp_path / "app.js").write_text("import('/elsewhere/' + name)")
    for cdn in (CDN, None):
        chosen = Assets(tmp_path, cdn=cdn)
        assert rewrite(chosen, MODULES, modules=True) == MODULES
        classic = b"<script src=/static/app.js></script>"
        assert rewrite(chosen, classic) == done(chosen, classic, "app.js") != classic


def test_what_has_to_come_from_the_page_itself(assets: Assets, folder: Path) -> None:
    """SVG symbols, tracks and embedded documents are hashed on their own host; with a CDN they stay."""
    page = (
        b"<svg><use href='/static/icons.svg#cart'/><use xlink:href='/static/icons.svg?2#cart'></use></svg>"
        b"<video><track src=/static/app.js></video>"
        b"<object data=/static/icons.svg></object><embed src='/static/icons.svg'>"
    )
    assert rewrite(assets, page) == page
    own = Assets(folder)
    icons, script = own.url("icons.svg").encode(), own.url("app.js").encode()
    expected = page.replace(b"/static/icons.svg", icons).replace(b"/static/app.js", script)
    assert rewrite(own, page) == expected


@pytest.mark.parametrize("key", [b"property=og:image", b"name='Twitter:Image'", b"property=' og:image:url '"])
def test_the_image_of_a_preview_is_absolute(assets: Assets, folder: Path, key: bytes) -> None:
    """With a CDN it gets that one's URL; where the new one would have no host or scheme, the old stays."""
    page = b"<meta %b content=https://shop.example/static/logo.png?1><meta content='/static/logo.png' %b>"
    page = page % (key, key)
    url = assets.url("logo.png").encode()
    expected = page.replace(b"https://shop.example/static/logo.png", url).replace(b"/static/logo.png", url)
    assert rewrite(assets, page) == expected.replace(url.replace(b"/static/logo", url), url)
    assert rewrite(Assets(folder), page) == page
    assert rewrite(assets.at("//cdn.example.net"), page) == page


def test_no_other_meta_changes(assets: Assets) -> None:
    """A description that mentions a file, a refresh, a preview's page and its title stay."""
    page = (
        b"<meta name=description content=/static/logo.png><meta property=og:url content=/static/logo.png>"
        b"<meta property=og:title content='/static/logo.png'><meta itemprop=x content=/static/logo.png>"
        b"<meta http-equiv=refresh content='0; url=/static/logo.png'>"
    )
    assert rewrite(assets, page) == page


def test_only_the_url_of_a_list_changes(assets: Assets) -> None:
    """Character references, white space and the other candidates of a ``srcset`` come out as they went in."""
    page = (
        b"<img srcset='/x?a&amp;b&copy=1 1x,\n\t/st&#97;tic/hero.webp  2x,"
        b"/static/hero&commat;2x.webp?&amp;#&lt;'>"
    )
    expected = page.replace(b"/static/hero&commat;2x.webp", assets.url("hero@2x.webp").encode())
    assert rewrite(assets, page) == expected.replace(
        b"/st&#97;tic/hero.webp", assets.url("hero.webp").encode()
    )


@pytest.mark.parametrize(
    "tag",
    [
        b'<script src="/static/app.js" crossorigin="use-credentials"></script>',
        b'<script crossorigin="Use-Credentials" integrity=x src="/static/app.js"></script>',
        b"<link rel=icon crossorigin=use-credentials href=/static/logo.png>",
        b'<img src="/static/logo.png" crossorigin="USE-CREDENTIALS">',
        b'<img crossorigin="use-credentials" src="/static/logo.png">',
        b'<video crossorigin=use-credentials src="/static/movie.mp4" poster="/static/logo.png"></video>',
    ],
)
def test_what_asks_with_credentials_stays_on_its_host(assets: Assets, folder: Path, tag: bytes) -> None:
    """From another host a browser refuses it, for the answer is everybody's; without a CDN it is hashed."""
    assert rewrite(assets, tag) == tag
    own = Assets(folder)
    assert rewrite(own, tag) == done(own, tag) != tag


def test_only_values_change(assets: Assets) -> None:
    """Odd line ends, odd bytes, odd spacing: all of it comes out as it went in."""
    junk = bytes(range(256)).replace(b"<", b"")
    page = junk + IMG + b"\r\n\r \x0b\x00" + IMG + junk
    assert rewrite(assets, page) == junk + done(assets, IMG) + b"\r\n\r \x0b\x00" + done(assets, IMG) + junk


def test_other_encodings(assets: Assets) -> None:
    """Names beyond ASCII are read in the page's encoding; what is not valid in it is left alone."""
    page = "<img src='/static/img/bücher.png'>".encode("latin-1")
    rewriter = HtmlRewriter(assets, charset="latin-1")
    assert rewriter.rewrite(page) == f"<img src='{assets.url('img/bücher.png')}'>".encode()
    assert rewrite(assets, page) == page
    entity = HtmlRewriter(assets, charset="latin-1").rewrite(b"<img src='/static/logo.png?&#20013;'>")
    assert entity == f"<img src='{assets.url('logo.png')}?&#20013;'>".encode()


@pytest.mark.parametrize("reference", ["&#1;", "&#x1F;", "&#127", "&#xFDD0;", "&#x10FFFF;"])
def test_references_to_what_is_no_text(assets: Assets, reference: str) -> None:
    """A browser has the control character that a reference names, and asks for another file."""
    page = f"<img src='/static/lo{reference}go.png'>".encode()
    assert HtmlRewriter(assets).rewrite(page) == page


@pytest.mark.parametrize("mark", ["&#", "&#x"])
def test_character_references_of_any_length(assets: Assets, mark: str) -> None:
    """Zeros in front say nothing; a number beyond all characters is no name's, and ends no page."""
    letter = "6c" if "x" in mark else "108"
    zeros = f"<img src='/static/{mark}{'0' * 5000}{letter};ogo.png'>".encode()
    assert rewrite(assets, zeros) == done(assets, b"<img src='/static/logo.png'>")
    endless = f"<img src='/static/{mark}{'9' * 5000};ogo.png'><link rel='{mark}{'9' * 5000}'>".encode()
    assert rewrite(assets, endless + IMG) == endless + done(assets, IMG)
    query = f"<img src='/static/logo.png?{mark}{'9' * 5000};'>".encode()
    assert rewrite(assets, query) == f"<img src='{assets.url('logo.png')}?{mark}{'9' * 5000};'>".encode()


def test_a_whole_page_without_assets_is_returned_as_it_is(assets: Assets) -> None:
    """One search decides; the very same object comes back."""
    page = b"<p>" * 1000
    assert HtmlRewriter(assets).rewrite(page) is page


def test_assets_at_the_root(folder: object, tmp_path: object) -> None:
    """With ``url="/"`` any path may be an asset."""
    assets = Assets(str(folder), url="/", cdn=CDN)
    page = b"<img src=/logo.png><img src=logo.png><a href=/logo.png>" + b"<link rel=icon href=./logo.png>"
    url = assets.url("logo.png").encode()
    expected = b"<img src=%b><img src=%b><a href=/logo.png><link rel=icon href=%b>" % (url, url, url)
    assert rewrite(assets, page) == expected


@pytest.mark.parametrize("take", [HtmlRewriter.rewrite, HtmlRewriter.feed])
@pytest.mark.parametrize("page", ["", "<p>nothing</p>", IMG.decode()])
def test_text_is_refused(assets: Assets, take: Any, page: str) -> None:
    """Text is told to be some at once, whatever is in it, and takes nothing from the rewriter."""
    rewriter = HtmlRewriter(assets)
    with pytest.raises(TypeError, match=r"takes bytes, .* not str; give it page.encode\(\)"):
        take(rewriter, page)
    assert rewriter.rewrite(IMG) == done(assets, IMG)

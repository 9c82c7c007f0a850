"""``integrity`` and ``crossorigin``, added where that was asked for."""

from pathlib import Path

import pytest

from scalekit.cdn import Assets, HtmlRewriter

PAGE = (
    b"<script src=/static/app.js></script><link rel='stylesheet' href='/static/css/site.css'media=print>"
    b'<link rel=preload as=Script href="/static/app.js?x"><script src="/static/app.js" crossorigin></script>'
    b"<script src=/static/app.js type=text/javascript></script>"
)
STAYS = (
    b'<img src="/static/logo.png"><link rel=icon href=/static/logo.png>'
    b"<link rel=preload as=image href=/static/logo.png imagesrcset='/static/hero.webp 1x'>"
    b"<video src=/static/movie.mp4></video><p style='a:url(/static/logo.png)'><svg><script/></svg>"
    b"<script src=/static/app.js integrity=x crossorigin></script>"
)


def rewritten(assets: Assets, page: bytes, **options: bool) -> bytes:
    """In one piece; byte by byte must give the same."""
    rewriter, whole = HtmlRewriter(assets, **options), HtmlRewriter(assets, **options)
    result = whole.rewrite(page)
    out = b"".join(rewriter.feed(page[index : index + 1]) for index in range(len(page)))
    assert out + rewriter.close() == result
    assert rewriter.count == whole.count == count_of(assets, page, modules=options.get("modules", False))
    return result


def count_of(assets: Assets, page: bytes, *, modules: bool) -> int:
    plain = HtmlRewriter(assets, modules=modules)
    plain.rewrite(page)
    return plain.count


@pytest.mark.parametrize("integrity", [True, False])
@pytest.mark.parametrize("crossorigin", [True, False])
@pytest.mark.parametrize("cdn", [True, False])
def test_what_is_added(assets: Assets, folder: Path, integrity: bool, crossorigin: bool, cdn: bool) -> None:
    """Behind the URL of a script or style sheet, what it lacks; from another host integrity brings CORS."""
    assets = assets if cdn else Assets(folder)
    asks = b' crossorigin="anonymous"' if cdn and (integrity or crossorigin) else b""
    said = {}
    for name in ("app.js", "css/site.css"):
        asset = assets.get(name)
        assert asset is not None
        assert asset.integrity is not None
        said[name] = b' integrity="%b"' % asset.integrity.encode() if integrity else b""
    script, sheet = said["app.js"], said["css/site.css"]
    plain = rewritten(assets, PAGE)
    url, sheet_url = assets.url("app.js").encode(), assets.url("css/site.css").encode()
    assert rewritten(assets, PAGE, integrity=integrity, crossorigin=crossorigin) == (
        b"<script src=%b%b%b></script><link rel='stylesheet' href='%b'%b%bmedia=print>"
        % (url, script, asks, sheet_url, sheet, asks)
        + b'<link rel=preload as=Script href="%b?x"%b%b>' % (url, script, asks)
        + b'<script src="%b"%b crossorigin></script>' % (url, script)
        + b"<script src=%b%b%b type=text/javascript></script>" % (url, script, asks)
    )
    assert (plain == rewritten(assets, PAGE, integrity=integrity, crossorigin=crossorigin)) is not (
        integrity or bool(asks)
    )


def test_modules_ask_for_cors_by_themselves(assets: Assets) -> None:
    """They get ``integrity`` alone."""
    page = b"<script type=module src=/static/app.js></script><link rel=modulepreload href=/static/app.js>"
    asset = assets.get("app.js")
    assert asset is not None
    added = b'%b integrity="%b"' % (assets.url("app.js").encode(), str(asset.integrity).encode())
    assert rewritten(assets, page, integrity=True, modules=True) == page.replace(b"/static/app.js", added)
    plain = page.replace(b"/static/app.js", assets.url("app.js").encode())
    assert rewritten(assets, page, crossorigin=True, modules=True) == plain.replace(b'"', b"")


def test_where_nothing_is_added(assets: Assets) -> None:
    """Images, fonts, what has it already, and what was not rewritten."""
    plain = rewritten(assets, STAYS)
    assert plain != STAYS
    assert rewritten(assets, STAYS, integrity=True, crossorigin=True) == plain
    strangers = b"<script src=/static/gone.js></script><script src=https://x.example/static/app.js></script>"
    assert rewritten(assets, strangers, integrity=True, crossorigin=True) == strangers


def test_a_tag_that_is_pointed_at_the_cdn_already(assets: Assets) -> None:
    """A tag whose URL stands there in full, as a template writes it, gets the same; once."""
    page = b"<script src=%b></script>" % assets.url("app.js").encode()
    want = rewritten(assets, b"<script src=/static/app.js></script>", integrity=True)
    assert rewritten(assets, page, integrity=True) == want != page
    assert rewritten(assets, want, integrity=True) == want

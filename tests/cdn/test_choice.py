"""A CDN for each request, and the middleware's other options."""

import logging
from pathlib import Path
from typing import Any

import pytest

from scalekit.cdn import Assets, HtmlRewriter
from scalekit.cdn.asgi import AssetFiles, AssetMiddleware
from scalekit.cdn.wsgi import AssetFiles as WSGIAssetFiles
from scalekit.cdn.wsgi import AssetMiddleware as WSGIAssetMiddleware
from scalekit.errors import ConfigurationError
from tests.cdn.drivers import Response, Shell

PAGE = b"<script src=/static/app.js></script><img src=/static/logo.png>"


@pytest.fixture
def assets(folder: Path) -> Assets:
    """With counts of its own."""
    return Assets(folder, cdn="https://cdn.example.net")


def region(request: Any) -> str | None:
    """The region that a header names: the function under ASGI and WSGI alike."""
    for name, value in request.get("headers", ()):
        if name == b"x-region":
            return f"https://{value.decode()}.example.net"
    named = request.get("HTTP_X_REGION")
    return f"https://{named}.example.net" if named else None


OPTIONS = {"cdn": region, "vary": ["X-Region"]}


@pytest.mark.parametrize("name", ["eu", "us"])
def test_a_cdn_for_each_request(assets: Assets, shell: Shell, name: str) -> None:
    """Each page has the URLs of its own CDN, an entity tag of its own, and says what it depends on."""
    view = assets.at(f"https://{name}.example.net")
    sent = Response([PAGE], {"content-type": "text/html", "etag": '"x"', "vary": "Cookie"})
    reply = shell.page(assets, sent, options=OPTIONS, headers={"x-region": name})
    assert reply.body == HtmlRewriter(view).rewrite(PAGE)
    assert f"https://{name}.example.net/static/".encode() in reply.body
    assert reply.headers["etag"] == f'"x-{view.version}"'
    assert reply.headers["vary"] == "Cookie, x-region"


def test_no_cdn_for_a_request(assets: Assets, shell: Shell) -> None:
    """``None`` is none: the application serves the files of that page, hashed."""
    reply = shell.page(assets, Response([PAGE]), options=OPTIONS)
    assert reply.body == HtmlRewriter(assets.at(None)).rewrite(PAGE)
    assert assets.counts["cdn-errors"] == 0


def test_the_tag_of_another_region(assets: Assets, shell: Shell) -> None:
    """One region's page is not another's: its tag does not get to the application as its own."""
    eu = assets.at("https://eu.example.net").version
    for asking, seen in (("eu", '"x"'), ("us", f'"x-{eu}"')):
        sent = Response([b""], {"etag": '"x"'}, status=304)
        headers = {"x-region": asking, "if-none-match": f'"x-{eu}"'}
        reply = shell.page(assets, sent, options=OPTIONS, headers=headers)
        assert sent.seen["if-none-match"] == seen
        assert reply.headers.get("vary") == ("x-region" if asking == "eu" else None)


def test_nobody_asks_for_what_is_no_page(assets: Assets, shell: Shell) -> None:
    """The function is called once for a page, and not at all for JSON."""
    asked: list[Any] = []
    options = {"cdn": asked.append}
    shell.page(assets, Response([b"{}"], {"content-type": "application/json"}), options=options)
    assert asked == []
    shell.page(assets, Response([PAGE]), options=options, headers={"if-none-match": '"x"'})
    assert len(asked) == 1


@pytest.mark.parametrize(
    "wrong", [7, b"https://x.example", "", "cdn.example.net", [], "https://x.example/?q"]
)
def test_a_wrong_choice_costs_a_page_its_cdn(
    assets: Assets, shell: Shell, wrong: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The page works, from the application's own files; that is counted, and logged once."""
    reply = shell.page(assets, Response([PAGE]), options={"cdn": lambda request: wrong})
    assert reply.body == HtmlRewriter(assets.at(None)).rewrite(PAGE)
    assert assets.counts.as_dict() == {"cdn-errors": 1, "pages": 1, "urls": 2}
    assert len(caplog.records) == 1


def test_a_function_that_fails(assets: Assets, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it raises costs no page, and fills no log."""

    def fail(environ: Any) -> str | None:
        raise ZeroDivisionError

    middleware = WSGIAssetMiddleware(lambda environ, start: [], assets=assets, cdn=fail)
    with caplog.at_level(logging.ERROR):
        views = [middleware._pages.view({}) for _ in range(3)]
    assert [view.cdn for view in views] == [None, None, None]
    assert assets.counts["cdn-errors"] == 3
    assert len(caplog.records) == 1


def test_integrity(assets: Assets, shell: Shell) -> None:
    """The options of the rewriter are the middleware's, too, and other bytes have another entity tag."""
    sent = Response([PAGE], {"content-type": "text/html", "etag": '"x"'})
    plain = shell.page(assets, sent)
    reply = shell.page(assets, sent, options={"integrity": True})
    assert reply.body == HtmlRewriter(assets, integrity=True).rewrite(PAGE) != plain.body
    assert reply.headers["etag"] != plain.headers["etag"]


@pytest.mark.parametrize("options", [{}, {"integrity": True}, OPTIONS], ids=["plain", "integrity", "region"])
def test_paths_from_templates(assets: Assets, shell: Shell, options: dict[str, Any]) -> None:
    """A hashed path that a template has written becomes what a plain one does, CDN and all."""
    path = assets.path
    written = f"<script src={path('app.js')}></script><img src={path('logo.png')}>".encode()
    first, second = (
        shell.page(assets, Response([page]), options=options, headers={"x-region": "eu"})
        for page in (PAGE, written)
    )
    assert b"https://" in first.body
    assert second.body == first.body


async def choose(request: Any) -> str | None:
    return None


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (
            {"cdn": "https://cdn.example.net"},
            r"cdn= .* not str; one address for all requests goes into Assets",
        ),
        ({"cdn": choose}, "async"),
        ({"vary": "x-region"}, "vary="),
        ({"vary": ["x-region\r\nset-cookie: a=b"]}, "no name of a header"),
        ({"assets": "static"}, "assets="),
    ],
)
def test_mistakes_at_start_up(assets: Assets, options: dict[str, Any], word: str) -> None:
    """What could never work is told at once, with its name."""
    for middleware in (AssetMiddleware, WSGIAssetMiddleware):
        with pytest.raises(ConfigurationError, match=word):
            middleware(None, **{"assets": assets, **options})  # type: ignore[arg-type]


def test_the_wrong_interface_is_told_at_start_up(assets: Assets) -> None:
    """An application of the other kind, with the middleware that it needs."""
    with pytest.raises(ConfigurationError, match=r"scalekit\.cdn\.asgi"):
        WSGIAssetMiddleware(AssetFiles(assets), assets=assets)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"scalekit\.cdn\.wsgi"):
        AssetMiddleware(WSGIAssetFiles(assets), assets=assets)  # type: ignore[arg-type]

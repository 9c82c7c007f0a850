"""What a running site answers to anybody."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from flask import Flask, make_response, redirect

from scalekit.cdn import Assets
from scalekit.cdn.shield import Shield
from scalekit.cdn.wsgi import AssetMiddleware, PolicyMiddleware, ShieldMiddleware
from scalekit.errors import ConfigurationError
from scalekit.ops.doctor import Around, examine
from scalekit.ops.doctor.site import has_hash
from tests.ops.doctor.apps import bare, codes, loaded, look

PAGE = """
<link rel="stylesheet" href="/static/site.css">
<img src="https://elsewhere.example/a.png"><script src="/x.js?v=3"></script>
"""


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def _serving(app: Any) -> Iterator[str]:
    with make_server("127.0.0.1", 0, app, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[[Any], str]]:
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(_serving(app))


def shop() -> Flask:
    app = Flask("shop", static_folder=None)

    @app.get("/")
    def home() -> Any:
        response = make_response(PAGE)
        response.headers["Cache-Control"] = "public, max-age=60"
        response.set_cookie("visitor", "hush-hush")
        return response

    @app.get("/fine")
    def fine() -> Any:
        response = make_response("<p>fine</p>")
        response.headers["Cache-Control"] = "public, max-age=60"
        return response

    @app.get("/away")
    def away() -> Any:
        return redirect("/fine")

    @app.get("/broken")
    def broken() -> Any:
        return "oh", 500

    return app


def test_a_cacheable_page_that_sets_a_cookie(serve: Callable[[Any], str], tmp_path: Path) -> None:
    """An error, and a file without a hash a warning; no value of a cookie is shown. The cures cure both."""
    app = shop()
    found = look(around=Around(url=serve(app)))
    assert codes(found) == ["assets-without-hash", "cached-cookie"]
    cookie, plain = found
    assert "'visitor'" in cookie.what
    assert "hush" not in str(found)
    assert "/static/site.css" in plain.what
    assert "elsewhere" not in plain.what
    assert "x.js" not in plain.what
    (tmp_path / "site.css").write_text("body { color: teal }")
    cured = PolicyMiddleware(AssetMiddleware(app, assets=Assets(tmp_path, url="/static/")))
    assert look(around=Around(url=serve(cured))) == []


def test_a_page_that_is_fine(serve: Callable[[Any], str]) -> None:
    """A page without cookies may be kept; redirects of the site itself are followed."""
    url = serve(shop())
    assert look(around=Around(url=f"{url}/fine")) == []
    assert look(around=Around(url=f"{url}/away")) == []


def test_a_site_that_is_down(serve: Callable[[Any], str]) -> None:
    """No answer, and an error page."""
    assert codes(look(around=Around(url="http://127.0.0.1:1/"))) == ["site-unreachable"]
    assert codes(look(around=Around(url=f"{serve(shop())}/broken"))) == ["site-unreachable"]


def test_an_origin_that_is_open(serve: Callable[[Any], str]) -> None:
    """Who answers without the CDN's secret is open; who refuses, or cannot be reached, is not."""
    app = shop()
    assert codes(look(around=Around(origin=serve(app)))) == ["origin-open"]
    shielded = ShieldMiddleware(app, shield=Shield(secret="0123456789abcdef0123456789abcdef"))
    assert look(around=Around(origin=serve(shielded))) == []
    assert look(around=Around(origin="http://127.0.0.1:1")) == []


def cdn(*headers: tuple[str, str], status: str = "200 OK") -> Any:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        asked.append((environ["PATH_INFO"], environ.get("HTTP_ORIGIN")))
        start_response(status, [("Content-Type", "text/javascript"), *headers])
        return [b""]

    asked: list[tuple[str, str | None]] = []
    app.asked = asked  # type: ignore[attr-defined]
    return app


def page_with(html: str) -> Flask:
    app = Flask("shop", static_folder=None)
    app.get("/")(lambda: html)
    return app


ASKING = [
    '<script type="module" src="{cdn}/a.0123456789ab.js"></script>',
    '<script crossorigin src="{cdn}/a.0123456789ab.js"></script>',
    '<link rel="modulepreload" href="{cdn}/a.0123456789ab.js">',
    '<link rel="preload" as="font" crossorigin href="{cdn}/a.0123456789ab.js">',
    '<link rel="stylesheet" crossorigin="anonymous" href="{cdn}/a.0123456789ab.js">',
    '<img crossorigin src="{cdn}/a.0123456789ab.js">',
]


@pytest.mark.parametrize("html", ASKING)
def test_a_cdn_that_browsers_take_nothing_from(serve: Callable[[Any], str], html: str) -> None:
    """What a browser asks for with CORS is asked for as it would: an error if the answer lets no page in, or
    only another site's."""
    for headers in ([], [("Access-Control-Allow-Origin", "https://other.example")]):
        there = cdn(*headers)
        url = serve(there)
        here = serve(page_with(html.format(cdn=url)))
        (found,) = look(around=Around(url=here))
        assert (found.code, found.severity, found.where) == (
            "assets-cors",
            "error",
            f"{url}/a.0123456789ab.js",
        )
        assert there.asked == [("/a.0123456789ab.js", here)]


@pytest.mark.parametrize("html", [ASKING[0], ASKING[1]])
def test_a_cdn_that_lets_pages_in(serve: Callable[[Any], str], html: str) -> None:
    """By any origin, or by this one; a file that is not there is another matter, as is a CDN that is down."""
    here = serve(page_with(html.format(cdn=serve(cdn(("Access-Control-Allow-Origin", "*"))))))
    assert look(around=Around(url=here)) == []
    missing = serve(page_with(html.format(cdn=serve(cdn(status="404 Not Found")))))
    assert look(around=Around(url=missing)) == []
    down = serve(page_with(html.format(cdn="http://127.0.0.1:1")))
    assert look(around=Around(url=down)) == []


def test_what_needs_no_leave(serve: Callable[[Any], str]) -> None:
    """A plain script, image or style sheet of the CDN, what is the page's own, and a host that is only
    connected to, are not asked for."""
    there = cdn()
    url = serve(there)
    html = (
        f'<script src="{url}/a.js"></script><img src="{url}/a.png"><link rel="stylesheet" href="{url}/a.css">'
        f'<link rel="preconnect" crossorigin href="{url}">'
        '<script type="module" src="/a.0123456789ab.js"></script>'
        '<script type="module" src="http://[/a.js"></script><script type="module" src="data:,1"></script>'
    )
    assert look(around=Around(url=serve(page_with(html)))) == []
    assert there.asked == []


def test_a_font_of_the_assets(serve: Callable[[Any], str], tmp_path: Path) -> None:
    """It stands in a style sheet, and no page says that it is wanted: one is asked for where there is one."""
    there = cdn()
    (tmp_path / "site.css").write_text("")
    plain = Assets(tmp_path, cdn=serve(there))
    here = serve(page_with("<p>"))
    assert look(around=Around(url=here), assets=plain) == []
    (tmp_path / "text.woff2").write_bytes(b"")
    fonts = Assets(tmp_path, cdn=plain.cdn)
    assert codes(look(around=Around(url=here), assets=fonts)) == ["assets-cors"]
    assert there.asked == [(fonts.path("text.woff2"), here)]
    assert look(around=Around(url=here), assets=Assets(tmp_path)) == []


@pytest.mark.parametrize("url", ["shop.example", "ftp://shop.example", "https://user:hush@shop.example"])
def test_an_address_that_is_none(url: str) -> None:
    """It is told which option it was, and nothing of it."""
    for option in ("url", "origin"):
        with pytest.raises(ConfigurationError, match=f"--{option} must be an address") as caught:
            examine(loaded(bare), around=Around(**{option: url}))  # type: ignore[arg-type]
        assert "hush" not in str(caught.value)


def test_names_with_a_hash() -> None:
    """What builders put into names, and what people do."""
    hashed = ["site.3f2a9c01b4d5.css", "index-BRBmoGS9.js", "main.9c0f1a2b.chunk.js", "app-0a1b2c3d4e5f.mjs"]
    plain = ["site.css", "jquery.min.js", "hero-background.jpg", "app.bundle.js", "logo-2.png"]
    assert [name for name in hashed + plain if has_hash(f"/static/{name}")] == hashed

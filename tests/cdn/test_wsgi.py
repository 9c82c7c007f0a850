"""What only WSGI has: ``write``, a second ``start_response``, generators, ``close``, and file wrappers."""

import io
import sys
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults

import pytest

from scalekit.cdn import Assets, HtmlRewriter
from scalekit.cdn.wsgi import AssetFiles, AssetMiddleware
from tests.cdn.conftest import FILES, write_tree
from tests.cdn.drivers import call_wsgi

PAGE = b'<p>static</p><img src="/static/logo.png">'
HTML = [("Content-Type", "text/html")]


def rewritten(assets: Assets) -> bytes:
    return HtmlRewriter(assets).rewrite(PAGE)


def test_a_generator(assets: Assets) -> None:
    """An application may start its response only when its body is asked for."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [*HTML, ("Content-Length", str(len(PAGE)))])
        yield PAGE[:30]
        yield b""
        yield PAGE[30:]

    reply = call_wsgi(AssetMiddleware(app, assets=assets), "/")
    assert reply.body == rewritten(assets)
    assert len(reply.chunks) == 3
    assert "content-length" not in reply.headers


def test_a_generator_of_something_else(assets: Assets) -> None:
    """A late start of what is no page passes chunk by chunk."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield PAGE[:30]
        yield PAGE[30:]

    assert call_wsgi(AssetMiddleware(app, assets=assets), "/").chunks == [PAGE[:30], PAGE[30:]]


def test_events_are_not_delayed(assets: Assets) -> None:
    """Each event is sent on before the application makes the next, and nothing is put between."""
    made: list[int] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        for number in range(3):
            made.append(number)
            yield b"data: static\n\n"

    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    body = iter(AssetMiddleware(app, assets=assets)(environ, lambda *arguments: print))  # type: ignore[arg-type]
    for number in range(3):
        assert next(body) == b"data: static\n\n"
        assert made[-1] == number


def test_a_page_in_a_servers_file_wrapper(assets: Assets) -> None:
    """A page that comes as a file is read and rewritten as any other."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", HTML)
        return FileWrapper(io.BytesIO(PAGE * 1000))

    reply = call_wsgi(AssetMiddleware(app, assets=assets), "/")
    assert reply.body == HtmlRewriter(assets).rewrite(PAGE * 1000)


def test_write(assets: Assets) -> None:
    """The old way of sending a body is rewritten too, and joins the rest of it."""

    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", HTML)
        write(PAGE[:30])
        return [PAGE[30:]]

    assert call_wsgi(AssetMiddleware(app, assets=assets), "/").body == rewritten(assets)


def test_write_of_something_else(assets: Assets) -> None:
    """The server's own ``write`` is handed out where nothing is rewritten."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])(PAGE)
        return []

    assert call_wsgi(AssetMiddleware(app, assets=assets), "/").body == PAGE


def test_a_second_start_replaces_the_first(assets: Assets) -> None:
    """An error page that comes instead of a page not yet sent is the one that is sent."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [*HTML, ("Content-Length", "1000")])
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            start_response("500 Sorry", [("Content-Type", "text/plain")], sys.exc_info())
        return [b"sorry"]

    reply = call_wsgi(AssetMiddleware(app, assets=assets), "/")
    assert (reply.status, reply.body) == (500, b"sorry")


def test_a_second_start_is_judged_by_itself(assets: Assets) -> None:
    """An error page that is not compressed, as the page was that it replaces, is rewritten."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [*HTML, ("Content-Encoding", "gzip")])
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            start_response("500 Sorry", HTML, sys.exc_info())
        return [PAGE]

    assert call_wsgi(AssetMiddleware(app, assets=assets), "/").body == rewritten(assets)


def test_no_body_at_all(assets: Assets) -> None:
    """A page without a single chunk is still started."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", HTML)
        return []

    reply = call_wsgi(AssetMiddleware(app, assets=assets), "/")
    assert (reply.status, reply.body) == (200, b"")


def test_no_content_has_no_length(assets: Assets) -> None:
    """A ``204`` must not have a ``Content-Length``, whatever type a framework gives it."""
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    found: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("204 No Content", HTML)
        return [b""]

    def start_response(*arguments: Any) -> Any:
        found.append(arguments)
        return print

    assert b"".join(AssetMiddleware(app, assets=assets)(environ, start_response)) == b""
    assert found == [("204 No Content", HTML)]


@pytest.mark.parametrize("kind", ["text/html", "text/plain"])
def test_close(assets: Assets, kind: str) -> None:
    """The application's body is closed, read to its end or not."""
    closed: list[bool] = []

    class Body:
        def __iter__(self) -> Any:
            return iter([PAGE])

        def close(self) -> None:
            closed.append(True)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", kind)])
        return Body()

    call_wsgi(AssetMiddleware(app, assets=assets), "/")
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    body: Any = AssetMiddleware(app, assets=assets)(environ, lambda *arguments: print)  # type: ignore[arg-type]
    body.close()
    assert closed == [True, True]


def test_a_servers_file_wrapper(tmp_path: Path) -> None:
    """An application's wrapped file reaches the server as it is; large assets go the same way."""
    movie = bytes(range(256)) * 1024
    assets = Assets(write_tree(tmp_path, {"movie.mp4": movie}))
    environ: dict[str, Any] = {"wsgi.file_wrapper": FileWrapper}
    setup_testing_defaults(environ)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "video/mp4")])
        return environ["wsgi.file_wrapper"](io.BytesIO(b"x"))

    answer = AssetMiddleware(app, assets=assets)(environ, lambda *arguments: print)  # type: ignore[arg-type]
    assert isinstance(answer, FileWrapper)
    environ["PATH_INFO"] = "/static/movie.mp4"
    asset = AssetFiles(assets)(environ, lambda *arguments: print)  # type: ignore[arg-type]
    assert isinstance(asset, FileWrapper)
    assert b"".join(asset) == movie
    asset.close()


def test_mounted_below_a_path(assets: Assets) -> None:
    """Behind a mount the path is what the browser asked for: the mount's own and the rest."""
    environ: dict[str, Any] = {"SCRIPT_NAME": "/static", "PATH_INFO": "/logo.png"}
    setup_testing_defaults(environ)
    found: list[Any] = []
    body: Any = AssetFiles(assets)(environ, lambda *arguments: found.append(arguments))  # type: ignore[arg-type, func-returns-value]
    assert b"".join(body) == FILES["logo.png"]
    assert found[0][0] == "200 OK"

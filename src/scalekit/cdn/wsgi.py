"""Assets and pages under WSGI: the twin of :mod:`scalekit.cdn.asgi`."""

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from scalekit._http import from_wsgi, get, request_headers, to_wsgi
from scalekit.cdn import serve
from scalekit.cdn._rewrite import CONDITIONAL, Page
from scalekit.cdn.assets import Assets, check_assets
from scalekit.cdn.html import HtmlRewriter
from scalekit.types import Environ, Headers, WSGIBody

if TYPE_CHECKING:
    from scalekit.types import StartResponse, WSGIApplication

CHUNK = 256 * 1024
"""Bytes read from a file at a time."""

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
_Write = Callable[[bytes], object]


class AssetMiddleware:
    """Serves assets and points the application's pages at them.

    Put it inside a compressing middleware, not around it: what is compressed already passes as it is.

    Args:
        app: the application.
        assets: its assets.

    Raises:
        ConfigurationError: ``assets`` is no ``Assets``.
    """

    def __init__(self, app: "WSGIApplication", *, assets: Assets) -> None:
        self.app = app
        self.assets = check_assets(assets)

    def __call__(self, environ: Environ, start_response: "StartResponse") -> WSGIBody:
        raw = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        path = raw.encode("latin-1").decode("utf-8", "replace")
        headers = request_headers(environ)
        method = environ["REQUEST_METHOD"]
        found = serve.find(self.assets, path)
        if found is not None:
            request = serve.Request(*found, max_age=self.assets.max_age, method=method, headers=headers)
            return _send_asset(request, environ, start_response)
        page = Page(self.assets, method=method, path=path, headers=headers)
        if page.request is not headers:
            environ = _with_headers(environ, page.request)
        response = _Response(page, start_response)
        return response.wrap(self.app(environ, response.start))


class AssetFiles:
    """An application that serves the assets and nothing else, with CORS: behind a CDN, or instead of one.

    Args:
        assets: what to serve, under its own ``url``.

    Raises:
        ConfigurationError: ``assets`` is no ``Assets``.
    """

    def __init__(self, assets: Assets) -> None:
        self.assets = check_assets(assets)

    def __call__(self, environ: Environ, start_response: "StartResponse") -> WSGIBody:
        raw = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        path = raw.encode("latin-1").decode("utf-8", "replace")
        found = serve.find(self.assets, path) or (None, False)
        headers, method = request_headers(environ), environ["REQUEST_METHOD"]
        request = serve.Request(*found, max_age=self.assets.max_age, method=method, headers=headers)
        return _send_asset(request, environ, start_response)


def _with_headers(environ: Environ, headers: Headers) -> Environ:
    """``environ`` with the conditional headers as in ``headers``."""
    changed = dict(environ)
    for name in CONDITIONAL:
        key = "HTTP_" + name.decode().upper().replace("-", "_")
        value = get(headers, name)
        if value is None:
            changed.pop(key, None)
        else:
            changed[key] = value.decode("latin-1")
    return changed


def _send_asset(request: serve.Request, environ: Environ, start_response: "StartResponse") -> WSGIBody:
    answer, file = request.answer(), None
    if answer.asset is not None:
        answer, file = request.open()
    start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", to_wsgi(answer.headers))
    if file is None:
        return [] if request.method == "HEAD" else [answer.body]
    if answer.status == 200 and "wsgi.file_wrapper" in environ:
        wrapped: WSGIBody = environ["wsgi.file_wrapper"](file, CHUNK)
        return wrapped
    return _Part(file, answer.stop - answer.start)


class _Part:
    """The next ``length`` bytes of a file, which is closed at the end."""

    def __init__(self, file: BinaryIO, length: int) -> None:
        self._file, self._left = file, length

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = self._file.read(min(self._left, CHUNK))
        if not chunk:
            raise StopIteration
        self._left -= len(chunk)
        return chunk

    def close(self) -> None:
        self._file.close()


class _Response:
    """One response on its way out."""

    def __init__(self, page: Page, start_response: "StartResponse") -> None:
        self._page, self._start_response = page, start_response
        self._rewriter: HtmlRewriter | None = None
        self._decided = False
        # The status, headers and exc_info that are held back until the length of the page is known.
        self._held: tuple[str, Headers, _ExcInfo | None] | None = None
        self._declared = -1
        self._write: _Write | None = None

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: _ExcInfo | None = None
    ) -> Callable[[bytes], object]:
        """The application's ``start_response``; with ``exc_info`` it may come again and replace the first."""
        self._decided, self._held, self._rewriter = True, None, None
        edited = from_wsgi(headers)
        declared = get(edited, b"content-length")
        before = list(edited)
        if not self._page.respond(int(status[:3]), edited):
            # As the application wrote them, unless one had to change.
            self._begin(status, headers if edited == before else to_wsgi(edited), exc_info)
            assert self._write is not None
            return self._write
        self._held = status, edited, exc_info
        if self._page.method == "HEAD":
            self._release()
        else:
            self._rewriter = self._page.rewriter()
            self._declared = int(declared) if declared is not None and declared.isdigit() else -1
        return self._on_write

    def wrap(self, body: Iterable[bytes]) -> WSGIBody:
        """What to return in place of the application's body."""
        if self._decided and self._rewriter is None:
            return body
        return _Body(self, body)

    def take(self, chunk: bytes, *, only: bool) -> bytes:
        """The bytes to send on for a chunk of the body; ``only`` when no other will come."""
        if self._rewriter is None:
            return chunk
        if self._held is not None and (only or len(chunk) == self._declared):
            chunk = self._rewriter.rewrite(chunk)
            self._held[1].append((b"content-length", b"%d" % len(chunk)))
            self._release()
            self._finish()
            return chunk
        chunk = self._rewriter.feed(chunk)
        self._release()
        return chunk

    def end(self) -> bytes:
        """The body is over; the bytes to send last."""
        rest = b"" if self._rewriter is None else self._rewriter.close()
        self._release()
        self._finish()
        return rest

    def _finish(self) -> None:
        if self._rewriter is not None:
            self._page.finished(self._rewriter)
            self._rewriter = None

    def _on_write(self, chunk: bytes) -> None:
        if self._rewriter is not None:
            chunk = self._rewriter.feed(chunk)
        self._release()
        if self._write is not None:
            self._write(chunk)

    def _release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            status, headers, exc_info = held
            self._begin(status, to_wsgi(headers), exc_info)

    def _begin(self, status: str, headers: list[tuple[str, str]], exc_info: _ExcInfo | None) -> None:
        arguments: list[Any] = [] if exc_info is None else [exc_info]
        self._write = self._start_response(status, headers, *arguments)


class _Body:
    """The application's body, rewritten chunk by chunk: one out for each one in."""

    def __init__(self, response: _Response, body: Iterable[bytes]) -> None:
        self._response, self._body = response, body
        self._only = isinstance(body, list | tuple) and len(body) == 1
        self._chunks = iter(body)
        self._ended = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._ended:
            raise StopIteration
        try:
            chunk = next(self._chunks)
        except StopIteration:
            self._ended = True
            if rest := self._response.end():
                return rest
            raise
        return self._response.take(chunk, only=self._only)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()

"""Pages under WSGI: the twin of :mod:`scalekit.cdn._asgi_pages`."""

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from scalekit._http import from_wsgi, get, request_headers, to_wsgi
from scalekit.cdn._body import Body
from scalekit.cdn._pages import Pages
from scalekit.cdn._rewrite import CONDITIONAL, Page
from scalekit.types import Environ, Headers, WSGIBody

if TYPE_CHECKING:
    from scalekit.types import StartResponse

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
_Write = Callable[[bytes], object]
_CONDITIONAL = {"HTTP_" + name.decode().upper().replace("-", "_"): name for name in CONDITIONAL}
_KIND_SIZE = len("content-type")


class Response:
    """One response on its way out.

    Args:
        pages: how pages are rewritten.
        environ: the request's; :attr:`environ` is the application's.
        path: the request's path.
        start_response: the server's.
    """

    def __init__(self, pages: Pages, environ: Environ, path: str, start_response: "StartResponse") -> None:
        self._pages, self._request, self._path = pages, environ, path
        self._start_response = start_response
        self._rules: Page | None = None
        self.environ = environ
        if not environ.keys().isdisjoint(_CONDITIONAL):
            self.environ = _with_headers(environ, self._page.request)
        self._body: Body | None = None
        self._decided = False
        # The status, headers and exc_info that are held back until the length of the page is known.
        self._held: tuple[str, Headers, _ExcInfo | None] | None = None
        self._declared = -1
        self._write: _Write | None = None

    @property
    def _page(self) -> Page:
        """Made when it is first asked for: most responses are no pages."""
        if self._rules is None:
            self._rules = Page(
                self._pages,
                self._request,
                method=self._request["REQUEST_METHOD"],
                path=self._path,
                headers=request_headers(self._request),
            )
        return self._rules

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: _ExcInfo | None = None
    ) -> Callable[[bytes], object]:
        """The application's ``start_response``; with ``exc_info`` it may come again and replace the first."""
        self._decided, self._held, self._body = True, None, None
        if self._rules is None and _is_other(status, headers):
            self._begin(status, headers, exc_info)
            assert self._write is not None
            return self._write
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
            self._body = self._page.body()
            self._declared = int(declared) if declared is not None and declared.isdigit() else -1
        return self._on_write

    def wrap(self, body: Iterable[bytes]) -> WSGIBody:
        """What to return in place of the application's body."""
        if self._decided and self._body is None:
            return body
        return _Body(self, body)

    def take(self, chunk: bytes, *, only: bool) -> Iterator[bytes]:
        """What to send on for a chunk of the body, at least one piece; ``only`` when no other will come."""
        body = self._body
        if body is None:
            yield chunk
            return
        only = self._held is not None and (only or len(chunk) == self._declared)
        pieces = body.only(chunk) if only else body.feed(chunk)
        piece = next(pieces, b"")
        following = next(pieces, None)
        if only and following is None and self._held is not None:
            self._held[1].append((b"content-length", b"%d" % len(piece)))
        self._release()
        while following is not None:
            if piece:
                yield piece
            piece, following = following, next(pieces, None)
        if only:
            self._finish()
        yield piece

    def end(self) -> bytes:
        """The body is over; the bytes to send last."""
        rest = b"" if self._body is None else b"".join(self._body.last(b""))
        self._release()
        self._finish()
        return rest

    def _finish(self) -> None:
        if self._body is not None:
            self._page.finished(self._body)
            self._body = None

    def _on_write(self, chunk: bytes) -> None:
        self._release()
        for piece in (chunk,) if self._body is None else self._body.feed(chunk):
            if self._write is not None and piece:
                self._write(piece)

    def _release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            status, headers, exc_info = held
            self._begin(status, to_wsgi(headers), exc_info)

    def _begin(self, status: str, headers: list[tuple[str, str]], exc_info: _ExcInfo | None) -> None:
        arguments: list[Any] = [] if exc_info is None else [exc_info]
        self._write = self._start_response(status, headers, *arguments)


def _is_other(status: str, headers: list[tuple[str, str]]) -> bool:
    """:func:`scalekit.cdn._rewrite.is_other`, for headers as they are here."""
    if status[:3] == "404":
        return False
    for name, value in headers:
        if len(name) == _KIND_SIZE and name.lower() == "content-type":
            return value[:9].lower() != "text/html"
    return True


def _with_headers(environ: Environ, headers: Headers) -> Environ:
    """``environ`` with the conditional headers as in ``headers``."""
    changed = dict(environ)
    for key, name in _CONDITIONAL.items():
        value = get(headers, name)
        if value is None:
            changed.pop(key, None)
        else:
            changed[key] = value.decode("latin-1")
    return changed


class _Body:
    """The application's body, rewritten chunk by chunk: at least one out for each one in."""

    def __init__(self, response: Response, body: Iterable[bytes]) -> None:
        self._response, self._body = response, body
        self._only = isinstance(body, list | tuple) and len(body) == 1
        self._chunks = iter(body)
        self._pieces: Iterator[bytes] = iter(())
        self._ended = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        for piece in self._pieces:
            return piece
        if self._ended:
            raise StopIteration
        try:
            chunk = next(self._chunks)
        except StopIteration:
            self._ended = True
            if rest := self._response.end():
                return rest
            raise
        self._pieces = self._response.take(chunk, only=self._only)
        return next(self._pieces)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()

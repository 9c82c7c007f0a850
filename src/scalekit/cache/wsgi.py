"""``ResponseMiddleware`` for WSGI: keeps the pages of any application, whole.

The twin of :mod:`scalekit.cache.asgi`, with the same rules. A body that is no list and has no
``Content-Length`` is a stream: it is given on unread.
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from wsgiref.util import application_uri

from scalekit._durations import Duration
from scalekit._http import from_wsgi, get, request_headers, to_wsgi
from scalekit._options import check_application
from scalekit._steps import run
from scalekit.cache.asgi import CONDITIONS, check_cache, check_paths, is_page, session_was_read
from scalekit.cache.pages import Pages, Parts
from scalekit.cache.response import objection, refusal
from scalekit.types import Environ, Headers, WSGIBody

if TYPE_CHECKING:
    from scalekit.types import StartResponse, WSGIApplication

_SESSION = "scalekit.session"


class ResponseMiddleware:
    """Keeps responses to GET in a cache.

    Put it inside the session's middleware.

    Args:
        app: the application.
        cache: a ``Cache``.
        ttl: seconds that a page is kept at most.
        paths: the pages: ``"/about"`` is one, ``"/catalogue/"`` all below it.
        options: those of ``Cache.response``.

    Raises:
        ConfigurationError: an option is wrong.
    """

    def __init__(
        self, app: "WSGIApplication", *, cache: Any, ttl: Duration, paths: Iterable[str], **options: Any
    ) -> None:
        check_application(
            app,
            "WSGI",
            taker="scalekit.cache.wsgi.ResponseMiddleware",
            cure="use ResponseMiddleware of scalekit.cache.asgi",
        )
        self.app = app
        check_cache(cache)
        self._paths = check_paths(paths)
        self._pages: Pages = cache.response(ttl=ttl, **options).pages(f"wsgi:{self._paths}", "sync")

    def __call__(self, environ: Environ, start_response: "StartResponse") -> WSGIBody:
        path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
        if not is_page(path, self._paths):
            return self.app(environ, start_response)
        method = environ["REQUEST_METHOD"]
        why = objection(method, request_headers(environ), self._pages.rules)
        if why is None and method == "HEAD":
            why = "the method is HEAD"
        if why is not None:
            self._pages.passes(path, why)
            return self.app(environ, start_response)
        exchange = _Exchange(self.app, environ, self._pages)
        result = run(self._pages.serve(exchange, exchange.start))
        if isinstance(result, Parts):
            start_response(_status(result.status), to_wsgi(result.headers))
            return [result.body]
        captured: _Capture = result
        captured.is_sent = True
        start_response(captured.status, captured.headers)
        return captured.body


def _close(body: WSGIBody) -> None:
    close = getattr(body, "close", None)  # PEP 3333: whoever has read it, or not, closes it
    if close is not None:
        close()


def _status(code: int) -> str:
    return f"{code} {HTTPStatus(code).phrase}"


class _Exchange:
    """One request."""

    method = "GET"

    def __init__(self, app: "WSGIApplication", environ: Environ, pages: Pages) -> None:
        self._app, self._environ, self._pages = app, environ, pages
        self.headers: Headers = request_headers(environ)
        self.given: Headers = []
        base = application_uri(environ).rstrip("/")
        scheme, _, rest = base.partition("://")
        self.origin = f"{scheme}://{rest.partition('/')[0].lower()}"
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        self.path = quote(path.encode("latin-1"))
        self.target = ""  # the application is asked for the path as it is
        self.query = environ.get("QUERY_STRING", "")

    def is_personal(self) -> bool:
        return session_was_read(self._environ.get(_SESSION))

    def start(self) -> "_Capture":
        """Run the application, and read its body if there may be a page to keep."""
        unwanted = {f"HTTP_{name.decode().upper().replace('-', '_')}" for name in CONDITIONS}
        environ = {name: value for name, value in self._environ.items() if name not in unwanted}
        return _Capture(self._app, environ, self._pages)

    def parts(self, captured: "_Capture", /) -> Parts | str:
        return captured.parts()

    def make(self, parts: Parts) -> Parts:
        return parts


class _Capture:
    """What an application answers: ``status`` and ``headers`` for the server, and ``body``, read or not."""

    def __init__(self, app: "WSGIApplication", environ: Environ, pages: Pages) -> None:
        self.status, self.headers, self.is_sent = "", list[tuple[str, str]](), False
        self._written: list[bytes] = []
        body = app(environ, self._start)
        try:
            # A generator starts its response when it is first asked.
            self._take(body if self.status else _Started(body), pages)
        except BaseException:
            _close(body)
            raise

    def _take(self, body: WSGIBody, pages: Pages) -> None:
        self._why = self._refusal(body, pages)
        self.body: WSGIBody = body
        if self._why is None:
            self.body = [b"".join([*self._written, *body])]
            _close(body)
        elif self._written:
            self.body = _After(self._written, body)

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        if self.is_sent and exc_info is not None:
            raise exc_info[1]  # PEP 3333: it is too late for another response
        self.status, self.headers = status, headers
        return self._written.append

    def _refusal(self, body: WSGIBody, pages: Pages) -> str | None:
        headers = from_wsgi(self.headers)
        length = get(headers, b"content-length")
        size = int(length) if length is not None and length.isdigit() else 0
        why = refusal(int(self.status[:3]), headers, pages.rules, size=size)
        if why is None and length is None and not isinstance(body, list | tuple):
            why = "it is streamed: it is no list, and has no Content-Length"
        return why

    def parts(self) -> Parts | str:
        if self._why is not None:
            return self._why
        return Parts(int(self.status[:3]), from_wsgi(self.headers), b"".join(self.body))


class _After:
    """A body that comes after some of it was written, or was read to have the response started."""

    def __init__(self, first: Iterable[bytes], body: WSGIBody) -> None:
        self._first, self._body = list(first), body

    def __iter__(self) -> Any:
        yield from self._first
        yield from self._body

    def close(self) -> None:
        _close(self._body)


class _Started(_After):
    def __init__(self, body: WSGIBody) -> None:
        rest = iter(body)
        super().__init__([chunk for chunk in [next(rest, b"")] if chunk], body)
        self._rest = rest

    def __iter__(self) -> Any:
        yield from self._first
        yield from self._rest

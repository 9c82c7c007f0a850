"""Read-your-writes for WSGI applications: what a visitor wrote on one server is seen on every other.

The rules are those of :mod:`scalekit.database.asgi`. Headers leave when the application has returned, so
that a commit in a teardown function, as Flask's, is still in the cookie; a body that is produced while it
is being sent holds them back no longer than to its first part.
"""

from collections.abc import Callable, Iterable, Iterator
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Unpack

from scalekit._http import from_wsgi, request_headers, to_wsgi
from scalekit._options import check_application, check_kind, check_names
from scalekit.database.cluster import Cluster
from scalekit.database.visits import Visit, VisitOptions, Visits
from scalekit.types import Environ, SecretKey

if TYPE_CHECKING:
    from scalekit.types import StartResponse, WSGIApplication


class ReadYourWritesMiddleware:
    """Carries each visitor's token in a cookie, and starts requests that may write on the primary.

    Args:
        app: the application.
        cluster: whose sessions the application uses.
        secret_key: signs the cookie; one secret or a key ring, oldest first, the last one signs.
        options: see :class:`scalekit.database.VisitOptions`.

    Raises:
        ConfigurationError: no cluster, an unknown option, a secret too short, a ``max_age`` that is not
            positive, an ASGI application, or one that another cluster's middleware is around, with the same
            cookie.
    """

    def __init__(
        self,
        app: "WSGIApplication",
        *,
        cluster: Cluster,
        secret_key: SecretKey,
        **options: Unpack[VisitOptions],
    ) -> None:
        check_names(options, VisitOptions, taker="the WSGI ReadYourWritesMiddleware")
        check_kind(
            cluster, Cluster, option="cluster=", wanted="a Cluster, the object that makes the sessions"
        )
        check_application(
            app,
            "WSGI",
            taker="the WSGI ReadYourWritesMiddleware",
            cure="use ReadYourWritesMiddleware of scalekit.database.asgi",
        )
        self.app = app
        self._cluster = cluster
        self._visits = Visits(cluster.scopes, secret_key=secret_key, **options)
        self._visits.check_names(app)

    def __call__(self, environ: Environ, start_response: "StartResponse") -> Iterable[bytes]:
        https = environ["wsgi.url_scheme"] == "https"
        visit = self._visits.begin(
            request_headers(environ),
            method=environ["REQUEST_METHOD"],
            path=environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace") or "/",
            address=environ.get("REMOTE_ADDR"),
            https=https,
        )
        start = _Start(visit, self._visits, start_response, https=https)
        # The body may be produced after this returns, and must read in the same scope.
        context = copy_context()

        def begin() -> Iterable[bytes]:
            self._cluster.scopes.set(visit)
            return self.app(environ, start)

        body = context.run(begin)
        if start.called:
            start.send()
        return _Body(body, start, context)


class _Start:
    """The application's ``start_response``: keeps what it is told until the headers have to leave."""

    def __init__(self, visit: Visit, visits: Visits, start_response: "StartResponse", *, https: bool) -> None:
        self._visit, self._visits, self._start_response, self._https = visit, visits, start_response, https
        self._status, self._headers, self._error = "", list[tuple[str, str]](), None
        self._write: Callable[[bytes], object] | None = None
        self.called = False

    def __call__(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], object]:
        if exc_info is not None and self._write is not None:
            # They have left; the server re-raises the error, as PEP 3333 wants it.
            return self._start_response(status, headers, exc_info)
        self._status, self._headers, self._error = status, headers, exc_info
        self.called = True
        return lambda data: self.send()(data)

    def send(self) -> Callable[[bytes], object]:
        """Let the headers leave, unless they have."""
        if self._write is None:
            headers = from_wsgi(self._headers)
            before = len(headers)
            self._visits.answer(self._visit, headers, https=self._https)
            # What is untouched keeps the application's spelling.
            out = self._headers if len(headers) == before else to_wsgi(headers)
            arguments = () if self._error is None else (self._error,)
            self._write = self._start_response(self._status, out, *arguments)
            self._error = None
        return self._write


class _Body:
    """The application's body, produced in the context of its request."""

    def __init__(self, body: Iterable[bytes], start: _Start, context: Context) -> None:
        self._body, self._start, self._context = body, start, context
        self._parts: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._parts is None:
            self._parts = self._context.run(iter, self._body)
        try:
            part = self._context.run(next, self._parts)
        except StopIteration:
            # PEP 3333: start_response comes before the end of the body at the latest.
            if self._start.called:
                self._start.send()
            raise
        self._start.send()
        return part

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            self._context.run(close)

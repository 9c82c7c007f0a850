"""Read-only mode for any WSGI application."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

from scalekit import _http
from scalekit._options import check_application
from scalekit.ops.read_only import FIRST_LOOK, OVERRIDING, ReadOnly, check_switches
from scalekit.types import Environ, WSGIBody

if TYPE_CHECKING:
    from scalekit.ops.switches import Switches
    from scalekit.types import StartResponse, WSGIApplication

_OVERRIDING = [f"HTTP_{name.upper().replace('-', '_')}" for name in OVERRIDING]


class ReadOnlyMiddleware:
    """The WSGI twin of :class:`scalekit.ops.asgi.ReadOnlyMiddleware`, with the same options.

    Args:
        app: the WSGI application.
        switches: the fleet's :class:`~scalekit.ops.switches.Switches`.
        allow: paths that go on, each with all below it, such as ``["/login"]``; none by default.
        page: HTML for browsers, as text or bytes; a plain one by default. All others get a problem document.

    Raises:
        ConfigurationError: one of these is not usable.
    """

    def __init__(
        self,
        app: "WSGIApplication",
        *,
        switches: "Switches",
        allow: Iterable[str] = (),
        page: str | bytes | None = None,
    ) -> None:
        check_application(app, "WSGI", taker="ReadOnlyMiddleware", cure="scalekit.ops.asgi has its twin")
        self.app = app
        check_switches(switches)
        self._switches = switches
        self._rules = ReadOnly(allow=allow, page=page)

    def __call__(self, environ: Environ, start_response: "StartResponse") -> WSGIBody:
        if not self._refuses(environ):
            return self.app(environ, start_response)
        answer = self._rules.refusal(_http.request_headers(environ), self._switches.read_only_left())
        status = HTTPStatus(answer.status)
        start_response(f"{status.value} {status.phrase}", _http.to_wsgi(answer.headers))
        return [answer.body]

    def _refuses(self, environ: Environ) -> bool:
        overriding = [environ[name] for name in _OVERRIDING if name in environ]
        path, query = environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", "")
        if not self._rules.concerns(environ["REQUEST_METHOD"], path, overriding, query):
            return False
        self._switches.start(FIRST_LOOK)
        return self._switches.is_read_only()

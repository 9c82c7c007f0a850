"""Load shedding for any WSGI application."""

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from scalekit import _http
from scalekit._options import check_application, check_kind
from scalekit.errors import ConfigurationError
from scalekit.ops import queue_time
from scalekit.ops._wsgi_body import HeldBody
from scalekit.ops.priorities import Priority
from scalekit.ops.shedding import Shedding
from scalekit.types import Environ, WSGIBody

if TYPE_CHECKING:
    from scalekit.types import StartResponse, WSGIApplication


class SheddingMiddleware:
    """Answers 503 instead of taking on more requests than the server can serve in good time.

    Args:
        app: the WSGI application; for Flask ``app.wsgi_app = SheddingMiddleware(app.wsgi_app)``.
        shedding: a :class:`~scalekit.ops.Shedding` with other options than the default, or one to watch.
        queue_header: a header in which the proxy in front says when it took the request, such as
            ``"X-Request-Start"``: seconds, milliseconds or microseconds since 1970, with or without ``t=``
            ahead. The proxy must replace what a client sends, and share the clock of this machine.

    Under WSGI a request in flight has a thread, and those beyond wait inside of the server, where nobody sees
    them: the limit helps where it is below the number of threads. ``queue_header`` shows the others, and
    those that have waited too long are then answered at once.

    Raises:
        ConfigurationError: ``shedding`` is none, ``queue_header`` no name, or ``app`` an ASGI application.
    """

    def __init__(
        self, app: "WSGIApplication", *, shedding: Shedding | None = None, queue_header: str | None = None
    ) -> None:
        check_application(
            app, "WSGI", taker="scalekit.ops.wsgi.SheddingMiddleware", cure="use scalekit.ops.asgi"
        )
        self.app = app
        self.shedding = Shedding() if shedding is None else shedding
        check_kind(self.shedding, Shedding, option="shedding=", wanted="a Shedding, such as Shedding()")
        if queue_header is not None and not _http.is_field_name(queue_header):
            raise ConfigurationError("queue_header= must be the name of a header, such as 'X-Request-Start'")
        self._queued = queue_header and "HTTP_" + queue_header.upper().replace("-", "_")

    def __call__(self, environ: Environ, start_response: "StartResponse") -> WSGIBody:
        headers = _http.request_headers(environ)
        method = environ["REQUEST_METHOD"]
        priority = self.shedding.priority_of(environ, method, environ.get("PATH_INFO") or "/", headers)
        if priority is Priority.EXEMPT:
            return self.app(environ, start_response)
        waited = queue_time.wait_of(environ.get(self._queued, ""), time.time()) if self._queued else None
        if waited is not None:
            self.shedding.waited(waited)
        slot = self.shedding.enter(priority, waited=waited or 0.0)
        if slot is None:
            # The Connection header is the server's own (PEP 3333).
            answer = self.shedding.busy.answer(method, headers, http1=False)
            status = HTTPStatus(answer.status)
            start_response(f"{status.value} {status.phrase}", _http.to_wsgi(answer.headers))
            return [answer.body]

        def watched(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            kinds = [value for name, value in headers if name.lower() == "content-type"]
            slot.answered(
                int(status[:3]), endless=any(kind.startswith("text/event-stream") for kind in kinds)
            )
            return start_response(status, headers, *exc_info)

        try:
            return HeldBody(self.app(environ, watched), slot.leave)
        except BaseException:
            slot.leave()
            raise

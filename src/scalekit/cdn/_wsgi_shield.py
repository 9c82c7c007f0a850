"""The origin shield under WSGI; its rules are those of :mod:`scalekit.cdn.shield`."""

from typing import TYPE_CHECKING

from scalekit._http import request_headers, to_wsgi
from scalekit._options import check_application, check_kind
from scalekit.cdn.shield import Shield, refusal
from scalekit.types import Environ, WSGIBody

if TYPE_CHECKING:
    from scalekit.types import StartResponse, WSGIApplication


class ShieldMiddleware:
    """Lets through what the CDN sends, and health probes; anybody else gets a 403.

    Put it outermost, as the last one around the application.

    Args:
        app: the WSGI application.
        shield: a :class:`~scalekit.cdn.Shield`.

    Raises:
        ConfigurationError: ``app`` is an ASGI application, or ``shield`` is no ``Shield``.
    """

    def __init__(self, app: "WSGIApplication", *, shield: Shield) -> None:
        cure = "use ShieldMiddleware of scalekit.cdn.asgi"
        check_application(app, "WSGI", taker="the WSGI ShieldMiddleware", cure=cure)
        check_kind(shield, Shield, option="shield=", wanted="a Shield, such as Shield(secret=SECRET)")
        self.app, self.shield = app, shield
        self._key = "HTTP_" + shield.name.decode().upper().replace("-", "_")

    def __call__(self, environ: Environ, start_response: "StartResponse") -> WSGIBody:
        headers = request_headers(environ)
        path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
        admitted = self.shield.admits(path, headers)
        if admitted is False:
            answer, body = refusal()
            start_response("403 Forbidden", to_wsgi(answer))
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
        inner = {key: value for key, value in environ.items() if key != self._key}
        if admitted:
            visitor = self.shield.visitor(headers)
            if visitor.client is not None:
                inner["REMOTE_ADDR"], port = visitor.client
                inner["REMOTE_PORT"] = str(port)
                inner.pop("REMOTE_HOST", None)  # the name of the connection's
            if visitor.scheme is not None:
                inner["wsgi.url_scheme"] = visitor.scheme
            if visitor.host is not None:
                inner["HTTP_HOST"] = visitor.host.decode("latin-1")
        return self.app(inner, start_response)

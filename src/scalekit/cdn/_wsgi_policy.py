"""Cache policies under WSGI; the rules are those of :mod:`scalekit.cdn.policy`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Unpack

from scalekit._http import from_wsgi, request_headers, to_wsgi
from scalekit._options import check_application
from scalekit.cdn._exchange import Exchange, leave
from scalekit.cdn._policies import Policies, PolicyOptions, normal_query
from scalekit.cdn._query import location, spelled
from scalekit.types import Environ, Headers, WSGIBody

if TYPE_CHECKING:
    from scalekit.types import StartResponse, WSGIApplication

_SESSION = "scalekit.session"


class PolicyMiddleware:
    """Says of each response whether a CDN may keep it.

    Put it around what makes sessions and sets cookies.

    Args:
        app: the WSGI application; for Flask ``app.wsgi_app = PolicyMiddleware(app.wsgi_app)``.
        options: see :class:`scalekit.cdn.PolicyOptions`.

    Raises:
        ConfigurationError: ``app`` is an ASGI application, or an option is wrong.
    """

    def __init__(self, app: "WSGIApplication", **options: Unpack[PolicyOptions]) -> None:
        cure = "use PolicyMiddleware of scalekit.cdn.asgi"
        check_application(app, "WSGI", taker="the WSGI PolicyMiddleware", cure=cure)
        self.app, self._policies = app, Policies(**options)

    def __call__(self, environ: Environ, start_response: "StartResponse") -> WSGIBody:
        method = environ["REQUEST_METHOD"]
        inside = environ.get("PATH_INFO", "").encode("latin-1")
        path = inside.decode("utf-8", "replace")
        exchange, policy = self._policies.exchange(method, path, request_headers(environ))
        query = environ.get("QUERY_STRING", "")
        inner = environ
        if (normal := normal_query(exchange, policy, query)) != query:
            if policy is not None and policy.query_redirect:
                raw = environ.get("SCRIPT_NAME", "").encode("latin-1") + inside
                return _redirect(exchange, location(spelled(raw), normal), start_response)
            inner = {**environ, "QUERY_STRING": normal}

        def respond(status: str, headers: list[tuple[str, str]], *rest: Any) -> Callable[[bytes], object]:
            edited = from_wsgi(headers)
            before = list(edited)
            exchange.respond(int(status[:3]), edited, session=inner.get(_SESSION))
            return start_response(status, _merged(headers, before, edited), *rest)

        token = exchange.enter()
        try:
            return self.app(inner, respond)
        finally:
            leave(token)


def _merged(headers: list[tuple[str, str]], before: Headers, edited: Headers) -> list[tuple[str, str]]:
    """What was edited, and the rest in the spelling that the application gave it."""
    changed = {name for name, _ in set(before) ^ set(edited)}
    kept = [pair for pair, (name, _) in zip(headers, before, strict=True) if name not in changed]
    return kept + to_wsgi(pair for pair in edited if pair[0] in changed)


def _redirect(exchange: Exchange, target: bytes, start_response: "StartResponse") -> WSGIBody:
    headers: Headers = [(b"location", target), (b"content-length", b"0")]
    exchange.respond(308, headers, session=None)
    start_response("308 Permanent Redirect", to_wsgi(headers))
    return []

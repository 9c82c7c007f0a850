"""Cache policies under ASGI; the rules are those of :mod:`scalekit.cdn.policy`."""

from typing import Unpack

from scalekit._options import check_application
from scalekit.cdn._exchange import Exchange, leave
from scalekit.cdn._policies import Policies, PolicyOptions, normal_query
from scalekit.cdn._query import location, spelled
from scalekit.types import ASGIApp, Headers, Message, Receive, Scope, Send


class PolicyMiddleware:
    """Says of each response whether a CDN may keep it.

    Put it around what makes sessions and sets cookies: with ``app.add_middleware``, add it after those.

    Args:
        app: the ASGI application.
        options: see :class:`scalekit.cdn.PolicyOptions`.

    Raises:
        ConfigurationError: ``app`` is a WSGI application, or an option is wrong.
    """

    def __init__(self, app: ASGIApp, **options: Unpack[PolicyOptions]) -> None:
        cure = "use PolicyMiddleware of scalekit.cdn.wsgi"
        check_application(app, "ASGI", taker="the ASGI PolicyMiddleware", cure=cure)
        self.app, self._policies = app, Policies(**options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        method, path = scope["method"], scope["path"].removeprefix(scope.get("root_path", ""))
        exchange, policy = self._policies.exchange(method, path, list(scope["headers"]))
        query = scope.get("query_string", b"").decode("latin-1")
        inner = scope
        if (normal := normal_query(exchange, policy, query)) != query:
            if policy is not None and policy.query_redirect:
                return await _redirect(exchange, location(_raw_path(scope), normal), send)
            inner = {**scope, "query_string": normal.encode("latin-1")}

        async def respond(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))  # a copy: applications send one list many times
                exchange.respond(message["status"], headers, session=inner.get("session"))
                message = {**message, "headers": headers}
            await send(message)

        token = exchange.enter()
        try:
            return await self.app(inner, receive, respond)
        finally:
            leave(token)


def _raw_path(scope: Scope) -> str:
    raw: bytes = scope.get("raw_path") or b""
    return raw.partition(b"?")[0].decode("latin-1") or spelled(scope["path"])


async def _redirect(exchange: Exchange, target: bytes, send: Send) -> None:
    headers: Headers = [(b"location", target), (b"content-length", b"0")]
    exchange.respond(308, headers, session=None)
    await send({"type": "http.response.start", "status": 308, "headers": headers})
    await send({"type": "http.response.body", "body": b""})

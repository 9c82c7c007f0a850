"""The origin shield under ASGI; its rules are those of :mod:`scalekit.cdn.shield`."""

from scalekit._options import check_application, check_kind
from scalekit.cdn.shield import Shield, refusal
from scalekit.types import ASGIApp, Message, Receive, Scope, Send

_DENIAL = "websocket.http.response"
_POLICY_VIOLATION = 1008  # RFC 6455, 7.4.1; before the handshake servers make a 403 of it
_SECURE = {"http": {"https": "https", "http": "http"}, "websocket": {"https": "wss", "http": "ws"}}


class ShieldMiddleware:
    """Lets through what the CDN sends, and health probes; anybody else gets a 403.

    Put it outermost: with ``app.add_middleware``, add it last. Web sockets are refused alike.

    Args:
        app: the ASGI application.
        shield: a :class:`~scalekit.cdn.Shield`.

    Raises:
        ConfigurationError: ``app`` is a WSGI application, or ``shield`` is no ``Shield``.
    """

    def __init__(self, app: ASGIApp, *, shield: Shield) -> None:
        cure = "use ShieldMiddleware of scalekit.cdn.wsgi"
        check_application(app, "ASGI", taker="the ASGI ShieldMiddleware", cure=cure)
        check_kind(shield, Shield, option="shield=", wanted="a Shield, such as Shield(secret=SECRET)")
        self.app, self.shield = app, shield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        headers = list(scope["headers"])
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        admitted = self.shield.admits(path, headers)
        if admitted is False:
            return await _refuse(scope, send)
        inner = {**scope, "headers": [pair for pair in headers if pair[0] != self.shield.name]}
        if admitted:
            visitor = self.shield.visitor(headers)
            if visitor.client is not None:
                inner["client"] = visitor.client
            if visitor.scheme is not None:
                inner["scheme"] = _SECURE[scope["type"]][visitor.scheme]
            if visitor.host is not None:
                others = [pair for pair in inner["headers"] if pair[0] != b"host"]
                inner["headers"] = [(b"host", visitor.host), *others]

        async def respond(message: Message) -> None:
            if "session" in inner:  # for who is around this, and asks whether the session was looked at
                scope["session"] = inner["session"]
            await send(message)

        return await self.app(inner, receive, respond)


async def _refuse(scope: Scope, send: Send) -> None:
    headers, body = refusal()
    kind = "http.response"
    if scope["type"] == "websocket":
        if _DENIAL not in (scope.get("extensions") or {}):
            return await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        kind = _DENIAL
    elif scope["method"] == "HEAD":
        body = b""
    await send({"type": f"{kind}.start", "status": 403, "headers": headers})
    return await send({"type": f"{kind}.body", "body": body})

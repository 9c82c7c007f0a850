"""Load shedding for any ASGI application."""

from scalekit import _http
from scalekit._options import check_application, check_kind
from scalekit.ops._loop_lag import LoopLag
from scalekit.ops.priorities import Priority
from scalekit.ops.shedding import Shedding, Slot
from scalekit.types import ASGIApp, Message, Receive, Scope, Send


class SheddingMiddleware:
    """Answers 503 instead of taking on more requests than the server can serve in good time.

    Put it outside of whatever costs something, and inside of ``OpsMiddleware``.

    Args:
        app: the ASGI application.
        shedding: a :class:`~scalekit.ops.Shedding` with other options than the default, or one to watch.

    A WebSocket is refused with the same answer where the server can send one (the extension
    ``websocket.http.response``), else with the close code 1013, *try again later*.

    Raises:
        ConfigurationError: ``shedding`` is none, or ``app`` is a WSGI application.
    """

    def __init__(self, app: ASGIApp, *, shedding: Shedding | None = None) -> None:
        check_application(
            app, "ASGI", taker="scalekit.ops.asgi.SheddingMiddleware", cure="use scalekit.ops.wsgi"
        )
        self.app = app
        self.shedding = Shedding() if shedding is None else shedding
        check_kind(self.shedding, Shedding, option="shedding=", wanted="a Shedding, such as Shedding()")
        self._lag = LoopLag(self.shedding.waited, lambda: self.shedding.in_flight > 0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        priority = self.shedding.priority_of(scope, scope.get("method", "GET"), path, scope["headers"])
        if priority is Priority.EXEMPT:
            await self.app(scope, receive, send)
            return
        slot = self.shedding.enter(priority, waited=self._lag.late())
        if slot is None:
            await self._refuse(scope, receive, send)
            return
        try:
            await self.app(scope, receive, _watched(send, slot))
        finally:
            slot.leave()

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        http1 = scope.get("http_version", "1.1").startswith("1")
        answer = self.shedding.busy.answer(scope.get("method", "GET"), scope["headers"], http1=http1)
        prefix = "http"
        if scope["type"] == "websocket":
            await receive()  # the handshake, before which nothing may be sent
            if "websocket.http.response" not in scope.get("extensions", {}):
                await send({"type": "websocket.close", "code": 1013, "reason": "try again later"})
                return
            prefix = "websocket.http"
        await send({"type": f"{prefix}.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": f"{prefix}.response.body", "body": answer.body})


def _watched(send: Send, slot: Slot) -> Send:
    async def watched(message: Message) -> None:
        if message["type"] == "http.response.start":
            kind = _http.get(message.get("headers", ()), b"content-type") or b""
            slot.answered(message["status"], endless=kind.startswith(b"text/event-stream"))
        elif message["type"] == "websocket.accept":
            slot.answered(101, endless=True)
        await send(message)

    return watched

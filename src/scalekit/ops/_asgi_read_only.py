"""Read-only mode for any ASGI application."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from anyio import to_thread

from scalekit._options import check_application
from scalekit.ops.read_only import FIRST_LOOK, OVERRIDING, ReadOnly, check_switches
from scalekit.types import ASGIApp, Receive, Scope, Send

if TYPE_CHECKING:
    from scalekit.ops.switches import Switches

_OVERRIDING = frozenset(name.encode() for name in OVERRIDING)


class ReadOnlyMiddleware:
    """Refuses what would change something while read-only mode is on: 503 before the body is read.

    See :mod:`scalekit.ops.read_only` for what is refused.

    Args:
        app: the ASGI application.
        switches: the fleet's :class:`~scalekit.ops.switches.Switches`.
        allow: paths that go on, each with all below it, such as ``["/login"]``; none by default.
        page: HTML for browsers, as text or bytes; a plain one by default. All others get a problem document.

    Raises:
        ConfigurationError: one of these is not usable.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        switches: "Switches",
        allow: Iterable[str] = (),
        page: str | bytes | None = None,
    ) -> None:
        check_application(app, "ASGI", taker="ReadOnlyMiddleware", cure="scalekit.ops.wsgi has its twin")
        self.app = app
        check_switches(switches)
        self._switches = switches
        self._rules = ReadOnly(allow=allow, page=page)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self._switches.start()  # so that the first request need not wait for it
        if scope["type"] != "http" or not await self._refuses(scope):
            await self.app(scope, receive, send)
            return
        answer = self._rules.refusal(scope["headers"], self._switches.read_only_left())
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _refuses(self, scope: Scope) -> bool:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        overriding = [value.decode("latin-1") for name, value in scope["headers"] if name in _OVERRIDING]
        query = scope.get("query_string", b"").decode("latin-1")
        if not self._rules.concerns(scope["method"], path, overriding, query):
            return False
        if not self._switches.start():
            await to_thread.run_sync(self._switches.start, FIRST_LOOK)
        return self._switches.is_read_only()

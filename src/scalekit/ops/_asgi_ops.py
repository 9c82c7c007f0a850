"""Health and drain for any ASGI application."""

import asyncio
import time
from collections.abc import Iterable

from scalekit import _http
from scalekit._options import check_kind
from scalekit.dependencies import Dependent
from scalekit.errors import ConfigurationError
from scalekit.ops import probes
from scalekit.ops.checks import refresh_async
from scalekit.ops.drain import Drain
from scalekit.ops.health import Check, Health
from scalekit.ops.pieces import expanded
from scalekit.types import ASGIApp, Message, Receive, Scope, Send


class OpsMiddleware:
    """Answers ``/health/live``, ``/health/ready`` and ``/health/startup``, and drains the server at its end.

    Put it outermost (in Starlette and FastAPI: add it last), so that probes pass through nothing else.

    Args:
        app: the ASGI application.
        checks: what readiness depends on; none by default. A :class:`~scalekit.ops.Check`, or a piece, such
            as a cluster or a cache, that has checks of its own.
        drain: a :class:`~scalekit.ops.Drain` with other options than the default, or one to watch.
        path: the folder of the probes.

    Signals are chained when the server sends the lifespan start-up, as all do unless told otherwise
    (``uvicorn --lifespan off``; call ``drain.install()`` yourself then).

    Raises:
        ConfigurationError: ``path`` is not absolute, two checks have one name, or something is no check or no
            drain.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        checks: Iterable[Check | Dependent] = (),
        drain: Drain | None = None,
        path: str = "/health",
    ) -> None:
        self.app = app
        self.health = Health(expanded(checks, "async"))
        self.drain = Drain() if drain is None else drain
        check_kind(self.drain, Drain, option="drain=", wanted="a Drain, such as Drain(delay=10)")
        self._path = probes.checked_path(path)
        self._up = True  # unless the server says when it begins
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        if scope["type"] == "http":
            probe = probes.probe_for(scope["path"].removeprefix(scope.get("root_path", "")), self._path)
            if probe is not None:
                scope[probes.MARK] = True
                await self._answer(probe, scope, send)
                return
            if scope.get("http_version", "1.1").startswith("1"):  # HTTP/2 and 3 forbid the Connection header
                send = self._closing(send)
        self.drain.enter()
        try:
            await self.app(scope, receive, send)
        finally:
            self.drain.leave()

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Now, because only now the server's own handlers are in place; and before the application, which
        # need not know lifespan at all.
        try:
            self.drain.install()
        except ConfigurationError as error:
            # Raised, it would be taken for an application that knows no lifespan, which is served: without
            # its own start-up, and without a drain.
            await receive()
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        self._up = False

        async def watch_receive() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                self.drain.uninstall()
                for task in self._tasks:
                    task.cancel()
            return message

        async def watch_send(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._up = True
                await refresh_async(self.health, self._tasks)  # so that the first probe has results
            await send(message)

        try:
            await self.app(scope, watch_receive, watch_send)
        finally:
            self._up = True  # an application that knows no lifespan says nothing, and is served all the same

    async def _answer(self, probe: probes.Probe, scope: Scope, send: Send) -> None:
        self.drain.probed()
        if scope["method"] not in ("GET", "HEAD"):
            answer = probes.not_allowed()
        elif probe == "live":
            answer = probes.live()
        else:
            await refresh_async(self.health, self._tasks)
            report = self.health.report(time.monotonic(), draining=self.drain.draining)
            if probe == "ready":
                answer = probes.ready(report)
            else:
                answer = probes.startup(report, started=self._up and self.health.started)
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    def _closing(self, send: Send) -> Send:
        async def closing(message: Message) -> None:
            # Asked when the response starts: a drain may have begun since the request did.
            if message["type"] == "http.response.start" and self.drain.draining:
                headers = list(message.get("headers", ()))
                _http.replace(headers, b"connection", b"close")
                message["headers"] = headers
            await send(message)

        return closing

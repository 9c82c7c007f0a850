"""The requests of any ASGI application, counted."""

import os
import time
from zlib import crc32

from anyio import to_thread

from scalekit._http import get
from scalekit._options import check_application, check_kind
from scalekit.ops.collecting import Metrics
from scalekit.ops.probes import MARK
from scalekit.ops.queue_time import waited
from scalekit.ops.scraping import Scrapes
from scalekit.types import ASGIApp, Message, Receive, Scope, Send


class MetricsMiddleware:
    """Counts requests, and answers scrapes of Prometheus if it is given a path for them.

    Put it outermost (in Starlette and FastAPI: add it last), so that it sees what the others answer, and how
    long they take. Probes that an ``OpsMiddleware`` inside answers are not counted.

    Args:
        app: the ASGI application.
        metrics: what else reports; by default the requests do alone.
        path: where Prometheus asks, such as ``"/metrics"``; by default nowhere. It is as public as the
            application: let the balancer keep others away from it.
        directory: where the processes of one server meet, so that a scrape of one tells the numbers of all;
            by default they find each other, see :mod:`scalekit.ops.siblings`.

    Raises:
        ConfigurationError: ``metrics`` is none, ``path`` or ``directory`` is wrong, or ``app`` is WSGI.
        MissingExtra: with a ``path``, ``prometheus_client`` is not installed.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics | None = None,
        path: str | None = None,
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        cure = "use MetricsMiddleware of scalekit.ops.wsgi"
        check_application(app, "ASGI", taker="the ASGI MetricsMiddleware", cure=cure)
        self.app = app
        self.metrics = Metrics() if metrics is None else metrics
        check_kind(
            self.metrics, Metrics, option="metrics=", wanted="a Metrics, such as Metrics({'cache': cache})"
        )
        self._scrapes = None if path is None else Scrapes(self.metrics, path, directory)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            self.metrics.traffic.open()
            try:
                return await self.app(scope, receive, send)
            finally:
                self.metrics.traffic.close()
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        scrapes = self._scrapes
        if scrapes is not None:
            if not scrapes.siblings.joined:
                scrapes.arrive(_place(scope))
            if scope["path"].removeprefix(scope.get("root_path", "")) == scrapes.path:
                return await _answer(scrapes, scope, send)
        exchange = _Exchange(self.metrics, scope, send)
        try:
            await self.app(scope, receive, exchange.send)
        except Exception:
            exchange.status = exchange.status or 500
            raise
        finally:
            exchange.end()


class _Exchange:
    """One request, until the last of its response has been sent."""

    __slots__ = ("_began", "_scope", "_send", "_traffic", "status")

    def __init__(self, metrics: Metrics, scope: Scope, send: Send) -> None:
        self._send = send
        self._scope = scope
        self.status = 0
        self._traffic = metrics.traffic
        self._began: float | None = self._traffic.begin(waited(scope["headers"], time.time()))

    async def send(self, message: Message) -> None:
        await self._send(message)
        kind = message["type"]
        if kind == "http.response.start":
            self.status = message["status"]
        elif kind == "http.response.body" and not message.get("more_body", False):
            self.end()  # what runs after it, such as a background task, is nothing that anybody waits for

    def end(self) -> None:
        began, self._began = self._began, None
        if began is None:
            return
        if MARK in self._scope:
            self._traffic.drop()
        else:
            self._traffic.end(began, self._scope["method"], self.status)


async def _answer(scrapes: Scrapes, scope: Scope, send: Send) -> None:
    accept = (get(scope["headers"], b"accept") or b"").decode("latin-1")
    answer = await to_thread.run_sync(scrapes.answer, scope["method"], accept)
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})


def _place(scope: Scope) -> object:
    """Where the server listens: a port, or what stands for the path of a Unix socket."""
    path, port = scope.get("server") or ("", None)
    # Not hash(), which is another one in each process.
    return crc32(str(path).encode()) if port is None else port

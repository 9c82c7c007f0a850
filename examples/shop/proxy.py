"""The load balancer: an ASGI application that passes every request on to one of several servers.

Rules:

* Round robin over the servers that are ready. Nothing ties a visitor to a server.
* A server is ready while its ``/health/ready`` says so. One that cannot be connected to is out at once.
* Nothing was sent yet: the request goes to the next server.
* A server is lost before its response has begun: the request goes to the next one if it may be sent twice.
  It may if its method is idempotent, or if its address carries a ``once`` token, which says that the
  application recognises the second copy.
* Bodies stream in both directions. The first 64 KiB of each are held back, so that there is something to
  send again, and so that a page that breaks off can be fetched anew.
* With no server there is a page that says so (see ``busy.py``).
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import h11

from examples.shop import busy
from examples.shop.http1 import LOST, Connection, Pool
from scalekit.types import Headers, Message, Receive, Scope, Send

_HELD = 65_536
_CONNECT_TIMEOUT = 1.0
_ANSWER_TIMEOUT = 30.0
_PATIENCE = 3.0
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)


@dataclass
class Upstream:
    """A server that requests are passed on to."""

    name: str
    host: str
    port: int
    ready: bool = False
    requests: int = 0
    in_flight: int = 0
    pool: Pool = field(init=False)

    def __post_init__(self) -> None:
        self.pool = Pool(self.host, self.port)


@dataclass(frozen=True)
class Served:
    """A request that was answered. ``attempts`` counts the servers that were tried."""

    at: float
    seconds: float
    server: str
    method: str
    path: str
    status: int
    attempts: int


class Balancer:
    """The ASGI application. ``on_served`` is told of every request."""

    def __init__(self, *, on_served: Callable[[Served], None] = lambda served: None) -> None:
        self.upstreams: list[Upstream] = []
        self._on_served = on_served
        self._turn = 0

    def add(self, upstream: Upstream) -> None:
        self.upstreams.append(upstream)

    def remove(self, upstream: Upstream) -> None:
        upstream.ready = False
        upstream.pool.close()
        if upstream in self.upstreams:
            self.upstreams.remove(upstream)

    async def watch(self, *, interval: float = 0.4) -> None:
        """Ask every server whether it is ready, for ever."""
        while True:
            async with asyncio.TaskGroup() as group:
                for upstream in self.upstreams:
                    group.create_task(_probe(upstream))
            await asyncio.sleep(interval)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
            return
        if scope["path"] == busy.READY:
            await self._say_whether_ready(send)
        else:
            await _Exchange(self, scope, receive, send).run()

    async def _say_whether_ready(self, send: Send) -> None:
        """204 with a server, 202 without: a page that waits makes no errors in a browser's console."""
        status = 204 if any(upstream.ready for upstream in self.upstreams) else 202
        headers = [(b"content-length", b"0")] if status == 202 else []
        headers.append((b"cache-control", b"no-store"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def candidates(self) -> list[Upstream]:
        """The ready servers, whose turn it is first."""
        ready = [upstream for upstream in self.upstreams if upstream.ready]
        self._turn += 1
        turn = self._turn % len(ready) if ready else 0
        return ready[turn:] + ready[:turn]

    def served(self, served: Served) -> None:
        self._on_served(served)


class _Exchange:
    """One request and its response."""

    def __init__(self, balancer: Balancer, scope: Scope, receive: Receive, send: Send) -> None:
        self._balancer, self._scope, self._receive, self._send = balancer, scope, receive, send
        self._began = time.monotonic()
        self._attempts = 0
        self._answered = False
        self._arrived = False
        query = parse_qs(scope["query_string"].decode("latin-1"))
        self._repeatable = scope["method"] in _IDEMPOTENT or "once" in query
        self._held = b""
        self._more = True

    async def run(self) -> None:
        if not await self._hold():
            return None
        until = time.monotonic() + _PATIENCE
        tried: set[int] = set()
        while True:
            fresh = [upstream for upstream in self._balancer.candidates() if id(upstream) not in tried]
            if fresh:
                tried.add(id(fresh[0]))
                if await self._try(fresh[0]):
                    return None
            elif time.monotonic() > until:
                return await self._say_busy(503)
            else:
                tried.clear()  # all are gone or were tried; one may come (back) in a moment
                await asyncio.sleep(0.05)

    async def _hold(self) -> bool:
        """Take the first part of the request's body; whether the visitor is still there."""
        while self._more and len(self._held) <= _HELD:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return False
            self._held += message.get("body", b"")
            self._more = message.get("more_body", False)
        return True

    async def _try(self, upstream: Upstream) -> bool:
        """Whether the request is over, for better or worse; otherwise the next server may try."""
        self._attempts += 1
        try:
            connection = await upstream.pool.get(timeout=_CONNECT_TIMEOUT)
        except OSError:
            upstream.ready = False
            return False
        upstream.requests += 1
        upstream.in_flight += 1
        streaming = self._more
        sender: asyncio.Task[None] | None = None
        self._arrived = True  # perhaps: from here on nobody knows how far it came
        try:
            await connection.send_head(self._scope["method"].encode(), self._target(), self._headers())
            sender = asyncio.create_task(self._send_body(connection))
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                head = await connection.head()
            await self._pass_on(upstream, head, connection)
        except LOST:
            upstream.pool.close()
            if self._answered:
                raise  # the server cuts the visitor's connection: nothing better can be said any more
            if self._repeatable and not streaming:
                return False
            await self._say_busy(502)
        finally:
            upstream.in_flight -= 1
            if sender is not None:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)
            upstream.pool.put(connection)
        return True

    async def _send_body(self, connection: Connection) -> None:
        await connection.send_body(self._held)
        while self._more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return connection.close()  # the server must not take what has arrived for the whole
            await connection.send_body(message.get("body", b""))
            self._more = message.get("more_body", False)
        return await connection.end_body()

    async def _pass_on(self, upstream: Upstream, head: h11.Response, connection: Connection) -> None:
        headers = [(name, value) for name, value in head.headers if name not in _HOP_BY_HOP]
        kind = next((value for name, value in headers if name == b"content-type"), b"")
        limit = 0 if kind.startswith(b"text/event-stream") else _HELD
        start = {"type": "http.response.start", "status": head.status_code, "headers": headers}
        held = b""
        async for chunk in connection.body():
            if self._answered:
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
                continue
            held += chunk
            if len(held) > limit:
                await self._answer(start, held, more=True)
        if head.status_code == 503 and not self._answered and not kind.startswith(b"text/html"):
            return await self._say_busy(503)
        if self._answered:
            await self._send({"type": "http.response.body", "body": b""})
        else:
            await self._answer(start, held, more=False)
        return self._report(upstream.name, head.status_code)

    async def _answer(self, start: Message, body: bytes, *, more: bool) -> None:
        self._answered = True
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def _say_busy(self, status: int) -> None:
        method = self._scope["method"]
        page = busy.page(method, self._scope["headers"], arrived=self._arrived)
        body = b"" if method == "HEAD" else page
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-length", str(len(page)).encode()),
            (b"cache-control", b"no-store"),
            (b"retry-after", b"2"),
        ]
        await self._answer(
            {"type": "http.response.start", "status": status, "headers": headers}, body, more=False
        )
        self._report("", status)

    def _report(self, server: str, status: int) -> None:
        now = time.monotonic()
        scope = self._scope
        self._balancer.served(
            Served(now, now - self._began, server, scope["method"], scope["path"], status, self._attempts)
        )

    def _target(self) -> bytes:
        path, query = self._scope["raw_path"], self._scope["query_string"]
        return path + b"?" + query if query else path

    def _headers(self) -> Headers:
        headers = [pair for pair in self._scope["headers"] if pair[0] not in _HOP_BY_HOP]
        names = {name for name, _ in headers}
        if self._more and b"content-length" not in names:
            headers.append((b"transfer-encoding", b"chunked"))
        elif not self._more and self._held and b"content-length" not in names:
            headers.append((b"content-length", str(len(self._held)).encode()))
        client = self._scope.get("client") or ("unknown", 0)
        headers.append((b"x-forwarded-for", client[0].encode()))
        headers.append((b"x-forwarded-proto", self._scope.get("scheme", "http").encode()))
        return headers


async def _probe(upstream: Upstream) -> None:
    try:
        async with asyncio.timeout(1.5):
            connection = await Connection.open(upstream.host, upstream.port, timeout=1.0)
            try:
                host = f"{upstream.host}:{upstream.port}".encode()
                await connection.send_head(
                    b"GET", b"/health/ready", [(b"host", host), (b"connection", b"close")]
                )
                await connection.end_body()
                upstream.ready = (await connection.head()).status_code == 200
            finally:
                connection.close()
    except LOST:
        upstream.ready = False

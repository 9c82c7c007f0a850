"""A TCP proxy that misbehaves on demand.

The modes and what the client sees; each holds for connections that are open and for new ones, from the
moment the call returns until another mode is chosen:

==================  =====================================  ===========================================
mode                an open connection                     a new connection
==================  =====================================  ===========================================
``pass_through()``  flows (and what was held flows again)  the same
``refuse()``        RST                                    refused: nobody listens
``reset()``         RST                                    accepted, then RST
``blackhole()``     stays open, nothing passes; held       accepted, then silence; not seen by the
                    bytes pass when the mode ends          server until the mode ends
``cut(after=n)``    requests pass; the server's next n     the same; n counts for each connection
                    bytes pass, then it is closed
``delay(seconds)``  each reply comes that much later       the same
==================  =====================================  ===========================================

``cut(after=0)``, the default, is a write whose outcome the client never learns.
"""

import asyncio
import socket
import struct
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.servers.ports import HOST, free_port


class FaultProxy:
    """Listens on 127.0.0.1:`port` and forwards to the given server.

    A context manager, ``with`` or ``async with``. It lives in a thread with an event loop of its own, so
    a test that blocks or is synchronous can use it, and calls may come from any thread.
    """

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.host = HOST
        self.port = free_port()
        self.accepted = 0
        """How many connections were made so far."""
        self.round_trips = 0
        """How often a client has asked something since it was answered last, over all connections."""
        self._listener: socket.socket | None = None
        self._links: set[_Link] = set()
        self._after: int | None = None
        self._latency = 0.0
        self._resets = False

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._links)

    def url(self, url: str) -> str:
        """The server's URL, by way of the proxy."""
        host, port = self.target
        assert f"{host}:{port}" in url, f"{host}:{port} is not in {url}"
        return url.replace(f"{host}:{port}", f"{self.host}:{self.port}")

    def pass_through(self) -> None:
        self._choose(listen=True)

    def refuse(self) -> None:
        self._choose(listen=False, drop=True)

    def reset(self) -> None:
        self._choose(listen=True, drop=True, resets=True)

    def blackhole(self) -> None:
        self._choose(listen=True, flows=False)

    def cut(self, after: int = 0) -> None:
        self._choose(listen=True, after=after)

    def delay(self, seconds: float) -> None:
        self._choose(listen=True, latency=seconds)

    def _choose(
        self,
        *,
        listen: bool,
        drop: bool = False,
        resets: bool = False,
        flows: bool = True,
        after: int | None = None,
        latency: float = 0.0,
    ) -> None:
        async def choose() -> None:
            self._resets, self._after, self._latency = resets, after, latency
            self._listen(listen)
            for link in list(self._links):
                link.passed = 0
                if drop:
                    await link.abort()
            if flows:
                self._flowing.set()
            else:
                self._flowing.clear()
            self._chosen.set()  # last: replies of connections that end do not flow before
            self._chosen = asyncio.Event()

        asyncio.run_coroutine_threadsafe(choose(), self._loop).result(10)

    async def _late(self, arrived: float) -> None:
        """Return when a reply that arrived then is as late as the mode, which may change, makes it."""
        while (wait := arrived + self._latency - self._loop.time()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._chosen.wait(), wait)

    def _listen(self, wanted: bool) -> None:
        if wanted and self._listener is None:
            self._listener = socket.create_server((HOST, self.port), backlog=100)  # sets SO_REUSEADDR
            self._listener.setblocking(False)
            # Not sock_accept(): cancelled at the wrong moment it loses a connection that it has accepted.
            self._loop.add_reader(self._listener, self._accept)
        elif not wanted and self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            client, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # it went away in between
        self.accepted += 1
        if self._resets:
            _reset(client)
        else:
            client.setblocking(False)
            self._links.add(_Link(self, client))

    async def _main(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._chosen = asyncio.Event()
        self._stopping = asyncio.Event()
        self._listen(True)
        started.set()
        await self._stopping.wait()
        self._listen(False)
        for link in list(self._links):
            await link.abort()

    def __enter__(self) -> Self:
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(started)), name="FaultProxy")
        self._thread.start()
        assert started.wait(30), "the proxy did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the proxy did not stop"

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)


class _Link:
    """One client's connection and the one to the server that belongs to it."""

    def __init__(self, proxy: FaultProxy, client: socket.socket) -> None:
        self.proxy = proxy
        self.client = client
        self.server = socket.socket()
        self.server.setblocking(False)
        for sock in (self.client, self.server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.passed = 0  # bytes of replies since the mode was chosen
        self.hard = False  # whether to end with RST
        self.asked = False  # whether what passed last came from the client
        self.task = asyncio.create_task(self._run())
        self.task.add_done_callback(self._close)  # also when it is cancelled before its first step

    async def abort(self) -> None:
        """RST to both sides; done when this returns."""
        self.hard = True
        self.task.cancel()
        await asyncio.wait([self.task])

    async def _run(self) -> None:
        try:
            await self.proxy._flowing.wait()
            await asyncio.get_running_loop().sock_connect(self.server, self.proxy.target)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._forward(self.client, self.server, replies=False))
                tasks.create_task(self._forward(self.server, self.client, replies=True))
        except* OSError:  # either side is gone, so the other shall be too
            self.hard = True
        except* _Cut:
            pass

    def _close(self, task: asyncio.Task[None]) -> None:
        self.proxy._links.discard(self)
        for sock in (self.client, self.server):
            if self.hard:
                _reset(sock)
            sock.close()

    async def _forward(self, source: socket.socket, sink: socket.socket, *, replies: bool) -> None:
        """Two halves with a queue between, so that a delay adds latency and not a limit of throughput."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        loop = asyncio.get_running_loop()

        async def read() -> None:
            data = b"?"
            while data:
                data = await loop.sock_recv(source, 65536)
                if data and self.asked is replies:
                    self.asked = not replies
                    self.proxy.round_trips += self.asked
                await queue.put((loop.time(), data))

        async def write() -> None:
            while True:
                arrived, data = await queue.get()
                if replies:
                    await self.proxy._late(arrived)
                await self.proxy._flowing.wait()
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                if replies and self.proxy._after is not None:
                    left = self.proxy._after - self.passed
                    self.passed += len(data)
                    if len(data) > left:
                        await loop.sock_sendall(sink, data[:left])
                        raise _Cut
                await loop.sock_sendall(sink, data)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(read())
            tasks.create_task(write())


class _Cut(Exception):
    """The connection has had its bytes."""


def _reset(sock: socket.socket) -> None:
    """Close with RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # linger for zero seconds
    sock.close()

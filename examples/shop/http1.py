"""One HTTP/1.1 connection to a server, for the load balancer and the crowd: h11 over asyncio's streams."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Self

import h11

Headers = list[tuple[bytes, bytes]]

_READ = 65_536

LOST = (OSError, asyncio.IncompleteReadError, h11.RemoteProtocolError, h11.LocalProtocolError)
"""What a connection raises that the other side has left (a time-out is an `OSError` too)."""


class Connection:
    """Send a request, read its response, and start over while the server keeps the connection open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.CLIENT)
        self.idle_since = time.monotonic()
        self.used = False

    @classmethod
    async def open(cls, host: str, port: int, *, timeout: float) -> Self:
        async with asyncio.timeout(timeout):
            return cls(*await asyncio.open_connection(host, port))

    async def send_head(self, method: bytes, target: bytes, headers: Headers) -> None:
        self.used = True
        await self._send(h11.Request(method=method, target=target, headers=headers))

    async def send_body(self, data: bytes) -> None:
        if data:
            await self._send(h11.Data(data=data))

    async def end_body(self) -> None:
        await self._send(h11.EndOfMessage())

    async def head(self) -> h11.Response:
        """The response's status and headers."""
        while True:
            event = await self._next()
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise ConnectionResetError("the server hung up before it answered")

    async def body(self) -> AsyncIterator[bytes]:
        """The response's body, as it arrives; ends when it is complete."""
        while not isinstance(event := await self._next(), h11.EndOfMessage):
            if isinstance(event, h11.ConnectionClosed):
                raise ConnectionResetError("the server hung up in the middle of its answer")
            assert isinstance(event, h11.Data)
            yield bytes(event.data)

    def reuse(self) -> bool:
        """Make ready for the next request; whether that is possible."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self.idle_since = time.monotonic()
        return True

    @property
    def stale(self) -> bool:
        """Whether the other side may have closed it: it did, or soon will."""
        return self._reader.at_eof() or self._writer.is_closing() or time.monotonic() - self.idle_since > 2

    def close(self) -> None:
        self._writer.close()

    async def _send(self, event: h11.Event) -> None:
        if data := self._http.send(event):
            self._writer.write(data)
            await self._writer.drain()

    async def _next(self) -> h11.Event:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Event):
                return event
            if event is h11.PAUSED:
                raise ConnectionResetError("the server answered more than was asked")
            self._http.receive_data(await self._reader.read(_READ))


class Pool:
    """Connections to one server that are open and idle."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._idle: list[Connection] = []

    async def get(self, *, timeout: float) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.stale:
                return connection
            connection.close()
        return await Connection.open(self.host, self.port, timeout=timeout)

    def put(self, connection: Connection) -> None:
        """Give a connection back; it is kept if it can be used again."""
        if connection.reuse():
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

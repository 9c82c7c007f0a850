"""A crowd: requests come at a rate, whether or not those before them were answered.

A generator that waits for answers slows down with the server, and so hides what an overload is.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Crowd:
    """What became of the requests: seconds after the start at which each was sent, and how long it took."""

    answered: list[tuple[float, float]] = field(default_factory=list)
    shed: list[tuple[float, float]] = field(default_factory=list)
    failed: int = 0  # no answer within the patience, or no connection
    sent: int = 0

    def goodput(self, since: float, until: float, *, within: float = float("inf")) -> float:
        """Answers a second, of those that came in between and took no longer than ``within``."""
        count = sum(since <= at + took < until and took <= within for at, took in self.answered)
        return count / (until - since)

    def percentile(self, share: float, since: float, until: float) -> float:
        """How long the answered ones took that were sent in between."""
        took = sorted(took for at, took in self.answered if since <= at < until)
        return took[int(len(took) * share)] if took else float("inf")


class _Visitor(asyncio.Protocol):
    """A connection, kept for the next request. Only as much HTTP as uvicorn speaks here."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.answer: asyncio.Future[int] | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if end:
            _, _, length = head.lower().partition(b"content-length:")
            if len(body) >= int(length.split(b"\r\n")[0]):
                self._received = b""
                if self.answer is not None and not self.answer.done():
                    self.answer.set_result(int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(ConnectionError("closed"))

    async def ask(self, request: bytes) -> int:
        assert self.transport is not None
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.answer


async def crowd(
    port: int,
    rate: float | Callable[[float], float],
    seconds: float,
    *,
    path: str = "/",
    patience: float = 5.0,
) -> Crowd:
    """Send ``rate`` requests a second, at even distances, and wait for those under way at the end."""
    loop, outcome, idle = asyncio.get_running_loop(), Crowd(), list[_Visitor]()
    request = f"GET {path} HTTP/1.1\r\nhost: shop\r\naccept: */*\r\n\r\n".encode()
    began = time.monotonic()

    async def visit() -> None:
        sent = time.monotonic()
        outcome.sent += 1
        visitor = idle.pop() if idle else None
        try:
            async with asyncio.timeout(patience):
                if visitor is None or visitor.transport is None:
                    _, visitor = await loop.create_connection(_Visitor, "127.0.0.1", port)
                status = await visitor.ask(request)
        except (OSError, TimeoutError):
            outcome.failed += 1
            if visitor is not None and visitor.transport is not None:
                # With FIN, as browsers do: after RST the server would not find the request any more.
                visitor.transport.close()
            return
        idle.append(visitor)
        (outcome.answered if status == 200 else outcome.shed).append((sent - began, time.monotonic() - sent))

    async with asyncio.TaskGroup() as tasks:
        due = 0.0
        while due < seconds:
            now = time.monotonic() - began
            if due > now:
                await asyncio.sleep(due - now)
            tasks.create_task(visit())
            due += 1 / (rate if isinstance(rate, float | int) else rate(due))
    for visitor in idle:
        with contextlib.suppress(OSError):
            if visitor.transport is not None:
                visitor.transport.abort()
    return outcome


async def capacity(port: int, seconds: float, *, at_once: int = 16) -> float:
    """Answers a second that a server gives to so many who ask again as soon as they are answered."""
    answered, until = 0, time.monotonic() + seconds

    async def ask() -> None:
        nonlocal answered
        loop = asyncio.get_running_loop()
        _, visitor = await loop.create_connection(_Visitor, "127.0.0.1", port)
        while time.monotonic() < until:
            status = await visitor.ask(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n")
            answered += status == 200
        if visitor.transport is not None:
            visitor.transport.abort()

    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(at_once):
            tasks.create_task(ask())
    return answered / (time.monotonic() - began)

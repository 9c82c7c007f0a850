"""One connection of an event loop, which many callers use at a time.

Commands that are asked for in one turn of the loop leave together, and none waits for the reply to another:
the server answers in the order in which it was asked. A caller that is cancelled abandons its reply and
nothing else. The time limit runs while there is a reply to come, begins again with each reply, and is served
in slices (see :mod:`scalekit._patience`): when it passes, or the connection breaks, all in flight fails.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TypeAlias, cast

from scalekit._breaker import Breaker
from scalekit._memcached import errors
from scalekit._memcached.errors import Malformed
from scalekit._memcached.idle import readable
from scalekit._memcached.wire import Replies, Reply
from scalekit.errors import BackendError

_SLICES = 4


class Stream(asyncio.Protocol):
    """See the module.

    Args:
        name: the server's, for messages.
        breaker: told how it went.
        timeout: seconds until the next reply.
    """

    def __init__(self, *, name: str, breaker: Breaker, timeout: float) -> None:
        self._name, self._breaker, self._timeout = name, breaker, timeout
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._replies = Replies()
        self._waiting: deque[_Waiting] = deque()
        self._leaving: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._slices = 0
        self.closed = False

    def sound(self) -> bool:
        """Whether commands can be sent; if not, it is closed.

        The loop may have been too busy to see that the server has closed an idle connection.
        """
        if not self.closed and not self._waiting and self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            if sock is None or readable(sock):
                self.close()
        return not self.closed

    def send(self, data: bytes) -> "asyncio.Future[Reply]":
        """The future of the reply to one command."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._send(data, [future])
        return future

    def send_all(self, commands: Sequence[bytes]) -> "asyncio.Future[list[Reply]]":
        """The future of the replies to several commands."""
        future: asyncio.Future[list[Reply]] = self._loop.create_future()
        self._send(b"".join(commands), [_Several(future, len(commands))] * len(commands))
        return future

    def _send(self, data: bytes, waiting: "Sequence[_Waiting]") -> None:
        if self.closed:  # in the turn in which it was made, perhaps: nothing but the time limit would end it
            self._fail(waiting, None)
            return
        if self._timer is None:
            self._slices = _SLICES
            self._arm()
        elif not self._waiting:
            self._renew()
        self._waiting.extend(waiting)
        if not self._leaving:
            self._loop.call_soon(self._flush)
        self._leaving.append(data)

    def close(self, error: BackendError | None = None) -> None:
        """End the connection; what is in flight fails."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()
        waiting = list(self._waiting)
        self._waiting.clear()
        self._fail(waiting, error)

    def _fail(self, waiting: "Sequence[_Waiting]", error: BackendError | None) -> None:
        for future in waiting:
            if not future.done():
                # Each caller raises its own: a traceback grows with everyone who raises it.
                future.set_exception(
                    errors.unavailable(self._name, errors.CLOSED)
                    if error is None
                    else type(error)(str(error), backend=self._name)
                )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._replies.feed(data)
        try:
            while (reply := self._replies.next()) is not None:
                self._deliver(reply)
            if not self._waiting and self._replies.pending:
                raise Malformed("something unasked")  # or the next command would take it for its answer
        except Malformed as error:
            self.close(errors.unavailable(self._name, error))

    def connection_lost(self, exc: Exception | None) -> None:
        self.close(errors.unavailable(self._name, exc or "the server has closed the connection"))

    def _deliver(self, reply: Reply) -> None:
        if not self._waiting:
            raise Malformed(f"{reply.line[:100]!r}, unasked")
        future = self._waiting.popleft()
        if not future.done():
            future.set_result(reply)
        self._breaker.succeeded()
        self._renew()
        if not reply.fit:
            self.close(errors.unavailable(self._name, f"ended by {reply.line[:100]!r} to another command"))

    def _flush(self) -> None:
        data, self._leaving = b"".join(self._leaving), []
        if self._transport is not None and not self.closed:
            self._transport.write(data)

    def _renew(self) -> None:
        self._slices = _SLICES + 1  # the one that is running is not whole any more

    def _arm(self) -> None:
        self._timer = self._loop.call_later(self._timeout / _SLICES, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._slices -= 1
        if not self._waiting:
            return
        if self._slices:
            self._arm()
        else:
            self._breaker.failed()
            self.close(errors.timed_out(self._name, self._timeout))


class _Several:
    """Where the replies to several commands wait for the last of them."""

    def __init__(self, future: "asyncio.Future[list[Reply]]", count: int) -> None:
        self._future, self._count = future, count
        self._replies: list[Reply] = []
        self.done = future.done
        self.set_exception = future.set_exception

    def set_result(self, reply: Reply) -> None:
        self._replies.append(reply)
        if len(self._replies) == self._count:
            self._future.set_result(self._replies)


_Waiting: TypeAlias = "asyncio.Future[Reply] | _Several"

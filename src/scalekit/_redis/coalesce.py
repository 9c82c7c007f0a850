"""Commands of one event loop to one server, sent together.

Rules:

* A *lane* is a connection, see :mod:`scalekit._redis.lane`. While one is free, or fewer than ``lanes`` are
  open, a command goes out in this turn of the loop, together with everything else that was asked for in it.
  While all are busy it waits for the next one that is free, and then travels with everything that has
  gathered.
* Commands of a batch that wait for replicas wait together: one ``WAIT``, behind the last of them, is for all.
* A caller that is cancelled abandons its reply and nothing else.
* One time limit covers a batch, and begins again with each reply, and with every 64 KiB of a large one: a
  server that answers does not hang, but one that trickles does. When it passes, or the connection breaks,
  what is in flight fails and is never sent again. What still waits is sent over a new connection, or refused
  if the breaker has opened.
* With ``connecting`` no caller is the breaker's probe: a PING of our own is, and meanwhile all are refused.
  Nor does a caller wait longer than ``connect_timeout`` for a connection that goes on being made.
* A batch has at most 256 commands, and none more once it has a mebibyte: sending it and waiting for its first
  reply have one limit, and it fails as one.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from redis import exceptions

from scalekit._breaker import Breaker
from scalekit._patience import Alarm, Patience
from scalekit._redis import errors
from scalekit._redis.lane import Call, Lane
from scalekit._redis.topology import Place
from scalekit._redis.wire import PING

_BATCH = 256  # commands
_BYTES = 1 << 20


class Connections(Protocol):
    """Where a lane gets its connection, already connected; disconnected it is given back."""

    async def acquire(self) -> Any: ...

    async def release(self, connection: Any) -> None: ...

    def leads(self, place: Place) -> bool:
        """Whether a connection to ``place`` still leads where a new one would."""
        ...

    async def close(self) -> None: ...


class PoolConnections:
    """Connections of redis-py's pool."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def acquire(self) -> Any:
        return await self._pool.get_connection()

    async def release(self, connection: Any) -> None:
        await connection.disconnect()
        await self._pool.release(connection)

    def leads(self, place: Place) -> bool:
        return True

    async def close(self) -> None:
        """The pool is closed by its owner."""


Redirect = Callable[[Call, exceptions.ResponseError], None]


class Coalescer:
    """See the module.

    Args:
        connections: where connections come from.
        backend: the server's name, for messages.
        breaker: told how it went.
        lanes: connections at a time.
        connect_timeout: seconds to get a connected connection.
        connecting: seconds after which connecting is given up, if callers are to be spared, see the module.
        timeout: seconds for an exchange.
        redirect: takes over a call that the server sent elsewhere (Cluster).
        unreachable: called when the server could not be reached or timed out (Cluster).
    """

    def __init__(
        self,
        connections: Connections,
        *,
        backend: str,
        breaker: Breaker,
        lanes: int,
        connect_timeout: float,
        timeout: float,
        connecting: float | None = None,
        redirect: Redirect | None = None,
        unreachable: Callable[[], None] | None = None,
    ) -> None:
        self._connections = connections
        self._backend = backend
        self._breaker = breaker
        self._most = lanes
        self._connect_timeout = connect_timeout
        self._connecting_timeout = connect_timeout if connecting is None else connecting
        # Strikes when callers have waited long enough for a connection.
        self._enough = None if connecting is None else Alarm(connect_timeout, self._forsake)
        self._admits = breaker.allows if connecting is None else self._admits_sparing
        self._timeout = timeout
        self._redirect = redirect
        self._unreachable = unreachable
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Call] = deque()
        self._due = False  # what waits is sent at the end of this turn
        self._lanes: set[Lane] = set()
        self._free: dict[Lane, None] = {}  # a set in order: no lane is in it twice
        self._connecting: asyncio.Task[None] | None = None

    def submit(self, call: Call) -> None:
        """Send ``call`` as soon as a lane is free; its future gets the reply or the error."""
        if not self._admits():
            call.fail(errors.unavailable(self._backend, errors.REFUSED))
            return
        self._waiting.append(call)
        self._send_soon()

    async def close(self) -> None:
        """Close the lanes; what waits or is in flight fails."""
        self._fail_waiting("the client was closed")
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        lanes, self._lanes = self._lanes, set()
        self._free.clear()
        await asyncio.gather(*(lane.leave() for lane in lanes))
        await self._connections.close()

    def _admits_sparing(self) -> bool:
        """Whether callers may go on. Where one would be the probe, send one."""
        if not self._breaker.open:
            return True
        if self._breaker.allows():
            probe = Call(("PING",), PING, self._loop.create_future())
            probe.future.add_done_callback(_heed)
            self._waiting.append(probe)
            self._send_soon()
        return False

    def _send_soon(self) -> None:
        if not self._due:
            self._due = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._due = False
        while self._waiting and self._free:
            lane, _ = self._free.popitem()
            if lane.closing():
                lane.close(exceptions.ConnectionError("the connection has ended"))
            elif not self._connections.leads(lane.place):
                lane.close(exceptions.ConnectionError("another server has taken over"))
            elif batch := self._take():
                lane.send(batch)
            else:
                self._free[lane] = None
        if self._waiting and self._connecting is None and len(self._lanes) < self._most:
            self._connecting = self._loop.create_task(self._connect())

    def _take(self) -> list[Call]:
        """The next batch. Callers that gave up while they waited are left out."""
        batch: list[Call] = []
        size = 0
        while self._waiting and len(batch) < _BATCH and size < _BYTES:
            call = self._waiting.popleft()
            if not call.future.done():
                batch.append(call)
                size += len(call.data)
        return batch

    async def _connect(self) -> None:
        """Open a lane. Where that fails another one serves those who wait; without one they fail."""
        reason: object = "interrupted"
        if self._enough is not None:
            self._enough.begin()
        try:
            async with Patience(self._connecting_timeout):
                connection = await self._connections.acquire()
            try:
                lane = Lane(connection, self, timeout=self._timeout)
                self._lanes.add(lane)
                self._free[lane] = None
            finally:
                await self._connections.release(connection)
        except exceptions.MaxConnectionsError as error:
            # The pool is used up, by others: that says nothing about the server.
            reason = error
        except errors.FAILURES as error:
            late = isinstance(error, TimeoutError)
            reason = f"no connection within {self._connecting_timeout:g} s" if late else error
            if not self._lanes:
                self._failed()
        finally:
            self._connecting = None
            if self._enough is not None:
                self._enough.end()
            if not self._lanes:
                self._fail_waiting(reason)
        self._send()

    def _forsake(self) -> None:
        """Have nobody wait any longer for the connection that is being made."""
        if self._connecting is not None and not self._lanes and self._enough is not None:
            self._failed()
            self._fail_waiting(f"no connection within {self._connect_timeout:g} s")
            self._enough.begin()

    # What a lane reports.

    def refused(self, call: Call, error: exceptions.ResponseError) -> bool:
        """Deliver an error reply: it concerns this call alone. False if the connection leads nowhere now."""
        self._breaker.succeeded()  # it is an answer
        if self._redirect is not None and isinstance(error, errors.REDIRECTS):
            self._redirect(call, error)
        elif call.source is not None and isinstance(error, exceptions.NoScriptError):
            self.submit(call.in_full(call.source))  # after a restart or SCRIPT FLUSH; nothing has run
        elif errors.declines(error):
            # Say, a primary that has become a replica: another connection may find the new one.
            call.fail(errors.unavailable(self._backend, error))
            if self._unreachable is not None:
                self._unreachable()
            return False
        else:
            call.fail(error)
        return True

    def finished(self, lane: Lane) -> None:
        """Send what waits over it, with what is asked for now that its replies are here."""
        self._breaker.succeeded()
        self._free[lane] = None
        if self._waiting:
            self._send_soon()

    def lost(self, lane: Lane, cause: BaseException, calls: Sequence[Call]) -> None:
        """Fail ``calls``, and have what waits sent over another lane."""
        self._free.pop(lane, None)
        if lane in self._lanes:  # or it was closed by choice
            self._lanes.remove(lane)
            if errors.is_timeout(cause):
                self._failed()
                self._fail_waiting(errors.REFUSED)
            elif calls and self._unreachable is not None:
                self._unreachable()
        for call in calls:
            # Each caller raises its own: a traceback grows with everyone who raises it.
            call.fail(errors.translate(cause, self._backend, self._timeout))
        if self._waiting:
            self._send_soon()

    def _failed(self) -> None:
        self._breaker.failed()
        if self._unreachable is not None:
            self._unreachable()

    def _fail_waiting(self, reason: object) -> None:
        waiting = list(self._waiting)
        self._waiting.clear()
        for call in waiting:
            call.fail(errors.unavailable(self._backend, reason))


def _heed(probe: "asyncio.Future[Any]") -> None:
    """Nobody awaits a probe: what it met with is the breaker's to know."""
    if not probe.cancelled():
        probe.exception()

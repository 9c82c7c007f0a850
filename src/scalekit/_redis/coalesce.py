"""Commands of one event loop to one server, sent together.

Rules:

* A *lane* is a connection in use. While fewer lanes than ``lanes`` are busy, a command goes out in this
  turn of the loop, together with everything else that was asked for in it. While all are busy it waits
  for the next one that is free, and then travels with everything that has gathered.
* Lanes are tasks of their own: a caller that is cancelled abandons its reply and nothing else.
* One time limit covers a batch, and begins again with each reply: a server that answers does not hang. When
  it passes, or the connection breaks, what is in flight fails and is never sent again. What still waits is
  sent over a new connection, or refused if the breaker has opened.
* A batch has at most 256 commands, and none more once it has a mebibyte: sending it and waiting for its first
  reply have one limit, and it fails as one.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from redis import exceptions

from scalekit._breaker import Breaker
from scalekit._patience import Patience
from scalekit._redis import errors
from scalekit._redis.wire import Argument

_BATCH = 256  # commands
_BYTES = 1 << 20


class Connections(Protocol):
    """Where a lane gets its connection, already connected, and gives it back."""

    async def acquire(self) -> Any: ...

    def leads(self, connection: Any) -> bool:
        """Whether a connection that is in use still leads where a new one would."""
        ...

    async def release(self, connection: Any) -> None: ...

    async def close(self) -> None: ...


class PoolConnections:
    """Connections of redis-py's pool."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def acquire(self) -> Any:
        # Notices a connection that the server has closed meanwhile, and opens it again.
        return await self._pool.get_connection()

    def leads(self, connection: Any) -> bool:
        return True

    async def release(self, connection: Any) -> None:
        await self._pool.release(connection)

    async def close(self) -> None:
        """The pool is closed by its owner."""


class Call:
    """One command on its way, and the future that its caller awaits.

    ``prelude`` counts the replies that come before the one the caller waits for; ``hops`` the redirections
    that were followed.
    """

    __slots__ = ("args", "data", "future", "hops", "prelude")

    def __init__(
        self,
        args: tuple[Argument, ...],
        data: bytes,
        future: "asyncio.Future[Any]",
        *,
        hops: int = 0,
        prelude: int = 0,
    ) -> None:
        self.args, self.data, self.future, self.hops, self.prelude = args, data, future, hops, prelude

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


Redirect = Callable[[Call, exceptions.ResponseError], None]


class Coalescer:
    """See the module.

    Args:
        connections: where connections come from.
        backend: the server's name, for messages.
        breaker: told how it went.
        lanes: connections in use at a time.
        connect_timeout: seconds to get a connected connection; ``None`` leaves it to redis-py.
        timeout: seconds for an exchange; ``None`` leaves it to redis-py.
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
        connect_timeout: float | None,
        timeout: float | None,
        redirect: Redirect | None = None,
        unreachable: Callable[[], None] | None = None,
    ) -> None:
        self._connections = connections
        self._backend = backend
        self._breaker = breaker
        self._lanes = lanes
        self._busy = 0
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._redirect = redirect
        self._unreachable = unreachable
        self._waiting: deque[Call] = deque()
        self._starting = False  # a lane was started and has not taken its first batch yet
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, call: Call) -> None:
        """Send ``call`` as soon as a lane is free; its future gets the reply or the error."""
        if not self._breaker.allows():
            call.fail(errors.unavailable(self._backend, errors.REFUSED))
            return
        self._waiting.append(call)
        if self._busy < self._lanes and not self._starting:
            self._start()

    async def close(self) -> None:
        """Stop the lanes; what waits or is in flight fails."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._connections.close()
        self._fail_waiting("the client was closed")

    def _start(self) -> None:
        self._busy += 1
        self._starting = True
        task = asyncio.get_running_loop().create_task(self._lane())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _lane(self) -> None:
        try:
            while self._waiting:
                connection = await self._connect()
                if connection is None:
                    return
                try:
                    fit = True
                    while self._waiting and fit:
                        fit = await self._exchange(connection, self._take()) and self._connections.leads(
                            connection
                        )
                finally:
                    await self._connections.release(connection)
        except BaseException:
            # Cancelled, or a fault of ours: nobody may wait for a lane that is gone.
            if self._busy == 1:
                self._fail_waiting("interrupted")
            raise
        finally:
            self._starting = False
            self._busy -= 1

    def _take(self) -> list[Call]:
        """The next batch. Callers that gave up while they waited are left out."""
        self._starting = False
        batch: list[Call] = []
        size = 0
        while self._waiting and len(batch) < _BATCH and size < _BYTES:
            call = self._waiting.popleft()
            if not call.future.done():
                batch.append(call)
                size += len(call.data)
        if self._waiting and self._busy < self._lanes:
            self._start()
        return batch

    async def _connect(self) -> Any:
        """A connected connection, or ``None``: another lane serves those who wait, or they have failed."""
        try:
            async with Patience(self._connect_timeout):
                return await self._connections.acquire()
        except exceptions.MaxConnectionsError as error:
            # The user's own pool is used up, by others: that says nothing about the server.
            if self._busy == 1:
                self._fail_waiting(error)
        except errors.FAILURES as error:
            if self._busy == 1:
                self._lost()
                late = isinstance(error, TimeoutError) and self._connect_timeout is not None
                self._fail_waiting(f"no connection within {self._connect_timeout:g} s" if late else error)
        return None

    async def _exchange(self, connection: Any, batch: list[Call]) -> bool:
        """Send ``batch`` and deliver its replies; false when the connection is of no more use."""
        if not batch:
            return True
        served = 0
        fit = True
        cause: BaseException = InterruptedError("interrupted")
        try:
            async with Patience(self._timeout) as patience:
                data = b"".join([call.data for call in batch])
                await connection.send_packed_command(data, check_health=False)
                for call in batch:
                    for _ in range(call.prelude):
                        await connection.read_response(disable_decoding=True, disconnect_on_error=False)
                    try:
                        reply = await connection.read_response(
                            disable_decoding=True, disconnect_on_error=False
                        )
                    except exceptions.ResponseError as error:
                        fit = self._refused(call, error) and fit
                    else:
                        if not call.future.done():
                            call.future.set_result(reply)
                    served += 1
                    patience.renew()
            self._breaker.succeeded()
        except errors.FAILURES as error:
            cause = error
            if errors.is_timeout(error):
                self._lost()
                self._fail_waiting(errors.REFUSED)
            elif self._unreachable is not None:
                self._unreachable()
        finally:
            if served < len(batch) or not fit:
                fit = False
                await connection.disconnect(nowait=True)
                for call in batch[served:]:
                    # Each caller raises its own: a traceback grows with everyone who raises it.
                    call.fail(errors.translate(cause, self._backend, self._timeout))
        return fit

    def _refused(self, call: Call, error: exceptions.ResponseError) -> bool:
        """Deliver an error reply: it concerns this call alone. False if the connection leads nowhere now."""
        if self._redirect is not None and isinstance(error, errors.REDIRECTS):
            self._redirect(call, error)
        elif errors.declines(error):
            # Say, a primary that has become a replica: another connection may find the new one.
            call.fail(errors.unavailable(self._backend, error))
            if self._unreachable is not None:
                self._unreachable()
            return False
        else:
            call.fail(error)
        return True

    def _lost(self) -> None:
        self._breaker.failed()
        if self._unreachable is not None:
            self._unreachable()

    def _fail_waiting(self, reason: object) -> None:
        waiting = list(self._waiting)
        self._waiting.clear()
        for call in waiting:
            call.fail(errors.unavailable(self._backend, reason))

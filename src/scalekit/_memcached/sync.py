"""The synchronous colour: for each server a pool of connections, for which threads wait their turn."""

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Self, TypeVar

from scalekit._memcached import errors, meta
from scalekit._memcached.commands import CommandSet, Replies
from scalekit._memcached.connection import Connection
from scalekit._memcached.errors import Malformed
from scalekit._memcached.source import CONNECTIONS, Server, Source
from scalekit._memcached.wire import Reply
from scalekit.errors import BackendError

T = TypeVar("T")


class SyncCommands(CommandSet):
    """See :class:`scalekit._memcached.Commands`. Each method returns a value."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._pools = {server: Pool(server, source) for server in source.servers}

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()

    def forked(self) -> None:
        for pool in self._pools.values():
            pool.forked()

    def _ask(self, key: str, data: bytes, read: Callable[[str, Reply], T]) -> T:
        server = self._source.pick(key)
        return read(server.name, self._pools[server].exchange(data))

    def _ask_all(self, parcels: Mapping[Server, Sequence[bytes]], read: Callable[[Replies], T]) -> T:
        with contextlib.ExitStack() as stack:
            # In one order for all threads: those that have a connection to one server and wait for one to
            # another would wait for each other.
            trips = {
                server: stack.enter_context(Trip(pool, parcels[server]))
                for server, pool in self._pools.items()
                if server in parcels
            }
            return read({server: trip.replies() for server, trip in trips.items()})


class Pool:
    """The connections to one server. At most ``max_connections`` commands are on their way at a time."""

    def __init__(self, server: Server, source: Source) -> None:
        self._server, self._source, self._limits = server, source, source.limits
        self.timeout = source.limits.timeout
        self._begin()

    def exchange(self, data: bytes) -> Reply:
        """Send a command and return its reply."""
        with self.turn():
            self.admit()
            return self._exchange(data, self.take())

    def _exchange(self, data: bytes, connection: Connection) -> Reply:
        fit = False
        try:
            reply = connection.ask(data, self._limits.timeout)
            fit = reply.fit
        except (OSError, EOFError, Malformed) as error:
            raise self.fault(error) from error
        finally:
            # Also when the thread was interrupted: the reply that is still to come is nobody else's.
            self.give_back(connection, fit=fit)
        self._breaker.succeeded()
        return reply

    def close(self) -> None:
        _close_all(self._idle)

    def forked(self) -> None:
        # Closing a socket here closes no more than this process's own file; it is not shut down.
        self._closing.detach()
        _close_all(self._idle)
        self._begin()

    def _begin(self) -> None:
        self._idle: list[Connection] = []
        self._turns = threading.BoundedSemaphore(self._limits.max_connections or CONNECTIONS)
        self._breaker = self._limits.breaker()
        self._closing = weakref.finalize(self, _close_all, self._idle)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        limits = self._limits
        if not self._turns.acquire(timeout=limits.timeout):
            raise errors.unavailable(
                self._server.name,
                f"all {limits.max_connections} connections stayed in use for {limits.timeout:g} s; "
                "raise max_connections or use fewer threads",
            )
        try:
            yield
        finally:
            self._turns.release()

    def admit(self) -> None:
        """Refuse while the server is taken to be down."""
        if not self._breaker.allows() or (self._limits.spare_callers and self._probe()):
            raise errors.unavailable(self._server.name, errors.DOWN)

    def _probe(self) -> bool:
        """Ask a question of our own, if we were let through to probe the server."""
        if not self._breaker.open:
            return False
        # There is none when the interpreter shuts down.
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=self._knock, name="scalekit-memcached-probe", daemon=True).start()
        return True

    def _knock(self) -> None:
        try:
            with self.turn():
                self._exchange(meta.NOOP, self._connect(self._limits.connecting))
        except BackendError:
            # Also if it hung up, which is no failure otherwise: or no other probe would be due for long.
            self._breaker.failed()

    def take(self) -> Connection:
        """The connection that was used last: the others may be closed by the server meanwhile."""
        with contextlib.suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if connection.sound():
                    return connection
                connection.close()
        return self._connect(self._limits.connect_timeout)

    def give_back(self, connection: Connection, *, fit: bool) -> None:
        if fit:
            self._idle.append(connection)
        else:
            connection.close()

    def answered(self) -> None:
        """The server is there."""
        self._breaker.succeeded()

    def fault(self, error: Exception) -> BackendError:
        """What a connection raised, in scalekit's words."""
        if isinstance(error, TimeoutError):
            self._breaker.failed()
            return errors.timed_out(self._server.name, self._limits.timeout)
        return errors.unavailable(self._server.name, error or type(error).__name__)

    def _connect(self, limit: float) -> Connection:
        try:
            return Connection(self._server, self._source, limit)
        except OSError as error:
            self._breaker.failed()
            late = isinstance(error, TimeoutError)
            reason = f"no connection within {limit:g} s" if late else error
            raise errors.unavailable(self._server.name, reason) from error


class Trip:
    """Several commands to one server and their replies: sent when it is entered, read when they are wanted.

    Each Trip has a connection for itself, until it is left.
    """

    def __init__(self, pool: Pool, commands: Sequence[bytes]) -> None:
        self._pool, self._commands = pool, commands
        self._fit = False

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._pool.turn())
            self._pool.admit()
            self._connection = self._pool.take()
            stack.callback(self._leave)
            try:
                self._connection.send(b"".join(self._commands), self._pool.timeout)
            except OSError as error:
                raise self._pool.fault(error) from error
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def replies(self) -> list[Reply]:
        try:
            replies = [self._connection.receive() for _ in self._commands]
        except (OSError, EOFError, Malformed) as error:
            raise self._pool.fault(error) from error
        self._fit = all(reply.fit for reply in replies)
        self._pool.answered()
        return replies

    def _leave(self) -> None:
        self._pool.give_back(self._connection, fit=self._fit)


def _close_all(connections: list[Connection]) -> None:
    with contextlib.suppress(IndexError):
        while True:
            connections.pop().close()

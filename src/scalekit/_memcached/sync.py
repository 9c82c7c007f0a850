"""The synchronous colour: for each server a pool of connections, for which threads wait their turn."""

import contextlib
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import TypeVar

from scalekit._memcached import errors
from scalekit._memcached.commands import CommandSet
from scalekit._memcached.errors import Malformed
from scalekit._memcached.idle import readable
from scalekit._memcached.source import Server, Source
from scalekit._memcached.wire import Replies, Reply

T = TypeVar("T")

_CHUNK = 1 << 16


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


class Pool:
    """The connections to one server. At most ``max_connections`` commands are on their way at a time."""

    def __init__(self, server: Server, source: Source) -> None:
        self._server, self._source, self._limits = server, source, source.limits
        self._begin()

    def exchange(self, data: bytes) -> Reply:
        """Send a command and return its reply."""
        with self._turn():
            if not self._breaker.allows():
                raise errors.unavailable(self._server.name, errors.DOWN)
            connection = self._take() or self._connect()
            fit = False
            try:
                reply = connection.ask(data, self._limits.timeout)
                fit = reply.fit
            except TimeoutError as error:
                self._breaker.failed()
                raise errors.timed_out(self._server.name, self._limits.timeout) from error
            except (OSError, EOFError, Malformed) as error:
                raise errors.unavailable(self._server.name, error or type(error).__name__) from error
            finally:
                # Also when the thread was interrupted: the reply that is still to come is nobody else's.
                if fit:
                    self._idle.append(connection)
                else:
                    connection.close()
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
        self._turns = threading.BoundedSemaphore(self._limits.max_connections)
        self._breaker = self._limits.breaker()
        self._closing = weakref.finalize(self, _close_all, self._idle)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
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

    def _take(self) -> "Connection | None":
        """The connection that was used last: the others may be closed by the server meanwhile."""
        with contextlib.suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if connection.sound():
                    return connection
                connection.close()
        return None

    def _connect(self) -> "Connection":
        limit = self._limits.connect_timeout
        try:
            return Connection(self._server, self._source, limit)
        except OSError as error:
            self._breaker.failed()
            late = isinstance(error, TimeoutError)
            reason = f"no connection within {limit:g} s" if late else error
            raise errors.unavailable(self._server.name, reason) from error


class Connection:
    """One socket. Raises what the socket raises, EOFError, or Malformed."""

    def __init__(self, server: Server, source: Source, timeout: float) -> None:
        place = server.place
        if isinstance(place, str):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            self._socket = socket.create_connection(place, timeout)
        try:
            self._socket.settimeout(timeout)
            if isinstance(place, str):
                self._socket.connect(place)
            else:
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if source.tls is not None:
                    self._socket = source.tls.wrap_socket(self._socket, server_hostname=place[0])
        except BaseException:
            self._socket.close()
            raise
        self._replies = Replies()

    def ask(self, data: bytes, timeout: float) -> Reply:
        """Send and receive; ``timeout`` is for both together."""
        until = time.monotonic() + timeout
        self._socket.settimeout(timeout)
        self._socket.sendall(data)
        while (reply := self._replies.next()) is None:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            received = self._socket.recv(_CHUNK)
            if not received:
                raise EOFError("the server has closed the connection")
            self._replies.feed(received)
        return reply

    def sound(self) -> bool:
        """Whether the server has neither closed it nor said something unasked."""
        return not self._replies.pending and not readable(self._socket)

    def close(self) -> None:
        self._socket.close()


def _close_all(connections: "list[Connection]") -> None:
    with contextlib.suppress(IndexError):
        while True:
            connections.pop().close()

"""Connections of a synchronous pool that go from command to command.

redis-py's pool locks, counts and reports whenever a connection is taken or given back, which takes as long as
a command itself. Here it is asked only for one that is not there. It goes on to count a kept one as in use:
it closes that, too, when it is closed.
"""

from collections import deque
from typing import Any

from scalekit._redis import errors


class KeptConnections:
    """The connections of ``pool``; the one that was used last is used first."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._kept: deque[Any] = deque()  # threads share it: its append and pop are atomic

    def get_connection(self) -> Any:
        """A connection that is ready to send; raises what the pool raises."""
        try:
            connection = self._kept.pop()
        except IndexError:
            return self._pool.get_connection()
        if _is_ready(connection):
            return connection
        connection.disconnect()
        self._pool.release(connection)
        return self._pool.get_connection()

    def disconnect(self, *, inuse_connections: bool) -> None:
        self._pool.disconnect(inuse_connections=inuse_connections)

    def release(self, connection: Any) -> None:
        """Give a connection back; one that was disconnected goes to the pool."""
        if connection._sock is None:
            self._pool.release(connection)
        else:
            self._kept.append(connection)


def _is_ready(connection: Any) -> bool:
    """Whether it is open, and has nothing to read: an answer to nobody, or that the server has closed it."""
    if connection._sock is None:
        return False
    try:
        return not connection.can_read()
    except errors.FAILURES:
        return False
    except TypeError:  # closed by another thread just now, it has no socket to look at any more
        return False

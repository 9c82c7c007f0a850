"""PyMySQL, for synchronous code."""

from typing import Any
from weakref import WeakKeyDictionary

import pymysql  # type: ignore[import-untyped]

from scalekit.database.drivers import sockets
from scalekit.database.drivers.mysql_common import MySQLDriver


class _UntilOpen(float):
    """A time-out for answers that holds while the connection is opened only."""


class PyMySQL(MySQLDriver):
    """Sockets of the standard library, one for each thread that waits."""

    errors: tuple[type[Exception], ...] = (pymysql.err.OperationalError, pymysql.err.Error)

    def __init__(self, *, is_mariadb: bool) -> None:
        super().__init__(is_mariadb=is_mariadb)
        self._addresses: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    def parameters(self, given: dict[str, Any], *, read_only: bool, timeout: float) -> dict[str, Any]:
        # Its connect time-out ends with the socket's; the handshake that follows has none of its own.
        return {"connect_timeout": timeout, "read_timeout": _UntilOpen(timeout), **given}

    def opened(self, connection: Any, *, read_only: bool) -> None:
        self._addresses[connection] = sockets.addresses(connection._sock.fileno())
        super().opened(connection, read_only=read_only)
        if isinstance(connection._read_timeout, _UntilOpen):
            connection._read_timeout = None

    def is_closed(self, connection: Any) -> bool:
        socket = connection._sock
        return socket is None or sockets.hung_up(socket.fileno())

    def cut(self, connection: Any) -> None:
        socket = connection._sock
        if socket is not None and (descriptor := socket.fileno()) >= 0:
            sockets.shut_socket(descriptor, addresses=self._addresses.get(connection))

"""asyncmy."""

from typing import Any

import asyncmy

from scalekit.database.drivers import sockets
from scalekit.database.drivers.mysql_common import MySQLDriver, in_time
from scalekit.database.drivers.protocol import raw


class Asyncmy(MySQLDriver):
    """Transports of asyncio; used in the thread of the connection's event loop only."""

    errors: tuple[type[Exception], ...] = (asyncmy.errors.OperationalError, asyncmy.errors.Error)

    def parameters(self, given: dict[str, Any], *, read_only: bool, timeout: float) -> dict[str, Any]:
        return in_time(asyncmy.connect, given, timeout=timeout)

    def is_closed(self, connection: Any) -> bool:
        driver_connection = raw(connection)
        transport = driver_connection._transport
        if transport is None or transport.is_closing() or driver_connection._proto.eof:
            return True
        # The event loop may not have come to it yet.
        return sockets.hung_up(transport.get_extra_info("socket").fileno())

    def cut(self, connection: Any) -> None:
        transport = raw(connection)._transport
        if transport is not None:
            transport.abort()

"""aiomysql."""

import asyncio
from typing import Any

import aiomysql  # type: ignore[import-untyped]

from scalekit.database.drivers import sockets
from scalekit.database.drivers.mysql_common import MySQLDriver, in_time
from scalekit.database.drivers.protocol import raw


class Aiomysql(MySQLDriver):
    """Streams of asyncio; used in the thread of the connection's event loop only."""

    errors: tuple[type[Exception], ...] = (aiomysql.OperationalError, aiomysql.Error)

    def parameters(self, given: dict[str, Any], *, read_only: bool, timeout: float) -> dict[str, Any]:
        return in_time(_connect, given, timeout=timeout)

    def is_closed(self, connection: Any) -> bool:
        driver_connection = raw(connection)
        writer = driver_connection._writer
        if writer is None or writer.is_closing() or driver_connection._reader.at_eof():
            return True
        # The event loop may not have come to it yet.
        return sockets.hung_up(writer.get_extra_info("socket").fileno())

    def cut(self, connection: Any) -> None:
        writer = raw(connection)._writer
        if writer is not None:
            writer.transport.abort()


async def _connect(*arguments: Any, **parameters: Any) -> Any:
    """As ``aiomysql.connect()``, which leaves its socket open when it is cancelled."""
    connection = aiomysql.Connection(*arguments, **parameters)
    try:
        await connection._connect()
    except asyncio.CancelledError:
        connection.close()
        raise
    return connection

"""asyncmy."""

import asyncio
from typing import Any

import asyncmy

from scalekit.database.drivers import sockets
from scalekit.database.drivers.mysql_common import MySQLDriver
from scalekit.database.drivers.protocol import raw


class Asyncmy(MySQLDriver):
    """Transports of asyncio; used in the thread of the connection's event loop only."""

    errors: tuple[type[Exception], ...] = (asyncmy.errors.OperationalError, asyncmy.errors.Error)

    def parameters(self, given: dict[str, Any], *, read_only: bool, timeout: float) -> dict[str, Any]:
        connect = given.get("async_creator_fn", asyncmy.connect)
        budget = float(given.get("connect_timeout", timeout))

        async def within_budget(*arguments: Any, **parameters: Any) -> Any:
            # Its connect time-out ends with the socket's; the handshake that follows has none.
            async with asyncio.timeout(budget):
                return await connect(*arguments, **parameters)

        return {"connect_timeout": timeout, **given, "async_creator_fn": within_budget}

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

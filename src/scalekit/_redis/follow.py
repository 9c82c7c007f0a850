"""The master that Sentinels name, asked for again and again.

redis-py asks the Sentinels when it connects, and never again. A master that hands over on request goes on to
answer for some ten seconds, until a Sentinel makes a replica of it: what it takes meanwhile is lost, and
servers that have connected since see something else. So the Sentinels are asked every second while there is
traffic, and connections to another server than they name are not used any more. No command waits for that;
Sentinels that do not answer change nothing.
"""

import asyncio
import contextlib
import math
import threading
import time
from typing import Any

from scalekit._redis import errors
from scalekit._redis.coalesce import PoolConnections
from scalekit._redis.topology import Place

INTERVAL = 1.0  # seconds


class MasterConnections(PoolConnections):
    """Connections of redis-py's asynchronous ``SentinelConnectionPool``."""

    def __init__(self, pool: Any) -> None:
        super().__init__(pool)
        self._due = time.monotonic() + INTERVAL
        self._asking: asyncio.Task[None] | None = None

    async def acquire(self) -> Any:
        self._look()
        return await super().acquire()

    def leads(self, place: Place) -> bool:
        self._look()
        led: bool = self._pool.master_address == place
        return led

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    def _look(self) -> None:
        if time.monotonic() >= self._due:
            self._due = math.inf
            self._asking = asyncio.get_running_loop().create_task(self._ask())

    async def _ask(self) -> None:
        try:
            with contextlib.suppress(*errors.FAILURES):
                await self._pool.get_master_address()
        finally:
            self._due = time.monotonic() + INTERVAL


class MasterPool:
    """redis-py's ``SentinelConnectionPool`` for threads."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._due = time.monotonic() + INTERVAL

    def get_connection(self) -> Any:
        if time.monotonic() >= self._due:
            self._look()
        return self._pool.get_connection()

    def disconnect(self, *, inuse_connections: bool) -> None:
        self._pool.disconnect(inuse_connections=inuse_connections)

    def release(self, connection: Any) -> None:
        self._pool.release(connection)  # which closes it if it leads to another server by now

    def _look(self) -> None:
        with self._lock:
            if time.monotonic() < self._due:
                return
            self._due = math.inf
        with contextlib.suppress(RuntimeError):  # no thread starts while the interpreter ends
            threading.Thread(target=self._ask, name="scalekit-sentinel", daemon=True).start()

    def _ask(self) -> None:
        try:
            with contextlib.suppress(*errors.FAILURES):
                self._pool.get_master_address()
        finally:
            self._due = time.monotonic() + INTERVAL

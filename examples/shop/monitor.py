"""How far the replicas are behind, asked of the databases themselves."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass

import asyncpg

from examples.shop.databases import Databases

_QUESTION = """
SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END
       - '0/0'::pg_lsn
"""


@dataclass
class Lag:
    """``seconds`` since the primary was where the replica is now."""

    bytes: int = 0
    seconds: float = 0.0


class Monitor:
    def __init__(self, databases: Databases) -> None:
        self._databases = databases
        self._connections: dict[str, asyncpg.Connection] = {}
        self._history: deque[tuple[float, int]] = deque(maxlen=2_000)
        self.lags: dict[str, Lag | None] = {}

    async def watch(self, *, interval: float = 0.4) -> None:
        """Ask for ever."""
        try:
            while True:
                await self._ask_all()
                await asyncio.sleep(interval)
        finally:
            for connection in self._connections.values():
                connection.terminate()

    async def _ask_all(self) -> None:
        primary = self._databases.primary
        head = await self._ask(primary)
        if head is not None:
            if self._history and self._history[-1][1] == head:
                self._history.pop()  # an idle primary: all of it is as new as now
            self._history.append((time.monotonic(), head))
        for name in self._databases.nodes:
            if name == primary:
                self.lags[name] = None
                continue
            position = await self._ask(name)
            if position is None or not self._history:
                self.lags[name] = None
            else:
                # An idle primary now and then writes a record that no replica has to show anything for.
                behind = max(0, self._history[-1][1] - position)
                then = next((at for at, place in reversed(self._history) if place <= position), None)
                now = self._history[-1][0]
                seconds = now - then if then is not None else now - self._history[0][0]
                self.lags[name] = Lag(behind, seconds)

    async def _ask(self, name: str) -> int | None:
        node = self._databases.nodes[name]
        try:
            async with asyncio.timeout(1.0):
                if name not in self._connections:
                    self._connections[name] = await asyncpg.connect(
                        host=node.host, port=node.port, user="postgres", database="postgres"
                    )
                return int(await self._connections[name].fetchval(_QUESTION))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection = self._connections.pop(name, None)
            if connection is not None:
                connection.terminate()
            return None

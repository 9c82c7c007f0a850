"""What the circuit breaker of a Redis server is told."""

import asyncio
from typing import Any

import redis.asyncio

from scalekit._breaker import Breaker
from scalekit._redis.coalesce import Coalescer, PoolConnections
from scalekit._redis.lane import Call
from tests.core.test_breaker import Clock


class Observed(PoolConnections):
    """Connections of a pool; says when one was given back."""

    def __init__(self, pool: Any) -> None:
        super().__init__(pool)
        self.released = asyncio.Event()

    async def release(self, connection: Any) -> None:
        await super().release(connection)
        self.released.set()


async def test_a_probe_whose_caller_gave_up_is_no_answer(redis_url: str) -> None:
    """Cancelled while it waited for a connection, it was never sent: that says nothing about the server."""
    clock = Clock()
    breaker = Breaker(cooldown=1.0, patience=2.0, clock=clock)
    async with redis.asyncio.from_url(redis_url) as client:
        connections = Observed(client.connection_pool)
        coalescer = Coalescer(
            connections, backend="redis", breaker=breaker, lanes=1, connect_timeout=10, timeout=10
        )
        breaker.failed()
        clock.now += 1.0
        probe: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        coalescer.submit(Call(("PING",), b"*1\r\n$4\r\nPING\r\n", probe))
        probe.cancel()
        await connections.released.wait()
        assert breaker.open
        await coalescer.close()

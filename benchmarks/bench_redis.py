"""GET of 1 KB: ours against redis-py's own pool; floor: one raw pipeline for all."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import redis
import redis.asyncio

from benchmarks.harness import Case
from scalekit._redis import Redis
from tests.servers import RedisServer


async def cases() -> AsyncIterator[Case]:
    with RedisServer() as server:
        commands = Redis.from_url(server.url).using("async")
        # Its default pool raises above 100 concurrent commands; a larger one is what its users set.
        client = redis.asyncio.from_url(server.url, max_connections=200)
        await client.set("key", "x" * 1024)

        async def ours() -> object:
            return await commands.execute("GET", "key")

        async def peer() -> object:
            return await client.get("key")

        def repeat(
            function: Callable[[], Awaitable[object]], concurrent: int, times: int
        ) -> Callable[[], object]:
            async def run() -> None:
                for _ in range(times):
                    if concurrent == 1:
                        await function()
                    else:
                        await asyncio.gather(*(function() for _ in range(concurrent)))

            return run

        def floor(concurrent: int, times: int) -> Callable[[], object]:
            async def run() -> None:
                for _ in range(times):
                    async with client.pipeline(transaction=False) as pipeline:
                        for _ in range(concurrent):
                            pipeline.get("key")
                        await pipeline.execute()

            return run

        for concurrent, times in ((1, 100), (32, 6), (128, 2)):
            yield Case(
                piece="redis",
                name=f"GET 1 KB, {concurrent} concurrent",
                ours=repeat(ours, concurrent, times),
                peers={f"redis-py {redis.__version__} pool": repeat(peer, concurrent, times)},
                floor=floor(concurrent, times),
                units=concurrent * times,
            )
        await client.aclose()
        await commands.close()

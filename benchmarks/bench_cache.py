"""A hit in Redis: 50 rows of 6 typed fields, against cashews; floor: redis-py GET and a typed decode."""

import asyncio
import dataclasses
import datetime as dt
import decimal
from collections.abc import AsyncIterator, Awaitable, Callable

import cashews
import msgspec
import redis.asyncio

from benchmarks.harness import Case
from scalekit.cache import Cache
from scalekit.cache.redis import RedisBackend
from tests.servers import RedisServer


@dataclasses.dataclass(frozen=True)
class Row:
    id: int
    name: str
    price: decimal.Decimal
    stock: int
    created: dt.datetime
    active: bool


Query = Callable[[str], Awaitable[list[Row]]]

ROWS = [
    Row(number, f"product {number}", decimal.Decimal("19.90"), number * 3, dt.datetime(2026, 1, 1, 12), True)
    for number in range(50)
]


async def cases() -> AsyncIterator[Case]:
    with RedisServer() as server:
        cache = Cache(RedisBackend.from_url(server.url))
        peers = 0
        theirs = cashews.Cache()
        theirs.setup(server.url, client_side=False, max_connections=100)
        client = redis.asyncio.from_url(server.url)
        decode = msgspec.msgpack.Decoder(list[Row]).decode
        await client.set("floor", msgspec.msgpack.encode(ROWS))

        @cache.query(ttl=600, reads=["product"])
        async def ours(category: str) -> list[Row]:
            return ROWS

        @theirs(ttl=600)
        async def peer(category: str) -> list[Row]:
            nonlocal peers
            peers += 1
            return ROWS

        async def floor(category: str) -> list[Row]:
            value = await client.get("floor")
            assert value is not None
            return decode(value)

        def repeat(function: Query, names: list[str], times: int) -> Callable[[], object]:
            async def run() -> None:
                for _ in range(times):
                    if len(names) == 1:
                        await function(names[0])
                    else:
                        await asyncio.gather(*(function(name) for name in names))

            return run

        many = [f"category {number}" for number in range(32)]
        for what, names, times in (
            ("hit in Redis, 1 at a time", many[:1], 30),
            ("hit in Redis, 32 different ones at a time", many, 3),
            # cashews has the 32 share one GET and one object; here each has an object of its own.
            ("hit in Redis, the same one 32 times at a time", many[:1] * 32, 3),
        ):
            yield Case(
                piece="cache",
                name=what,
                ours=repeat(ours, names, times),
                peers={"cashews 7.6.0": repeat(peer, names, times)},
                floor=repeat(floor, names, times),
                units=len(names) * times,
            )
        assert (cache.stats().computes, peers) == (32, 32)
        await client.aclose()
        await theirs.close()
        await cache.close()

"""One server of several is away, and comes back not knowing what was invalidated meanwhile."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import redis.asyncio

from scalekit.cache import Cache, debts
from scalekit.cache.backend import Backend, Lookup
from scalekit.cache.memcached import MemcachedBackend
from scalekit.cache.redis import RedisBackend
from scalekit.errors import BackendError
from tests.faults import FaultProxy, kill
from tests.servers import Memcached, RedisCluster

NUMBERS = range(45)


class Shop:
    """A process, and the database that all of them share."""

    source = 1

    def __init__(self, backend: Backend, *, batch: bool = False) -> None:
        self.batch = batch
        self.cache = Cache(backend)

        @self.cache.query(ttl=3600, tags=["number:{number}"], name="stock")
        async def stock(number: int) -> int:
            return Shop.source

        @self.cache.batch(ttl=3600, tags=["number:{id}"], name="stocks")
        async def stocks(ids: list[int]) -> dict[int, int]:
            return dict.fromkeys(ids, Shop.source)

        self.stock: Any = stock
        self.stocks: Any = stocks
        self.entries: Any = backend.using("async")

    def elsewhere(self, number: int) -> set[str]:
        tags = (f"number:{number}",)
        key = self.stocks.key(number) if self.batch else self.stock.key(number)
        return set(self.entries.elsewhere(Lookup(key, tags)))

    async def ask(self, *numbers: int) -> set[int]:
        if self.batch:
            return set((await self.stocks(numbers)).values())
        return {await self.stock(number) for number in numbers}

    async def lose_track(self, *numbers: int) -> None:
        """Fail to tell that these have changed, and end."""
        with pytest.raises(BackendError):
            await self.cache.invalidate_tags(*(f"number:{number}" for number in numbers))
        while owed := self.cache._core.invalidation.debts:
            owed.paid(owed.copy())
        await self.cache.close()


@dataclass
class Place:
    """A back end of several servers, and the network before each, by the end of its name."""

    make: Callable[[], Backend]
    proxies: dict[str, FaultProxy]


@pytest.fixture(params=["memcached", "cluster"])
async def place(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[Place]:
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "memcached":
            server: Memcached = request.getfixturevalue("memcached_server")
            behind = [(server.host, server.port)] * 3  # keys are spread by address: three ways are three
        else:
            cluster: RedisCluster = request.getfixturevalue("redis_cluster")
            behind = [(node.host, node.port) for node in cluster.masters]
        proxies = [await stack.enter_async_context(FaultProxy(*at)) for at in behind]
        places = [f"{proxy.host}:{proxy.port}" for proxy in proxies]
        ways = {at: (proxy.host, proxy.port) for at, proxy in zip(behind, proxies, strict=True)}

        def make() -> Backend:
            if request.param == "memcached":
                return MemcachedBackend.from_url(
                    f"memcached://{','.join(places)}",
                    prefix=prefix,
                    timeout=30,
                    connect_timeout=30,
                    cooldown=0.05,
                )
            host, port = behind[0]
            client = redis.asyncio.RedisCluster(
                host, port, address_remap=lambda at: ways.get(at, at), socket_timeout=30
            )
            stack.push_async_callback(client.aclose)
            return RedisBackend(client, prefix=prefix)

        yield Place(make, dict(zip(places, proxies, strict=True)))


@pytest.mark.parametrize("batch", [False, True])
async def test_what_one_server_was_not_told(
    place: Place, batch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """15. Who saw that it was away drops everything once it is back, though others answered all the time.
    What these have is served meanwhile, and nothing of the one that is away."""
    monkeypatch.setattr(debts, "OUTAGE", 0.2)
    Shop.source = 1
    here, gone = Shop(place.make(), batch=batch), Shop(place.make(), batch=batch)
    outage = here.cache._core.invalidation.outage
    assert await here.ask(*NUMBERS) == await gone.ask(*NUMBERS) == {1}
    # Not the one that has the generation: without it nothing is served.
    away = sorted({name for number in NUMBERS for name in here.elsewhere(number)})[0]
    near = [number for number in NUMBERS if away in here.elsewhere(number)]
    far = [number for number in NUMBERS if away not in here.elsewhere(number)]
    assert near
    assert far
    proxy = next(proxy for at, proxy in place.proxies.items() if away.endswith(at))
    await asyncio.to_thread(proxy.refuse)
    Shop.source = 2
    await gone.lose_track(*far)
    async with asyncio.timeout(30):
        while outage.seconds() is None:
            assert await here.ask(*far[:2]) == {2}
            assert await here.ask(*near[:2]) == {1}
            await asyncio.sleep(0.02)
    assert outage.seconds(here.elsewhere(near[0])) is None
    assert await here.ask(*near) == {1}
    await asyncio.to_thread(proxy.pass_through)
    async with asyncio.timeout(30):
        while outage.began:
            assert await here.ask(*far) == {2}
            await asyncio.sleep(0.02)
    assert await here.ask(*far) == {2}
    other = Shop(place.make(), batch=batch)
    assert await other.ask(*far) == {2}  # and so for everybody
    for shop in (here, other):
        await shop.cache.close()


@pytest.mark.slow
async def test_what_one_node_was_not_told_before_another_took_over(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """15. Of a Redis Cluster, whose other nodes go on: what the new one has is from before the outage."""
    monkeypatch.setattr(debts, "OUTAGE", 0.2)
    Shop.source = 1
    with RedisCluster() as cluster:
        for node in cluster.servers:
            await asyncio.to_thread(node.call, "CONFIG", "SET", "cluster-require-full-coverage", "no")
        here, gone = (
            Shop(RedisBackend.from_url(cluster.url, prefix=prefix, cooldown=0.05)) for _ in range(2)
        )
        assert await here.ask(*NUMBERS) == await gone.ask(*NUMBERS) == {1}
        await asyncio.to_thread(cluster.wait_ok)
        away = sorted({name for number in NUMBERS for name in here.elsewhere(number)})[0]
        far = [number for number in NUMBERS if away not in here.elsewhere(number)]
        near = [number for number in NUMBERS if away in here.elsewhere(number)]
        old = next(node for node in cluster.masters if away.endswith(f":{node.port}"))
        await asyncio.to_thread(cluster.hurry)
        await asyncio.to_thread(kill, old)
        Shop.source = 2
        await gone.lose_track(*far)
        async with asyncio.timeout(60):
            before = here.cache.stats().fills
            while here.cache.stats().fills == before:  # until the new one lets something be stored
                assert await here.ask(*far) == {2}
                await here.ask(*near[:2])
                await asyncio.sleep(0.02)
        assert await here.ask(*far) == {2}
        await here.cache.close()

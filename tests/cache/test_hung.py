"""Redis that hangs, and Redis that is refused, with the time-outs that the cache has by itself.

What is counted is who waits. A call "at once" is done after turns of the event loop in which that waits for
nothing: it has asked nobody.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest
import redis.asyncio

from scalekit import _patience
from scalekit.cache import Cache
from scalekit.cache import redis as redis_backend
from scalekit.cache.redis import RedisBackend
from tests.faults import FaultProxy
from tests.patience import TIMEOUTS
from tests.servers import RedisServer

_WITHIN = 30.0  # seconds
Break = Callable[[FaultProxy], None]


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[FaultProxy]:
    with FaultProxy(redis_server.host, redis_server.port) as made:
        yield made


async def is_at_once(call: Coroutine[Any, Any, Any], expected: object) -> bool:
    """Whether ``call`` returns ``expected`` within turns of the loop that wait for nothing."""
    task = asyncio.ensure_future(call)
    for _ in range(20):
        await asyncio.sleep(0)
    return task.done() and task.result() == expected


async def settled(query: Callable[[int], Awaitable[int]], cache: Cache) -> None:
    """Return when a call is answered from Redis."""
    async with asyncio.timeout(_WITHIN):
        hits = cache.stats().hits
        while cache.stats().hits == hits:
            await query(0)
            await asyncio.sleep(0.005)


def test_a_hung_server_costs_fifty_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """14. By arithmetic: a time-out, and on an event loop a slice of one more. Connecting costs callers as
    much and no more."""
    most = (_patience._SLICES + 1) / _patience._SLICES
    monkeypatch.setattr(redis_backend, "TIMEOUT", TIMEOUTS["redis"])
    limits = RedisBackend.from_url("redis://localhost")._link._source.limits
    assert limits.timeout * most <= 0.05
    assert limits.connect_timeout * most <= 0.05
    assert limits.spare_callers


@pytest.mark.parametrize("broken", [FaultProxy.blackhole, FaultProxy.refuse])
async def test_only_the_first_call_waits(
    broken: Break, proxy: FaultProxy, redis_server: RedisServer, prefix: str
) -> None:
    """14. Hung or refused: the first calls try, and have their results without an error; all later ones are
    run at once, also those during which Redis is tried again, until it answers. Then it is used again."""
    backend = RedisBackend.from_url(
        proxy.url(redis_server.url), prefix=prefix, timeout=0.1, connect_timeout=0.1, cooldown=0.2
    )
    cache = Cache(backend)

    @cache.query(ttl=60, tags=["t"])
    async def query(number: int) -> int:
        return number

    await settled(query, cache)
    broken(proxy)
    fills, asked = cache.stats().fills, proxy.accepted
    assert await query(1) == 1  # when refused, its connection has broken
    assert await query(2) == 2  # and then there is no other
    async with asyncio.timeout(_WITHIN):
        number, waited, tried = 3, 0, 0.0
        while tried < 0.4 or (broken is FaultProxy.blackhole and proxy.accepted < asked + 3):
            waited += not await is_at_once(query(number), number)
            number, tried = number + 1, tried + 0.01
            await asyncio.sleep(0.01)
    assert waited == 0
    assert cache.stats().fills == fills
    assert cache.stats().errors >= number - 1
    proxy.pass_through()
    await settled(query, cache)
    await cache.close()


async def test_a_client_that_was_given_is_probed_beside_its_callers(
    proxy: FaultProxy, redis_server: RedisServer, prefix: str
) -> None:
    """14. With time-outs of its own: these are what the first call costs, and the others wait for nothing."""
    async with redis.asyncio.from_url(proxy.url(redis_server.url), socket_timeout=0.1) as client:
        cache = Cache(RedisBackend(client, prefix=prefix))

        @cache.query(ttl=60)
        async def query(number: int) -> int:
            return number

        await settled(query, cache)
        proxy.blackhole()
        asked = proxy.accepted
        assert await query(1) == 1
        async with asyncio.timeout(_WITHIN):
            while proxy.accepted < asked + 3:
                assert await is_at_once(query(2), 2)
                await asyncio.sleep(0.01)
        await cache.close()


@pytest.mark.parametrize("broken", [FaultProxy.blackhole, FaultProxy.refuse])
async def test_the_database_is_asked_once_at_a_time(
    broken: Break, proxy: FaultProxy, redis_server: RedisServer, prefix: str
) -> None:
    """14. Of a hundred callers of one key all have a result that is not older than their call, and at no
    moment there is more than one query."""
    cache = Cache(RedisBackend.from_url(proxy.url(redis_server.url), prefix=prefix, timeout=0.1))
    running = most = runs = 0

    @cache.query(ttl=60)
    async def query() -> int:
        nonlocal running, most, runs
        runs, running = runs + 1, running + 1
        most = max(most, running)
        await asyncio.sleep(0.002)
        running -= 1
        return runs

    await query()
    broken(proxy)
    for _ in range(3):
        before = runs
        results = await asyncio.gather(*(query() for _ in range(100)))
        assert min(results) > before
        assert most == 1
        assert runs - before < 10
    await cache.close()

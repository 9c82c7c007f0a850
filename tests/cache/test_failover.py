"""A replica takes over that has not heard of the last invalidation: Redis replicates behind."""

import asyncio
from contextlib import ExitStack

import pytest

from scalekit.cache import Cache
from scalekit.cache.redis import RedisBackend
from scalekit.errors import BackendError
from tests.faults import freeze, kill
from tests.servers import RedisSentinel

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("noticed", [True, False], ids=["noticed", "unnoticed"])
async def test_an_invalidation_that_a_failover_has_lost(prefix: str, noticed: bool) -> None:
    """15. Everything is dropped, and nothing old comes back: whether somebody has called meanwhile and has
    seen the outage, or nobody has, and a process that is new knows the new master by itself."""
    with RedisSentinel() as service:
        source = 1

        def server() -> tuple[Cache, object]:
            cache = Cache(RedisBackend.from_url(service.url, prefix=prefix))

            @cache.query(ttl=3600, tags=["product"], name="query")
            async def query() -> int:
                return source

            return cache, query

        (here, _), (there, query) = server(), server()
        assert await query() == 1  # type: ignore[operator]
        await asyncio.to_thread(service.wait_ok)
        old = service.master
        with ExitStack() as frozen:
            for replica in service.replicas:
                frozen.enter_context(freeze(replica))
            await asyncio.to_thread(old.call, "CLIENT", "KILL", "TYPE", "replica")
            source = 2
            async with asyncio.timeout(30):
                while True:
                    try:
                        await here.invalidate_tags("product")
                        break
                    except BackendError:  # on a busy machine Sentinel names no master for a moment
                        await asyncio.sleep(0.02)
            await asyncio.to_thread(kill, old)
        async with asyncio.timeout(60):
            while noticed and there._core.invalidation.outage.seconds() is None:
                assert await query() == 2  # type: ignore[operator]
                await asyncio.sleep(0.02)
            failover = asyncio.create_task(asyncio.to_thread(service.fail_over, old))
            if not noticed:
                await asyncio.wait([failover])
                await there.close()
                there, query = server()
            while not there.stats().hits:
                assert await query() == 2  # type: ignore[operator]
                await asyncio.sleep(0.02)
        new = await failover
        said = new.call("XRANGE", prefix + "m", "-", "+")
        assert [fields[2] for _, fields in said] == [b"g"]  # and of the tag nothing: it was lost
        for cache in (here, there):
            await cache.close()

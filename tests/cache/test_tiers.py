"""The back end's prefix, and the back end on a Cluster."""

import asyncio

import pytest

from scalekit.cache import Cache
from scalekit.cache.redis import RedisBackend
from scalekit.errors import ConfigurationError
from tests.servers import RedisCluster


def test_a_prefix_that_is_too_long() -> None:
    """20. Keys stay below 250 bytes."""
    for prefix in ("x" * 101, "é", "a\n"):
        with pytest.raises(ConfigurationError, match="100 printable ASCII"):
            RedisBackend.from_url("redis://localhost", prefix=prefix)


async def test_on_a_redis_cluster(redis_cluster: RedisCluster, prefix: str) -> None:
    """Entries and versions live on several nodes: hits, tags, keys and both colours work all the same."""
    cache = Cache(RedisBackend.from_url(redis_cluster.url, prefix=prefix))
    runs = 0

    @cache.query(ttl=60, tags=["a", "b", "c", "d"])
    async def query(number: int) -> int:
        nonlocal runs
        runs += 1
        return number

    @cache.query(ttl=60, tags=["a", "z"])
    def plain(number: int) -> int:
        nonlocal runs
        runs += 1
        return number

    async def ask() -> None:
        assert await asyncio.gather(*(query(number % 20) for number in range(100))) == [*range(20)] * 5
        assert [plain(number) for number in range(5)] == [*range(5)]

    await ask()
    await ask()
    assert runs == 25
    await query.invalidate(3)
    await ask()
    assert runs == 26
    await cache.invalidate_tags("b", "c")
    await ask()
    assert runs == 46
    cache.invalidate_tags_sync("z", "nobody's")
    await ask()
    assert runs == 51
    await cache.close()
    cache.close_sync()

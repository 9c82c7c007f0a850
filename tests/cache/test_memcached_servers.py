"""Several Memcached servers, one of them away. Keys are spread by address: two ways to one server are two."""

import asyncio

import pytest

from scalekit.cache import Cache
from scalekit.cache.memcached import MemcachedBackend
from scalekit.errors import BackendError
from tests.faults import FaultProxy
from tests.servers import Memcached


async def test_one_of_several_is_away(memcached_server: Memcached, prefix: str) -> None:
    """14, 15. What is kept on the others is served; of the one with everybody's record, nothing is. What was
    dropped meanwhile is not served here from then on, and by nobody once the server is back."""
    at, numbers, source = (memcached_server.host, memcached_server.port), range(80), 0
    with FaultProxy(*at) as one, FaultProxy(*at) as two:
        backend = MemcachedBackend.from_url(
            f"memcached://{one.host}:{one.port},{two.host}:{two.port}",
            prefix=prefix,
            timeout=30,
            connect_timeout=30,
            cooldown=0.05,
        )
        cache = Cache(backend)

        @cache.query(ttl=600, tags=["number:{number}"])
        async def query(number: int) -> int:
            return source

        async def ask() -> tuple[list[int], int]:
            """The results, and how many of them were hits."""
            before = cache.stats().hits
            return [await query(number) for number in numbers], cache.stats().hits - before

        async def settle() -> None:
            async with asyncio.timeout(60):
                while await ask() != ([source] * len(numbers), len(numbers)):
                    await asyncio.sleep(0.01)

        served = []
        for away in (one, two):
            await settle()
            await asyncio.to_thread(away.refuse)
            source += 1
            results, hits = await ask()
            assert results.count(source - 1) == hits
            assert results.count(source) == len(numbers) - hits
            served.append(hits)
            with pytest.raises(BackendError):
                await cache.invalidate_tags(*(f"number:{number}" for number in numbers))
            assert (await ask())[0] == [source] * len(numbers)
            await asyncio.to_thread(away.pass_through)
        await settle()
        assert min(served) == 0 < max(served) < len(numbers)
        await cache.close()

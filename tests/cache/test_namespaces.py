"""Caches of their own for a while, and none."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from scalekit.cache import Cache
from scalekit.cache.backend import Backend
from scalekit.cache.memory import MemoryBackend
from scalekit.cache.redis import RedisBackend
from tests.servers import wait_until


@pytest.fixture
def cache(redis_url: str, prefix: str) -> Any:
    cache = Cache(RedisBackend.from_url(redis_url, prefix=prefix), local_entries=100, local_ttl=60)
    yield cache
    cache.close_sync()


def numbers(cache: Cache) -> Callable[[str], int]:
    """A cached function that counts its runs."""
    runs = 0

    @cache.query(ttl=600, tags=["t"])
    def number(name: str) -> int:
        nonlocal runs
        runs += 1
        return runs

    return number


def test_a_test_has_a_cache_of_its_own(cache: Cache) -> None:
    """28. Empty at the beginning; what it stores and drops is not seen outside; the tier here neither."""
    number = numbers(cache)
    assert [number("a"), number("a")] == [1, 1]
    with cache.isolated():
        assert [number("a"), number("a")] == [2, 2]
        cache.invalidate_tags_sync("t")
        assert number("a") == 3
        with cache.isolated():
            assert number("a") == 4
        assert number("a") == 3
    assert [number("a"), number("a")] == [1, 1]
    with pytest.raises(ZeroDivisionError), cache.isolated():
        _ = number("a") / 0
    assert number("a") == 1


def test_blocks_that_end_in_any_order(cache: Cache) -> None:
    """28. As those of threads do: the one that was begun last counts, and after all what was before."""
    number = numbers(cache)
    assert number("a") == 1
    first, second, third = cache.isolated(), cache.isolated(), cache.isolated()
    first.__enter__()
    assert number("a") == 2
    second.__enter__()
    assert number("a") == 3
    third.__enter__()
    assert number("a") == 4
    third.__exit__(None, None, None)
    assert number("a") == 3
    first.__exit__(None, None, None)
    assert number("a") == 3
    second.__exit__(None, None, None)
    assert number("a") == 1
    cache.clear_sync()
    assert number("a") == 5


def test_a_test_needs_no_server(prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    """28. Nothing answers at the cache's address: in the block nobody asks, also not for what others
    invalidate, and this process's memory is used at once."""
    cache = Cache(
        RedisBackend.from_url("redis://127.0.0.1:1", prefix=prefix), local_entries=100, local_ttl=60
    )
    number, before = numbers(cache), set(threading.enumerate())
    with cache.isolated():
        assert [number("a"), number("a")] == [1, 1]
        assert (cache.stats().local_hits, cache.stats().errors) == (1, 0)
    new = set(threading.enumerate()) - before
    assert not [thread for thread in new if thread.name == "scalekit-cache"]
    assert not caplog.records
    cache.close_sync()


async def test_the_block_in_asyncio(cache: Cache) -> None:
    """28. ``async with`` is the same; so is a back end that is given."""
    runs = 0

    @cache.query(ttl=600)
    async def number() -> int:
        nonlocal runs
        runs += 1
        return runs

    backend = MemoryBackend()
    for _ in range(2):
        async with cache.isolated(backend):
            assert [await number(), await number()] == [1, 1]
    async with cache.isolated():
        assert await number() == 2
    await cache.close()


async def test_what_is_under_way_stays_where_it_began(cache: Cache) -> None:
    """28. Nobody in the block joins it, and its result does not come in."""
    began, go_on = asyncio.Event(), asyncio.Event()
    runs = 0

    @cache.query(ttl=600)
    async def number() -> int:
        nonlocal runs
        runs += 1
        mine = runs
        if mine == 1:
            began.set()
            await go_on.wait()
        return mine

    outside = asyncio.ensure_future(number())
    await began.wait()
    async with cache.isolated():
        assert await number() == 2
        go_on.set()
        assert await outside == 1
        assert await number() == 2
    await cache.close()


def test_a_server_that_is_away_is_not_missed(unused_tcp_port: int) -> None:
    """28. In the block nothing is asked of it."""
    cache = Cache(RedisBackend.from_url(f"redis://127.0.0.1:{unused_tcp_port}/0"))
    number = numbers(cache)
    with cache.isolated():
        assert [number("a"), number("a")] == [1, 1]
        cache.invalidate_tags_sync("t")
    assert cache.stats().errors == 0


def test_a_block_can_be_used_again(cache: Cache) -> None:
    """28. As a fixture or a decorator of tests would; each time it is empty."""
    number, block = numbers(cache), cache.isolated()
    for run in (1, 2):
        with block:
            assert [number("a"), number("a")] == [run, run]


async def test_without_a_cache(backend: Backend) -> None:
    """28. ``disabled``: each call runs the function, nothing is stored; what is dropped is dropped."""
    cache, runs = Cache(backend, local_entries=10, local_ttl=60), 0

    @cache.query(ttl=600, tags=["t"])
    async def number(name: str) -> int:
        nonlocal runs
        runs += 1
        return runs

    assert [await number("a"), await number("b")] == [1, 2]
    with cache.disabled():
        async with cache.disabled():
            assert [await number("a"), await number("a"), await number("c")] == [3, 4, 5]
        assert await number("a") == 6
        await number.invalidate("b")
    assert [await number("a"), await number("b"), await number("c")] == [1, 7, 8]
    await cache.close()


def test_everything_is_dropped_for_everybody(redis_url: str, prefix: str) -> None:
    """28. ``clear`` on one server: misses on the other, whatever tags; other prefixes are not touched."""
    one, other, foreign = (
        Cache(RedisBackend.from_url(redis_url, prefix=name)) for name in (prefix, prefix, prefix + "x")
    )
    functions = [numbers(one), numbers(other), numbers(foreign)]
    assert [function("a") for function in functions] == [1, 1, 1]
    assert [cache.stats().computes for cache in (one, other, foreign)] == [1, 0, 1]
    one.clear_sync()
    assert [function("a") for function in functions[1:]] == [1, 1]
    assert [cache.stats().computes for cache in (one, other, foreign)] == [1, 1, 1]
    for cache in (one, other, foreign):
        cache.close_sync()


async def test_clear_reaches_this_process_tier(cache: Cache) -> None:
    """28. What is in memory here goes, too."""
    number = numbers(cache)
    assert [number("a"), number("a")] == [1, 1]
    await cache.clear()
    assert number("a") == 2
    await cache.close()


def test_clear_reaches_the_tiers_of_other_processes(redis_url: str, prefix: str) -> None:
    """28. As any invalidation: they are told, and ``local_ttl`` (an hour here) bounds it."""
    one, other = (
        Cache(RedisBackend.from_url(redis_url, prefix=prefix), local_entries=10, local_ttl=3_600)
        for _ in range(2)
    )
    number = numbers(other)
    number("a")
    wait_until(lambda: (number("a"), other.stats().local_hits)[1] > 0, what="the other trusts its memory")
    one.clear_sync()
    wait_until(lambda: number("a") > 1, what="the other has heard of it")
    for cache in (one, other):
        cache.close_sync()

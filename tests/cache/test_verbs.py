"""What can be asked of one call: anew, without the cache, dropped, and its key."""

import asyncio
from typing import Any

import pytest

from scalekit.cache import Cache
from scalekit.cache.backend import Backend


async def test_anew_for_everybody(backend: Backend) -> None:
    """27. ``refresh`` runs the function, and its result takes the place of what others were given."""
    one, other, runs = Cache(backend), Cache(backend), 0

    def numbers(cache: Cache) -> Any:
        @cache.query(ttl=60, name="number")
        async def number(name: str, suffix: str = "") -> int:
            nonlocal runs
            runs += 1
            return runs

        return number

    here, there = numbers(one), numbers(other)
    assert [await here("a"), await there("a"), await here("b")] == [1, 1, 2]
    assert await here.refresh(name="a") == 3
    assert [await here("a"), await there("a", ""), await there("b")] == [3, 3, 2]
    await one.close()


async def test_a_refresh_under_way_is_shared(backend: Backend) -> None:
    """27. Who calls after it has begun is not given the older result."""
    cache, go_on, runs = Cache(backend), asyncio.Event(), 0

    @cache.query(ttl=60)
    async def number() -> int:
        nonlocal runs
        runs += 1
        if runs > 1:
            await go_on.wait()
        return runs

    assert await number() == 1
    refresh = asyncio.ensure_future(number.refresh())
    while runs < 2:
        await asyncio.sleep(0.001)
    later = [asyncio.ensure_future(number()) for _ in range(5)]
    await asyncio.sleep(0.01)
    go_on.set()
    assert [await refresh, *await asyncio.gather(*later)] == [2] * 6
    await cache.close()


def test_without_the_cache(backend: Backend) -> None:
    """27. ``bypass`` neither reads nor stores; what is kept stays, and it is counted."""
    cache, runs = Cache(backend), 0

    @cache.query(ttl=60, tags=["t"])
    def number(name: str) -> int:
        nonlocal runs
        runs += 1
        return runs

    assert [number("a"), number.bypass("a"), number.bypass("b")] == [1, 2, 3]
    assert [number("a"), number("b")] == [1, 4]
    assert cache.stats().bypasses == 2
    number.invalidate(name="a")
    assert [number("a"), number("b")] == [5, 4]
    cache.close_sync()


def test_a_refresh_that_fails_leaves_nothing_older(backend: Backend) -> None:
    """27. Its error is the caller's; the next call runs the function."""
    cache, answers = Cache(backend), iter([1, 0, 2])

    @cache.query(ttl=60)
    def number() -> float:
        return 1 / next(answers)

    assert number() == 1
    with pytest.raises(ZeroDivisionError):
        number.refresh()
    assert [number(), number()] == [0.5, 0.5]
    cache.close_sync()


def test_keys_are_the_same_however_a_call_is_written(backend: Backend) -> None:
    """27. ``key`` takes what the call takes; nothing runs."""
    cache = Cache(backend)

    @cache.query(ttl=60, name="shop")
    def number(name: str, limit: int = 10) -> int:
        raise AssertionError("it is only asked for its key")

    assert number.key("a") == number.key(name="a", limit=10) == number.key("a", 10)
    assert number.key("a") != number.key("a", 11)
    assert number.key("a").startswith("shop:")
    cache.close_sync()

"""Cached functions that call cached functions."""

import asyncio
import logging

import pytest

from scalekit.cache import Cache
from scalekit.cache.memory import MemoryBackend


class Elsewhere(MemoryBackend):
    """As if it were another server's: caches that share it are processes."""

    local = False


async def test_nothing_old_is_made_new_again() -> None:
    """6, 8. What this process still has in its memory does not become a part of what is stored for all."""
    backend, source = Elsewhere(), 1
    here, there = Cache(backend, local_entries=10, local_ttl=60, channel=False), Cache(backend)

    @here.query(ttl=3600, tags=["p"])
    async def inner() -> int:
        return source

    @here.query(ttl=3600, tags=["p"])
    async def outer() -> int:
        return await inner()

    assert await inner() == 1
    source = 2
    await there.invalidate_tags("p")
    assert await outer() == 2


@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_an_outer_function_without_the_inner_ones_tags(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """6. Its result is returned and not stored, which is told once with the cure; nobody waits."""
    cache, runs = Cache(MemoryBackend()), 0

    if kind == "def":

        @cache.query(ttl=60, tags=["a", "b"])
        def inner() -> int:
            return 1

        @cache.query(ttl=60, tags=["b"])
        def outer() -> int:
            nonlocal runs
            runs += 1
            return inner()

        results = [outer(), outer()]
    else:

        @cache.query(ttl=60, tags=["a", "b"])
        async def ainner() -> int:
            return 1

        @cache.query(ttl=60, tags=["b"])
        async def aouter() -> int:
            nonlocal runs
            runs += 1
            return await ainner()

        results = [await aouter(), await aouter()]
    assert (results, runs) == ([1, 1], 2)
    (told,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "dropped with a, and is not" in told.getMessage()
    assert "reads=[...]" in told.getMessage()


async def test_an_outer_function_with_the_inner_ones_tags() -> None:
    """It is stored, and dropped with them."""
    cache, runs = Cache(MemoryBackend()), []

    @cache.query(ttl=60, tags=["a"])
    async def inner() -> int:
        runs.append("inner")
        return 1

    @cache.query(ttl=60, tags=["a", "b"])
    async def outer() -> int:
        runs.append("outer")
        return await inner()

    await outer()
    await outer()
    assert runs == ["outer", "inner"]
    await cache.invalidate_tags("a")
    await outer()
    assert runs == ["outer", "inner"] * 2


async def test_an_inner_function_in_another_thread() -> None:
    """6. `asyncio.to_thread` takes the context along, so the outer one is known to have called it."""
    cache, runs = Cache(MemoryBackend()), 0

    @cache.query(ttl=60, tags=["a"])
    def inner() -> int:
        return 1

    @cache.query(ttl=60)
    async def outer() -> int:
        nonlocal runs
        runs += 1
        return await asyncio.to_thread(inner)

    assert [await outer(), await outer()] == [1, 1]
    assert runs == 2

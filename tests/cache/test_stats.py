"""What a cache counts, and who is told."""

import logging
import threading
from typing import Any

import pytest

from scalekit.cache import Cache, Stats
from scalekit.cache.backend import Backend
from scalekit.cache.memory import MemoryBackend
from scalekit.cache.stats import Counter
from scalekit.errors import ConfigurationError


async def test_every_call_is_counted_once(backend: Backend) -> None:
    """29. Misses, runs, stored results and hits, and the bytes of both ways."""
    cache = Cache(backend)

    @cache.query(ttl=60, tags=["t"])
    async def text(number: int) -> str:
        return "x" * 1_000

    for _ in range(3):
        await text(1)
    await text.invalidate(1)
    seen = cache.stats()
    assert (seen.misses, seen.computes, seen.fills, seen.hits, seen.invalidations) == (1, 1, 1, 2, 1)
    assert 1_000 < seen.bytes_written < 1_200
    assert seen.bytes_read == 2 * seen.bytes_written
    assert seen.hit_rate == pytest.approx(2 / 3)
    assert Stats().hit_rate == 0
    await cache.close()


async def test_a_hook_is_told_what_is_counted() -> None:
    """29. Each count by its name and number, until the hook is taken away."""
    cache = Cache(MemoryBackend())
    told: list[tuple[str, int]] = []
    other: list[str] = []
    off = cache.on(lambda name, number: told.append((name, number)))
    cache.on(lambda name, _: other.append(name))

    @cache.query(ttl=60)
    async def one(number: int) -> int:
        return number

    await one(1)
    await one(1)
    assert [name for name, _ in told if "bytes" not in name] == ["misses", "computes", "fills", "hits"]
    assert dict(told)["bytes_written"] == cache.stats().bytes_written
    off()
    off()
    await one(1)
    assert (len(told), other.count("hits")) == (6, 2)


async def test_a_hook_that_fails_fails_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """29. Its first error is logged; the query has its result, and the result is stored."""
    cache = Cache(MemoryBackend())
    cache.on(lambda name, number: 1 / 0)

    @cache.query(ttl=60)
    async def one() -> int:
        return 1

    with caplog.at_level(logging.ERROR, logger="scalekit.cache"):
        assert [await one(), await one()] == [1, 1]
    assert (cache.stats().computes, cache.stats().fills) == (1, 1)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("hook", [lambda name: None, "hits", lambda: None])
def test_a_hook_is_a_function_of_two_arguments(hook: Any) -> None:
    """29. Told when it is given, not at each count."""
    with pytest.raises(ConfigurationError, match="lambda name, number"):
        Cache(MemoryBackend()).on(hook)


def test_threads_lose_no_count() -> None:
    """29. Four threads count at the same time."""
    counter = Counter()

    def count() -> None:
        for _ in range(2_000):
            counter.add("hits")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.snapshot().hits == 8_000

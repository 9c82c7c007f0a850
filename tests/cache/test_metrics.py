"""What a cache reports."""

from scalekit.cache import Cache
from scalekit.cache.backend import Backend
from tests.measured import numbers, risen


async def test_a_cache_reports_what_it_counts(backend: Backend) -> None:
    """Hits by tier, misses, runs, stored results, invalidations and bytes, over every back end."""
    cache = Cache(backend, local_entries=10, local_ttl=3600, channel=False)
    before = numbers(cache)
    assert set(before.values()) == {0}

    @cache.query(ttl=60, tags=["t"])
    async def text(number: int) -> str:
        return "x" * 1_000

    for _ in range(3):
        await text(1)
    found = risen(before, numbers(cache))
    local = 0 if backend.local else 2
    read, written = (found.pop(f"scalekit_cache_{way}_bytes", 0) for way in ("read", "written"))
    assert 1_000 < written < 1_200
    assert read == (2 - local) * written
    if local:
        assert found.pop("scalekit_cache_local_bytes") > 1_000
    assert found == {
        f"scalekit_cache_{name}": number
        for name, number in {
            "hits local": local,
            "hits backend": 2 - local,
            "misses": 1,
            "computes": 1,
            "fills": 1,
            "local_entries": local and 1,
        }.items()
        if number
    }
    await text.invalidate(1)
    assert numbers(cache)["scalekit_cache_invalidations"] == 1
    assert numbers(cache)["scalekit_cache_local_entries"] == 0
    await cache.close()


async def test_every_count_is_reported(backend: Backend) -> None:
    """What is counted later is a metric, too."""
    cache = Cache(backend)
    names = set(cache.stats().__dataclass_fields__)
    for name in names - {"local_hits"}:
        cache._counter.add(name, 1000 + len(name))
    reported = sorted(number for number in numbers(cache).values() if number >= 1000)
    assert reported == sorted(1000 + len(name) for name in names - {"local_hits"})
    await cache.close()

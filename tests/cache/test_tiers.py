"""The first tier alone, and the back end on a Cluster."""

import asyncio

import pytest

from scalekit.cache import Cache
from scalekit.cache.local import MISSING, Local
from scalekit.cache.redis import RedisBackend
from scalekit.errors import ConfigurationError
from tests.servers import RedisCluster


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def make(max_entries: int = 3, ttl: float = 10) -> tuple[Local, Clock]:
    clock = Clock()
    return Local(max_entries=max_entries, ttl=ttl, clock=clock), clock


def test_an_entry_stays_for_the_shorter_of_two_times() -> None:
    """The tier's own, and half of the result's."""
    local, clock = make(ttl=10)
    local.put("a", (), local.mark(()), 1, None, 100)
    local.put("b", (), local.mark(()), 2, None, 10)
    clock.now = 4.9
    assert (local.get("a", ()), local.get("b", ())) == (1, 2)
    clock.now = 5
    assert (local.get("a", ()), local.get("b", ())) == (1, MISSING)
    clock.now = 10
    assert local.get("a", ()) is MISSING


def test_the_time_counts_from_the_question() -> None:
    """However long the back end's answer took, or the process stood still; not from the answer."""
    local, clock = make(ttl=10)
    mark = local.mark(())
    clock.now = 9.9
    local.put("a", (), mark, 1, None, 100)
    local.put("b", (), local.later(mark), 2, None, 100)
    assert (local.get("a", ()), local.get("b", ())) == (1, 2)
    clock.now = 10
    assert (local.get("a", ()), local.get("b", ())) == (MISSING, 2)


def test_tags_that_no_query_has_leave_nothing() -> None:
    """A name for every user, dropped once each."""
    local, _ = make()
    local.put("a", ("t",), local.mark(("t",)), 1, None, 100)
    local.drop(set(), {f"user:{number}" for number in range(1000)})
    assert local._epochs == {"t": 0}
    assert local.get("a", ("t",)) == 1


def test_the_least_recently_used_goes() -> None:
    """At most max_entries."""
    local, _ = make(max_entries=2)
    for key in "ab":
        local.put(key, (), local.mark(()), key, None, 5)
    local.get("a", ())
    local.put("c", (), local.mark(()), "c", None, 5)
    assert [local.get(key, ()) for key in "abc"] == ["a", MISSING, "c"]


def test_what_was_read_before_an_invalidation_is_not_kept_after_it() -> None:
    """A reply of the back end that is overtaken by an invalidation, of its key or of one of its tags."""
    local, _ = make()
    for keys, tags in ({"a"}, set()), (set(), {"t"}):
        mark = local.mark(("t",))
        local.drop(keys, tags)
        local.put("a", ("t",), mark, "old", None, 5)
        assert local.get("a", ("t",)) is MISSING
    local.put("a", ("t",), local.mark(("t",)), "new", None, 5)
    local.drop(set(), {"other"})
    assert local.get("a", ("t",)) == "new"
    local.drop(set(), {"t"})
    assert local.get("a", ("t",)) is MISSING


def test_switched_off() -> None:
    """No entries, or no time: nothing is kept."""
    for local in (Local(max_entries=0, ttl=1), Local(max_entries=1, ttl=0)):
        local.put("a", (), local.mark(()), 1, None, 5)
        assert local.get("a", ()) is MISSING


def test_a_prefix_that_is_too_long() -> None:
    """Keys stay below 250 bytes."""
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

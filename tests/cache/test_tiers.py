"""The first tier alone, single flights alone, and the back end on a Cluster."""

import asyncio
from typing import Any

import pytest

from scalekit._steps import Steps
from scalekit.cache import Cache
from scalekit.cache.backend import Lease, Miss, header, new_lease
from scalekit.cache.flights import ABANDONED, AsyncFlights, Part, SyncFlights
from scalekit.cache.local import MISSING, Local
from scalekit.cache.memory import MemoryBackend
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


def test_the_local_time_is_a_part_of_the_results_own() -> None:
    """The back end keeps a result for so much less that both together never exceed its time to live."""

    class Recorder(MemoryBackend):
        local = False  # as if it were another server's

        def fill(self, key: str, lease: Lease, payload: bytes, ttl: float) -> Steps[bool]:
            lives.append(ttl)
            return super().fill(key, lease, payload, ttl)

    lives: list[float] = []
    for local_entries, local_ttl, ttl in [(0, 3, 60), (1, 3, 60), (1, 3, 4), (1, 0, 60)]:
        cache = Cache(Recorder(), local_entries=local_entries, local_ttl=local_ttl)

        @cache.query(ttl=ttl)
        def query() -> int:
            return 1

        query()
    assert lives == [60, 57, 2, 60]


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


NONE, ONE, TWO = Miss((None,)), Miss((b"version1",)), Miss((b"version2",))
LEASE = new_lease(header([b"version1"]))
MINE = Miss((b"version1",), LEASE.token)


@pytest.mark.parametrize(
    ("leader", "lease", "later", "part"),
    [
        (ONE, ..., ONE, Part.SHARE),  # it has not begun, and will see what is committed by now
        (NONE, ..., ONE, Part.SHARE),  # the version was made since; it will be read again
        (ONE, ..., TWO, Part.LEAD),  # the tag was dropped since
        (ONE, ..., NONE, Part.LEAD),
        (ONE, ..., None, Part.FOLLOW),  # in place of a lease it may get an older result, and we cannot tell
        (None, ..., ONE, Part.SHARE),  # it will not ask for a lease
        (None, ..., None, Part.SHARE),
        (ONE, LEASE, MINE, Part.SHARE),
        (ONE, LEASE, ONE, Part.LEAD),  # its lease is gone: the key was dropped
        (ONE, LEASE, Miss((b"version2",), LEASE.token), Part.LEAD),
        (ONE, LEASE, Miss((None,), LEASE.token), Part.LEAD),
        (ONE, LEASE, Miss((b"version1",), new_lease(LEASE.header).token), Part.LEAD),
        (ONE, None, ONE, Part.FOLLOW),  # it has no lease to compare
        (ONE, LEASE, None, Part.FOLLOW),  # the back end is away from here; others may have invalidated
        (None, None, None, Part.FOLLOW),
    ],
)
async def test_who_shares(leader: Miss | None, lease: Any, later: Miss | None, part: Part) -> None:
    """Those who found no sign of an invalidation since it began; who cannot tell takes part in the next."""
    flights = AsyncFlights()
    flight, first = flights.enter("k", ("t",), leader, called=0)
    assert first is Part.LEAD
    if lease is not ...:
        flight.begin(lease)
    again, found = flights.enter("k", ("t",), later, called=float("inf"))
    assert found is part
    assert (again is flight) is (part is not Part.LEAD)


@pytest.mark.parametrize("lease", [LEASE, None])
@pytest.mark.parametrize("later", [ONE, TWO, NONE, None])
async def test_who_called_before_it_began_shares(lease: Lease | None, later: Miss | None) -> None:
    """Whatever was found: what was invalidated before the call, the function sees."""
    flights = AsyncFlights()
    flight, _ = flights.enter("k", ("t",), ONE, called=0)
    flight.begin(lease)
    assert flights.enter("k", ("t",), later, called=0) == (flight, Part.SHARE)


def test_detached_flights_land_unseen() -> None:
    """Who is in one stays; who comes later starts another, which the first does not end."""
    flights = SyncFlights()
    first, _ = flights.enter("k", ("t",), Miss(), called=0)
    flights.detach(set(), {"other"})
    assert flights.enter("k", ("t",), Miss(), called=0) == (first, Part.SHARE)
    flights.detach(set(), {"t"})
    second, part = flights.enter("k", ("t",), Miss(), called=0)
    assert part is Part.LEAD
    flights.land(first, b"old")
    assert flights.wait(first) == b"old"
    assert flights.enter("k", ("t",), Miss(), called=0) == (second, Part.SHARE)
    flights.land(second, ABANDONED)
    flights.crash(second, LookupError())  # it has ended
    flights.wait_end(second)
    assert flights.wait(second) is ABANDONED


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

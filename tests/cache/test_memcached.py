"""The cache in Memcached: what it writes, what others do meanwhile, and what happens without it."""

import asyncio
import contextlib
import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheServerError

from scalekit._steps import Steps, run, run_async
from scalekit.cache import Cache, versions
from scalekit.cache import memcached as memcached_backend
from scalekit.cache.backend import Lease, Lookup
from scalekit.cache.entry import Found, Hit, Miss, judge, pack
from scalekit.cache.memcached import MemcachedBackend
from scalekit.errors import BackendError, BackendTimeout, BackendUnavailable, ConfigurationError, WrongColour
from tests.faults import FaultProxy, Interrupted, freeze, kill
from tests.patience import TIMEOUTS
from tests.servers import Memcached, wait_until

T = TypeVar("T")
PATIENT: Any = {"timeout": 30, "connect_timeout": 30}
LOOKUP = Lookup("f:1", ("a", "b"))
WRITER, OTHER = b"writer-1", b"writer-2"


@pytest.fixture
def backend(memcached_server: Memcached, prefix: str) -> Iterator[MemcachedBackend]:
    made = MemcachedBackend.from_url(memcached_server.url, prefix=prefix, **PATIENT)
    yield made
    made.using("sync").close()


@pytest.fixture
def entries(backend: MemcachedBackend) -> Any:
    return backend.using("sync")


def now() -> int:
    return int(time.time() * 1000)


def entry(lease: Lease, payload: bytes = b"payload") -> bytes:
    return pack(lease.versions, made=now(), delta=1, soft_end=now() + 60_000, payload=payload)


def read(entries: Any, lookup: Lookup = LOOKUP) -> Found:
    found: list[Found] = run(entries.read([lookup]))
    return found[0]


def acquire(entries: Any, lookup: Lookup = LOOKUP, **options: Any) -> Any:
    return run(entries.acquire(lookup, read(entries, lookup), **{"ttl": 5, **options}))


def filled(entries: Any, lookup: Lookup = LOOKUP) -> Lease:
    lease: Lease = acquire(entries, lookup)
    assert run(entries.fill(lease, entry(lease), ttl=60))
    return lease


def worth(entries: Any, lookup: Lookup = LOOKUP) -> Hit | Miss:
    return judge(read(entries, lookup), now())


def within_a_second(server: Memcached, steps: Callable[[], T]) -> T:
    """What ``steps`` give, done until the server's clock, which counts seconds, has not ticked meanwhile."""

    def done() -> list[T]:
        before = server.stats()["uptime"]
        found = steps()
        return [found] if server.stats()["uptime"] == before else []

    return wait_until(done, what="no tick of the server's clock")[0]


async def test_what_is_in_memcached(memcached_server: Memcached, backend: Any, prefix: str) -> None:
    """One key an entry, one a tag and one for all tags, each with a time to live; no pickle."""
    cache = Cache(backend)

    @cache.query(ttl=60, jitter=0, reads=["shop.product"])
    async def rows(category: str) -> list[str]:
        return [category]

    await rows("books")
    keys = [prefix + rows.key("books"), prefix + "g", prefix + "t:shop.product"]
    wait_until(lambda: memcached_server.keys(prefix) == sorted(keys), what="these keys")
    left = [int(memcached_server.call(f"mg {key} t")[0].removeprefix("HD t")) for key in keys]
    assert 45 <= left[0] <= 60
    assert min(left[1:]) > 24 * 3600
    (found,) = await run_async(backend.using("async").read([Lookup(rows.key("books"))]))
    assert found.value.endswith(b"\x91\xa5books")
    await cache.close()


async def test_trips_and_commands(prefix: str) -> None:
    """13. A hit is one trip; to drop a tag is two commands, however many entries carry it."""
    with Memcached() as server, FaultProxy(server.host, server.port) as proxy:
        cache = Cache(MemcachedBackend.from_url(proxy.url(server.url), prefix=prefix, **PATIENT))

        @cache.query(ttl=60, reads=["a", "b"])
        async def row(number: int) -> int:
            return number

        await asyncio.gather(*(row(number) for number in range(500)))
        before = proxy.round_trips
        await row(1)
        assert proxy.round_trips - before == 1
        counted = server.stats()
        await cache.invalidate_tags("a")
        after = server.stats()
        assert [int(after[name]) - int(counted[name]) for name in ("cmd_get", "cmd_set", "cmd_touch")] == [
            1,
            1,
            0,
        ]
        computes = cache.stats().computes
        await asyncio.gather(*(row(number) for number in range(500)))
        assert cache.stats().computes - computes == 500
        await cache.close()


@pytest.mark.parametrize("lost", ["g", "t:a", "t:b", "f:1"])
def test_an_evicted_item_makes_a_miss(
    entries: Any, memcached_server: Memcached, prefix: str, lost: str
) -> None:
    """12. Of the entry, a tag or the generation: what was stored before never becomes valid again."""
    filled(entries)
    assert isinstance(worth(entries), Hit)
    memcached_server.call(f"md {prefix}{lost}")
    assert worth(entries) == Miss()
    lease = acquire(entries)
    assert lease.mine
    assert worth(entries) == Miss(token=lease.token)
    assert run(entries.fill(lease, entry(lease, b"new"), ttl=60))
    hit = worth(entries)
    assert isinstance(hit, Hit)
    assert hit.payload == b"new"


def test_one_lease_at_a_time(backend: MemcachedBackend, entries: Any) -> None:
    """1. Of many who find nothing one has the lease, and the others are told of that one."""
    found, start = read(entries), threading.Barrier(16)

    def take(number: int) -> Lease:
        start.wait(20)
        lease: Lease = run(backend.using("sync").acquire(LOOKUP, found, ttl=5))
        return lease

    with ThreadPoolExecutor(16) as threads:
        leases = list(threads.map(take, range(16)))
    (mine,) = [lease for lease in leases if lease.mine]
    assert {lease.token for lease in leases} == {mine.token}
    assert all(0 < lease.left <= 5 for lease in leases)
    assert run(entries.fill(mine, entry(mine), ttl=60))
    assert isinstance(worth(entries), Hit)
    assert isinstance(acquire(entries), Found)


@pytest.mark.parametrize("there", ["nothing", "a_tag", "old_results"])
@pytest.mark.parametrize("fills", [False, True])
def test_another_process_between_any_two_commands(
    memcached_server: Memcached, prefix: str, there: str, fills: bool
) -> None:
    """1. Each result is computed by one of two, wherever one comes in between the commands of the other."""
    lookups = [Lookup(f"f:{number}", ("a", "b")) for number in range(3)]
    # Each entry, the generation and the tags are read, and each lease is written.
    commands = 2 * len(lookups) + 3

    def take(entries: Any) -> list[Any]:
        found = run(entries.read(lookups))
        return [run(entries.acquire(one, seen, ttl=5)) for one, seen in zip(lookups, found, strict=True)]

    for number in range(commands):
        first, second = (
            MemcachedBackend.from_url(memcached_server.url, prefix=f"{prefix}{number}:", **PATIENT)
            for _ in range(2)
        )
        interrupted: Any = first.using("sync")
        other = second.using("sync")
        if there == "a_tag":
            run(other.drop_tags(["a"]))
        elif there == "old_results":
            for lookup in lookups:
                filled(other, lookup)
            run(other.drop_tags(["b"]))
        theirs: list[Any] = []

        def interrupt(other: Any = other, theirs: list[Any] = theirs) -> None:
            theirs += take(other)
            for lease in theirs:
                assert not (fills and lease.mine) or run(other.fill(lease, entry(lease), ttl=60))

        interrupted._commands = Interrupted(interrupted._commands, number, interrupt)
        ours = take(interrupted)
        for mine, their in zip(ours, theirs, strict=True):
            if fills and isinstance(mine, Found):
                assert their.mine
                assert isinstance(judge(mine, now()), Hit)
            else:
                assert mine.mine != their.mine
                assert mine.token == their.token
        interrupted.close()
        other.close()


VOIDING: dict[str, Callable[[Any], Steps[None]]] = {
    "key": lambda entries: entries.drop(["f:1"]),
    "tag": lambda entries: entries.drop_tags(["a"]),
    "commit": lambda entries: entries.mark(["a"], WRITER, ttl=30),
    "everything": lambda entries: entries.renew_generation(),
}


@pytest.mark.parametrize("by", VOIDING)
@pytest.mark.parametrize("refresh", [False, True])
def test_a_fill_after_an_invalidation_is_never_visible(entries: Any, by: str, refresh: bool) -> None:
    """6. By key, by tag, by a commit under way: also of what is being replaced, also a renewed lease."""
    if refresh:
        filled(entries)
    lease = acquire(entries, refresh=refresh)
    run(VOIDING[by](entries))
    assert worth(entries) == Miss()
    again = run(entries.renew(lease, ttl=5)) or lease
    run(entries.fill(again, entry(again, b"old"), ttl=60))
    assert worth(entries) == Miss()
    if by == "commit":
        assert acquire(entries) is None
        run(entries.bump(["a"], WRITER))
        assert worth(entries) == Miss()
    # Nobody waits for who had it: the next one has it at once.
    other = acquire(entries)
    assert other.mine
    assert not run(entries.fill(again, entry(again, b"old"), ttl=60))
    run(entries.release(again))
    assert worth(entries) == Miss(token=other.token)
    assert run(entries.fill(other, entry(other, b"new"), ttl=60))
    hit = worth(entries)
    assert isinstance(hit, Hit)
    assert hit.payload == b"new"


def test_an_entry_that_is_replaced_stays_readable(
    entries: Any, memcached_server: Memcached, prefix: str
) -> None:
    """21. One has the right; it is renewed, given back or used up, and the entry lives as long as before."""
    filled(entries)
    one, two = acquire(entries, refresh=True, ttl=60), acquire(entries, refresh=True)
    assert (one.mine, two.mine, two.token) == (True, False, one.token)
    assert 45 < two.left <= 60
    hit = worth(entries)
    assert isinstance(hit, Hit)
    assert (bytes(hit.payload), hit.refreshing) == (b"payload", True)
    renewed: Any = run(entries.renew(one, ttl=100))
    assert 85 < acquire(entries, refresh=True).left <= 100
    assert 40 < int(memcached_server.call(f"mg {prefix}f:1 t")[0].removeprefix("HD t")) <= 60
    run(entries.release(renewed))
    hit = worth(entries)
    assert isinstance(hit, Hit)
    assert not hit.refreshing
    three = acquire(entries, refresh=True)
    assert three.mine
    assert not run(entries.fill(renewed, entry(renewed), ttl=60))
    assert run(entries.fill(three, entry(three, b"new"), ttl=60))
    hit = worth(entries)
    assert isinstance(hit, Hit)
    assert (bytes(hit.payload), hit.refreshing) == (b"new", False)
    run(entries.drop(["f:1"]))
    assert acquire(entries, refresh=True) == Found(None, read(entries).tags)


def test_a_right_to_replace_ends(memcached_server: Memcached, prefix: str) -> None:
    """21. Its holder was killed: another has it then, by the clock."""
    clock = Clock()
    backend = MemcachedBackend.from_url(memcached_server.url, prefix=prefix, clock=clock, **PATIENT)
    entries = backend.using("sync")
    filled(entries)
    dead = acquire(entries, refresh=True)
    clock.ahead = 4.9
    assert not acquire(entries, refresh=True).mine
    clock.ahead = 5.1
    other = acquire(entries, refresh=True)
    assert other.mine
    assert run(entries.renew(dead, ttl=5)) is None
    assert not run(entries.fill(dead, entry(dead), ttl=60))
    assert run(entries.fill(other, entry(other), ttl=60))
    entries.close()


class Clock:
    """Seconds since 1970 that pass as they are told to."""

    def __init__(self) -> None:
        self.start, self.ahead = time.time(), 0.0

    def __call__(self) -> float:
        return self.start + self.ahead


def test_what_a_lease_leaves_behind(entries: Any, memcached_server: Memcached, prefix: str) -> None:
    """5. Given back it is gone at once, or there is a mark for a while; that of another stays."""

    def taken(ttl: float) -> tuple[Any, list[str]]:
        """A lease, and how long it has in Memcached."""
        run(entries.drop(["f:1"]))
        return acquire(entries, ttl=ttl), memcached_server.call(f"mg {prefix}f:1 t")

    lease, left = within_a_second(memcached_server, lambda: taken(0.1))
    assert left == ["HD t2"]  # one second alone may be over at once
    run(entries.release(lease))
    lease, left = within_a_second(memcached_server, lambda: taken(60))
    assert left == ["HD t60"]
    held = read(entries)
    assert not run(entries.acquire(LOOKUP, held, ttl=5)).mine
    run(entries.release(lease))
    assert read(entries).value is None
    lease = run(entries.acquire(LOOKUP, held, ttl=5))
    assert lease.mine  # it is free by now, whatever was found
    run(entries.release(lease))

    def marked(ttl: float) -> tuple[Any, list[str]]:
        lease, _ = taken(60)
        run(entries.release(lease, mark=b"P\x03" + lease.versions, ttl=ttl))
        return lease, memcached_server.call(f"mg {prefix}f:1 t")

    _, left = within_a_second(memcached_server, lambda: marked(1.5))
    assert left == ["HD t2"]
    lease, _ = marked(60)
    assert worth(entries) == Miss(passes=True)
    assert acquire(entries) == read(entries)
    run(entries.drop(["f:1"]))
    other = acquire(entries)
    run(entries.release(lease))
    assert worth(entries) == Miss(token=other.token)


@pytest.mark.parametrize("ending", ["fill", "release", "release with a mark", "renew"])
def test_a_renewal_whose_answer_was_lost(entries: Any, ending: str) -> None:
    """1. The lease has another number than its holder knows, and is its holder's all the same."""
    lease = acquire(entries)
    assert run(entries.renew(lease, ttl=5)).number != lease.number
    if ending == "fill":
        assert run(entries.fill(lease, entry(lease), ttl=60))
        assert isinstance(worth(entries), Hit)
    elif ending == "renew":
        again = run(entries.renew(lease, ttl=5))
        assert (again.token, again.mine, again.left) == (lease.token, True, 5)
        assert run(entries.fill(again, entry(lease), ttl=60))
    else:
        mark = b"" if ending == "release" else b"P\x03" + lease.versions
        run(entries.release(lease, mark=mark, ttl=60))
        assert worth(entries) == Miss(passes=bool(mark))


def test_writers_that_overlap(memcached_server: Memcached, prefix: str) -> None:
    """8, 9. Dirty until the last one is done; the mark of one who never comes back ends by itself."""
    clock = Clock()
    backend = MemcachedBackend.from_url(memcached_server.url, prefix=prefix, clock=clock, **PATIENT)
    entries = backend.using("sync")
    filled(entries)
    run(entries.mark(["a", "b"], WRITER, ttl=30))
    run(entries.mark(["b"], OTHER, ttl=100))
    run(entries.bump(["a", "b"], WRITER, position="0/16B3748"))
    assert acquire(entries) is None
    run(entries.drop_tags(["b"]))
    assert acquire(entries) is None  # by hand or not: it is still being changed
    left = int(memcached_server.call(f"mg {prefix}t:b t")[0].removeprefix("HD t"))
    assert 85 <= left <= 101
    clock.ahead = 100.1  # the other one has died
    lease = acquire(entries)
    assert lease.mine
    assert lease.positions == (None, "0/16B3748", None)
    # A second less than by our clock: that of who made the version may be ahead.
    assert 99 < lease.ages[1] < 105
    assert lease.ages[2] == -1.0
    run(entries.bump(["b"], OTHER))
    assert int(memcached_server.call(f"mg {prefix}t:b t")[0].removeprefix("HD t")) > 24 * 3600
    # It had not: what was read since its mark ended is not valid.
    run(entries.fill(lease, entry(lease), ttl=60))
    assert worth(entries) == Miss()
    entries.close()


def test_many_commits_at_a_time(entries: Any, backend: MemcachedBackend) -> None:
    """8. A hundred writers of one table, each with its mark: none is lost, and none gives up."""

    async def commit(writer: bytes) -> None:
        await run_async(async_entries.mark(["a", "b"], writer, ttl=30))
        await asyncio.sleep(0)
        assert (
            await run_async(
                async_entries.acquire(LOOKUP, (await run_async(async_entries.read([LOOKUP])))[0], ttl=5)
            )
            is None
        )
        await run_async(async_entries.bump(["a", "b"], writer))

    async def main() -> None:
        await asyncio.gather(*(commit(secrets.token_bytes(8)) for _ in range(100)))
        await async_entries.close()

    async_entries = backend.using("async")
    filled(entries)
    before = read(entries).tags
    asyncio.run(main())
    after = read(entries).tags
    assert all(versions.version_of(record) for record in after)
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, False]


def test_processes_do_not_overwrite_each_other(
    entries: Any, memcached_server: Memcached, prefix: str
) -> None:
    """8. What another has written since the record was read is kept: it is read once more."""
    elsewhere: Any = MemcachedBackend.from_url(memcached_server.url, prefix=prefix, **PATIENT).using("sync")
    filled(entries)
    for first in ("a record", "nothing"):
        steps = entries.mark(["a"], WRITER, ttl=30)
        answered = next(steps)
        run(elsewhere.mark(["a"], OTHER, ttl=30))
        with contextlib.suppress(StopIteration):
            while True:
                answered = steps.send(answered)
        assert set(versions.writers(read(entries).tags[1], now())) == {WRITER, OTHER}, first
        memcached_server.call(f"md {prefix}t:a")
    elsewhere.close()


def test_who_writes_helps_the_others(entries: Any, backend: MemcachedBackend) -> None:
    """8. What several do to one record at a time is one write; a child of this process is at none of it."""
    filled(entries)
    waiting = entries.mark(["a", "b"], WRITER, ttl=30)
    next(waiting)  # it has asked, and stands still, for longer than others have patience
    run(entries.mark(["a"], OTHER, ttl=30))
    run(entries.bump(["a"], OTHER))
    assert set(versions.writers(read(entries).tags[1], now())) == {WRITER}
    assert versions.version_of(read(entries).tags[2])
    backend._under_way.forked()
    run(entries.drop_tags(["b"]))
    assert versions.version_of(read(entries).tags[2])
    waiting.close()


def test_the_generation_is_renewed_once_an_outage(entries: Any) -> None:
    """15. Each process that saw one asks for it, and the first has done it for all."""
    filled(entries)
    run(entries.renew_generation(older_than=60))
    assert isinstance(worth(entries), Hit)
    time.sleep(0.01)
    run(entries.renew_generation(older_than=0.005))
    assert worth(entries) == Miss()
    filled(entries)
    run(entries.renew_generation(older_than=60))
    assert isinstance(worth(entries), Hit)


def test_several_lookups_are_one_question(prefix: str) -> None:
    """26. A batch: all entries, and each tag once, in one trip."""
    with Memcached() as server, FaultProxy(server.host, server.port) as proxy:
        backend = MemcachedBackend.from_url(proxy.url(server.url), prefix=prefix, **PATIENT)
        entries: Any = backend.using("sync")
        lookups = [Lookup(f"f:{number}", ("a", "bc"[number % 2])) for number in range(20)]
        leases = [filled(entries, lookup) for lookup in lookups]
        before, counted = proxy.round_trips, server.stats()
        found = run(entries.read([*lookups, Lookup("f:nix")]))
        assert proxy.round_trips - before == 1
        assert int(server.stats()["cmd_get"]) - int(counted["cmd_get"]) == 20 + 1 + 4
        hits = [judge(one, now()) for one in found]
        assert hits.pop() == Miss()
        assert all(isinstance(hit, Hit) for hit in hits)
        assert len(leases[0].versions) == 24
        assert run(entries.read([])) == []
        run(entries.drop([]))
        run(entries.drop_tags([]))
        entries.close()


def test_a_large_value(entries: Any, backend: MemcachedBackend) -> None:
    """20. Up to the limit the server takes it, also with a right to replace it; above it nothing is lost."""
    filled(entries)
    lease = acquire(entries, refresh=True)
    large = entry(lease)
    large += b"x" * (entries.limit - len(large))
    assert run(entries.fill(lease, large, ttl=60))
    lease = acquire(entries, refresh=True)
    assert lease.mine
    assert not run(entries.fill(lease, large + b"x", ttl=60))
    hit = worth(entries)
    assert isinstance(hit, Hit)
    assert not hit.refreshing
    run(entries.drop(["f:1"]))
    lease = acquire(entries)
    assert not run(entries.fill(lease, large + b"x", ttl=60))
    assert read(entries).value is None


@pytest.mark.usefixtures("long_leases")
def test_a_large_result(backend: MemcachedBackend) -> None:
    """20. One over Memcached's limit is passed through and counted, and no error."""
    cache = Cache(backend)

    @cache.query(ttl=60)
    def query(size: int) -> str:
        return "x" * size

    sizes = [2_000_000, 2_000_000, 1_000_000]
    assert [len(query(size)) for size in sizes] == sizes
    stats = cache.stats()
    assert (stats.oversized, stats.fills, stats.errors) == (1, 1, 0)  # of the second it was known
    cache.close_sync()


def test_a_larger_item(prefix: str) -> None:
    """20. A server that takes more, and is known to."""
    with Memcached(max_item_size=2 << 20) as server:
        size = 2 << 20
        entries: Any = MemcachedBackend.from_url(server.url, max_item_size=size, **PATIENT).using("sync")
        lease = acquire(entries)
        large = entry(lease, b"x" * (entries.limit - 200))
        assert run(entries.fill(lease, large, ttl=60))
        entries.close()


@pytest.mark.parametrize(
    ("ttl", "least", "most"),
    [
        (0.2, 1, 1),
        (1.5, 2, 2),
        (60, 60, 60),
        (30 * 24 * 3600, 2_592_000, 2_592_000),
        (40 * 24 * 3600, 3_455_990, 3_456_010),
    ],
)
def test_times_to_live(
    entries: Any, memcached_server: Memcached, prefix: str, ttl: float, least: int, most: int
) -> None:
    """Whole seconds, rounded up: 0 would be for ever, and more than 30 days a moment since 1970."""

    def filled_for(ttl: float) -> str:
        run(entries.drop(["f:1"]))
        lease = acquire(entries)
        assert run(entries.fill(lease, entry(lease), ttl=ttl))
        return memcached_server.call(f"mg {prefix}f:1 t")[0]

    left = within_a_second(memcached_server, lambda: filled_for(ttl))
    assert least <= int(left.removeprefix("HD t")) <= most


def test_what_has_no_time_left_is_not_stored(entries: Any) -> None:
    """A result that is too old when it is there; and it is not kept for ever."""
    lease = acquire(entries)
    run(entries.fill(lease, entry(lease), ttl=0))
    assert read(entries).value is None


def test_keys_are_what_memcached_takes(memcached_server: Memcached, prefix: str) -> None:
    """20. At most 250 bytes, printable, without spaces; names of tags that differ stay apart."""
    prefix = prefix.ljust(100, "p")
    backend = MemcachedBackend.from_url(memcached_server.url, prefix=prefix, **PATIENT)
    cache, runs = Cache(backend), 0
    digest = "#" + hashlib.blake2b(b"with space", digest_size=16).hexdigest()  # as that one is called
    tags = ["with space", "with  space", "a\nb", "größe", "x" * 148, "x" * 149, "y" * 1000, digest, "\x7f"]

    def query() -> int:
        nonlocal runs
        runs += 1
        return runs

    cached = {tag: cache.query(ttl=60, tags=[tag], name=f"{tag}{'n' * 300}")(query) for tag in tags}
    results = {tag: cached[tag]() for tag in tags}
    for tag in tags:
        cache.invalidate_tags_sync(tag)
        assert [other for other in tags if cached[other]() != results[other]] == [tag]
        results[tag] = cached[tag]()
    keys: set[str] = set()

    def complete() -> bool:
        keys.update(memcached_server.keys(prefix))  # which leaves out what is being moved
        return len(keys) >= 2 * len(tags) + 1

    wait_until(complete, what="all keys")
    assert max(map(len, keys)) == 250
    assert all("!" <= character <= "~" for key in keys for character in key)
    cache.close_sync()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"prefix": "p" * 110}, "at most 109 printable"),
        ({"prefix": "a b"}, "without spaces"),
        ({"prefix": "ä"}, "printable"),
        ({"max_item_size": 1024}, "above 1024 bytes"),
        ({"max_item_size": "1m"}, "whole number"),
        ({"time_out": 1}, "no option time_out=; did you mean timeout="),
        ({"timeout": 0}, "above 0"),
    ],
)
def test_options_are_checked_at_start_up(wrong: Any, told: str) -> None:
    """Each with what is wanted instead."""
    with pytest.raises(ConfigurationError, match=told):
        MemcachedBackend.from_url("memcached://localhost", **wrong)


def test_a_client_that_was_given(memcached_server: Memcached, prefix: str) -> None:
    """It serves synchronous functions, under its own prefix as well; for others there is the cure."""
    client = Client((memcached_server.host, memcached_server.port), key_prefix=prefix.encode(), timeout=30)
    cache = Cache(MemcachedBackend(client))

    @cache.query(ttl=60)
    def query() -> int:
        return 1

    assert [query(), query(), cache.stats().hits] == [1, 1, 1]
    assert memcached_server.call(f"mg {prefix}c:{query.key()}") == ["HD"]
    with pytest.raises(WrongColour, match=r"from_url\(url\)"):

        @cache.query(ttl=60)
        async def other() -> int:
            return 1

    with pytest.raises(ConfigurationError, match="at most"):
        MemcachedBackend(Client("localhost", key_prefix=b"p" * 108), prefix="q:")
    cache.close_sync()


async def test_without_memcached_the_function_runs(prefix: str) -> None:
    """14, 15. Refused: results come from the function, one run at a time; what was owed is made up for."""
    with Memcached() as server:
        cache, calls = Cache(MemcachedBackend.from_url(server.url, prefix=prefix, cooldown=0.1, **PATIENT)), 0
        others = 0

        @cache.query(ttl=60, tags=["t"])
        async def query() -> int:
            nonlocal calls
            calls += 1
            while cache.stats().waits < others:  # not all hear of it in the same turn of the loop
                await asyncio.sleep(0.001)
            return calls

        assert await query() == 1
        await asyncio.to_thread(kill, server)
        others = 49
        assert await asyncio.gather(*(query() for _ in range(50))) == [2] * 50
        with pytest.raises(BackendError):
            await query.invalidate()
        with pytest.raises(BackendError):
            await cache.invalidate_tags("t")
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(20):
            while cache.stats().hits == 0:
                await query()
                await asyncio.sleep(0.01)
        await cache.close()


async def test_a_hung_memcached_costs_one_timeout(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """14. One caller waits, for 35 ms; then nobody does, though the server is tried again and again."""
    monkeypatch.setattr(memcached_backend, "TIMEOUT", TIMEOUTS["memcached"])
    with Memcached() as server:
        cache = Cache(MemcachedBackend.from_url(server.url, prefix=prefix, cooldown=0.01))
        late: list[BackendTimeout] = []

        @cache.query(ttl=60)
        async def query(number: int) -> int:
            return number

        async with asyncio.timeout(20):
            while cache.stats().fills == 0:
                await query(0)
                await asyncio.sleep(0.002)  # whoever is refused waits for nothing, and the probe has its turn
        backend = cache._backend.using("async")
        with freeze(server):
            for _ in range(100):
                try:
                    await run_async(backend.read([Lookup("f")]))
                except BackendUnavailable:
                    pass
                except BackendTimeout as error:
                    late.append(error)
                await asyncio.sleep(0.002)
            assert await query(1) == 1
        assert [str(error).partition(": ")[2][:26] for error in late] == ["no answer within 0.035 s; "]
        async with asyncio.timeout(20):
            while cache.stats().hits == 0:
                await query(0)
                await asyncio.sleep(0.002)
        await cache.close()


def test_a_hung_memcached_and_a_client_that_was_given(prefix: str) -> None:
    """14. Its own time-out is what the first caller waits, and no other: also while the server is probed."""
    with Memcached() as server:
        client = Client((server.host, server.port), timeout=0.1, connect_timeout=30)
        entries = MemcachedBackend(client, prefix=prefix).using("sync")
        wait_until(lambda: answers(entries), what="an answer in time")
        with freeze(server):
            with pytest.raises(BackendTimeout, match=r"within 0\.1 s"):
                run(entries.read([LOOKUP]))
            until = time.monotonic() + 1.1  # a caller would be the probe after a second
            while time.monotonic() < until:
                with pytest.raises(BackendUnavailable, match="breaker"):
                    run(entries.read([LOOKUP]))
                time.sleep(0.002)
        wait_until(lambda: answers(entries), what="a probe finds it again")
        entries.close()


def answers(entries: Any) -> bool:
    try:
        run(entries.read([LOOKUP]))
    except BackendError:
        return False
    return True


async def test_a_restart_makes_nothing_old_valid(prefix: str) -> None:
    """12, 15. Numbers begin anew: what is stored by a lease from before is not served."""
    with Memcached() as server:
        backend = MemcachedBackend.from_url(server.url, prefix=prefix, **PATIENT)
        entries: Any = backend.using("sync")
        old = acquire(entries)
        await asyncio.to_thread(kill, server)
        await asyncio.to_thread(server.start)
        new = acquire(entries)
        assert new.mine
        assert new.number == old.number  # the worst that can be: it takes the other one's place
        assert run(entries.fill(old, entry(old), ttl=60))
        assert worth(entries) == Miss()
        entries.close()


async def test_a_server_that_cannot_keep_leases(prefix: str) -> None:
    """Started without versions it is refused, with the cure, and the function runs."""
    with Memcached(options=["-C"]) as server:
        backend = MemcachedBackend.from_url(server.url, prefix=prefix, **PATIENT)
        cache = Cache(backend)

        @cache.query(ttl=60)
        async def query() -> int:
            return 1

        assert [await query(), await query()] == [1, 1]
        assert (cache.stats().fills, cache.stats().errors > 0) == (0, True)
        with pytest.raises(BackendUnavailable, match="option -C"):
            await run_async(backend.using("async").read([Lookup(query.key())]))
        await cache.close()


async def test_a_full_server_is_one_that_cannot_keep(prefix: str) -> None:
    """14. Out of memory and not allowed to drop anything: results are returned, and not stored."""
    with Memcached(memory=2, options=["-M"]) as server:
        backend = MemcachedBackend.from_url(server.url, prefix=prefix, **PATIENT)
        entries: Any = backend.using("sync")
        await asyncio.to_thread(fill_up, server)
        assert acquire(entries) is None
        cache = Cache(backend)

        @cache.query(ttl=60, tags=["t"])
        async def query() -> int:
            return 1

        assert [await query(), await query()] == [1, 1]
        assert (cache.stats().fills, cache.stats().computes) == (0, 2)
        entries.close()
        await cache.close()


def fill_up(server: Memcached) -> None:
    """Leave no room for items as small as a record is."""
    client = Client((server.host, server.port))
    for number in range(40_000):
        client.set(f"{number}", b"x" * 22)
    with pytest.raises(MemcacheServerError):
        client.set("one-more", b"x" * 22, noreply=False)
    client.close()


def test_a_drop_is_not_made_on_a_record_that_was_read_before_it(
    memcached_server: Memcached, entries: Any, prefix: str
) -> None:
    """6. Who reads a tag's record, and finds nothing to change, cannot say that for those who came after."""
    elsewhere = MemcachedBackend.from_url(memcached_server.url, prefix=prefix, **PATIENT).using("sync")
    run(elsewhere.mark(["a"], WRITER, ttl=30))
    first = entries.drop_tags(["a"])
    items = next(first)  # a writer is at it, and a drop leaves its mark as it is
    run(elsewhere.bump(["a"], WRITER))
    filled(elsewhere)
    second = entries.drop_tags(["a"])
    paused = next(second)  # it leaves that to the first one
    for steps, step in ((first, items), (second, paused)):
        with contextlib.suppress(StopIteration):
            while True:
                step = steps.send(step)
    assert isinstance(worth(elsewhere), Miss)
    elsewhere.close()

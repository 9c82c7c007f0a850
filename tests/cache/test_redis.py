"""The Redis back end: what it writes, several processes, and what happens without it."""

import asyncio
import json
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from scalekit._redis import Script, cluster_sync
from scalekit._steps import run, run_async
from scalekit.cache import Cache
from scalekit.cache.backend import Lookup
from scalekit.cache.entry import Found, Hit, Miss, judge, pack
from scalekit.cache.redis import RedisBackend
from scalekit.cache.versions import version_of
from scalekit.errors import BackendError, ConfigurationError, WrongColour
from tests.faults import FaultProxy, Interrupted, freeze, kill
from tests.patience import TIMEOUTS
from tests.servers import RedisCluster, RedisServer


async def test_what_is_in_redis(redis_server: RedisServer, redis_url: str, prefix: str) -> None:
    """One key an entry, one a tag and one for all tags, each with a time to live; no pickle."""
    cache = Cache(RedisBackend.from_url(redis_url, prefix=prefix))

    @cache.query(ttl=60, jitter=0, reads=["shop.product"])
    async def rows(category: str) -> list[str]:
        return [category]

    await rows("books")
    keys = sorted(key.decode() for key in redis_server.call("KEYS", prefix + "*"))
    assert keys == sorted([prefix + rows.key("books"), prefix + "g", prefix + "t:shop.product"])
    assert rows.key("books").startswith("tests.cache.test_redis.test_what_is_in_redis.-locals-.rows:")
    assert 45_000 < redis_server.call("PTTL", prefix + rows.key("books")) <= 60_000
    for record in ("g", "t:shop.product"):
        assert redis_server.call("PTTL", prefix + record) > 24 * 3600 * 1000
    assert redis_server.call("GET", prefix + rows.key("books")).endswith(b"\x91\xa5books")
    await cache.invalidate_tags("shop.product")
    assert redis_server.call("PTTL", prefix + "m") > 24 * 3600 * 1000  # the stream of what was dropped
    await cache.close()


async def test_a_hit_is_one_command(redis_url: str, prefix: str) -> None:
    """13. The entry and the versions of its tags in one MGET."""
    with RedisServer() as server:
        cache = Cache(RedisBackend.from_url(server.url, prefix=prefix))

        @cache.query(ttl=60, reads=["a", "b"])
        async def rows() -> list[int]:
            return [1]

        await rows()
        before = int(server.info("stats")["total_commands_processed"])
        await rows()
        # server.info() itself counts once
        assert int(server.info("stats")["total_commands_processed"]) - before == 2
        await cache.close()


async def test_an_evicted_tag_version_makes_misses(
    redis_server: RedisServer, redis_url: str, prefix: str
) -> None:
    """12. A version that Redis has thrown away never makes an old result valid again; nor a mark."""
    cache, calls = Cache(RedisBackend.from_url(redis_url, prefix=prefix)), 0

    @cache.query(ttl=60, reads=["product"])
    async def query() -> int:
        nonlocal calls
        calls += 1
        return calls

    assert [await query(), await query()] == [1, 1]
    redis_server.call("DEL", prefix + "t:product")
    assert [await query(), await query()] == [2, 2]
    redis_server.call("DEL", prefix + "g")
    assert [await query(), await query()] == [3, 3]
    entries = cache._backend.using("async")
    await run_async(entries.mark(["product"], b"w" * 8, ttl=60))
    redis_server.call("DEL", prefix + "t:product")
    assert [await query(), await query()] == [4, 4]
    await run_async(entries.bump(["product"], b"w" * 8))  # read since, perhaps before the commit
    assert [await query(), await query()] == [5, 5]
    await cache.close()


async def test_a_version_that_is_evicted_while_a_query_runs(
    redis_server: RedisServer, redis_url: str, prefix: str
) -> None:
    """12. What it returns is stored under the version that was read before, and is a miss."""
    cache, calls = Cache(RedisBackend.from_url(redis_url, prefix=prefix)), 0

    @cache.query(ttl=60, tags=["product"])
    async def query() -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            await asyncio.to_thread(redis_server.call, "DEL", prefix + "t:product")
        return calls

    assert [await query(), await query(), await query()] == [1, 2, 2]
    await cache.close()


@pytest.mark.parametrize("server", ["redis_server", "redis_cluster"])
def test_what_the_stream_says(server: str, prefix: str, request: pytest.FixtureRequest) -> None:
    """16. Keys and tags that were dropped, numbered; of a bump only what had no mark any more."""
    backend = RedisBackend.from_url(request.getfixturevalue(server).url, prefix=prefix)
    entries, writer = backend.using("sync"), b"w" * 8
    entries._commands.execute("DEL", prefix + "g")
    for step in (
        entries.drop(["f:1", "f:2"]),
        entries.drop_tags(["ü", "b"]),
        entries.mark(["a", "b"], writer, ttl=60),
        entries.bump(["a", "b", "c"], writer),  # nobody had marked c
        entries.bump(["a"], writer),
        entries.renew_generation(older_than=3600),  # there is none yet
        entries.renew_generation(older_than=3600),
        entries.renew_generation(),
        entries.drop([]),
    ):
        run(step)
    said = entries._commands.execute("XRANGE", prefix + "m", "-", "+")
    assert [fields[2:] for _, fields in said] == [
        [b"k", b"f:1", b"k", b"f:2"],
        [b"t", "ü".encode(), b"t", b"b"],
        [b"t", b"a", b"t", b"b"],
        [b"t", b"c"],
        [b"t", b"a"],
        # On a cluster also that it was young: whoever renewed it may not have come to say so.
        *[[b"g", b"1"]] * (3 if server == "redis_cluster" else 2),
    ]
    numbers = [int(fields[1]) for _, fields in said]
    assert [fields[0] for _, fields in said] == [b"n"] * len(said)
    assert numbers == list(range(numbers[0], numbers[0] + len(said)))
    entries._commands.execute("DEL", prefix + "m")
    run(entries.drop(["f:1"]))
    (_, again), *_ = entries._commands.execute("XRANGE", prefix + "m", "-", "+")
    assert int(again[1]) > numbers[-1] + 1, "a stream that was lost does not go on as if it were there"
    entries.close()


def test_thousands_at_once(redis_url: str, prefix: str) -> None:
    """More than fit into one script are changed by several."""
    entries = RedisBackend.from_url(redis_url, prefix=prefix).using("sync")
    tags, writer = [f"t{number}" for number in range(9_000)], b"w" * 8
    run(entries.mark(tags, writer, ttl=60))
    found = run(entries.read([Lookup("f:1", tuple(tags))]))[0]
    assert {(record or b"")[:9] for record in found.tags[1:]} == {b"D" + writer}
    run(entries.bump(tags, writer, position="p"))
    run(entries.drop(tags))
    found = run(entries.read([Lookup("f:1", tuple(tags))]))[0]
    assert len({version_of(record) for record in found.tags[1:]} - {None}) == len(tags)
    entries.close()


def test_a_record_that_is_in_use_stays(redis_server: RedisServer, redis_url: str, prefix: str) -> None:
    """Tags and the generation do not end while there are misses that ask for them."""
    entries = RedisBackend.from_url(redis_url, prefix=prefix).using("sync")
    for key in ("f:1", "f:2"):
        lookup = Lookup(key, ("a",))
        run(entries.acquire(lookup, run(entries.read([lookup]))[0], ttl=5))
        for record in ("g", "t:a"):
            assert redis_server.call("PTTL", prefix + record) > 24 * 3600 * 1000
            redis_server.call("PEXPIRE", prefix + record, 60_000)
    entries.close()


def test_what_is_no_entry_is_replaced(redis_server: RedisServer, redis_url: str, prefix: str) -> None:
    """24. Something cut off, or of a kind that is not known, is a miss and stands in nobody's way."""
    entries: Any = RedisBackend.from_url(redis_url, prefix=prefix).using("sync")
    lookup = Lookup("f:1", ("a",))
    lease = run(entries.acquire(lookup, Found(None, (None, None)), ttl=60))
    head = bytes([2]) + lease.versions
    for value in (
        b"",
        b"E",
        b"E" + head + bytes(19),
        b"X" + head + bytes(30),
        b"R" + bytes(24) + b"E" + head,
    ):
        entries._commands.execute("SET", prefix + "f:1", value)
        assert isinstance(judge(run(entries.read([lookup]))[0], 0), Miss)
        lease = run(entries.acquire(lookup, Found(None, (None, None)), ttl=60))
        assert lease.mine
    entries.close()


def test_many_lookups_are_one_command(redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """26. One MGET for all, in which each key is named once."""
    entries = RedisBackend.from_url(redis_url, prefix=prefix).using("sync")
    sent: list[tuple[Any, ...]] = []
    execute = entries._commands.execute
    monkeypatch.setattr(entries._commands, "execute", lambda *args: sent.append(args) or execute(*args))
    lookups = [Lookup(f"f:{number}", ("a", f"b{number % 2}")) for number in [*range(30), 0]]
    execute("DEL", prefix + "g")
    assert run(entries.read(lookups)) == [Found(None, (None,) * 3)] * 31
    (command,) = sent
    assert command[0] == "MGET"
    assert sorted(command[1:]) == sorted(
        [
            prefix + "g",
            *(f"{prefix}t:{tag}" for tag in ("a", "b0", "b1")),
            *(f"{prefix}f:{n}" for n in range(30)),
        ]
    )
    entries.close()


def test_a_hit_on_a_cluster_is_one_trip(
    redis_cluster: RedisCluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread asks all the nodes before it waits for one; and so does one who stores."""
    cache, steps = Cache(RedisBackend.from_url(redis_cluster.url, prefix=prefix)), list[str]()

    class Watched(cluster_sync.Trip):
        def __init__(self, *args: Any, **options: Any) -> None:
            steps.append("send")
            super().__init__(*args, **options)

        def replies(self, *args: Any, **options: Any) -> list[Any]:
            steps.append("read")
            return super().replies(*args, **options)

    @cache.query(ttl=60, tags=list("abcdefgh"))
    def query(number: int) -> int:
        return number

    for number in range(30):  # so that each node has the scripts
        query(number)
    monkeypatch.setattr(cluster_sync, "Trip", Watched)
    query(1)
    assert 1 <= steps.count("send") <= 3
    assert [step for step, _ in groupby(steps)] == ["send", "read"]
    steps.clear()
    query(30)
    # Asked, leased (the tags with the lease), filled.
    assert [step for step, _ in groupby(steps)] == ["send", "read"] * 3
    cache.close_sync()


@pytest.mark.parametrize("there", ["nothing", "a lease", "an old result"])
@pytest.mark.parametrize("dropped", ["a tag", "everything"])
def test_leases_on_a_cluster_while_tags_are_dropped(
    redis_cluster: RedisCluster, prefix: str, there: str, dropped: str
) -> None:
    """1. Between any two commands of one process a tag is dropped and another has a lease since: neither that
    nor its result is replaced by who has seen the versions from before."""
    own, other = (RedisBackend.from_url(redis_cluster.url, prefix=prefix, timeout=30) for _ in range(2))
    first: Any = own.using("sync")
    second: Any = other.using("sync")

    def acquire(entries: Any) -> Any:
        return run(entries.acquire(lookup, run(entries.read([lookup]))[0], ttl=20))

    def store(lease: Any) -> bool:
        value = pack(lease.versions, made=now(), delta=1, soft_end=now() + 60_000, payload=b"result")
        stored: bool = run(second.fill(lease, value, ttl=60))
        return stored

    def interrupt() -> None:
        run(second.drop_tags(lookup.tags[:1]) if dropped == "a tag" else second.renew_generation())
        leases.append(acquire(second))

    # The result, the generation and two tags are read; then these three again, and a lease is taken.
    for number in range(4 + 3 + 2):
        lookup, leases = Lookup(f"f:{number}", (f"a:{number}", f"b:{number}")), list[Any]()
        if there != "nothing":
            assert (lease := acquire(second)).mine
            assert there == "a lease" or store(lease)
            run(second.drop_tags(lookup.tags[1:]))
        ours = acquire(first._over(Interrupted(first._commands, number, interrupt)))
        if not leases:  # it has had its lease by then
            assert number == 4 + 3 + 1
            interrupt()
        (theirs,) = leases
        assert theirs.mine
        assert (ours.mine, ours.token == theirs.token) in [(True, False), (False, True)]
        assert not ours.mine or ours.versions != theirs.versions
        third = acquire(second)
        assert (third.mine, third.token) == (False, theirs.token)
        assert store(theirs)
        (found,) = run(first.read([lookup]))
        assert isinstance(judge(found, now()), Hit)
    first.close()
    second.close()


def now() -> int:
    return int(time.time() * 1000)


MILLION = Script("""
local value = 'E' .. string.char(2) .. ARGV[2] .. string.rep(string.char(127), 20) .. ARGV[3]
for number = ARGV[4], ARGV[5] do
    redis.call('SET', ARGV[1] .. number, value)
end
return 1""")


@pytest.mark.slow
def test_dropping_is_as_much_for_a_million_entries(prefix: str) -> None:
    """13. A tag, everything, a commit: as many commands for 10^6 entries as for one, as the server counts."""
    with RedisServer() as server:
        backend = RedisBackend.from_url(server.url, prefix=prefix, timeout=10)
        cache = Cache(backend)
        entries: Any = backend.using("sync")

        def commands() -> int:
            return int(server.info("stats")["total_commands_processed"])

        def fill(count: int, numbers: Sequence[int]) -> None:
            lookup = Lookup("f:lease", ("product",))
            lease = run(entries.acquire(lookup, run(entries.read([lookup]))[0], ttl=60))
            run(entries.release(lease))
            for first in numbers:
                ends = [first, min(first + count - 1, 1_000_000)]
                entries._commands.script(MILLION, [], [prefix + "f:", lease.versions, b"payload", *ends])

        def hits(numbers: Sequence[int]) -> int:
            lookups = [Lookup(f"f:{number}", ("product",)) for number in numbers]
            return sum(isinstance(judge(found, 0), Hit) for found in run(entries.read(lookups)))

        def cost(drop: Callable[[], None], numbers: Sequence[int]) -> int:
            assert hits(numbers) == len(numbers)
            before = commands()
            drop()
            spent = commands() - before
            assert hits(numbers) == 0
            return spent

        drops = [
            lambda: cache.invalidate_tags_sync("product"),
            lambda: run(entries.renew_generation()),
            lambda: run(entries.mark(["product"], b"w" * 8, ttl=60)),
        ]
        costs = []
        for some in ([1], [1], [1, 500_000, 1_000_000]):  # the first time scripts are sent in full
            if len(some) > 1:
                fill(100_000, range(1, 1_000_000, 100_000))
                assert server.call("DBSIZE") > 1_000_000
            costs.append([])
            for drop in drops:
                fill(1, some)  # by the drop before all the others are none any more
                costs[-1].append(cost(drop, some))
            run(entries.bump(["product"], b"w" * 8))
        assert costs[1] == costs[2]
        cache.close_sync()


async def test_another_return_type_is_a_miss(redis_url: str, prefix: str) -> None:
    """24. After a release that changed what a function returns, old entries are not read; nor is rubbish."""
    one, two = (Cache(RedisBackend.from_url(redis_url, prefix=prefix)) for _ in range(2))

    @one.query(ttl=60, name="f")
    async def before() -> int:
        return 1

    @two.query(ttl=60, name="f")
    async def after() -> str:
        return "one"

    assert (await before(), await after(), await before()) == (1, "one", 1)
    entries = two._backend.own.using("async")
    await entries._commands.execute("SET", prefix + after.key(), b"V\x00\xc1rubbish")  # type: ignore[attr-defined]
    assert await after() == "one"
    assert (await after(), two.stats().computes) == ("one", 2)
    await one.close()
    await two.close()


WORKER = """
    import asyncio, json, sys
    from importlib import import_module
    from scalekit.cache import Cache
    from scalekit.cache.redis import RedisBackend

    url, prefix, role, kind, place = sys.argv[1:]
    made = getattr(import_module(f"scalekit.cache.{kind}"), f"{kind.title()}Backend")
    cache = Cache(made.from_url(place, prefix=prefix, timeout=10))
    raw = RedisBackend.from_url(url, prefix=prefix, timeout=10).using("async")._commands

    @cache.query(ttl=60, tags=["t"], name="value")
    async def value() -> int:
        # The database is a key in Redis. Reading it and returning are apart, as in real queries.
        found = int(await raw.execute("GET", prefix + "source"))
        await asyncio.sleep(0.003)
        return found

    async def read():
        # What was invalidated before this call began may not be seen: the floor only ever rises.
        calls = 0
        await raw.execute("INCR", prefix + "readers")
        while not await raw.execute("GET", prefix + "stop"):
            for call in range(5):
                floor = int(await raw.execute("GET", prefix + "floor"))
                values = await asyncio.gather(*(value() for _ in range(5)))
                assert min(values) >= floor, (values, floor)
                calls += 1
            await raw.execute("INCR", prefix + "rounds")
        return calls

    async def reach(key, number):
        while int(await raw.execute("GET", prefix + key) or 0) < number:
            await asyncio.sleep(0.001)

    async def write():
        await reach("readers", 3)
        changes = 300 if kind == "redis" else 100
        for number in range(1, changes + 1):
            await raw.execute("SET", prefix + "source", number)
            await (value.invalidate() if number % 2 else cache.invalidate_tags("t"))
            await raw.execute("SET", prefix + "floor", number)
        # Two whole rounds of one of the three, undisturbed: there are hits.
        await reach("rounds", int(await raw.execute("GET", prefix + "rounds") or 0) + 7)
        await raw.execute("SET", prefix + "stop", 1)
        return changes

    async def main():
        done = await (write() if role == "write" else read())
        stats = cache.stats()
        report = {"hits": stats.hits, "computes": stats.computes, "errors": stats.errors}
        print(json.dumps({"done": done, **report}))

    asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", TIMEOUTS)
def test_no_process_serves_what_was_invalidated(
    kind: str, redis_server: RedisServer, prefix: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """6, 8. Three processes read, a fourth changes and invalidates, by key and tag: never an older value."""
    place = request.getfixturevalue(f"{kind}_server").url
    script = tmp_path / "worker.py"
    script.write_text(textwrap.dedent(WORKER))
    for key in ("source", "floor"):
        redis_server.call("SET", prefix + key, 0)
    workers = [
        subprocess.Popen(
            [sys.executable, str(script), redis_server.url, prefix, role, kind, place],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for role in ("read", "read", "read", "write")
    ]
    outcomes = [worker.communicate(timeout=90) for worker in workers]
    for worker, (_, errors) in zip(workers, outcomes, strict=True):
        assert worker.returncode == 0, errors
    reports = [json.loads(output) for output, _ in outcomes]
    assert reports[-1]["done"] >= 100
    assert all(report["errors"] == 0 for report in reports)
    assert sum(report["hits"] for report in reports) > 0
    assert sum(report["computes"] for report in reports) > 0


async def test_without_redis_the_function_runs(prefix: str) -> None:
    """14. Refused: results come from the function, one run at a time, no error; an invalidation raises."""
    with RedisServer() as server:
        cache, calls = Cache(RedisBackend.from_url(server.url, prefix=prefix, cooldown=0.1)), 0
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
        assert cache.stats().errors > 0
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(30):
            while cache.stats().hits == 0:
                await query()
                await asyncio.sleep(0.01)
        await cache.close()


def test_without_redis_a_synchronous_function_runs(prefix: str) -> None:
    """14. The same for threads."""
    with RedisServer() as server:
        cache = Cache(RedisBackend.from_url(server.url, prefix=prefix))

        @cache.query(ttl=60)
        def query() -> int:
            return 7

        assert query() == 7
        kill(server)
        assert query() == 7
        with pytest.raises(BackendError):
            query.invalidate()
        cache.close_sync()


async def test_a_hung_redis_costs_one_timeout(prefix: str) -> None:
    """14. One caller waits for a time-out; then the breaker has the function run without asking."""
    with RedisServer() as server:
        cache = Cache(RedisBackend.from_url(server.url, prefix=prefix, timeout=0.3, cooldown=60))

        @cache.query(ttl=60)
        async def query(number: int) -> int:
            return number

        await query(0)
        with freeze(server):
            async with asyncio.timeout(30):
                assert [await query(number) for number in range(20)] == list(range(20))
        assert cache.stats().errors >= 20
        await cache.close()


async def test_a_full_redis_is_one_that_cannot_keep(prefix: str) -> None:
    """14. Out of memory: results are returned, and not stored."""
    with RedisServer(maxmemory="1mb", maxmemory_policy="noeviction") as server:
        cache = Cache(RedisBackend.from_url(server.url, prefix=prefix))

        @cache.query(ttl=60, tags=["t"])
        async def query() -> str:
            return "x" * 100

        assert [await query(), await query()] == ["x" * 100] * 2
        assert cache.stats().errors > 0
        assert cache.stats().fills == 0
        await cache.close()


@pytest.mark.parametrize("by", ["key", "tag", "commit", "everything"])
def test_a_full_redis_forgets(prefix: str, redis_cluster: RedisCluster, by: str) -> None:
    """6, 8. Out of memory: what it has kept is dropped all the same, and it says so. On a Cluster, too."""
    with RedisServer() as server:
        for url, nodes in ((server.url, [server]), (redis_cluster.url, redis_cluster.masters)):
            backend = RedisBackend.from_url(url, prefix=prefix)
            cache, runs = Cache(backend), 0

            @cache.query(ttl=60, tags=["t"], name=url)
            def query() -> int:
                nonlocal runs
                runs += 1
                return runs

            assert [query(), query()] == [1, 1]
            channel = backend.channel(block=1.0)
            place = run(channel.position())
            for node in nodes:
                node.call("CONFIG", "SET", "maxmemory", "1")
            try:
                entries = backend.using("sync")
                if by == "key":
                    query.invalidate()
                elif by == "tag":
                    cache.invalidate_tags_sync("t")
                elif by == "commit":
                    run(entries.mark(["t"], b"a writer", ttl=30.0))
                    run(entries.bump(["t"], b"a writer"))
                else:
                    cache.clear_sync()
                assert query() == 2
                assert run(channel.next(place, block=5.0)).messages
            finally:
                for node in nodes:
                    node.call("CONFIG", "SET", "maxmemory", "0")
                channel.close()
                cache.close_sync()


async def test_redis_that_refuses_writes_does_not_make_a_stampede(prefix: str) -> None:
    """14. A query runs once at a time: who calls while it runs waits for the next run, and shares that."""
    with RedisServer() as server:
        cache = Cache(RedisBackend.from_url(server.url, prefix=prefix))
        await run_async(cache._backend.using("async").ping())
        server.call("CONFIG", "SET", "maxmemory", "1")
        server.call("DEL", prefix + "g")  # each lease has to make it anew, and is refused
        running = most = runs = 0
        release = asyncio.Event()

        @cache.query(ttl=60, tags=["t"])
        async def query() -> int:
            nonlocal running, most, runs
            running, runs = running + 1, runs + 1
            most = max(most, running)
            await release.wait()
            running -= 1
            return runs

        async with asyncio.timeout(30):
            first = asyncio.create_task(query())
            while not running:
                await asyncio.sleep(0)
            others = [asyncio.create_task(query()) for _ in range(50)]
            while cache.stats().waits < 50:
                await asyncio.sleep(0)
            release.set()
            assert (await first, await asyncio.gather(*others)) == (1, [2] * 50)
        assert (most, cache.stats().fills) == (1, 0)
        await cache.close()


async def test_a_server_cut_off_from_redis_serves_nothing_old(redis_server: RedisServer, prefix: str) -> None:
    """15. Another server invalidates meanwhile: who calls after that does not get what was under way."""
    with FaultProxy(redis_server.host, redis_server.port) as proxy:
        source, running = 0, 0
        release = asyncio.Event()

        def server(url: str):  # type: ignore[no-untyped-def]
            cache = Cache(RedisBackend.from_url(url, prefix=prefix))

            @cache.query(ttl=60, name="query")
            async def query() -> int:
                nonlocal running
                value, running = source, running + 1
                await release.wait()
                return value

            return cache, query

        (here, query), (there, elsewhere) = (
            server(url) for url in (proxy.url(redis_server.url), redis_server.url)
        )
        async with asyncio.timeout(30):
            first = asyncio.create_task(query())
            while not running:
                await asyncio.sleep(0)
            await asyncio.to_thread(proxy.refuse)
            source = 1
            await elsewhere.invalidate()
            second = asyncio.create_task(query())
            while not here.stats().waits:
                await asyncio.sleep(0)
            release.set()
            assert (await first, await second) == (0, 1)
        await asyncio.to_thread(proxy.pass_through)
        await here.close()
        await there.close()


async def test_an_answer_that_is_lost_on_the_way(prefix: str) -> None:
    """14. The connection breaks while the result is being stored: the caller has it all the same."""
    with RedisServer() as server, FaultProxy(server.host, server.port) as proxy:
        cache = Cache(RedisBackend.from_url(proxy.url(server.url), prefix=prefix))

        @cache.query(ttl=60)
        async def query() -> int:
            proxy.cut()
            return 7

        assert await query() == 7
        proxy.pass_through()
        assert await query() == 7
        await cache.close()


async def test_the_local_tier(redis_server: RedisServer, redis_url: str, prefix: str) -> None:
    """8. No round trip for local_ttl seconds; invalidated here it is gone at once, elsewhere by then."""
    here, there = (
        Cache(RedisBackend.from_url(redis_url, prefix=prefix), local_entries=10, local_ttl=ttl, channel=False)
        for ttl in (60, 0.05)
    )
    source = 1

    def define(cache: Cache):  # type: ignore[no-untyped-def]
        @cache.query(ttl=60, tags=["t"], name="query")
        async def query() -> int:
            return source

        return query

    query, elsewhere = define(here), define(there)
    assert [await query(), await query(), await elsewhere(), await elsewhere()] == [1] * 4
    assert here.stats().local_hits == 1
    for invalidate in (query.invalidate, lambda: here.invalidate_tags("t")):
        source += 1
        await invalidate()
        assert await query() == source
        async with asyncio.timeout(30):  # the documented bound is 0.05 s
            while await elsewhere() != source:
                await asyncio.sleep(0.01)
    await here.close()
    await there.close()


def test_both_colours_share_results(redis_url: str, prefix: str) -> None:
    """One cache for a def and an async def in one process; a tag drops both."""
    cache = Cache(RedisBackend.from_url(redis_url, prefix=prefix), local_entries=10)
    calls: list[str] = []

    @cache.query(ttl=60, tags=["t"])
    def one() -> int:
        calls.append("one")
        return 1

    @cache.query(ttl=60, tags=["t"])
    async def two() -> int:
        calls.append("two")
        return 2

    async def both() -> None:
        assert (await asyncio.to_thread(one), await two()) == (1, 2)

    asyncio.run(both())
    asyncio.run(both())
    assert calls == ["one", "two"]
    cache.invalidate_tags_sync("t")
    asyncio.run(both())
    assert calls == ["one", "two"] * 2
    cache.close_sync()


async def test_the_wrong_colour_is_an_error_at_start_up(redis_url: str, prefix: str) -> None:
    """A synchronous function over an asynchronous client, found where the function is defined."""
    async with redis.asyncio.from_url(redis_url) as client:
        cache = Cache(RedisBackend(client, prefix=prefix))
        with pytest.raises(
            WrongColour, match=r"query, a plain def, wants a synchronous client.*redis\.Redis, or"
        ):

            @cache.query(ttl=60)
            def query() -> int:
                return 1

        @cache.query(ttl=60)
        async def fine() -> int:
            return 1

        assert [await fine(), await fine()] == [1, 1]
        await cache.close()


def test_an_option_that_there_is_not() -> None:
    """The message has what was meant, and all that there are."""
    wanted = (
        r"^RedisBackend.from_url has no option time_out=; did you mean timeout=\? It takes prefix, .*down$"
    )
    with pytest.raises(ConfigurationError, match=wanted):
        RedisBackend.from_url("redis://localhost", time_out=1)  # type: ignore[call-arg]


def test_threads_and_loops_at_the_same_time(redis_url: str, prefix: str) -> None:
    """Several event loops in several threads use one cached function."""
    cache = Cache(RedisBackend.from_url(redis_url, prefix=prefix))
    outcomes: list[int] = []

    @cache.query(ttl=60)
    async def query(number: int) -> int:
        await asyncio.sleep(0)
        return number

    async def main() -> None:
        outcomes.extend(await asyncio.gather(*(query(number % 3) for number in range(60))))

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == sorted([0, 1, 2] * 60)


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.usefixtures("long_leases")
async def test_a_result_over_max_value_size(
    redis_server: RedisServer, prefix: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """20. It would take so long that the server seems to hang: it is not sent. What is smaller is stored."""

    def large(size: int) -> bytes:
        return bytes(size)

    async def large_async(size: int) -> bytes:
        return bytes(size)

    for most, options in ((2 << 20, {}), (4 << 20, {"max_value_size": 4 << 20})):
        own = f"{prefix}{most}:"
        cache = Cache(RedisBackend.from_url(redis_server.url, prefix=own, **options))  # type: ignore[arg-type]
        query: Any = cache.query(ttl=60, name="large")(large if kind == "sync" else large_async)
        for size in (most, most, most - 1000, most - 1000):
            result = query(size)
            assert len(result if kind == "sync" else await result) == size
        stats = cache.stats()
        assert (stats.oversized, stats.fills, stats.hits, stats.errors) == (1, 1, 1, 0)
        assert redis_server.call("STRLEN", own + query.key(most)) < 100  # word that nobody need wait for it
        assert f"given {most} at most" in caplog.messages[-1]
        if kind == "sync":
            cache.close_sync()
        else:
            await cache.close()
    assert len(caplog.messages) == 2


@pytest.mark.parametrize("size", [0, 1023, 512 << 20, 1.5, "2 MiB", True])
def test_a_size_that_cannot_be(size: Any) -> None:
    """20. The message names the value, the limit and the default."""
    with pytest.raises(
        ConfigurationError, match=r"max_value_size=.* at (least|most) \d+.*1024 is the default"
    ):
        RedisBackend.from_url("redis://localhost", max_value_size=size)

"""26. Many ids: one question for all, one run for those that are not there."""

import asyncio
import dataclasses
import subprocess
import sys
import textwrap
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from scalekit._steps import Steps, run
from scalekit.cache import Cache, runtime
from scalekit.cache.backend import Backend, Lookup
from scalekit.cache.entry import Miss, judge
from scalekit.cache.memory import MemoryBackend
from scalekit.cache.redis import RedisBackend
from scalekit.errors import ConfigurationError, UncacheableArgument, UncacheableResult
from tests.servers import RedisServer
from tests.servers.waiting import wait_until

pytestmark = pytest.mark.usefixtures("long_leases")


class Base(DeclarativeBase): ...


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@dataclasses.dataclass
class Row:
    id: int
    name: str


class Shelf:
    """What the function finds, and which ids each run was asked for."""

    def __init__(self) -> None:
        self.runs: list[Any] = []
        self.absent: set[int] = {9}
        self.running = threading.Event()
        self.go = threading.Event()
        self.go.set()
        self.error: Exception | None = None

    def find(self, ids: Any) -> dict[int, Row]:
        self.runs.append(ids)
        self.running.set()
        assert self.go.wait(20)
        if self.error is not None:
            raise self.error
        return {one: Row(one, f"p{one} of {len(self.runs)}") for one in ids if one not in self.absent}


class Server:
    """A process with a batch function of one colour, called from a test that has none."""

    def __init__(self, backend: Backend, shelf: Shelf, colour: str, **options: Any) -> None:
        options = {"ttl": 60, "tags": ["t"], **options}
        self.cache = Cache(
            backend, local_entries=options.pop("local_entries", 0), local_ttl=options.pop("local_ttl", 1)
        )
        self.batch: Any
        if colour == "async":

            @self.cache.batch(name="products", **options)
            async def products(ids: list[int], lang: str = "en") -> dict[int, Row]:
                return await asyncio.to_thread(shelf.find, ids)

            self.batch = products
            self.do: Callable[[Any], Any] = asyncio.run
        else:

            @self.cache.batch(name="products", **options)
            def sync_products(ids: list[int], lang: str = "en") -> dict[int, Row]:
                return shelf.find(ids)

            self.batch = sync_products
            self.do = lambda result: result

    def __call__(self, ids: Any, **others: Any) -> Any:
        return self.do(self.batch(ids, **others))


@pytest.fixture(params=["async", "sync"])
def colour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


class Counting(MemoryBackend):
    """A back end of another process, that counts what it is asked."""

    local = False

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, int]] = []

    def read(self, lookups: Sequence[Lookup]) -> Steps[Any]:
        self.asked.append(("read", len(lookups)))
        return super().read(lookups)

    def acquire(self, *args: Any, **kwargs: Any) -> Steps[Any]:
        self.asked.append(("acquire", 1))
        return super().acquire(*args, **kwargs)


def test_one_trip_for_the_hits_and_one_run_for_the_misses(colour: str) -> None:
    """26. Whatever is asked for together: hits, misses, twice the same, in whatever order."""
    backend, shelf = Counting(), Shelf()
    server = Server(backend, shelf, colour)
    assert list(server([3, 1, 3, 2])) == [3, 1, 2]
    assert shelf.runs == [[3, 1, 2]]
    assert backend.asked == [("read", 3), *[("acquire", 1)] * 3]
    backend.asked.clear()
    found = server(iter([2, 1, 5, 4, 3, 5]))
    assert [row.id for row in found.values()] == list(found) == [2, 1, 5, 4, 3]
    assert shelf.runs[1:] == [[5, 4]]
    assert backend.asked == [("read", 5), *[("acquire", 1)] * 2]
    backend.asked.clear()
    assert server({4, 5}) == {one: found[one] for one in (4, 5)}
    assert backend.asked == [("read", 2)]
    assert server([]) == server(()) == {}
    assert len(shelf.runs) == 2
    backend.asked.clear()
    assert len(server(range(10, 2510))) == 2500
    assert backend.asked[:3] == [("read", 1000), ("read", 1000), ("read", 500)]  # at the same time
    assert len(shelf.runs) == 3
    stats = server.cache.stats()
    assert (stats.misses, stats.fills, stats.hits) == (2505, 2505, 5)


def trips(backend: RedisBackend, colour: str, patch: pytest.MonkeyPatch) -> list[int]:
    """How many commands go in each trip from now on."""
    commands, sent = type(backend.using(colour)._commands), []  # type: ignore[arg-type]

    def spied(name: str, number: Callable[..., int]) -> None:
        method = getattr(commands, name)

        def spy(self: Any, *args: Any) -> Any:
            sent.append(number(*args))
            return method(self, *args)

        patch.setattr(commands, name, spy)

    spied("execute" if colour == "sync" else "_submit", lambda *_: 1)
    if colour == "sync":
        spied("_send", len)
    return sent


@pytest.mark.parametrize("kind", ["redis_server", "redis_cluster"])
def test_a_redis_is_asked_once(
    kind: str, colour: str, request: pytest.FixtureRequest, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """26. A hundred ids take a trip if all are there, else one for each step: ask, leases, results."""
    backend = RedisBackend.from_url(request.getfixturevalue(kind).url, prefix=prefix, timeout=5)
    shelf = Shelf()
    server = Server(backend, shelf, colour, tags=["t", "product:{id}"])
    server([1, 2])  # scripts are known
    sent = trips(backend, colour, monkeypatch)
    ids = range(100, 200)
    found = server(ids)
    if kind == "redis_server":
        assert sent == ([1, 100, 100] if colour == "sync" else [1] * 201)
    sent.clear()
    assert server(ids) == found
    assert len(sent) == 1 if kind == "redis_server" or colour == "sync" else sum(sent) == 202
    assert shelf.runs == [[1, 2], list(ids)]
    server.cache.close_sync()


def test_a_redis_that_refuses(redis_server: RedisServer, prefix: str) -> None:
    """14. What of many commands is refused is counted for those that asked, and everybody has a result."""
    name, here = prefix.strip(":"), redis_server
    here.call("ACL", "SETUSER", name, "on", ">secret", "~*", "&*", "+@all")
    try:
        backend = RedisBackend.from_url(f"redis://{name}:secret@{here.host}:{here.port}", prefix=prefix)
        server = Server(backend, Shelf(), "sync")
        server([1, 2])
        here.call("ACL", "SETUSER", name, "-set")
        assert list(server([1, 2, 3, 4])) == [1, 2, 3, 4]
        assert server.cache.stats().errors > 0
        server.cache.close_sync()
    finally:
        here.call("ACL", "DELUSER", name)


def test_each_caller_has_a_copy(backend: Backend, colour: str) -> None:
    """24. Results come back with their types, and nobody shares an object."""
    server = Server(backend, Shelf(), colour)
    one, two = server([1]), server([1])
    one[1].name = "changed"
    assert two == {1: Row(1, "p1 of 1")} == server([1])


def test_what_is_absent(backend: Backend, colour: str) -> None:
    """25, 26. An id that the function does not return is not in the result, and is not asked for again."""
    shelf = Shelf()
    server = Server(backend, shelf, colour)
    assert list(server([9, 1])) == list(server([1, 9])) == [1]
    assert server([9]) == {}
    assert shelf.runs == [[9, 1]]
    server.do(server.batch.invalidate(9))
    shelf.absent.clear()
    assert list(server([9, 1])) == [9, 1]
    assert shelf.runs[1:] == [[9]]


@pytest.mark.parametrize("cache_if", [lambda result: result is not None, bool])
def test_what_is_absent_is_kept_as_asked(backend: Backend, colour: str, cache_if: Any) -> None:
    """25. `cache_if` sees None for what is absent: with these it is asked for each time."""
    shelf = Shelf()
    server = Server(backend, shelf, colour, cache_if=cache_if)
    assert list(server([9, 1])) == list(server([9, 1])) == [1]
    assert shelf.runs == [[9, 1], [9]]


def test_none_is_a_value(backend: Backend) -> None:
    """25. It is in the result, unlike what is absent; empty lists too."""
    cache, runs = Cache(backend), []

    @cache.batch(ttl=60)
    def found(ids: Sequence[str]) -> dict[str, list[int] | None]:
        runs.append(ids)
        return {"none": None, "empty": []}

    for _ in range(2):
        assert found(["none", "empty", "absent"]) == {"none": None, "empty": []}
    assert runs == [["none", "empty", "absent"]]


def test_invalidation(backend: Backend, colour: str) -> None:
    """26. By id, by the id's own tag, by the common one; the others stay. Other arguments make other keys."""
    shelf = Shelf()
    server = Server(backend, shelf, colour, tags=["t", "product:{id}"])

    def asked(*ids: int, **others: Any) -> Any:
        shelf.runs.clear()
        server(ids, **others)
        return shelf.runs

    assert asked(1, 2, 3) == [[1, 2, 3]]
    assert asked(1, 2, 3, lang="de") == [[1, 2, 3]]
    server.do(server.batch.invalidate(1, 3))
    assert asked(1, 2, 3) == [[1, 3]]
    server.do(server.batch.invalidate(1, lang="de"))
    assert asked(1, 2, lang="de") == [[1]]
    assert asked(1, 2, 3) == []
    server.cache.invalidate_tags_sync("product:2")
    assert asked(1, 2, 3) == [[2]]
    assert asked(1, 2, lang="de") == [[2]]
    server.cache.invalidate_tags_sync("t")
    assert asked(1, 2, 3) == [[1, 2, 3]]


def test_keys(colour: str) -> None:
    """26. A key is one id's: of its type, of the other arguments, and of the function."""
    server = Server(MemoryBackend(), Shelf(), colour)
    key = server.batch.key
    assert key(1) == key(1, lang="en") != key(1, lang="de")
    assert len({key(1), key(2), key("1"), key(1.0)}) == 4
    with pytest.raises(TypeError, match="lang"):
        key(1, language="de")


def test_refresh_and_bypass(backend: Backend, colour: str) -> None:
    """27. For all ids that are given, in one run."""
    shelf = Shelf()
    server = Server(backend, shelf, colour)
    server([1, 2])
    assert server.do(server.batch.bypass([1, 2, 1]))[1].name == "p1 of 2"
    assert server([1])[1].name == "p1 of 1"
    assert server.do(server.batch.refresh([1]))[1].name == "p1 of 3"
    assert {row.name for row in server([1, 2]).values()} == {"p1 of 3", "p2 of 1"}
    assert server.do(server.batch.bypass([])) == {}
    assert shelf.runs == [[1, 2], [1, 2], [1]]


def test_this_process_memory(colour: str) -> None:
    """26. What this process has is not asked for; what it drops is gone from there."""
    backend, shelf = Counting(), Shelf()
    server = Server(backend, shelf, colour, local_entries=10)
    server([1, 9])
    backend.asked.clear()
    assert list(server([1, 9])) == [1]
    assert backend.asked == []
    assert server.cache.stats().local_hits == 2
    server([1, 2, 9])
    assert backend.asked == [("read", 1), ("acquire", 1)]
    server.do(server.batch.invalidate(1))
    server([1, 2, 9])
    assert shelf.runs == [[1, 9], [2], [1]]


def test_others_wait_for_what_is_being_computed(
    backend: Backend, colour: str, pool: ThreadPoolExecutor
) -> None:
    """26. In other processes and in this one: each id is computed once, and nobody waits in a circle."""
    shelf = Shelf()
    here, there = Server(backend, shelf, colour), Server(backend, shelf, colour)
    shelf.go.clear()
    first = pool.submit(here, [1, 2])
    assert shelf.running.wait(20)
    shelf.running.clear()
    other = pool.submit(there, [2, 3, 1])
    assert shelf.running.wait(20)  # it computes what nobody else does, before it waits
    third = pool.submit(there if colour == "sync" else here, [3, 2])
    fourth = pool.submit(here, [1])
    wait_until(lambda: here.cache.stats().waits + there.cache.stats().waits >= 2, what="somebody who waits")
    shelf.go.set()
    results = [one.result(20) for one in (first, other, third, fourth)]
    assert [list(result) for result in results] == [[1, 2], [2, 3, 1], [3, 2], [1]]
    assert sorted(one for ids in shelf.runs for one in ids) == [1, 2, 3]
    assert results[1][2] == results[0][2]


async def test_tasks_share(backend: Backend) -> None:
    """26. Fifty tasks with overlapping ids ask the function for each id once, all at the same time."""
    cache, runs = Cache(backend), []

    @cache.batch(ttl=60)
    async def squares(ids: list[int]) -> dict[int, int]:
        runs.append(ids)
        await asyncio.sleep(0.01)
        return {one: one * one for one in ids}

    wanted = [[number % 10, (number * 3) % 10, number] for number in range(50)]
    results = await asyncio.gather(*map(squares, wanted))
    assert results == [{one: one * one for one in ids} for ids in wanted]
    assert sorted(one for ids in runs for one in ids) == list(range(50))
    await cache.close()


async def test_cancelled(backend: Backend) -> None:
    """3. Who waited for it goes on at once with ids of its own computing, here and elsewhere."""
    here, there = Cache(backend), Cache(backend)
    go, runs = asyncio.Event(), []

    def define(cache: Cache) -> Any:
        @cache.batch(ttl=60, name="squares")
        async def squares(ids: list[int]) -> dict[int, int]:
            runs.append(ids)
            await go.wait()
            return {one: one * one for one in ids}

        return squares

    one, two = define(here), define(there)
    leader = asyncio.create_task(one([1, 2]))
    while not runs:
        await asyncio.sleep(0)
    waiters = [asyncio.create_task(one([2, 3])), asyncio.create_task(two([1, 4]))]
    while len(runs) < 3:
        await asyncio.sleep(0.001)
    leader.cancel()
    go.set()
    async with asyncio.timeout(runtime.LEASE_TTL - 1):
        assert await asyncio.gather(*waiters) == [{2: 4, 3: 9}, {1: 1, 4: 16}]
    with pytest.raises(asyncio.CancelledError):
        await leader
    assert sorted(runs) == [[1], [1, 2], [2], [3], [4]]
    await here.close()


class Slow(MemoryBackend):
    """A back end whose answer to who asks for a lease takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.answer = asyncio.Event(), asyncio.Event()

    def acquire(self, *args: Any, **kwargs: Any) -> Steps[Any]:
        lease = yield from super().acquire(*args, **kwargs)
        self.asked.set()
        yield self.answer.wait()
        return lease


@pytest.mark.parametrize("kind", ["batch", "query"])
async def test_cancelled_while_it_asks_for_leases(kind: str) -> None:
    """3. What it gets when it is gone is given back, and nobody waits for the lease to end."""
    backend = Slow()
    cache = Cache(backend)
    if kind == "batch":

        @cache.batch(ttl=60)
        async def answer(ids: list[int]) -> dict[int, int]:
            return {one: one for one in ids}

        ask: Any = lambda: answer([1, 2])  # noqa: E731
    else:

        @cache.query(ttl=60)
        async def single() -> int:
            return 1

        ask = single
    caller = asyncio.create_task(ask())
    await backend.asked.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    backend.answer.set()
    async with asyncio.timeout(runtime.LEASE_TTL - 1):
        assert await ask()
    await cache.close()


def test_a_function_that_raises(backend: Backend, colour: str) -> None:
    """5. Its error is raised, what was there is not lost, no lease stays, and the next call tries again."""
    shelf = Shelf()
    server = Server(backend, shelf, colour)
    server([1])
    shelf.error = LookupError("gone")
    with pytest.raises(LookupError, match="gone"):
        server([1, 2, 3])
    (seen,) = run(backend.using("sync").read([Lookup(server.batch.key(2), ("t",))]))
    assert judge(seen, 0) == Miss()
    shelf.error = None
    assert list(server([1, 2, 3])) == [1, 2, 3]
    assert shelf.runs == [[1], [2, 3], [2, 3]]


def test_one_result_that_cannot_be_cached(backend: Backend) -> None:
    """24, 26. The call raises, with the id's value in the message; the other results are stored."""
    cache, runs = Cache(backend), []

    @cache.batch(ttl=60)
    def mixed(ids: list[int]) -> dict[int, int]:
        runs.append(ids)
        return {one: one if one != 2 else "two" for one in ids}  # type: ignore[misc]

    with pytest.raises(UncacheableResult, match="a str result cannot be cached"):
        mixed([1, 2, 3])
    assert mixed([1, 3]) == {1: 1, 3: 3}
    assert runs == [[1, 2, 3]]


def test_an_invalidation_while_it_runs(backend: Backend, colour: str, pool: ThreadPoolExecutor) -> None:
    """6. What was computed before it is returned to its caller and not stored; the other ids are."""
    shelf = Shelf()
    server = Server(backend, shelf, colour, tags=["product:{id}"])
    shelf.go.clear()
    first = pool.submit(server, [1, 2])
    assert shelf.running.wait(20)
    Cache(backend).invalidate_tags_sync("product:1")
    shelf.go.set()
    assert list(first.result(20)) == [1, 2]
    assert server([1, 2])[1].name == "p1 of 2"
    assert shelf.runs == [[1, 2], [1]]


def test_a_back_end_that_is_away(colour: str) -> None:
    """14. The function runs, once for all ids, and no error is raised."""
    shelf = Shelf()
    server = Server(RedisBackend.from_url("redis://127.0.0.1:9/0"), shelf, colour)
    assert list(server([1, 2, 9])) == [1, 2]
    assert shelf.runs == [[1, 2, 9]]


def test_a_dirty_session() -> None:
    """11. A session with changes neither reads nor stores; its caller sees them, in one run."""
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    sessions, cache, runs = sessionmaker(engine), Cache(Counting(), local_entries=10), []
    cache.watch(sessions)

    @cache.batch(ttl=60, reads=[Product])
    def names(session: Session, ids: list[int]) -> dict[int, str]:
        runs.append(ids)
        rows = session.execute(select(Product.id, Product.name).where(Product.id.in_(ids)))
        return {row.id: row.name for row in rows}

    with sessions() as session:
        session.add_all([Product(id=1, name="one"), Product(id=2, name="two")])
        session.commit()
        assert names(session, [1, 2, 3]) == names(session, [1, 2, 3]) == {1: "one", 2: "two"}
        session.add(Product(id=3, name="three"))
        session.flush()
        assert names(session, [1, 3]) == {1: "one", 3: "three"}
        session.rollback()
        assert names(session, [1, 3]) == {1: "one"}
        session.add(Product(id=3, name="three"))
        session.commit()
        assert names(session, [1, 3]) == {1: "one", 3: "three"}
    assert runs == [[1, 2, 3], [1, 3], [1, 3]]
    engine.dispose()


def test_nothing_old_is_made_new_again() -> None:
    """6. In a cached function this process's memory does not answer: what others dropped is in it."""
    backend, shelf = Counting(), Shelf()
    server = Server(backend, shelf, "sync", local_entries=10, local_ttl=60)

    @server.cache.query(ttl=60, tags=["t"])
    def outer() -> str:
        return str(server([1])[1].name)

    server([1])
    Cache(backend).invalidate_tags_sync("t")
    assert server([1])[1].name == "p1 of 1"  # within local_ttl
    assert outer() == "p1 of 2"


def test_a_batch_within_another(backend: Backend) -> None:
    """6. A function may ask for more of its own ids, and does not wait for itself."""
    cache, runs = Cache(backend), []

    @cache.batch(ttl=60)
    def depths(ids: list[int]) -> dict[int, int]:
        runs.append(ids)
        below = depths([one - 1 for one in ids if one > 0]) if any(ids) else {}
        return {one: below.get(one - 1, -1) + 1 for one in ids}

    assert depths([3, 1]) == {3: 3, 1: 1}
    assert depths([2, 1, 0]) == {2: 2, 1: 1, 0: 0}
    assert runs[0] == [3, 1]


def test_methods(colour: str) -> None:
    """27. A method has its batches, too, with `invalidate` and `key` of the instance."""
    cache, runs = Cache(MemoryBackend()), []

    class Shop:
        @cache.batch(ttl=60)
        def names(self, ids: set[int], lang: str) -> dict[int, str]:
            runs.append(ids)
            return {one: f"{one} {lang}" for one in ids}

    shop = Shop()
    for _ in range(2):
        assert shop.names([1, 2], "en") == {1: "1 en", 2: "2 en"}
    shop.names.invalidate(1, lang="en")
    shop.names([1, 2], lang="en")
    assert runs == [{1, 2}, {1}]
    assert shop.names.key(1, lang="en") == Shop().names.key(1, lang="en")


def test_instances_have_results_of_their_own_on_request() -> None:
    """26. `identity=` puts what it makes of `self` into the key and the tags of each id."""
    cache, runs = Cache(MemoryBackend()), []

    class Shop:
        def __init__(self, tenant: str) -> None:
            self.tenant = tenant

        @cache.batch(ttl=60, identity=lambda self: self.tenant, tags=["{self}:{id}"])
        def names(self, ids: list[int]) -> dict[int, str]:
            runs.append(self.tenant)
            return {one: f"{one} {self.tenant}" for one in ids}

    north, south = Shop("north"), Shop("south")
    for _ in range(2):
        assert north.names([1, 2]) == {1: "1 north", 2: "2 north"}
        assert south.names([1, 2]) == {1: "1 south", 2: "2 south"}
    assert runs == ["north", "south"]
    assert north.names.key(1) == Shop("north").names.key(1) != south.names.key(1)
    north.names.invalidate(1)
    cache.invalidate_tags_sync("south:2")
    assert north.names.refresh([2]) == {2: "2 north"}
    assert (north.names([1]), south.names([1, 2])) == ({1: "1 north"}, {1: "1 south", 2: "2 south"})
    assert runs == ["north", "south", "north", "north", "south"]
    for wrong in ({"identity": "tenant"}, {"identity": lambda self: 1}):

        def plain(ids: list[int]) -> dict[int, str]:
            return {}

        with pytest.raises(ConfigurationError, match="identity="):
            cache.batch(ttl=60, **wrong)(plain)  # type: ignore[arg-type]


def test_ids_have_any_type_that_has_a_key() -> None:
    """26. They come back as they were; the function gets the series that it is annotated with."""
    cache, seen = Cache(MemoryBackend()), []

    @cache.batch(ttl=60, over="who", tags=["user:{id}"])
    def users(at: frozenset[int], who: tuple[uuid.UUID, ...]) -> dict[uuid.UUID, int]:
        seen.append(who)
        return {one: one.int for one in who}

    ids = [uuid.UUID(int=5), uuid.UUID(int=6)]
    assert users(frozenset(), ids) == users(frozenset(), ids) == {one: one.int for one in ids}
    assert seen == [tuple(ids)]

    @cache.batch(ttl=60)
    def things(ids: list[Any]) -> dict[Any, int]:
        return {}

    with pytest.raises(UncacheableArgument, match="ids"):
        things([object()])


def test_mistakes_in_a_definition() -> None:
    """26. They are told when the function is defined, with the cure."""
    cache = Cache(MemoryBackend())

    def no_dict(ids: list[int]) -> list[int]: ...  # type: ignore[empty-body]
    def no_series(ids: int) -> dict[int, int]: ...  # type: ignore[empty-body]
    def two(ids: list[int], others: list[int]) -> dict[int, int]: ...  # type: ignore[empty-body]
    def orm(ids: list[int]) -> dict[int, Product]: ...  # type: ignore[empty-body]
    def fine(ids: list[int]) -> dict[int, int]: ...  # type: ignore[empty-body]

    define: Any = cache.batch(ttl=60)
    for function, words in [
        (no_dict, "returns a dict of results by id"),
        (no_series, 'say over="ids"'),
        (two, 'say over="ids"'),
        (orm, "Product objects.*select the columns"),
    ]:
        with pytest.raises(ConfigurationError, match=words):
            define(function)
    with pytest.raises(ConfigurationError, match=r"over='id': .* has no such parameter"):
        cache.batch(ttl=60, over="id")(fine)
    with pytest.raises(ConfigurationError, match=r"\{sku\} is no parameter .*; in a batch \{id\} is the id"):
        cache.batch(ttl=60, tags=["{sku}"])(fine)
    with pytest.raises(ConfigurationError, match=r"@cache\.batch\(ttl=60\)"):
        cache.batch(fine)  # type: ignore[call-overload]
    kept = define(fine)
    with pytest.raises(ConfigurationError, match="two cached functions are called"):

        @cache.query(ttl=60, name=f"{kept.__module__}.{kept.__qualname__}")
        def other() -> int:
            return 1


def test_mistakes_in_a_call() -> None:
    """26. A text is no list of ids, and ids that come back as another type would all count as absent."""
    cache = Cache(MemoryBackend())
    answer: Any = {}

    @cache.batch(ttl=60)
    def names(ids: list[int]) -> dict[int, str]:
        return answer  # type: ignore[no-any-return]

    for ids in ("12", b"12", 12, {1: 2}, None):
        with pytest.raises(TypeError, match=r"ids is a .*give a list of ids"):
            names(ids)  # type: ignore[arg-type]
    for ids in ([1, 2], {1, 2}, {1: 2}):
        with pytest.raises(TypeError, match=r"names: [\[{]1.*give ids one by one, as in invalidate\(\*ids\)"):
            names.invalidate(ids)
    answer = {"1": "one"}
    with pytest.raises(
        UncacheableResult, match="the id '1', which it was not asked for; return only the ids"
    ):
        names([1])
    answer = ["one"]
    with pytest.raises(UncacheableResult, match="returned a list; return a dict"):
        names([1])
    answer = {1: "one"}
    assert names([1]) == {1: "one"}


def test_pickled_values() -> None:
    """24. Only with a secret, as for single results; what is absent needs none."""
    cache, runs = Cache(MemoryBackend()), []

    @cache.batch(ttl=60, pickle_key="a secret of 16 bytes")
    def numbers(ids: list[int]) -> dict[int, complex]:
        runs.append(ids)
        return {1: 1j}

    for _ in range(2):
        assert numbers([1, 2]) == {1: 1j}
    assert runs == [[1, 2]]


def test_it_is_interrupted(backend: Backend) -> None:
    """3. KeyboardInterrupt in the function: every lease is given back."""
    cache = Cache(backend)

    @cache.batch(ttl=60)
    def names(ids: list[int]) -> dict[int, str]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        names([1, 2])
    entries = backend.using("sync")

    def free() -> bool:
        found = run(entries.read([Lookup(names.key(one)) for one in (1, 2)]))
        return [judge(one, 0) for one in found] == [Miss(), Miss()]

    wait_until(free, what="no lease")


def test_a_cache_that_is_switched_off(colour: str) -> None:
    """28. While it is off each call runs the function once; this process's memory is put aside."""
    shelf = Shelf()
    server = Server(Counting(), shelf, colour, local_entries=10)
    server([1])
    with server.cache.disabled():
        assert server([1, 2])[1].name == server([2, 1])[1].name.replace("3", "2") == "p1 of 2"
    with server.cache.isolated():
        assert server([1])[1].name == "p1 of 4"
    assert server([1])[1].name == "p1 of 1"
    assert shelf.runs == [[1], [1, 2], [2, 1], [1]]


WORKER = """
    import asyncio, sys
    from scalekit.cache import Cache
    {imports}

    cache, first = Cache({backend}), int(sys.argv[3])

    @cache.batch(ttl=60, name="squares")
    async def squares(ids: list[int]) -> dict[int, int]:
        print(*ids, flush=True)
        await asyncio.sleep(0.2)
        return {{one: one * one for one in ids}}

    async def main():
        await squares.invalidate(-1)  # connected
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        calls = [squares(range(start, start + 20)) for start in range(first, first + 40, 4)]
        for found in await asyncio.gather(*calls):
            assert found == {{one: one * one for one in found}} and len(found) == 20, found
        print("done", flush=True)
        await cache.close()

    asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["redis", "memcached"])
def test_in_many_processes(kind: str, request: pytest.FixtureRequest, prefix: str) -> None:
    """1, 26. Three processes with ten calls each, of ids that overlap: each is computed once in all."""
    made = {
        "redis": ("redis_server", "from scalekit.cache.redis import RedisBackend", "RedisBackend.from_url"),
        "memcached": (
            "memcached_server",
            "from scalekit.cache.memcached import MemcachedBackend",
            "MemcachedBackend.from_url",
        ),
    }
    fixture, imports, backend = made[kind]
    code = textwrap.dedent(WORKER).format(
        imports=imports, backend=f"{backend}(sys.argv[1], prefix=sys.argv[2], timeout=5)"
    )
    url = request.getfixturevalue(fixture).url
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, url, prefix, str(10 * number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        said = [process.communicate(timeout=60)[0].splitlines() for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [lines.pop() for lines in said] == ["done"] * 3
    computed = [int(one) for lines in said for line in lines for one in line.split()]
    assert sorted(computed) == list(range(76))

"""Query results: 50 rows of 6 typed fields.

Floors: for a hit in the process ``lru_cache`` (in an ``async def`` where ours is one), or one decode where
the caller gets a copy of its own; for a hit in Redis F, which is redis-py's GET and a typed decode.
"""

import asyncio
import dataclasses
import datetime as dt
import decimal
import json
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import msgspec
import redis
import redis.asyncio
from fastapi import FastAPI, Response
from sqlalchemy import create_engine, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from benchmarks import _cache_cold as cold
from benchmarks._cache_peers import AIOCACHE, CASHEWS, DOGPILE, FASTAPI_CACHE, keys, lru, peers
from benchmarks.harness import Case, Result
from scalekit.cache import Cache
from scalekit.cache.redis import RedisBackend
from tests.servers import RedisServer


@dataclasses.dataclass(frozen=True)
class Row:
    id: int
    name: str
    price: decimal.Decimal
    stock: int
    created: dt.datetime
    active: bool


ROWS = [
    Row(number, f"product {number}", decimal.Decimal("19.90"), number * 3, dt.datetime(2026, 1, 1, 12), True)
    for number in range(50)
]
FROZEN = tuple(ROWS)
Query = Callable[[str], Awaitable[Any]]


async def mutable(category: str) -> list[Row]:
    return ROWS


async def frozen(category: str) -> tuple[Row, ...]:
    return FROZEN


def plain_mutable(category: str) -> list[Row]:
    return ROWS


def plain_frozen(category: str) -> tuple[Row, ...]:
    return FROZEN


async def cases() -> AsyncIterator[Case | list[Result]]:
    with RedisServer() as server:
        for part in (local_hits, pages, key_building, commits):
            for case in part(server.url):
                yield case
        async for case in redis_hits(server.url):
            yield case
        for case in plain_redis_hits(server.url):
            yield case
        yield memory_per_entry(server.url)
        yield cold_key(server)


def repeat(function: Query, times: int) -> Callable[[], object]:
    async def run() -> None:
        for _ in range(times):
            await function("books")

    return run


def repeat_plain(function: Callable[[str], object], times: int) -> Callable[[], object]:
    def run() -> None:
        for _ in range(times):
            function("books")

    return run


def local_hits(url: str) -> Iterator[Case]:
    """Hits in the process, which Redis is not asked for."""
    cache = Cache(RedisBackend.from_url(url, prefix="local:"), local_entries=1_000, local_ttl=3_600)
    decorate = cache.query(ttl=7_200, reads=["product"])
    decode = msgspec.msgpack.Decoder(list[Row]).decode
    payload = msgspec.msgpack.encode(ROWS)
    kept = lru(plain_frozen)

    async def lru_in_async(category: str) -> tuple[Row, ...]:
        return kept(category)

    async def copy(category: str) -> list[Row]:
        return decode(payload)

    with peers(None) as theirs:
        for what, function, floor in (
            ("hit in this process, cannot change", frozen, lru_in_async),
            ("hit in this process, a copy for each caller", mutable, copy),
        ):
            yield Case(
                piece="cache",
                name=f"{what}, async",
                ours=repeat(decorate(function), 500),
                peers={name: repeat(peer(function), 500) for name, peer in theirs.asynchronous.items()},
                floor=repeat(floor, 500),
                units=500,
            )
        for what, plain, plain_floor in (
            ("hit in this process, cannot change", plain_frozen, kept),
            ("hit in this process, a copy for each caller", plain_mutable, lambda _: decode(payload)),
        ):
            yield Case(
                piece="cache",
                name=f"{what}, plain",
                ours=repeat_plain(decorate(plain), 500),
                peers={name: repeat_plain(peer(plain), 500) for name, peer in theirs.synchronous.items()},
                floor=repeat_plain(plain_floor, 500),
                units=500,
            )
    assert cache.stats().computes == 4
    cache.close_sync()


def pages(url: str) -> Iterator[Case]:
    """A page of FastAPI with the rows as JSON. Floor: the page's bytes, ready, from the same application."""
    cache = Cache(RedisBackend.from_url(url, prefix="pages:"), local_entries=100, local_ttl=3_600)
    app = FastAPI()

    async def rows() -> list[Row]:
        return ROWS

    with peers(None) as theirs:
        app.get("/ours")(cache.response(ttl=7_200, reads=["product"])(rows))
        app.get("/peer")(theirs.asynchronous[FASTAPI_CACHE](rows))
        app.get("/ready")(_ready)

        def ask(path: str) -> Callable[[], object]:
            return repeat(lambda _: _asked(app, path), 100)

        yield Case(
            piece="cache",
            name="page of FastAPI, in this process",
            ours=ask("/ours"),
            peers={FASTAPI_CACHE: ask("/peer")},
            floor=ask("/ready"),
            units=100,
        )
    assert cache.stats().computes == 1
    cache.close_sync()


_JSON = msgspec.json.encode(ROWS)


async def _ready() -> Response:
    return Response(_JSON, media_type="application/json")


async def _asked(app: FastAPI, path: str) -> None:
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"shop")],
        "scheme": "http",
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        assert message.get("status", 200) == 200

    await app(scope, receive, send)


def key_building(url: str) -> Iterator[Case]:
    cache = Cache(RedisBackend.from_url(url))
    ours = cache.query(ttl=600, name="key")(mutable)
    yield Case(
        piece="cache",
        name="key of a call",
        ours=repeat_plain(ours.key, 500),
        peers={name: repeat_plain(make, 500) for name, make in keys(mutable).items()},
        units=500,
    )


async def redis_hits(url: str) -> AsyncIterator[Case]:
    cache = Cache(RedisBackend.from_url(url, prefix="redis:"))
    client = redis.asyncio.from_url(url)
    decode = msgspec.msgpack.Decoder(list[Row]).decode
    await client.set("floor", msgspec.msgpack.encode(ROWS))
    ours = cache.query(ttl=3_600, reads=["product"], tags=["prices"])(mutable)

    async def floor(category: str) -> list[Row]:
        value = await client.get("floor")
        assert value is not None
        return decode(value)

    def rounds(function: Query, names: list[str], times: int) -> Callable[[], object]:
        async def run() -> None:
            for _ in range(times):
                if len(names) == 1:
                    await function(names[0])
                else:
                    await asyncio.gather(*(function(name) for name in names))

        return run

    many = [f"category {number}" for number in range(32)]
    with peers(url) as theirs:
        contenders = {name: peer(mutable) for name, peer in theirs.asynchronous.items()}
        for what, names, times in (
            ("hit in Redis with two tags, 1 at a time", many[:1], 30),
            ("hit in Redis with two tags, 32 different ones at a time", many, 3),
            # cashews has the 32 share one GET and one object; here each has an object of its own.
            ("hit in Redis with two tags, the same one 32 times at a time", many[:1] * 32, 3),
        ):
            yield Case(
                piece="cache",
                name=what,
                ours=rounds(ours, names, times),
                peers={name: rounds(peer, names, times) for name, peer in contenders.items()},
                floor=rounds(floor, names, times),
                units=len(names) * times,
            )
    assert cache.stats().computes == 32
    await client.aclose()
    await cache.close()


def plain_redis_hits(url: str) -> Iterator[Case]:
    cache = Cache(RedisBackend.from_url(url, prefix="plain:"))
    client = redis.Redis.from_url(url)
    decode = msgspec.msgpack.Decoder(list[Row]).decode

    def floor(category: str) -> list[Row]:
        value = client.get("floor")
        assert isinstance(value, bytes)
        return decode(value)

    with peers(url) as theirs:
        yield Case(
            piece="cache",
            name="hit in Redis with two tags, plain",
            ours=repeat_plain(cache.query(ttl=3_600, reads=["product"], tags=["prices"])(plain_mutable), 30),
            peers={name: repeat_plain(peer(plain_mutable), 30) for name, peer in theirs.synchronous.items()},
            floor=repeat_plain(floor, 30),
            units=30,
        )
    client.close()
    cache.close_sync()


class Base(DeclarativeBase): ...


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    stock: Mapped[int] = mapped_column(default=0)


def commits(url: str) -> Iterator[Case]:
    """What a commit costs in a watched session; floor: in one that is not. SQLite in memory."""
    cache = Cache(RedisBackend.from_url(url, prefix="commits:"))
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)

    class Watched(Session): ...

    bare, watched = sessionmaker(engine), sessionmaker(engine, class_=Watched)
    cache.watch(watched)

    def commit(maker: Any, statement: Any) -> Callable[[], object]:
        def run() -> None:
            for _ in range(20):
                with maker.begin() as session:
                    session.execute(statement)

        return run

    for what, statement in (
        ("commit that changes a table", update(Product).values(stock=Product.stock + 1)),
        ("commit that changes nothing", text("SELECT 1")),
    ):
        yield Case(
            piece="cache",
            name=what,
            ours=commit(watched, statement),
            peers={},
            floor=commit(bare, statement),
            units=20,
        )
    cache.close_sync()


def memory_per_entry(url: str) -> list[Result]:
    """Bytes that an entry in this process takes beside its value, which all entries share here."""
    count = 5_000
    cache = Cache(RedisBackend.from_url(url, prefix="m:"), local_entries=2 * count, local_ttl=3_600)
    value = "the value"

    @cache.query(ttl=7_200, reads=["product"])
    def entry(number: int) -> str:
        return value

    entry(-1)
    tracemalloc.start()
    for number in range(count):
        entry(number)
    size = tracemalloc.get_traced_memory()[0] / count
    tracemalloc.stop()
    cache.close_sync()
    return [_result("bytes of an entry in this process, beside its value (no time)", size)]


def cold_key(server: RedisServer) -> list[Result]:
    """1,000 callers in four processes: how often the query ran, and how long 99 % of the callers waited."""
    found = {name: _cold(name, server) for name in (cold.OURS, CASHEWS, AIOCACHE, FASTAPI_CACHE, DOGPILE)}
    runs, p99, commands = found.pop(cold.OURS)
    what = "cold key, 1,000 callers in 4 processes, a query of 200 ms"
    results = []
    for name, (their_runs, their_p99, their_commands) in found.items():
        results += [
            _result(f"{what}: the 99th of 100 callers", p99, name, their_p99, floor=cold.QUERY * 1e6),
            _result(f"{what}: runs (no time)", runs, name, their_runs),
            _result(f"{what}: commands to Redis (no time)", commands, name, their_commands),
        ]
    return sorted(results, key=lambda one: one.case)


def _cold(name: str, server: RedisServer) -> tuple[int, float, int]:
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        command = [sys.executable, "-m", "benchmarks._cache_cold", name, server.url]
        pipe = subprocess.PIPE
        processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(4)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        before = client.info("stats")["total_commands_processed"]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        answers = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
        commands = client.info("stats")["total_commands_processed"] - before
    times = sorted(one for answer in answers for one in answer["times"])
    return sum(answer["runs"] for answer in answers), times[len(times) * 99 // 100] * 1e6, commands


def _result(
    case: str,
    ours: float,
    peer: str | None = None,
    theirs: float | None = None,
    *,
    floor: float | None = None,
) -> Result:
    return Result(
        piece="cache",
        case=case,
        ours_us=round(ours, 1),
        peer=peer,
        peer_us=None if theirs is None else round(theirs, 1),
        ratio=None if theirs is None else round(ours / theirs, 3),
        floor_us=floor,
        rate=False,
    )

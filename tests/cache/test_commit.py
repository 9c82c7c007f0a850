"""A commit and the cache: marked before COMMIT, bumped after it, whatever happens in between."""

import asyncio
import gc
import importlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

from scalekit._steps import Steps
from scalekit.cache import Cache, listeners
from scalekit.cache.memory import MemoryBackend
from scalekit.cache.versions import writers
from scalekit.errors import BackendError, BackendUnavailable, ConfigurationError
from tests.cache._shop import Base, Product, define
from tests.conftest import Database
from tests.faults import FaultProxy
from tests.patience import TIMEOUTS
from tests.servers import wait_until


class Backend(MemoryBackend):
    """Says what it is told, and waits or fails where a test wants it to."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self.log = log
        self.before: dict[str, Callable[[], Any]] = {}
        self.after: dict[str, Callable[[], Any]] = {}

    def mark(self, tags: Sequence[str], writer: bytes, *, ttl: float) -> Steps[None]:
        yield from self._said("mark", tags)
        yield from super().mark(tags, writer, ttl=ttl)
        self.after.get("mark", lambda: None)()

    def bump(self, tags: Sequence[str], writer: bytes, *, position: str | None = None) -> Steps[None]:
        yield from self._said("bump", tags)
        yield from super().bump(tags, writer, position=position)
        self.after.get("bump", lambda: None)()

    def _said(self, what: str, tags: Sequence[str]) -> Steps[None]:
        self.log.append(f"{what} {' '.join(tags)}")
        if what in self.before:
            yield self.before[what]()

    @property
    def dirty(self) -> bool:
        """Whether somebody is in COMMIT of products."""
        return bool(writers(self._records.get("product"), 0))


@pytest.fixture
def log() -> list[str]:
    """What happened, in order."""
    return []


@pytest.fixture
def engine(tmp_path: Path, log: list[str]) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path}/db", poolclass=NullPool)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Product(id=1, price=1))
        session.commit()
    _tell_commits(engine, log)
    yield engine
    engine.dispose()


@pytest.fixture
async def async_engine(engine: Engine, log: list[str]) -> AsyncIterator[AsyncEngine]:
    made = create_async_engine(engine.url.set(drivername="sqlite+aiosqlite"), poolclass=NullPool)
    _tell_commits(made.sync_engine, log)
    yield made
    await made.dispose()


def _tell_commits(engine: Engine, log: list[str]) -> None:
    dialect: Any = engine.dialect
    commit = dialect.do_commit

    def do_commit(connection: Any) -> None:
        log.append("COMMIT")
        commit(connection)

    dialect.do_commit = do_commit
    event.listen(engine, "do_execute", lambda _, sql, *__: log.append(sql.split()[0]))


def change(price: int = 2) -> Any:
    return update(Product).where(Product.id == 1).values(price=price)


def price_in(engine: Engine) -> int | None:
    with Session(engine) as session:
        return session.scalar(select(Product.price))


@pytest.mark.parametrize("way", ["session", "core", "engine"])
def test_marked_before_and_bumped_after(engine: Engine, log: list[str], way: str) -> None:
    """8. In this order, by whatever commits; `commit()` returns after both. Nothing is told of reads."""
    backend = Backend(log)
    cache, maker = Cache(backend), sessionmaker(engine)
    cache.watch(engine if way == "engine" else maker)
    if way == "core":
        with engine.connect() as connection, maker(bind=connection) as session:
            session.scalar(select(Product.price))
            session.execute(change())
            session.commit()
            session.close()
    else:
        with maker() as session:
            session.scalar(select(Product.price))
            session.execute(change())
            session.commit()
    assert [said for said in log if said != "SELECT"] == ["UPDATE", "mark product", "COMMIT", "bump product"]
    log.clear()
    with maker() as session:
        session.scalar(select(Product.price))
        session.commit()
    assert log == ["SELECT", "COMMIT"]


def test_a_connection_that_is_kept(engine: Engine, log: list[str]) -> None:
    """8. Nobody tells us when its COMMIT is over: its next transaction, or the pool, is the first to know."""
    cache = Cache(Backend(log))
    cache.watch(engine)
    with engine.connect() as connection:
        for _ in range(2):
            connection.execute(change())
            connection.commit()
    assert log == ["UPDATE", "mark product", "COMMIT", "bump product"] * 2


def test_nothing_is_stored_in_between(engine: Engine, log: list[str]) -> None:
    """8. Between the mark and the bump it is the older or the newer truth: each reads for itself."""
    backend = Backend(log)
    cache, maker, other = Cache(backend), sessionmaker(engine), Cache(backend)
    cache.watch(maker)
    price = define(other)
    seen = []

    def read() -> None:
        with Session(engine) as session:
            seen.append(price(session))

    read()
    backend.before["bump"] = read
    event.listen(engine, "checkin", lambda *_: read() if log[-1] == "COMMIT" else None)
    with maker.begin() as session:
        session.execute(change())
    read()
    read()
    assert seen[0] == 1
    assert set(seen[1:]) == {2}
    assert (other.stats().fills, other.stats().hits) == (2, 1)


def test_autocommit_is_marked_before_the_statement(engine: Engine, log: list[str]) -> None:
    """8. There is no other moment; and each statement for itself, so that the mark of none can run out."""
    cache = Cache(Backend(log))
    maker = sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT"))
    cache.watch(maker)
    with maker() as session:
        session.execute(change(2))
        session.execute(change(3))
    assert log == ["mark product", "UPDATE", "bump product"] * 2


def test_what_another_listener_of_commit_changes(engine: Engine) -> None:
    """8. An audit trail, say, that is written at the last moment, after the cache has marked the rest."""
    cache, maker = Cache(MemoryBackend()), sessionmaker(engine)
    cache.watch(maker)
    price = define(cache)
    with maker() as session:
        assert price(session) == 1

    @event.listens_for(engine, "commit", once=True)
    def last(connection: Connection) -> None:
        connection.execute(change(2))

    with maker() as session:
        session.connection()
        session.commit()
    with maker() as session:
        assert [price(session), price(session)] == [2, 2]


def test_a_driver_that_begins_no_transaction(engine: Engine) -> None:
    """8. Python's SQLite does not take DML behind WITH for such: it is committed at once, and not undone."""
    cache, maker = Cache(MemoryBackend()), sessionmaker(engine)
    cache.watch(maker)
    price = define(cache)
    with maker() as session:
        assert price(session) == 1
        session.execute(change(2).add_cte(select(Product.id).cte("a")))
        session.rollback()
        assert [price(session), price(session)] == [price_in(engine)] * 2 == [2, 2]


def test_a_driver_that_commits_by_itself(database: Database) -> None:
    """8. `connect_args={"autocommit": True}` tells SQLAlchemy nothing: its ROLLBACK undoes nothing."""
    engine = create_engine(database.primary_url("psycopg"), connect_args={"autocommit": True})
    if not hasattr(engine.dialect, "detect_autocommit_setting"):
        pytest.skip("SQLAlchemy 2.0 does not say it either")
    Base.metadata.create_all(engine)
    cache, maker = Cache(MemoryBackend()), sessionmaker(engine)
    cache.watch(maker)
    price = define(cache)
    with maker() as session:
        session.execute(insert(Product).values(id=1, price=1))
        session.commit()
        assert price(session) == 1
        session.execute(change(2))
        session.rollback()
        assert [price(session), price(session)] == [2, 2]
    engine.dispose()


def test_a_commit_that_the_server_refuses(engine: Engine, log: list[str]) -> None:
    """7. It was marked, and is bumped when that is over: nothing stays out of the cache."""
    backend = Backend(log)
    cache, maker = Cache(backend), sessionmaker(engine)
    cache.watch(maker)
    dialect: Any = engine.dialect

    def do_commit(_: Any) -> None:
        raise dialect.dbapi.IntegrityError("a deferred constraint")

    dialect.do_commit = do_commit
    with maker() as session:
        session.execute(change())
        with pytest.raises(IntegrityError):
            session.commit()
    assert log == ["UPDATE", "mark product", "bump product"]
    assert (backend.dirty, price_in(engine)) == (False, 1)


@pytest.mark.parametrize("by", ["session", "engine"])
def test_a_commit_under_which_the_connection_is_lost(engine: Engine, log: list[str], by: str) -> None:
    """8. It may still arrive, so its mark stays, until it ends by itself."""
    backend = Backend(log)
    cache = Cache(backend)
    cache.watch(engine)
    dialect: Any = engine.dialect

    def do_commit(_: Any) -> None:
        raise dialect.dbapi.OperationalError("no answer")

    @event.listens_for(engine, "handle_error")
    def handle_error(context: Any) -> None:
        context.is_disconnect = True

    dialect.do_commit = do_commit

    def write() -> None:
        with sessionmaker(engine).begin() if by == "session" else engine.begin() as connection:
            connection.execute(change())

    with pytest.raises(DBAPIError):
        write()
    assert log == ["UPDATE", "mark product"]
    assert backend.dirty


def fail() -> None:
    raise BackendUnavailable("Redis is away", backend="redis")


def test_a_back_end_that_is_away_does_not_stop_a_commit(
    engine: Engine, log: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """8. By default. What it could not be told is owed from the COMMIT on; before, an old fill could win."""
    backend = Backend(log)
    cache, maker = Cache(backend), sessionmaker(engine)
    cache.watch(maker)
    price = define(cache)
    with maker() as session:
        assert price(session) == 1
    log.clear()
    backend.before["mark"] = fail
    backend.drop_tags = lambda tags: log.append("drop") or MemoryBackend.drop_tags(backend, tags)  # type: ignore
    with maker.begin() as session:
        session.execute(change())
    assert log == ["UPDATE", "mark product", "COMMIT", "bump product", "drop"]
    with maker() as session:
        assert price(session) == 2


def test_a_mark_whose_answer_was_late(engine: Engine, log: list[str]) -> None:
    """8. Made or not, it is taken away: its tables are cached again, not only when it ends by itself."""
    backend = Backend(log)
    cache, maker = Cache(backend), sessionmaker(engine)
    cache.watch(maker)
    price = define(cache)
    backend.after["mark"] = fail
    with maker.begin() as session:
        session.execute(change())
    assert not backend.dirty
    with maker() as session:
        assert [price(session), price(session)] == [2, 2]
    assert cache.stats().fills == 1


@pytest.mark.parametrize("by", ["session", "connection"])
def test_a_commit_may_be_refused_instead(engine: Engine, log: list[str], by: str) -> None:
    """8. `unreachable="refuse"`: commit() raises before COMMIT, and nothing is committed, later neither."""
    backend = Backend(log)
    cache = Cache(backend)
    cache.watch(engine, unreachable="refuse")
    backend.before["mark"] = fail
    if by == "session":
        with Session(engine) as session:
            session.execute(change())
            with pytest.raises(BackendError) as caught:
                session.commit()
            session.rollback()
            assert session.scalar(select(Product.price)) == 1
            session.commit()
    else:
        with engine.connect() as connection:
            connection.execute(change())
            with pytest.raises(BackendError) as caught:
                connection.commit()
            connection.rollback()
            del backend.before["mark"]
            connection.execute(insert(Product).values(id=2))
            connection.commit()
    assert "so the changes of product are not committed" in caught.value.__notes__[0]
    assert price_in(engine) == 1


def test_what_may_be_asked_for(engine: Engine) -> None:
    """Another word is an error at start-up."""
    with pytest.raises(ConfigurationError, match="unreachable='ignore'; use 'commit' or 'refuse'"):
        Cache(MemoryBackend()).watch(engine, unreachable="ignore")  # type: ignore[arg-type]


async def test_cancelled_in_the_mark(async_engine: AsyncEngine, engine: Engine, log: list[str]) -> None:
    """7. Nothing is committed, and what may have been marked is cached again."""
    backend = Backend(log)
    cache, maker = Cache(backend), async_sessionmaker(async_engine)
    cache.watch(maker)
    marking = asyncio.Event()

    def wait() -> Any:
        marking.set()
        return asyncio.Event().wait()

    backend.before["mark"] = wait

    async def write() -> None:
        async with maker() as session:
            await session.execute(change())
            await session.commit()

    task = asyncio.create_task(write())
    await marking.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await cache._core.invalidation.bumps.end()
    assert "COMMIT" not in log
    assert log[-1] == "bump product"
    assert (price_in(engine), backend.dirty, cache._core.dirty) == (1, False, 0)


async def test_asynchronous_commits_do_not_wait_for_the_bump(
    async_engine: AsyncEngine, log: list[str]
) -> None:
    """8. It only switches caching on again; a read of the same tags waits for it, and others do not."""
    backend = Backend(log)
    cache, maker = Cache(backend), async_sessionmaker(async_engine)
    cache.watch(maker)
    bumping, go = asyncio.Event(), asyncio.Event()

    def wait() -> Any:
        bumping.set()
        return go.wait()

    backend.before["bump"] = wait

    @cache.query(ttl=60, reads=[Product])
    async def price(session: AsyncSession) -> int:
        return await session.scalar(select(Product.price)) or 0

    @cache.query(ttl=60, tags=["other"])
    async def other() -> int:
        return 1

    async with maker() as session:
        await session.execute(change())
        await session.commit()  # returns
        await bumping.wait()
        assert await other() == 1
        backend.after["bump"] = lambda: log.append("bumped")
        backend.read = lambda lookups: log.append("read") or MemoryBackend.read(backend, lookups)  # type: ignore
        reading = asyncio.create_task(price(session))
        assert await other() == 1
        go.set()
        assert [await reading, await price(session)] == [2, 2]
    assert (cache.stats().hits, cache.stats().fills) == (2, 2)
    assert log[log.index("bumped") :].count("read") == 2


async def test_a_request_that_is_cancelled_after_its_commit(
    async_engine: AsyncEngine, log: list[str]
) -> None:
    """The bump goes on without it."""
    backend = Backend(log)
    cache, maker = Cache(backend), async_sessionmaker(async_engine)
    cache.watch(maker)

    async def request() -> None:
        async with maker() as session:
            await session.execute(change())
            await session.commit()
            asyncio.current_task().cancel()  # type: ignore[union-attr]
            await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(request())
    await cache._core.invalidation.bumps.end()
    assert log[-1] == "bump product"
    assert not backend.dirty


@pytest.mark.parametrize("way", ["session", "engine"])
def test_the_end_of_a_loop_waits_for_the_bump(engine: Engine, log: list[str], way: str) -> None:
    """9. A job in `asyncio.run()` leaves no mark that keeps its tables out of the cache for half a minute."""
    backend = Backend(log)
    backend.before["bump"] = lambda: asyncio.sleep(0.01)
    cache = Cache(backend)

    async def job() -> None:
        made = create_async_engine(engine.url.set(drivername="sqlite+aiosqlite"), poolclass=NullPool)
        maker = async_sessionmaker(made)
        cache.watch(made if way == "engine" else maker)
        if way == "engine":
            async with made.begin() as connection:
                await connection.execute(change())
        else:
            await commit(maker())

    async def commit(session: AsyncSession) -> None:
        await session.execute(change())
        await session.commit()

    asyncio.run(job())
    assert log[-1] == "bump product"
    assert not backend.dirty


def test_a_transaction_waits_for_no_other_thread(engine: Engine, log: list[str]) -> None:
    """8. Nor, in a child of fork, for one of its parent's that held the lock for ever."""
    backend, maker = Backend(log), sessionmaker(engine)
    Cache(backend).watch(engine)

    def write() -> None:
        with maker() as session:
            session.execute(change())
            session.commit()

    with ThreadPoolExecutor(1) as pool, listeners._lock:
        writing = pool.submit(write)
        wait_until(writing.done, what="the end of a commit")
    assert log[-1] == "bump product"


def test_two_writers_at_a_time(engine: Engine, log: list[str]) -> None:
    """8. Nothing is cached before the last of them has committed."""
    backend = Backend(log)
    cache, maker = Cache(backend), sessionmaker(engine)
    cache.watch(maker)
    price, dirty = define(cache), []

    def also() -> None:
        backend.before.clear()
        list(MemoryBackend.mark(backend, ["product"], b"another.", ttl=60))

    backend.before["mark"] = also
    with maker.begin() as session:
        session.execute(change())
    for _ in range(2):
        with maker() as session:
            price(session)
        dirty.append((backend.dirty, cache.stats().fills))
        list(MemoryBackend.bump(backend, ["product"], b"another."))
    assert dirty == [(True, 0), (False, 1)]


@pytest.mark.parametrize("end", ["commit", "rollback", "close", "forgotten", "savepoint"])
def test_no_transaction_counts_for_ever(engine: Engine, end: str) -> None:
    """The number that spares the first tier the question comes back to 0, however a transaction ends."""
    cache, maker = Cache(MemoryBackend()), sessionmaker(engine)
    cache.watch(maker)
    session: Session | None = maker()
    assert session is not None
    session.execute(change())
    assert cache._core.dirty == 1
    if end == "savepoint":
        with session.begin_nested():
            session.execute(change())
        assert cache._core.dirty == 1
        session.commit()
    elif end != "forgotten":
        getattr(session, end)()
    session = None
    gc.collect()
    gc.collect()  # the connection, once the session is gone
    assert cache._core.dirty == 0


@pytest.mark.parametrize("kind", TIMEOUTS)
def test_this_process_memory_is_the_first_to_know(
    engine: Engine, kind: str, request: pytest.FixtureRequest, prefix: str
) -> None:
    """7, 8. Gone from it by the end of `commit()`, also if the back end is away; a rollback leaves it."""
    server = request.getfixturevalue(f"{kind}_server")
    made = getattr(importlib.import_module(f"scalekit.cache.{kind}"), f"{kind.title()}Backend")
    with FaultProxy(server.host, server.port) as proxy:
        backend = made.from_url(proxy.url(server.url), prefix=prefix)
        # Without a channel, and for an hour: nothing else would drop it.
        cache = Cache(backend, local_entries=10, local_ttl=3600, channel=False)
        maker, price = sessionmaker(engine), define(cache)
        cache.watch(maker)

        def seen() -> int:
            with maker() as session:
                return int(price(session))

        for committed in (2, 3):
            assert seen() == committed - 1
            with maker() as session:
                session.execute(change(9))
                session.rollback()
            assert seen() == committed - 1
            assert cache.stats().computes == committed - 1
            if committed == 3:
                proxy.refuse()
            with maker.begin() as session:
                session.execute(change(committed))
            assert seen() == committed
        proxy.pass_through()
        cache.close_sync()


COMMON = """
import os, signal, sys
from sqlalchemy import create_engine, event
from sqlalchemy.orm import sessionmaker
from scalekit.cache import Cache, invalidation
{imports}
from tests.cache._shop import Product, define
url, prefix, database, what = sys.argv[1:]
engine = create_engine(database)
maker = sessionmaker(engine)
cache = Cache({made}.from_url(url, prefix=prefix, timeout=5))
cache.watch(maker)
price = define(cache)
if what == "die":
    invalidation.MARK_TTL = 1.0
with maker() as session:
    print(price(session), flush=True)
    if what == "die":
        event.listen(engine, "checkin", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        session.get_one(Product, 1).price = 2
        session.commit()
"""


@pytest.mark.parametrize("kind", TIMEOUTS)
def test_killed_between_commit_and_bump(
    engine: Engine, kind: str, request: pytest.FixtureRequest, prefix: str
) -> None:
    """9. Nobody gets the older result, from the first moment on; and caching comes back after the mark."""
    url, name = request.getfixturevalue(f"{kind}_server").url, f"{kind.title()}Backend"
    code = COMMON.format(imports=f"from scalekit.cache.{kind} import {name}", made=name)
    died = subprocess.run(
        [sys.executable, "-c", code, url, prefix, str(engine.url), "die"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (died.stdout, died.returncode) == ("1\n", -signal.SIGKILL), died.stderr
    made = getattr(importlib.import_module(f"scalekit.cache.{kind}"), name)
    cache = Cache(made.from_url(url, prefix=prefix))
    price = define(cache)

    def is_stored() -> bool:
        with Session(engine) as session:
            assert price(session) == 2
        return cache.stats().hits > 0

    wait_until(is_stored, what="caching to come back")
    cache.close_sync()


@pytest.mark.parametrize("prepared", ["commit", "rollback", "lost"])
def test_two_phases(engine: Engine, prepared: str, log: list[str]) -> None:
    """8. Marked before PREPARE, which somebody else may commit; and once more before COMMIT PREPARED."""
    backend = Backend(log)
    dialect: Any = engine.dialect
    for step in ("begin", "prepare", "commit", "rollback"):
        said = f"{step.upper()} PHASE"
        setattr(dialect, f"do_{step}_twophase", lambda *_, said=said, **__: log.append(said))
    cache = Cache(backend)
    cache.watch(engine)
    with engine.connect() as connection:
        transaction = connection.begin_twophase("a")
        connection.execute(change())
        transaction.prepare()
        if prepared == "lost":
            connection.invalidate()
        else:
            getattr(transaction, prepared)()
    tail = {
        "commit": ["mark product", "COMMIT PHASE", "bump product", "bump product"],
        "rollback": ["ROLLBACK PHASE", "bump product"],
        "lost": [],
    }[prepared]
    assert log == ["BEGIN PHASE", "UPDATE", "mark product", "PREPARE PHASE", *tail]
    assert backend.dirty is (prepared == "lost")

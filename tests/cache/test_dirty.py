"""Whoever has a transaction with changes does without the cache, wherever the session comes from."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from scalekit.cache import Cache
from scalekit.cache.backend import Backend
from scalekit.cache.dirty import Dirty, DirtyCount
from tests.cache._shop import Base, Product


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path}/db", poolclass=NullPool)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Product(id=1, price=1))
        session.commit()
    yield engine
    engine.dispose()


@pytest.fixture
async def async_maker(engine: Engine) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    made = create_async_engine(engine.url.set(drivername="sqlite+aiosqlite"), poolclass=NullPool)
    yield async_sessionmaker(made)
    await made.dispose()


def fresh(engine: Engine) -> Callable[[], int]:
    """What everybody sees, by a session that nobody knows."""

    def price() -> int:
        with Session(engine) as session:
            return session.scalar(select(Product.price)) or 0

    return price


@pytest.mark.parametrize("change", ["pending", "flushed", "sent"])
def test_the_session_of_a_registry(engine: Engine, backend: Backend, change: str) -> None:
    """11. As Flask-SQLAlchemy's `db.session`: no argument shows it, and its own changes are what it sees."""
    db = scoped_session(sessionmaker(engine))
    cache = Cache(backend, local_entries=10)
    cache.watch(db)

    @cache.query(ttl=60, reads=[Product])
    def price() -> int:
        return db.scalar(select(Product.price)) or 0

    assert [price(), price()] == [1, 1]
    if change == "sent":
        db.execute(update(Product).values(price=2))
    else:
        db.get_one(Product, 1).price = 2
        if change == "flushed":
            db.flush()
    assert [price(), price()] == [2, 2]
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(price).result() == 1  # whose session has no changes
        pool.submit(db.remove).result()
    db.rollback()
    assert price() == 1
    stats = cache.stats()
    assert (stats.bypasses, stats.fills, stats.invalidations) == (2, 1, 0)
    db.remove()


@pytest.mark.parametrize("watched", ["maker", "engine"])
def test_another_session_of_this_thread(engine: Engine, backend: Backend, watched: str) -> None:
    """11. Neither read nor written, whatever session the function uses; other threads are not affected."""
    maker = sessionmaker(engine)
    cache = Cache(backend, local_entries=10)
    cache.watch(maker if watched == "maker" else engine)
    price = cache.query(ttl=60, reads=[Product], name="price")(fresh(engine))
    with maker() as session, ThreadPoolExecutor(1) as pool:
        session.execute(update(Product).values(price=2))
        assert [price(), price()] == [1, 1]
        assert (cache.stats().bypasses, cache.stats().fills) == (2, 0)
        assert [pool.submit(price).result(), pool.submit(price).result()] == [1, 1]
        assert (cache.stats().bypasses, cache.stats().fills) == (2, 1)
        session.rollback()
        assert price() == 1
    assert (cache.stats().bypasses, cache.stats().computes) == (2, 1)


async def test_another_session_of_this_task(
    engine: Engine, async_maker: async_sessionmaker[AsyncSession], backend: Backend
) -> None:
    """11. Also for the tasks that it starts from then on, and not for those of others."""
    cache = Cache(backend)
    cache.watch(async_maker)
    price = cache.query(ttl=60, reads=[Product], name="price")(fresh(engine))
    changed, done = asyncio.Event(), asyncio.Event()

    async def read() -> int:
        return price()

    async def other() -> int:
        await changed.wait()
        try:
            return price()
        finally:
            done.set()

    elsewhere = asyncio.create_task(other())
    async with async_maker() as session:
        await session.execute(update(Product).values(price=2))
        assert price() == await asyncio.create_task(read()) == 1
        assert (cache.stats().bypasses, cache.stats().fills) == (2, 0)
        changed.set()
        await done.wait()
        assert (await elsewhere, cache.stats().bypasses, cache.stats().fills) == (1, 2, 1)
        await session.rollback()
        assert (price(), cache.stats().bypasses) == (1, 2)


async def test_the_session_of_an_asynchronous_registry(
    async_maker: async_sessionmaker[AsyncSession], backend: Backend
) -> None:
    """11. With what is pending in it."""
    db = async_scoped_session(async_maker, asyncio.current_task)
    cache = Cache(backend, local_entries=10)
    cache.watch(db)

    @cache.query(ttl=60, reads=[Product])
    async def price() -> int:
        return await db.scalar(select(Product.price)) or 0

    assert [await price(), await price()] == [1, 1]
    (await db.get_one(Product, 1)).price = 2
    assert await price() == 2
    await db.rollback()
    assert await price() == 1
    assert (cache.stats().bypasses, cache.stats().fills) == (1, 1)
    await db.remove()
    await cache.close()


@contextmanager
def in_thread(context: Any, session: Session) -> Iterator[None]:
    """`session` is changed in another thread, and rolled back there."""
    changed, go = threading.Event(), threading.Event()

    def work() -> None:
        session.execute(update(Product).values(price=2))
        changed.set()
        go.wait(20)
        session.rollback()

    thread = threading.Thread(target=context.run, args=(work,))
    thread.start()
    assert changed.wait(20)
    yield
    go.set()
    thread.join()


def test_changes_of_another_thread(engine: Engine, backend: Backend) -> None:
    """11. A session that was changed in a thread pool, as by a dependency, is known as an argument."""
    url = engine.url.update_query_dict({"check_same_thread": "false"})
    maker = sessionmaker(create_engine(url, poolclass=NullPool))
    cache = Cache(backend, local_entries=10)
    cache.watch(maker)

    @cache.query(ttl=60, reads=[Product])
    def price(session: Session) -> int:
        return session.scalar(select(Product.price)) or 0

    with maker() as session:
        assert price(session) == 1
        session.rollback()
        with in_thread(copy_context(), session):
            assert price(session) == 2
        assert price(session) == 1
    assert (cache.stats().bypasses, cache.stats().fills) == (1, 1)


def test_a_transaction_that_has_ended_does_not_matter(engine: Engine, backend: Backend) -> None:
    """Neither committed nor forgotten, nor of a savepoint: what comes after it finds the cache in use."""
    maker = sessionmaker(engine)
    cache = Cache(backend)
    cache.watch(maker)
    price = cache.query(ttl=60, reads=[Product], name="price")(fresh(engine))
    for number in range(1, 4):
        with maker() as session:
            with session.begin_nested():
                session.execute(update(Product).values(price=number))
            session.commit()
            assert [price(), price()] == [number, number]
    assert (cache.stats().bypasses, cache.stats().fills, cache.stats().invalidations) == (0, 3, 3)


def test_a_child_counts_its_own_transactions() -> None:
    """11. What other threads of the parent had under way never ends in a child, and matters not there."""
    numbers: list[int] = []
    count = DirtyCount(numbers.append)
    count.add_lasting()
    theirs = copy_context().run(Dirty, count)
    mine = Dirty(count)
    assert numbers[-1] == 3
    count.forked()  # as in a child of this thread
    assert numbers[-1] == 2
    theirs.end()  # with the connection, when that is collected
    assert numbers[-1] == 2
    mine.end()
    mine.end()
    assert numbers[-1] == 1

"""Callers whose results must not be shared do not wait for each other."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from scalekit.cache import Cache
from scalekit.cache.memory import MemoryBackend
from scalekit.errors import NoServerAvailable

MANY = 8


class ClusterSession(Session): ...


class Replicas:
    """What the cache sees of a cluster with replicas."""

    event_target = ClusterSession
    is_single = False
    away = False

    @contextlib.contextmanager
    def primary(self) -> Iterator[None]:
        if self.away:
            raise NoServerAvailable("the primary is away")
        yield


@pytest.fixture
async def sessions(tmp_path: Path) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/db", poolclass=NullPool)
    yield async_sessionmaker(engine, sync_session_class=ClusterSession)
    await engine.dispose()


def define(cache: Cache) -> Any:
    """A query that ends when as many are running as were called: never, if they wait for each other."""
    all_here = asyncio.Barrier(MANY)

    @cache.query(ttl=60)
    async def query(session: AsyncSession) -> int:
        await all_here.wait()
        return 1

    return query


async def test_sessions_that_have_begun_run_at_the_same_time(
    sessions: async_sessionmaker[AsyncSession],
) -> None:
    """The user is read first, then the cached query, in each of several requests."""
    cache = Cache(MemoryBackend())
    cache.watch(Replicas())
    query = define(cache)

    async def request() -> Any:
        async with sessions() as session:
            await session.execute(text("SELECT 1"))
            return await query(session)

    async with asyncio.timeout(30):
        assert await asyncio.gather(*(request() for _ in range(MANY))) == [1] * MANY
    assert (cache.stats().computes, cache.stats().fills, cache.stats().waits) == (MANY, 0, 0)


async def test_without_a_primary_all_run_at_the_same_time(
    sessions: async_sessionmaker[AsyncSession],
) -> None:
    """10. Those who waited for the one who waited for the primary; nothing is kept."""
    cache, replicas = Cache(MemoryBackend()), Replicas()
    cache.watch(replicas)
    replicas.away = True
    query = define(cache)

    async def request() -> Any:
        async with sessions() as session:
            return await query(session)

    async with asyncio.timeout(30):
        assert await asyncio.gather(*(request() for _ in range(MANY))) == [1] * MANY
    assert cache.stats().fills == 0


async def test_a_result_that_is_private_makes_nobody_wait(
    sessions: async_sessionmaker[AsyncSession],
) -> None:
    """11. The function has changed something in its own transaction: so may the others', all at once."""
    cache = Cache(MemoryBackend())
    all_waiting, running = asyncio.Event(), asyncio.Barrier(MANY - 1)
    calls = 0

    @cache.query(ttl=60)
    async def query(session: AsyncSession) -> int:
        nonlocal calls
        calls += 1
        session.sync_session.info["scalekit.cache.changed"] = {"t"}
        await (all_waiting.wait() if calls == 1 else running.wait())
        return 1

    async def request() -> Any:
        async with sessions() as session:
            return await query(session)

    tasks = [asyncio.create_task(request()) for _ in range(MANY)]
    async with asyncio.timeout(30):
        while cache.stats().waits < MANY - 1:
            await asyncio.sleep(0)
        all_waiting.set()
        assert await asyncio.gather(*tasks) == [1] * MANY
    assert cache.stats().fills == 0


@pytest.mark.parametrize("begun", ["before", "inside"])
async def test_a_global_session_that_has_begun_before_stores_nothing(
    sessions: async_sessionmaker[AsyncSession], begun: str
) -> None:
    """10. It is no argument, but may read from a replica all the same; one that is begun inside does not."""
    cache = Cache(MemoryBackend())
    cache.watch(Replicas())
    session = sessions()

    @cache.query(ttl=60)
    async def query() -> int:
        return await session.scalar(text("SELECT 1")) or 0

    async with session:
        if begun == "before":
            await session.execute(text("SELECT 1"))
        assert await query() == 1
    assert cache.stats().fills == (1 if begun == "inside" else 0)


# A thread that waits for itself can only be interrupted, and that once: so there are two callers.
@pytest.mark.timeout(30)
@pytest.mark.parametrize("many_ids", [False, True], ids=["query", "batch"])
async def test_plain_functions_inside_run_sync(
    sessions: async_sessionmaker[AsyncSession], many_ids: bool
) -> None:
    """1. They share the loop's thread, where whoever waited would stop the other: each runs the query."""
    cache, arrived = Cache(MemoryBackend()), 0

    def run(session: Session) -> int:
        nonlocal arrived
        arrived += 1
        while arrived < 2:
            session.execute(text("SELECT 1"))  # the other one has its turn
        return 1

    @cache.query(ttl=60)
    def query(session: Session) -> int:
        return run(session)

    @cache.batch(ttl=60)
    def batch(session: Session, ids: list[int]) -> dict[int, int]:
        return {ids[0]: run(session)}

    def called(session: Session) -> int:
        return batch(session, [7])[7] if many_ids else query(session)

    async def request() -> int:
        async with sessions() as session:
            return await session.run_sync(called)

    assert await asyncio.gather(*(request() for _ in range(2))) == [1, 1]
    assert await request() == 1
    assert arrived == 2  # one of them had the lease, and has stored it

"""The cache over a cluster of scalekit.database: replicas that lag, a primary that is gone."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from scalekit.cache import Cache
from scalekit.cache.redis import RedisBackend
from scalekit.database import ANY, AsyncCluster
from tests.conftest import Database
from tests.faults import kill, pause_replay
from tests.patience import be_patient
from tests.servers import PostgresCluster

be_patient()


class Base(DeclarativeBase): ...


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@dataclasses.dataclass(frozen=True)
class Seen:
    count: int


@pytest.fixture
async def cluster(database: Database) -> AsyncIterator[AsyncCluster]:
    cluster = AsyncCluster(database.primary_url(), replicas=database.replica_urls(), consistency=ANY)
    async with cluster.session() as session:
        connection = await session.connection()
        await connection.run_sync(Base.metadata.create_all)
        await session.commit()
    database.cluster.wait_caught_up()
    yield cluster
    await cluster.dispose()


def define(cache: Cache) -> Any:
    @cache.query(ttl=600, reads=[Product])
    async def count(session: AsyncSession) -> Seen:
        return Seen(await session.scalar(select(func.count()).select_from(Product)) or 0)

    return count


async def add(cluster: AsyncCluster) -> None:
    async with cluster.session() as session:
        session.add(Product(name="x"))
        await session.commit()


async def test_a_lagging_replica_never_fills_the_cache(
    cluster: AsyncCluster, database: Database, redis_url: str, prefix: str
) -> None:
    """Both replicas stand still: what is cached after a commit shows it, and goes on to."""
    cache = Cache(RedisBackend.from_url(redis_url, prefix=prefix))
    cache.watch(cluster)
    count = define(cache)

    async def ask() -> int:
        async with cluster.session() as session:
            seen: Seen = await count(session)
            return seen.count

    assert [await ask(), await ask()] == [0, 0]
    one, two = database.cluster.replicas
    with pause_replay(one), pause_replay(two):
        for number in range(1, 4):
            await add(cluster)
            assert [await ask(), await ask(), await ask()] == [number] * 3
            async with cluster.session() as session:  # a plain read is content with what a replica has
                assert await session.scalar(select(func.count()).select_from(Product)) == 0
    assert cache.stats().computes == 4
    await cache.close()


async def test_a_transaction_that_began_on_a_replica_stores_nothing(
    cluster: AsyncCluster, database: Database, redis_url: str, prefix: str
) -> None:
    """Its result is its own; nobody who waits for it, or comes after, gets it."""
    cache = Cache(RedisBackend.from_url(redis_url, prefix=prefix))
    cache.watch(cluster)
    count = define(cache)
    one, two = database.cluster.replicas
    with pause_replay(one), pause_replay(two):
        await add(cluster)
        async with cluster.session() as session, cluster.session() as other:
            assert await session.scalar(select(func.count()).select_from(Product)) == 0  # on a replica
            mine, theirs = await asyncio.gather(count(session), count(other))
            assert mine == Seen(0)
            assert theirs == Seen(1)
        async with cluster.session() as session:
            assert await count(session) == Seen(1)
    await cache.close()


async def test_without_a_primary_a_replica_answers(redis_url: str, prefix: str) -> None:
    """What is cached is served; what is not comes from a replica, and is not stored."""
    with PostgresCluster(replicas=1) as postgres:
        cluster = AsyncCluster(
            postgres.primary.url("asyncpg"),
            replicas=[postgres.replicas[0].url("asyncpg")],
            consistency=ANY,
            failover_wait=0,
        )
        async with cluster.session() as session:
            connection = await session.connection()
            await connection.run_sync(Base.metadata.create_all)
            await session.commit()
        await asyncio.to_thread(postgres.wait_caught_up)
        cache = Cache(RedisBackend.from_url(redis_url, prefix=prefix))
        cache.watch(cluster)
        count = define(cache)
        await asyncio.to_thread(kill, postgres.primary)
        for _ in range(2):
            async with cluster.session() as session:
                assert await count(session) == Seen(0)
        assert cache.stats().fills == 0
        await cache.close()
        await cluster.dispose()

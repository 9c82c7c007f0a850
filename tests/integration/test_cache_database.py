"""The cache over a cluster of scalekit.database: replicas that lag, a primary that is gone."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from scalekit.cache import Cache
from scalekit.cache.memory import MemoryBackend
from scalekit.cache.positions import MARGIN
from scalekit.cache.redis import RedisBackend
from scalekit.database import ANY, AsyncCluster, Cluster
from scalekit.errors import ConfigurationError
from tests.conftest import Database
from tests.database.conftest import PATIENT
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
    cluster = AsyncCluster(
        database.primary_url(), replicas=database.replica_urls(), consistency=ANY, **PATIENT
    )
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
    """10. Both replicas stand still: what is cached after a commit shows it, and goes on to."""
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
    """10. Its result is its own; nobody who waits for it, or comes after, gets it."""
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


def of_connection(cache: Cache) -> Any:
    @cache.query(ttl=600, reads=[Product], name="of connection")
    async def count(connection: AsyncConnection) -> Seen:
        return Seen(await connection.scalar(select(func.count()).select_from(Product)) or 0)

    return count


async def test_a_replica_that_has_what_was_committed_fills(
    cluster: AsyncCluster, database: Database, redis_url: str, prefix: str
) -> None:
    """10. The position of the commit is kept with the tag: whoever reads past it may store."""
    cache = Cache(RedisBackend.from_url(redis_url, prefix=prefix))
    cache.watch(cluster)
    by_session, by_connection = define(cache), of_connection(cache)
    async with cluster.session() as session:
        assert await by_session(session) == Seen(0)
    async with cluster.connection(read=True) as connection:
        assert await by_connection(connection) == Seen(0)
    products = 0

    async def commit() -> Any:
        nonlocal products
        products += 1
        async with cluster.session() as session:
            session.add(Product(name="x"))
            await session.commit()
            await cache._core.invalidation.bumps.end()
            return session.sync_session.committed_position()  # type: ignore[attr-defined]

    async def on_replica(connection: AsyncSession | AsyncConnection, position: Any) -> bool:
        inside: Any = (
            connection.sync_session if isinstance(connection, AsyncSession) else connection.sync_connection
        )
        is_replica = bool(await connection.scalar(text("SELECT pg_is_in_recovery()")))
        return is_replica and bool(inside.has_read_past(position))

    # A commit that follows so closely cannot be told from one before the function was first asked.
    await asyncio.sleep(2 * MARGIN)
    # Replicas may be left out for a moment, after another test; and what they have is heard now and then.
    async with asyncio.timeout(60):
        fills = cache.stats().fills
        position = await commit()
        database.cluster.wait_caught_up()
        while cache.stats().fills == fills:
            await asyncio.sleep(0.02)
            async with cluster.session() as session:
                if await on_replica(session, position):
                    assert await by_session(session) == Seen(products)
        position = await commit()
        database.cluster.wait_caught_up()
        while cache.stats().fills == fills + 1:
            await asyncio.sleep(0.02)
            async with cluster.connection(read=True) as connection:
                if await on_replica(connection, position):
                    assert await by_connection(connection) == Seen(products)
    assert cache.stats().fills == fills + 2
    await cache.close()


async def test_by_key_where_a_replica_is_behind(
    cluster: AsyncCluster, database: Database, redis_url: str, prefix: str
) -> None:
    """10. What was invalidated by its key is not filled by a replica that stands still, tables or not."""
    cache = Cache(RedisBackend.from_url(redis_url, prefix=prefix))
    cache.watch(cluster)

    @cache.query(ttl=600)
    async def by_key(session: AsyncSession) -> int:
        return await session.scalar(select(func.count()).select_from(Product)) or 0

    one, two = database.cluster.replicas
    with pause_replay(one), pause_replay(two):
        await add(cluster)
        asked = False
        async with asyncio.timeout(30):
            while not asked:
                async with cluster.session() as session:
                    asked = bool(await session.scalar(text("SELECT pg_is_in_recovery()")))
                    if asked:
                        await by_key.invalidate()
                        assert [await by_key(session), await by_key(session)] == [0, 0]
        assert cache.stats().fills == 0
        async with cluster.session() as session:
            assert await by_key(session) == 1
    await cache.close()


async def test_a_connection_for_reading_that_is_behind(
    cluster: AsyncCluster, database: Database, redis_url: str, prefix: str
) -> None:
    """10. As an argument of a cached function: one in a transaction on a replica that stands still."""
    cache = Cache(RedisBackend.from_url(redis_url, prefix=prefix))
    cache.watch(cluster)
    count = of_connection(cache)
    async with cluster.connection(read=True) as connection:
        assert await count(connection) == Seen(0)
    one, two = database.cluster.replicas
    with pause_replay(one), pause_replay(two):
        await add(cluster)
        asked = False
        async with asyncio.timeout(30):
            while not asked:
                async with cluster.connection(read=True) as connection:
                    asked = bool(await connection.scalar(text("SELECT pg_is_in_recovery()")))
                    if asked:  # replicas may be left out for a moment, after another test
                        assert not connection.sync_connection.has_read_past(None)  # type: ignore[union-attr]
                        assert await count(connection) == Seen(0)
        async with cluster.connection(read=True) as connection:
            assert await count(connection) == Seen(1)  # on the primary, for it had not begun
    await cache.close()


@pytest.mark.parametrize("by", ["connection", "primary_engine"])
def test_what_a_clusters_core_connections_change(tmp_path: Path, by: str) -> None:
    """8. cluster.watch() sees them, and their COMMIT drops what reads the tables."""
    cluster = Cluster(f"sqlite:///{tmp_path}/db")
    Base.metadata.create_all(cluster.primary_engine)
    cache = Cache(MemoryBackend())
    cache.watch(cluster)

    @cache.query(ttl=600, reads=[Product])
    def count(session: Session) -> int:
        return session.scalar(select(func.count()).select_from(Product)) or 0

    def seen() -> int:
        with cluster.session() as session:
            return count(session)

    assert [seen(), seen()] == [0, 0]
    with cluster.connection() if by == "connection" else cluster.primary_engine.connect() as connection:
        connection.execute(insert(Product).values(name="x"))
        assert seen() == 0  # without the cache
        connection.commit()
    assert [seen(), seen()] == [1, 1]
    stats = cache.stats()
    assert (stats.invalidations, stats.fills, stats.bypasses) == (1, 2, 1)
    with pytest.raises(ConfigurationError, match="ClusterEngine has no connections of its own; give cache"):
        cache.watch(cluster.primary_engine)
    cluster.dispose()


async def test_what_an_asynchronous_clusters_connections_change(
    cluster: AsyncCluster, redis_url: str, prefix: str
) -> None:
    """8. The same, over PostgreSQL and Redis."""
    cache = Cache(RedisBackend.from_url(redis_url, prefix=prefix))
    cache.watch(cluster)
    count = define(cache)

    async def ask() -> Seen:
        async with cluster.session() as session:
            seen: Seen = await count(session)
            return seen

    assert [await ask(), await ask()] == [Seen(0)] * 2
    async with cluster.connection() as connection:
        await connection.execute(insert(Product).values(name="x"))
        await connection.commit()
    assert [await ask(), await ask()] == [Seen(1)] * 2
    assert (cache.stats().fills, cache.stats().invalidations) == (2, 1)
    await cache.close()


async def test_without_a_primary_a_replica_answers(redis_url: str, prefix: str) -> None:
    """10. What is cached is served; what is not comes from a replica, and is not stored.

    23. Without a replica either, a result that has ended is served where `stale_if_error` says so.
    """
    with PostgresCluster(replicas=1) as postgres:
        cluster = AsyncCluster(
            postgres.primary.url("asyncpg"),
            replicas=[postgres.replicas[0].url("asyncpg")],
            consistency=ANY,
            failover_wait=0,
            **PATIENT,
        )
        async with cluster.session() as session:
            connection = await session.connection()
            await connection.run_sync(Base.metadata.create_all)
            await session.commit()
        await asyncio.to_thread(postgres.wait_caught_up)
        cache = Cache(RedisBackend.from_url(redis_url, prefix=prefix), session=cluster.session)
        cache.watch(cluster)
        count = define(cache)
        runs = 0

        @cache.query(ttl=0.001, reads=[Product], stale_if_error=600, soft_timeout=60, throttle=60)
        async def kept(session: AsyncSession) -> int:
            nonlocal runs
            runs += 1
            return (await session.scalar(select(func.count()).select_from(Product)) or 0) + runs

        async with cluster.session() as session:
            assert await kept(session) == 1
        await asyncio.to_thread(kill, postgres.primary)
        for _ in range(2):
            async with cluster.session() as session:
                assert await count(session) == Seen(0)
        async with cluster.session() as session:
            assert await kept(session) > 1
        assert (cache.stats().fills, cache.stats().stale) == (1, 0)
        await asyncio.to_thread(kill, postgres.replicas[0])
        for _ in range(3):
            async with cluster.session() as session:
                assert await kept(session) == 1
        assert (cache.stats().fills, cache.stats().stale, cache.stats().failures) == (1, 3, 1)
        await cache.close()
        await cluster.dispose()

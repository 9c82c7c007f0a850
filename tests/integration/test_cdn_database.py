"""Purges on commit over a cluster of scalekit.database, on a real PostgreSQL."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import ForeignKey, event, exc
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from scalekit.cdn.commits import purge_on_commit
from scalekit.cdn.purge_queue import PurgeQueue
from scalekit.database import AsyncCluster
from tests.cdn.purgers import AsyncRecorder
from tests.conftest import Database
from tests.database.conftest import PATIENT

PATIENCE = 60


class Base(DeclarativeBase): ...


class Shelf(Base):
    __tablename__ = "shelf"
    id: Mapped[int] = mapped_column(primary_key=True)


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    # Looked at by COMMIT, so that COMMIT is what fails.
    shelf: Mapped[int] = mapped_column(ForeignKey("shelf.id", deferrable=True, initially="DEFERRED"))


@pytest.fixture
async def cluster(database: Database) -> AsyncIterator[AsyncCluster]:
    cluster = AsyncCluster(database.primary_url(), replicas=database.replica_urls(), **PATIENT)
    async with cluster.session() as session:
        connection = await session.connection()
        await connection.run_sync(Base.metadata.create_all)
        session.add(Shelf(id=1))
        await session.commit()
    yield cluster
    await cluster.dispose()


def watched(cluster: AsyncCluster) -> tuple[AsyncRecorder, PurgeQueue]:
    cdn = AsyncRecorder()
    return cdn, purge_on_commit(cluster, cdn, tags={Product: ["product:{id}"]})


async def test_what_is_committed_is_there_when_it_is_purged(
    cluster: AsyncCluster, database: Database
) -> None:
    """Who fetches the page anew, as soon as it is purged, sees the row."""
    cdn, queue = watched(cluster)
    seen: list[str] = []
    ask = cdn.tags

    async def tags(values: list[str]) -> object:
        seen.append(database.cluster.primary.sql("SELECT count(*) FROM product", database=database.name))
        return await ask(values)

    cdn.tags = tags  # type: ignore[assignment, method-assign]
    async with cluster.session() as session:
        session.add(Product(id=7, shelf=1))
        await session.commit()
    assert queue.wait(PATIENCE)
    assert (cdn.purged, seen) == ([["product:7"]], ["1"])


async def test_a_commit_that_fails_purges_nothing(cluster: AsyncCluster) -> None:
    """What COMMIT itself refuses is rolled back like all else."""
    cdn, queue = watched(cluster)
    tried: list[Session] = []
    event.listen(cluster.event_target, "before_commit", tried.append)
    async with cluster.session() as session:
        session.add(Product(id=8, shelf=404))
        await session.flush()
        with pytest.raises(exc.IntegrityError):
            await session.commit()
        await session.rollback()
        session.add(Product(id=9, shelf=1))
        await session.commit()
    assert queue.wait(PATIENCE)
    assert (cdn.purged, len(tried)) == ([["product:9"]], 2)

"""One read unit: check out a connection, BEGIN, SELECT one row, ROLLBACK, check in.

On a primary with one replica. Ours reads from the replica through ``cluster.session()``; the peer is a
plain ``AsyncSession`` on that same replica; the floor is a Core connection on it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import sqlalchemy
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.harness import Case
from scalekit.database import AsyncCluster
from tests.servers import PostgresCluster

PEER = f"SQLAlchemy {sqlalchemy.__version__}"
DRIVERS = ("asyncpg", "psycopg")
POOL = {"pool_size": 32}
UPDATE = text("UPDATE item SET name = 'one' WHERE id = 1")


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


def many(
    unit: Callable[[], Awaitable[object]], *, concurrent: int, each: int
) -> Callable[[], Awaitable[None]]:
    async def worker() -> None:
        for _ in range(each):
            await unit()

    async def run() -> None:
        await asyncio.gather(*(worker() for _ in range(concurrent)))

    return run


async def cases() -> AsyncIterator[Case]:
    with PostgresCluster(replicas=1) as servers:
        servers.primary.sql(
            "CREATE TABLE item (id int PRIMARY KEY, name text)", "INSERT INTO item VALUES (1, 'one')"
        )
        servers.wait_caught_up()
        for driver in DRIVERS:
            primary, replica = servers.primary.url(driver), servers.replicas[0].url(driver)
            engine = create_async_engine(replica, **POOL)
            writing = create_async_engine(primary, **POOL)
            cluster = AsyncCluster(primary, replicas=[replica], **POOL)

            async def ours(cluster: AsyncCluster = cluster) -> None:
                async with cluster.session() as session:
                    (await session.execute(select(Item).where(Item.id == 1))).scalar_one()

            async def theirs(engine=engine) -> None:  # type: ignore[no-untyped-def]
                async with AsyncSession(engine) as session:
                    (await session.execute(select(Item).where(Item.id == 1))).scalar_one()

            async def floor(engine=engine) -> None:  # type: ignore[no-untyped-def]
                async with engine.connect() as connection:
                    await connection.execute(select(Item.id, Item.name).where(Item.id == 1))

            async def our_write(cluster: AsyncCluster = cluster) -> None:
                async with cluster.session() as session:
                    await session.execute(UPDATE)
                    await session.commit()

            async def their_write(engine=writing) -> None:  # type: ignore[no-untyped-def]
                async with AsyncSession(engine) as session:
                    await session.execute(UPDATE)
                    await session.commit()

            async with cluster:
                for concurrent, each in ((1, 100), (32, 10)):
                    yield Case(
                        piece="database",
                        name=f"read unit, {driver}, {concurrent} concurrent",
                        ours=many(ours, concurrent=concurrent, each=each),
                        peers={PEER: many(theirs, concurrent=concurrent, each=each)},
                        floor=many(floor, concurrent=concurrent, each=each),
                        units=concurrent * each,
                        rounds=9,
                    )
                yield Case(
                    piece="database",
                    name=f"write unit with its token, {driver}, 1 concurrent",
                    ours=many(our_write, concurrent=1, each=50),
                    peers={PEER: many(their_write, concurrent=1, each=50)},
                    units=50,
                    rounds=9,
                )
                assert cluster.status().members[1].transactions > 0, "the replica was not read from"
            await engine.dispose()
            await writing.dispose()

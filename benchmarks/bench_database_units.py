"""One read unit: check out a connection, BEGIN, SELECT one row, ROLLBACK, check in.

On a primary with one replica. Ours reads from the replica through ``cluster.session()``; the peers are a
plain ``AsyncSession`` on that same replica and advanced-alchemy's, which chooses between the two servers; the
floor is a Core connection on it. Further units: without a transaction around the read (``autocommit_reads``),
and with a question to the replica before it, as where nobody knows whether it has what the visitor wrote.
"""

import importlib.metadata
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import sqlalchemy
from advanced_alchemy.config.routing import RoutingConfig
from advanced_alchemy.routing.selectors import RoundRobinSelector
from advanced_alchemy.routing.session import RoutingSyncSession
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from benchmarks._database_items import Item, many
from benchmarks.harness import Case
from scalekit.database import AsyncCluster
from tests.database._lag import meet
from tests.servers import PostgresCluster

PLAIN = f"SQLAlchemy {sqlalchemy.__version__}"
ADVANCED = f"advanced-alchemy {importlib.metadata.version('advanced-alchemy')}"
DRIVERS = ("asyncpg", "psycopg")
POOL: dict[str, Any] = {"pool_size": 32}
UPDATE = text("UPDATE item SET name = 'one' WHERE id = 1")

Unit = Callable[[], Awaitable[None]]


def read(session: Callable[[], Any]) -> Unit:
    async def unit() -> None:
        async with session() as opened:
            (await opened.execute(select(Item).where(Item.id == 1))).scalar_one()

    return unit


def write(session: Callable[[], Any]) -> Unit:
    async def unit() -> None:
        async with session() as opened:
            await opened.execute(UPDATE)
            await opened.commit()

    return unit


async def cases(servers: PostgresCluster) -> AsyncIterator[Case]:
    for driver in DRIVERS:
        async with AsyncExitStack() as stack:
            async for case in _units(driver, servers, stack):
                yield case


async def _units(driver: str, servers: PostgresCluster, stack: AsyncExitStack) -> AsyncIterator[Case]:
    primary, replica = servers.primary.url(driver), servers.replicas[0].url(driver)
    reading, writing = (create_async_engine(url, **POOL) for url in (replica, primary))
    for engine in (reading, writing):
        stack.push_async_callback(engine.dispose)

    def routing() -> AsyncSession:
        # Its RoutingAsyncSession sets `bind` before there is a session, which SQLAlchemy 2.1 does not allow.
        # So we do what it would do next: put its synchronous session behind an AsyncSession.
        return AsyncSession(
            sync_session_class=RoutingSyncSession,
            routing_config=configuration,
            selectors=selectors,
            default_engine=writing.sync_engine,
        )

    configuration = RoutingConfig(engines={"default": [primary], "read": [replica]})
    selectors = {"read": RoundRobinSelector([reading.sync_engine])}

    async def cluster(**options: Any) -> AsyncCluster:
        made = await stack.enter_async_context(AsyncCluster(primary, replicas=[replica], **POOL, **options))
        async with made.session() as session:
            await session.run_sync(lambda _: meet(made))
        return made

    async def floor() -> None:
        async with reading.connect() as connection:
            await connection.execute(select(Item.id, Item.name).where(Item.id == 1))

    ours, alone, asking = await cluster(), await cluster(autocommit_reads=True), await cluster()
    # As where one name leads to several servers: what the probe was told says nothing about this connection.
    asking._fleet.members[1].known_over = lambda connection: None  # type: ignore[method-assign]
    plain = read(lambda: AsyncSession(reading))
    for concurrent, each in ((1, 100), (32, 5)):

        def repeated(unit: Unit, concurrent: int = concurrent, each: int = each) -> Unit:
            return many(unit, concurrent=concurrent, each=each)

        yield Case(
            piece="database",
            name=f"read unit, {driver}, {concurrent} concurrent",
            ours=repeated(read(ours.session)),
            peers={PLAIN: repeated(plain), ADVANCED: repeated(read(routing))},
            floor=repeated(floor),
            units=concurrent * each,
            rounds=7,
        )
    for name, contender in (("without a transaction", alone), ("with a question to the replica", asking)):
        yield Case(
            piece="database",
            name=f"read unit {name}, {driver}, 1 concurrent",
            ours=many(read(contender.session), concurrent=1, each=100),
            peers={PLAIN: many(plain, concurrent=1, each=100)},
            units=100,
            rounds=7,
        )
    yield Case(
        piece="database",
        name=f"write unit with its token, {driver}, 1 concurrent",
        ours=many(write(ours.session), concurrent=1, each=50),
        peers={PLAIN: many(write(lambda: AsyncSession(writing)), concurrent=1, each=50)},
        units=50,
        rounds=7,
    )
    for one in (ours, alone, asking):
        assert one.status().members[1].transactions > 0, "the replica was not read from"
    questions = asking.status().members[1].questions
    assert questions >= 700, f"the replica was asked {questions} times"

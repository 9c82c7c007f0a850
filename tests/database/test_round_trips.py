"""What reaching the right server costs in round trips, counted on the way; with autocommit_reads, too."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from scalekit.database import STRONG, AsyncCluster, Cluster
from tests.conftest import Database
from tests.database._lag import meet
from tests.database.conftest import PATIENT
from tests.faults import FaultProxy

READ = text("SELECT stock FROM item WHERE id = 1")
WRITE = text("UPDATE item SET stock = stock + 1 WHERE id = 1")

_PREPARED = 8
"""More often than psycopg sends a statement before it prepares it, which takes one round trip."""

Unit = Callable[[Session], object]


@pytest.fixture
def proxies(items: Database) -> Iterator[list[FaultProxy]]:
    """Between the application and the primary, and between it and a replica."""
    with ExitStack() as stack:
        servers = (items.cluster.primary, items.cluster.replicas[0])
        yield [stack.enter_context(FaultProxy(server.host, server.port)) for server in servers]


class Contender:
    """Runs units and tells what they cost: round trips to the primary and to the replica."""

    def __init__(self, run: Callable[[Unit], Awaitable[None]], proxies: list[FaultProxy]) -> None:
        self._run, self._proxies = run, proxies

    async def cost(self, unit: Unit, *, times: int = 5) -> tuple[float, ...]:
        """Of one ``unit``, on connections that are open already, when its statement has been prepared."""
        for _ in range(_PREPARED):
            await self._run(unit)
        before = [proxy.round_trips for proxy in self._proxies]
        for _ in range(times):
            await self._run(unit)
        return tuple(
            (proxy.round_trips - count) / times for proxy, count in zip(self._proxies, before, strict=True)
        )


@pytest.fixture(params=["asyncpg", "psycopg", "psycopg, synchronous"])
async def make(
    request: pytest.FixtureRequest, items: Database, proxies: list[FaultProxy]
) -> AsyncIterator[Callable[..., Any]]:
    """Makes contenders: plain SQLAlchemy on the server of that number, or clusters."""
    driver, _, synchronous = request.param.partition(", ")
    servers = (items.cluster.primary, items.cluster.replicas[0])
    urls = [proxy.url(server.url(driver, items.name)) for proxy, server in zip(proxies, servers, strict=True)]
    made: list[Any] = []

    def plain(index: int) -> Contender:
        if synchronous:
            engine = create_engine(urls[index])
            made.append(engine)

            async def run(unit: Unit) -> None:
                with Session(engine) as session:
                    unit(session)
        else:
            other = create_async_engine(urls[index])
            made.append(other)

            async def run(unit: Unit) -> None:
                async with AsyncSession(other) as session:
                    await session.run_sync(unit)

        return Contender(run, proxies)

    async def ours(**options: Any) -> tuple[Contender, Cluster | AsyncCluster]:
        # Asked once, so that what is counted is what sessions send.
        options |= {"replicas": urls[1:], "probe_interval": 3600, **PATIENT}
        if synchronous:
            cluster = Cluster(urls[0], **options)
            made.append(cluster)

            async def run(unit: Unit) -> None:
                with cluster.session() as session:
                    unit(session)

            meet(cluster)
            return Contender(run, proxies), cluster
        other = AsyncCluster(urls[0], **options)
        made.append(other)

        async def run_async(unit: Unit) -> None:
            async with other.session() as session:
                await session.run_sync(unit)

        async with other.session() as session:
            await session.run_sync(lambda _: meet(other))
        return Contender(run_async, proxies), other

    yield plain, ours
    for one in made:
        disposal = one.dispose()
        if disposal is not None:
            await disposal


def read(session: Session) -> None:
    session.execute(READ).one()


def write(session: Session) -> None:
    session.execute(WRITE)
    session.commit()


async def test_costs(make: Any, items: Database) -> None:
    """Speed. A read costs what it costs without us, and one question where what is known does not suffice.

    A commit, which tells its position, costs nothing more. With autocommit_reads a read is one round trip.
    """
    plain, ours = make
    contender, cluster = await ours()
    assert await plain(1).cost(read) == (0, 3), "BEGIN, SELECT, ROLLBACK"
    assert await contender.cost(read) == (0, 3)
    assert await contender.cost(write) == await plain(0).cost(write) == (3, 0)
    items.cluster.wait_caught_up()
    brief, other = await ours(autocommit_reads=True)
    assert await brief.cost(read) == (0, 1)
    for one, scope, asked, known in ((contender, cluster.scope, 4, 3), (brief, other.scope, 2, 1)):
        for first in (True, False):
            with scope():
                await one._run(write)
                items.cluster.wait_caught_up()
                before = one._proxies[1].round_trips
                await one._run(read)  # nobody knows yet that the replica has it
                if not first:  # asyncpg prepares the question too
                    assert one._proxies[1].round_trips - before == asked
                assert await one.cost(read) == (0, known), "the answer is remembered"


async def test_several_statements_are_alone_each(make: Any) -> None:
    """7. On one server, and in its one connection."""
    _, ours = make
    contender, cluster = await ours(autocommit_reads=True)

    def twice(session: Session) -> None:
        session.execute(READ).one()
        session.execute(READ).one()

    assert await contender.cost(twice) == (0, 2)
    assert cluster.status().members[1].transactions == _PREPARED + 5
    strong = READ.execution_options(consistency=STRONG)
    assert await contender.cost(lambda session: session.execute(strong).one()) == (3, 0)


async def test_what_asyncpg_is_told_with_a_commit(
    make_async: Callable[..., AsyncCluster], items: Database
) -> None:
    """Speed. The message with the position is ours, and the application's listeners hear of their own."""
    cluster = make_async("asyncpg")
    heard: list[str] = []

    def listen(connection: object, message: Any) -> None:
        heard.append(message.message)

    for shout in ("RAISE NOTICE 'mine'", "RAISE INFO 'scalekit position 1'"):
        with cluster.scope() as scope:
            async with cluster.session() as session:
                connection = await (await session.connection()).get_raw_connection()
                assert connection.driver_connection is not None
                connection.driver_connection.add_log_listener(listen)
                await session.execute(text(f"DO $$ BEGIN {shout}; END $$"))
                await session.execute(WRITE)
                driver_connection = connection.driver_connection
                await session.commit()
                driver_connection.remove_log_listener(listen)
        assert scope.token is not None
        assert scope.token.is_known
    assert heard == ["mine", "scalekit position 1"]

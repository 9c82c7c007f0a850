"""Where the statements of a session run, on a real primary with two replicas."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import TextClause, event, func, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from scalekit.database import ANY, STRONG, AsyncCluster, Bounded, Cluster
from tests.conftest import Database
from tests.database._items import Item
from tests.database._lag import meet

WHERE = text("SELECT pg_is_in_recovery(), inet_server_port(), pg_backend_pid()")


async def on_replica(session: AsyncSession) -> bool:
    return bool((await session.execute(WHERE)).one()[0])


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_reads_go_to_a_replica_and_writes_to_the_primary(
    make_async: Callable[..., AsyncCluster], items: Database, driver: str
) -> None:
    """A transaction that begins with a read runs on a replica; one that writes on the primary, wholly."""
    cluster = make_async(driver)
    async with cluster.session() as session:
        assert await on_replica(session)
        assert len((await session.scalars(select(Item))).all()) == 3
    async with cluster.session() as session:
        session.add(Item(id=4, name="four"))
        await session.flush()
        assert not await on_replica(session)
        await session.commit()
    assert items.cluster.primary.sql("SELECT count(*) FROM item", database=items.name) == "4"


def test_the_same_in_synchronous_code(make_sync: Callable[..., Cluster]) -> None:
    """Cluster is AsyncCluster without await."""
    cluster = make_sync()
    with cluster.session() as session:
        assert session.execute(WHERE).one()[0]
        session.add(Item(id=4, name="four"))
        session.flush()
        assert not session.execute(WHERE).one()[0]
        session.commit()
    with cluster.session() as session:
        assert len(session.scalars(select(Item)).all()) == 4


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_transaction_stays_on_one_server(
    make_async: Callable[..., AsyncCluster], driver: str
) -> None:
    """Twenty reads of one transaction come from one backend process, and so do reads after a write."""
    cluster = make_async(driver)
    async with cluster.session() as session:
        backends = {(await session.execute(WHERE)).one() for _ in range(20)}
        assert len(backends) == 1
        await session.execute(update(Item).values(stock=1))
        backends = {(await session.execute(WHERE)).one() for _ in range(20)}
        assert len(backends) == 1
        assert not backends.pop()[0]


async def test_a_hook_that_turns_a_read_into_a_lock(make_async: Callable[..., AsyncCluster]) -> None:
    """do_orm_execute may replace the statement; what runs then is what counts."""
    cluster = make_async()

    @event.listens_for(cluster.event_target, "do_orm_execute")
    def lock(state):  # type: ignore[no-untyped-def]
        if state.execution_options.get("lock"):
            state.statement = state.statement.with_for_update()

    async with cluster.session() as session:
        await session.execute(select(Item), execution_options={"lock": True})
        assert not await on_replica(session)


async def test_an_unknown_writing_function_is_repeated_on_the_primary_and_remembered(
    make_async: Callable[..., AsyncCluster],
) -> None:
    """The first call costs one refused attempt; from then on the statement goes straight to the primary."""
    cluster = make_async()
    order = select(func.place_order(1))
    async with cluster.session() as session:
        assert await session.scalar(order) == -1
        await session.commit()
    replicas = sum(member.transactions for member in cluster.status().members if member.role == "replica")
    async with cluster.session(consistency=ANY) as session:
        assert await session.scalar(select(func.place_order(1))) == -2
        await session.rollback()
    after = sum(member.transactions for member in cluster.status().members if member.role == "replica")
    assert after == replicas


async def test_objects_added_before_the_refusal_are_kept(make_async: Callable[..., AsyncCluster]) -> None:
    """The repetition gives up a connection, not the transaction: pending objects are still written."""
    cluster = make_async()
    async with cluster.session(autoflush=False) as session:
        session.add(Item(id=20, name="twenty"))
        await session.scalar(select(func.place_order(1)))
        await session.commit()
        assert await session.scalar(select(func.count()).select_from(Item)) == 4


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_savepoint_begins_on_the_primary(
    make_async: Callable[..., AsyncCluster], driver: str
) -> None:
    """After a read from a replica too: a function that writes would be refused there, with no way back."""
    cluster = make_async(driver)
    async with cluster.session() as session:
        assert await on_replica(session)
        async with session.begin_nested():
            assert await session.scalar(select(func.place_order(1))) == -1
        async with session.begin_nested() as savepoint:
            assert await session.scalar(select(func.place_order(1))) == -2
            await savepoint.rollback()
        await session.commit()
        assert await session.scalar(select(Item.stock).where(Item.id == 1)) == -1


async def test_replica_connections_cannot_write(
    make_async: Callable[..., AsyncCluster], items: Database
) -> None:
    """Their transactions are read-only by themselves, so a promotion does not make writers of them."""
    for driver in ("asyncpg", "psycopg"):
        # A "replica" that is the primary, as it is in the moment after its promotion.
        cluster = make_async(driver)
        member = cluster._fleet.members[0]
        async with member.read.engine.connect() as connection:  # type: ignore[union-attr]
            assert (await connection.execute(text("SHOW transaction_read_only"))).scalar() == "on"
            with pytest.raises(DBAPIError, match="read-only transaction"):
                await connection.execute(text("UPDATE item SET stock = 1"))


async def test_levels(make_async: Callable[..., AsyncCluster]) -> None:
    """STRONG and the primary block stay on the primary, Bounded and ANY may leave it."""
    cluster = make_async()
    async with cluster.session(consistency=STRONG) as session:
        assert not await on_replica(session)
    with cluster.primary():
        async with cluster.session() as session:
            assert not await on_replica(session)
    for level in (ANY, Bounded(seconds=5)):
        async with cluster.session(consistency=level) as session:
            assert await on_replica(session)
    async with cluster.session(consistency=Bounded(seconds=0.000001)) as session:
        assert not await on_replica(session), "nothing can be that fresh for sure"


async def test_serializable_transactions_run_on_the_primary(
    make_async: Callable[..., AsyncCluster],
) -> None:
    """A standby cannot do SERIALIZABLE; nobody has to know."""
    cluster = make_async(isolation_level="SERIALIZABLE")
    async with cluster.session() as session:
        assert not await on_replica(session)


def test_two_phase_commits_run_on_the_primary(make_sync: Callable[..., Cluster]) -> None:
    """A replica cannot prepare a transaction, even one that only reads."""
    with make_sync().session(twophase=True) as session:
        assert not session.execute(WHERE).one()[0]


async def test_a_session_outside_a_transaction_knows_its_dialect(
    make_async: Callable[..., AsyncCluster],
) -> None:
    """str(query) and libraries that ask for the bind get an engine, and nothing is begun."""
    cluster = make_async()
    async with cluster.session() as session:
        assert session.get_bind().dialect.name == "postgresql"
        assert "FROM item" in await session.run_sync(lambda sync: str(sync.query(Item)))
        assert not session.in_transaction()


def make_serializable(connection: Any, record: object) -> None:
    """Known to nobody but the server."""
    connection.cursor().execute("SET default_transaction_isolation = serializable")
    connection.commit()


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_what_no_replica_can_answer_is_refused_once(
    make_async: Callable[..., AsyncCluster], items: Database, driver: str
) -> None:
    """11. A read of an unlogged table, which goes to the primary at once the next time, and is no write.

    A transaction that a replica refuses, as it does each that is SERIALIZABLE, is not the statement's fault.
    """
    primary = items.cluster.primary
    primary.sql("CREATE UNLOGGED TABLE hasty (id int)", database=items.name)
    items.cluster.wait_caught_up()
    hasty = text("SELECT count(*), pg_is_in_recovery() FROM hasty")

    async def repeats(cluster: AsyncCluster, statement: TextClause, *, times: int) -> int:
        for _ in range(times):
            async with cluster.session(consistency=ANY) as session:
                assert (await session.execute(statement)).one()[-1] is False
        return sum(member.repeats for member in cluster.status().members)

    cluster = make_async(driver, writes_after_reads="error")
    async with cluster.session() as session:
        await session.run_sync(lambda _: meet(cluster))
    assert await repeats(cluster, hasty, times=5) == 1
    async with cluster.session() as session:
        assert await on_replica(session)
        await session.execute(hasty)
        assert not await on_replica(session)
        assert not session.sync_session.has_uncommitted_writes()  # type: ignore[attr-defined]
    assert await repeats(cluster, hasty, times=1) == 1
    serializable = make_async(driver)
    for member in serializable._fleet.members[1:]:
        event.listen(member.reader, "connect", make_serializable)
    async with serializable.session() as session:
        await session.run_sync(lambda _: meet(serializable))
    assert await repeats(serializable, text("SELECT pg_is_in_recovery()"), times=3) == 3

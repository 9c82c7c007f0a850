"""What a transaction does on its way: how it begins, what it sees, and what it leaves behind."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from scalekit.database import ANY, CAUSAL, STRONG, AsyncCluster, Bounded, Cluster
from scalekit.errors import ConfigurationError
from tests.conftest import Database
from tests.database._lag import lagging, meet
from tests.faults import pause_replay

STOCK = text("SELECT stock, pg_is_in_recovery() FROM item WHERE id = 1")
TENANT = text("SELECT stock, pg_is_in_recovery(), current_setting('app.tenant', true) FROM item WHERE id = 1")


def in_flight(cluster: AsyncCluster | Cluster) -> list[int]:
    """Connections in use, of the primary and of all replicas together."""
    first, *others = cluster.status().members
    return [first.in_flight, sum(member.in_flight for member in others)]


def set_tenant(cluster: AsyncCluster | Cluster) -> None:
    """Row-level security, as applications do it: each transaction begins by telling the server for whom."""

    @event.listens_for(cluster.event_target, "after_begin")
    def after_begin(session: Any, transaction: Any, connection: Connection) -> None:
        connection.execute(text("SELECT set_config('app.tenant', '7', true)"))


def test_a_listener_that_runs_sql_as_the_transaction_begins(
    make_sync: Callable[..., Cluster], items: Database
) -> None:
    """1. The replica is asked before the listener's statement opens the transaction, which no driver
    allows afterwards; a replica is not left out for it, and the listener has run wherever a statement does.
    """
    cluster = make_sync(probe_interval=30)  # so that the read has to ask
    meet(cluster)
    set_tenant(cluster)
    with cluster.scope():
        with cluster.session() as session:
            session.execute(text("UPDATE item SET stock = 5"))
            session.commit()
        items.cluster.wait_caught_up()
        with cluster.session() as session:
            assert session.execute(TENANT).one() == (5, True, "7")
            session.execute(text("UPDATE item SET stock = 6"))
            assert session.execute(TENANT).one() == (6, False, "7")
    assert [member.role for member in cluster.status().members] == ["primary", "replica", "replica"]
    assert in_flight(cluster) == [0, 0]


async def test_the_snapshot_is_younger_than_the_answer(
    make_async: Callable[..., AsyncCluster], items: Database
) -> None:
    """1. At REPEATABLE READ a listener's statement takes the snapshot; what was said before counts."""
    replica = items.cluster.replicas[0]
    cluster = make_async(
        replicas=[replica.url("asyncpg", items.name)], probe_interval=30, isolation_level="REPEATABLE READ"
    )
    set_tenant(cluster)
    member = cluster._fleet.members[1]
    ask_over = member.ask_over

    def catch_up_and_ask(connection: Any) -> Any:
        replica.resume_replay()
        items.cluster.wait_caught_up()
        return ask_over(connection)

    member.ask_over = catch_up_and_ask  # type: ignore[method-assign]
    async with cluster.session() as session:
        await session.run_sync(lambda _: meet(cluster))
    with cluster.scope(), pause_replay(replica):
        async with cluster.session() as session:
            await session.execute(text("UPDATE item SET stock = 5"))
            await session.commit()
        async with cluster.session() as session:
            assert (await session.execute(TENANT)).one() == (5, True, "7")


@pytest.mark.parametrize("write", [False, True])
def test_a_listener_that_fails(make_sync: Callable[..., Cluster], write: bool) -> None:
    """12. Its error is the application's, and no reason to leave a server out or to go on without it."""
    cluster = make_sync()
    first = text("UPDATE item SET stock = 0") if write else STOCK
    with cluster.session() as session:
        session.execute(first)
    failures = [True]

    @event.listens_for(cluster.event_target, "after_begin")
    def after_begin(session: Any, transaction: Any, connection: Connection) -> None:
        connection.execute(text("SELECT 1 / 0" if failures else "SELECT set_config('app.tenant', '7', true)"))

    with cluster.session() as session:
        with pytest.raises(DBAPIError, match="division by zero"):
            session.execute(first)
        assert in_flight(cluster) == [0, 0]
        failures.clear()
        session.execute(first)
        assert session.execute(TENANT).one() == (0, not write, "7")
    assert all(member.reason is None for member in cluster.status().members)
    assert in_flight(cluster) == [0, 0]


def test_a_listener_that_writes(make_sync: Callable[..., Cluster]) -> None:
    """10. No replica lets it, so that every transaction runs on the primary."""
    cluster = make_sync()

    @event.listens_for(cluster.event_target, "after_begin")
    def after_begin(session: Any, transaction: Any, connection: Connection) -> None:
        connection.execute(text("UPDATE item SET stock = stock + 1"))

    with cluster.session() as session:
        assert session.execute(STOCK).one() == (1, False)
    assert all(member.reason is None for member in cluster.status().members)
    assert in_flight(cluster) == [0, 0]


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ"])
def test_what_another_session_of_the_visitor_commits(
    make_sync: Callable[..., Cluster], items: Database, isolation: str
) -> None:
    """1. An open transaction of theirs sees it next, as on one server, unless it reads from one snapshot."""
    cluster = make_sync(isolation_level=isolation)
    meet(cluster)
    with lagging(items), cluster.scope(), cluster.session() as reading:
        assert reading.execute(STOCK).one() == (0, True)
        with cluster.session() as writing:
            writing.execute(text("UPDATE item SET stock = 5"))
            writing.commit()
        committed = isolation == "READ COMMITTED"
        assert reading.execute(STOCK).one() == ((5, False) if committed else (0, True))
        assert in_flight(cluster) == ([1, 0] if committed else [0, 1])
        reading.rollback()
        assert reading.execute(STOCK).one() == (5, False)


def test_what_another_session_commits_and_the_replica_has(
    make_sync: Callable[..., Cluster], items: Database
) -> None:
    """1. The open transaction stays on its replica where that is known to have it."""
    cluster = make_sync()
    with cluster.scope() as scope, cluster.session() as reading:
        assert reading.execute(STOCK).one() == (0, True)
        with cluster.session() as writing:
            writing.execute(text("UPDATE item SET stock = 5"))
            writing.commit()
        replicas = cluster._fleet.members[1:]
        cluster._fleet.monitor.wait(lambda: all(one.reached.covers(scope.token) for one in replicas), 30)  # type: ignore[arg-type]
        assert reading.execute(STOCK).one() == (5, True)


def test_the_replica_is_given_back(make_sync: Callable[..., Cluster]) -> None:
    """8. A transaction that has moved to the primary holds one connection, not two."""
    cluster = make_sync()
    with cluster.session() as session:
        session.execute(STOCK)
        assert in_flight(cluster) == [0, 1]
        session.execute(text("UPDATE item SET stock = 5"))
        assert in_flight(cluster) == [1, 0]
        session.commit()
        assert in_flight(cluster) == [0, 0]


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_rows_that_are_still_streaming(make_async: Callable[..., AsyncCluster], driver: str) -> None:
    """8. They go on arriving from the replica; its connection goes back with the transaction's end."""
    cluster = make_async(driver)
    async with cluster.session() as session:
        streamed = await session.stream(text("SELECT id FROM item ORDER BY id"))
        assert await anext(streamed.scalars()) == 1
        await session.execute(text("UPDATE item SET stock = 5"))
        assert in_flight(cluster) == [1, 1]
        assert [id async for id in streamed.scalars()] == [2, 3]
        await session.commit()
        assert in_flight(cluster) == [0, 0]
    assert await stock(cluster.session()) == 5


async def stock(session: AsyncSession) -> int:
    async with session:
        return int((await session.execute(STOCK)).one()[0])


ASKED: list[tuple[Any, Any, list[bool]]] = [
    # The transaction's level, the statements', and whether each of them is on a replica.
    (CAUSAL, [None, STRONG, ANY], [True, False, False]),
    (CAUSAL, [STRONG, None], [False, False]),
    (STRONG, [ANY, None, STRONG], [True, True, False]),
    (ANY, [CAUSAL, Bounded(5)], [True, True]),
    (CAUSAL, [None, Bounded(0.000001)], [True, False]),
    (CAUSAL, [Bounded(0.000001)], [False]),
]


@pytest.mark.parametrize(("level", "asked", "expected"), ASKED)
def test_levels_of_statements(
    make_sync: Callable[..., Cluster], level: Any, asked: list[Any], expected: list[bool]
) -> None:
    """6. A statement may ask for a level of its own, in its options or along with it. One that asks for more
    than the transaction did moves it to the primary if its replica does not do; less changes nothing.
    """
    cluster = make_sync(consistency=level)
    with cluster.session() as session:
        assert [is_on_replica(session, one) for one in asked] == expected
    with cluster.session() as session:
        where = [text("SELECT pg_is_in_recovery()").execution_options(consistency=one) for one in asked]
        assert [session.scalar(one) for one in where] == expected


def is_on_replica(session: Session, level: Any) -> bool:
    options = {} if level is None else {"consistency": level}
    return bool(session.scalar(text("SELECT pg_is_in_recovery()"), execution_options=options))


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ"])
def test_a_statement_that_asks_for_what_was_promised(
    make_sync: Callable[..., Cluster], items: Database, isolation: str
) -> None:
    """1. In a transaction that reads anything it gets the visitor's write; its snapshot may be too old."""
    cluster = make_sync(isolation_level=isolation)
    meet(cluster)
    caught_up = STOCK.execution_options(consistency=CAUSAL)
    with cluster.scope(), cluster.session(consistency=ANY) as session:
        with lagging(items):
            with cluster.session() as writing:
                writing.execute(text("UPDATE item SET stock = 5"))
                writing.commit()
            assert session.execute(STOCK).one() == (0, True)
            assert session.execute(STOCK).one() == (0, True)
            if isolation == "READ COMMITTED":
                assert session.execute(caught_up).one() == (5, False)
        if isolation == "REPEATABLE READ":
            # By now it is known that the replica has it; the snapshot has not.
            replicas = cluster._fleet.members[1:]
            token = cluster.scopes.current().token  # type: ignore[union-attr]
            cluster._fleet.monitor.wait(lambda: all(one.reached.covers(token) for one in replicas), 30)  # type: ignore[arg-type]
            assert session.execute(caught_up).one() == (5, False)


def test_a_level_that_is_none(make_sync: Callable[..., Cluster]) -> None:
    """A mistyped level is an error of the statement, not a level that nobody asked for."""
    with make_sync().session() as session, pytest.raises(ConfigurationError, match="consistency='strong'"):
        session.execute(STOCK, execution_options={"consistency": "strong"})


@pytest.mark.parametrize("first", [STOCK, text("UPDATE item SET stock = 6")], ids=["read", "written"])
def test_a_commit_counts_where_it_is_made(
    make_sync: Callable[..., Cluster], items: Database, first: Any
) -> None:
    """1. A transaction that began in a request that may write, and is committed in the scope of a job: both
    have it in their tokens, and the job does not read past it."""
    cluster = make_sync()
    meet(cluster)
    with lagging(items), cluster.scope(writes=True) as request, cluster.session() as session:
        session.execute(first)
        with cluster.scope() as job:
            session.execute(text("UPDATE item SET stock = 7"))
            session.commit()
            assert job.token == request.token is not None
            assert job.commits == request.commits == 1
            with cluster.session() as other:
                assert other.execute(STOCK).one() == (7, False)


def test_what_a_connection_that_is_kept_commits(make_sync: Callable[..., Cluster], items: Database) -> None:
    """1. Over a Core connection that was opened before the scope: it is the scope's, and is waited for."""
    cluster = make_sync()
    meet(cluster)
    with lagging(items), cluster.connection() as kept, cluster.scope() as job:
        kept.execute(text("UPDATE item SET stock = 8"))
        assert job.has_uncommitted_writes()
        kept.commit()
        assert job.token is not None
        with cluster.session() as session:
            assert session.execute(STOCK).one() == (8, False)

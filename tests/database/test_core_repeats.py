"""Core connections for reading whose replica is lost, or cannot do what it is asked.

The server process of one connection is ended; no server dies.
"""

import asyncio
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError
from sqlalchemy.orm import Session

from scalekit.database import ANY, AsyncCluster, Cluster
from tests.conftest import Database
from tests.database._broken import end_at, end_backend
from tests.database._lag import meet

PID = text("SELECT pg_backend_pid(), pg_is_in_recovery()")
WHERE = text("SELECT pg_is_in_recovery(), current_setting('transaction_read_only')")
TENANT = text("SELECT current_setting('app.tenant', true)")


WAYS: list[Callable[[Connection], Any]] = [
    lambda connection: connection.execute(PID).one()[0],
    lambda connection: connection.scalar(PID),
    lambda connection: connection.scalars(PID).one(),
    lambda connection: connection.exec_driver_sql(str(PID)).scalar_one(),
    lambda connection: Session(connection).scalar(PID),
]


def test_every_first_read(make_sync: Callable[..., Cluster], items: Database) -> None:
    """12. However it is sent: repeated on another replica, over the same connection, in the same transaction.
    What ``begin`` listeners set is set there too, listeners and execution options stay, and a later
    statement on a lost server raises, as over any connection."""
    for way in WAYS:
        cluster = make_sync()
        meet(cluster)
        backends = end_at(cluster, items, statement=2)  # the first is the listener's
        connection = cluster.connection(read=True, consistency=ANY)
        heard: list[str] = []

        @event.listens_for(connection, "begin")
        def begin(connection: Connection) -> None:
            connection.execute(text("SET LOCAL app.tenant = 'seven'"))

        @event.listens_for(connection, "after_cursor_execute")
        def after(connection: Connection, cursor: Any, sql: str, *_: Any, heard: list[str] = heard) -> None:
            heard.append(sql)

        with connection:
            connection.execution_options(isolation_level="REPEATABLE READ", logging_token="mine")
            with connection.begin() as transaction:
                assert way(connection) == backends[-1] != backends[0]
                assert connection.get_transaction() is transaction
                assert connection.scalar(TENANT) == "seven"
                assert connection.get_isolation_level() == "REPEATABLE READ"
                assert connection.get_execution_options()["logging_token"] == "mine"
                assert heard[-1] == str(TENANT)
            assert connection.scalar(TENANT) == "seven", "the next transaction begins in the same way"
            end_backend(items, backends[-1])
            with pytest.raises(DBAPIError) as caught:
                connection.scalar(PID)
            assert caught.value.connection_invalidated
            connection.rollback()
            assert way(connection) != backends[0]
        cluster.dispose()
        assert [member.in_flight for member in cluster.status().members] == [0, 0, 0]


def test_a_beginning(make_sync: Callable[..., Cluster], items: Database) -> None:
    """12. The replica is lost under what a ``begin`` listener sends, or under the savepoint that is first."""
    for begin in (lambda one: one.begin(), lambda one: one.scalar(PID), lambda one: one.begin_nested()):
        cluster = make_sync()
        meet(cluster)
        backends = end_at(cluster, items, statement=1)
        with cluster.connection(read=True, consistency=ANY) as connection:
            event.listen(connection, "begin", lambda one: one.execute(text("SET LOCAL app.tenant = 'seven'")))
            begin(connection)
            assert backends[0] not in backends[1:]
            assert connection.scalar(TENANT) == "seven"
            assert connection.scalar(PID) == backends[-1]
        cluster.dispose()


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_first_read_asynchronously(
    make_async: Callable[..., AsyncCluster], items: Database, driver: str
) -> None:
    """12. The same over an ``AsyncConnection``, streamed too, and in ``run_sync()``."""
    cluster = make_async(driver)
    async with cluster.session() as session:
        await session.run_sync(lambda _: meet(cluster))

    async def stream(connection: Any) -> Any:
        async with connection.stream(PID) as rows:
            return (await rows.one())[0]

    ways: list[Callable[[Any], Any]] = [
        lambda connection: connection.scalar(PID),
        lambda connection: connection.run_sync(lambda sync: sync.scalar(PID)),
    ]
    if driver == "asyncpg":  # psycopg warns of the cursor that SQLAlchemy leaves open on a lost connection
        ways.append(stream)
    for way in ways:
        backends = end_at(cluster, items, statement=1)
        async with cluster.connection(read=True, consistency=ANY) as connection:
            transaction = await connection.begin()
            assert await way(connection) == backends[-1] != backends[0]
            end_backend(items, backends[-1])
            with pytest.raises(cluster._fleet.members[1].errors):
                await connection.scalar(PID)
            await transaction.rollback()
        await cluster.dispose()


def test_what_was_set_is_not_left_behind(
    make_sync: Callable[..., Cluster], items: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """12. 23. A setting outlives its transaction, and the next server would not know of it: no read is
    repeated without it, nor without a savepoint that is open."""
    cluster = make_sync()
    meet(cluster)
    suspected = Mock(side_effect=cluster._fleet.suspect)
    monkeypatch.setattr(cluster._fleet, "suspect", suspected)
    with cluster.connection(read=True, consistency=ANY) as connection:
        connection.execute(text("SET app.tenant = 'seven'"))
        pid = connection.scalar(PID)
        connection.commit()
        end_backend(items, pid)
        with pytest.raises(OperationalError):
            connection.scalar(TENANT)
        connection.rollback()
        suspected.assert_called_once()
        assert connection.scalar(TENANT) is None, "as after every loss that was told of"
        connection.rollback()
        for _ in range(2):  # it is as new
            pid = connection.scalar(PID)
            connection.rollback()
            end_backend(items, pid)
        pid = connection.scalar(PID)
        connection.rollback()
        savepoint = connection.begin_nested()
        end_backend(items, pid)
        with pytest.raises(OperationalError):
            connection.scalar(PID)
        savepoint.rollback()


def test_an_end_that_nobody_answers(make_sync: Callable[..., Cluster], items: Database) -> None:
    """12. The replica is lost after it has answered: what was read is read, and the connection is of use."""
    cluster = make_sync()
    meet(cluster)
    with cluster.connection(read=True, consistency=ANY) as connection:
        for end in (connection.rollback, connection.commit):
            pid = connection.scalar(PID)
            end_backend(items, pid)
            end()
            assert connection.get_isolation_level() == "READ COMMITTED"
            assert connection.scalar(PID) != pid
            connection.rollback()


def test_a_replica_that_hangs_up_at_once(make_sync: Callable[..., Cluster]) -> None:
    """12. On each connection before it is used, until SQLAlchemy gives up: it costs no read."""
    cluster = make_sync()
    meet(cluster)
    bad = cluster._fleet.members[1]

    @event.listens_for(bad.reader, "checkout")
    def checkout(*_: Any) -> None:
        raise DisconnectionError("hung up")

    for _ in range(8):
        bad.suspected = None
        cluster._fleet.readers = tuple(cluster._fleet.members[1:])
        with cluster.connection(read=True, consistency=ANY) as connection:
            assert connection.scalar(PID)
        cluster._fleet.readers = tuple(cluster._fleet.members[1:])
        with cluster.session(consistency=ANY) as session:
            assert session.scalar(PID)


def test_a_cancelled_first_read(make_sync: Callable[..., Cluster], items: Database) -> None:
    """12. A replica that cancels it is left for another, and when that does too, for the primary."""
    items.cluster.primary.sql(
        "CREATE FUNCTION replayed() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN IF pg_is_in_recovery() THEN "
        "RAISE EXCEPTION 'canceling statement due to conflict with recovery' USING ERRCODE = '40001'; "
        "END IF; RETURN true; END $$",
        database=items.name,
    )
    items.cluster.wait_caught_up()
    cluster = make_sync()
    meet(cluster)
    read = text("SELECT replayed(), current_setting('transaction_read_only')")
    with cluster.connection(read=True, consistency=ANY) as connection:
        assert tuple(connection.execute(read).one()) == (True, "on")
        assert sum(member.repeats for member in cluster.status().members) == 2
    with cluster.connection(read=True, consistency=ANY) as connection:
        connection.execute(PID)
        with pytest.raises(OperationalError, match="conflict with recovery"):
            connection.execute(read)


async def read(cluster: AsyncCluster) -> None:
    async with cluster.connection(read=True, consistency=ANY) as connection:
        assert (await connection.execute(WHERE)).one()[1] == "on"


async def test_what_no_replica_can_do(make_async: Callable[..., AsyncCluster], items: Database) -> None:
    """10. ``SERIALIZABLE``, and a table that is not replicated: on the primary, which is read-only there. In
    the middle of a snapshot that was to last, it is an error."""
    items.cluster.primary.sql("CREATE UNLOGGED TABLE hasty (id int)", database=items.name)
    items.cluster.wait_caught_up()
    hasty = text("SELECT count(*) FROM hasty")
    cluster = make_async("asyncpg")
    async with cluster.session() as session:
        await session.run_sync(lambda _: meet(cluster))
    async with cluster.connection(read=True, consistency=ANY) as connection:
        assert tuple((await connection.execute(WHERE)).one()) == (True, "on")
        assert await connection.scalar(hasty) == 0
        assert tuple((await connection.execute(WHERE)).one()) == (False, "on")
        with pytest.raises(DBAPIError, match="read-only transaction"):
            await connection.execute(text("UPDATE item SET stock = 1"))
    async with cluster.connection(read=True, consistency=ANY) as connection:
        await connection.execution_options(isolation_level="SERIALIZABLE")
        assert tuple((await connection.execute(WHERE)).one()) == (False, "on")
        assert await connection.get_isolation_level() == "SERIALIZABLE"
        await connection.rollback()
        sent = sum(member.repeats for member in cluster.status().members)
        assert (await connection.execute(WHERE)).one()[0] is False
        assert sum(member.repeats for member in cluster.status().members) == sent, "it stays there"
    async with asyncio.TaskGroup() as tasks:  # no pool has kept what was refused
        for _ in range(4):
            tasks.create_task(read(cluster))
    async with cluster.connection(read=True, consistency=ANY) as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        await connection.execute(WHERE)
        with pytest.raises(DBAPIError, match="unlogged"):
            await connection.scalar(hasty)
    for begin in (lambda one: one.begin_nested(), lambda one: one.begin_twophase()):
        async with cluster.connection(read=True, consistency=ANY) as connection:
            await connection.run_sync(begin)
            with pytest.raises(DBAPIError, match="unlogged"):
                await connection.scalar(hasty)
    lasting = make_async("asyncpg", isolation_level="REPEATABLE READ")
    async with lasting.session() as session:
        await session.run_sync(lambda _: meet(lasting))
    async with lasting.connection(read=True, consistency=ANY) as connection:
        await connection.execute(WHERE)
        with pytest.raises(DBAPIError, match="unlogged"):
            await connection.scalar(hasty)
    assert [member.in_flight for member in cluster.status().members] == [0, 0, 0]

"""Connections without a session, in both colours."""

import asyncio
import gc
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, Table, inspect, text
from sqlalchemy.exc import DBAPIError, SAWarning
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Session
from sqlalchemy.util import greenlet_spawn

from scalekit.database import STRONG, AsyncCluster, Cluster
from scalekit.errors import ConfigurationError
from tests.conftest import Database
from tests.database._lag import lagging, meet

WHERE = text("SELECT stock, pg_is_in_recovery() FROM item WHERE id = 1")
ADD = text("UPDATE item SET stock = stock + 1 WHERE id = 1")


def test_reading_and_writing(make_sync: Callable[..., Cluster], items: Database) -> None:
    """1. Reads lead to a replica; what is committed over the other kind is in the visitor's token."""
    cluster = make_sync()
    with cluster.scope(visitor="one") as scope, cluster.connection(read=True) as connection:
        assert scope.seen is None
        assert tuple(connection.execute(WHERE).one()) == (0, True)
        connection.commit()
        seen: Any = scope.seen
        assert seen.member.reader is connection.engine  # later reads of the visitor are not older
        connection.execute(WHERE)
        connection.rollback()
        assert scope.seen is not seen
    with lagging(items), cluster.scope() as scope:
        with cluster.connection() as connection:
            assert tuple(connection.execute(WHERE).one()) == (0, False)
            connection.commit()
            assert scope.token is None  # nothing was written
            connection.execute(ADD)
            connection.rollback()
            assert scope.token is None
            connection.execute(ADD)
            connection.commit()
            first = scope.token
            assert first is not None
            connection.execute(ADD)
            connection.commit()
            assert scope.token != first  # each transaction counts, not the first one only
        with cluster.connection(read=True) as connection:
            assert tuple(connection.execute(WHERE).one()) == (2, False)
        with cluster.session() as session:
            assert tuple(session.execute(WHERE).one()) == (2, False)
    assert cluster.status().members[0].commits == 2
    assert [member.in_flight for member in cluster.status().members] == [0, 0, 0]


async def test_reading_and_writing_asynchronously(
    make_async: Callable[..., AsyncCluster], items: Database
) -> None:
    """1. The same; the connection is an ``AsyncConnection``."""
    cluster = make_async()
    async with cluster.connection(read=True) as connection:
        assert isinstance(connection, AsyncConnection)
        assert tuple((await connection.execute(WHERE)).one()) == (0, True)
    with lagging(items), cluster.scope() as scope:
        async with cluster.connection() as connection:
            await connection.execute(WHERE)
            await connection.commit()
            assert scope.token is None
        async with cluster.primary_engine.begin() as connection:
            await connection.execute(ADD)
        assert scope.token is not None
        async with cluster.connection(read=True) as connection:
            assert tuple((await connection.execute(WHERE)).one()) == (1, False)


def test_a_connection_for_reading_cannot_write(make_sync: Callable[..., Cluster], items: Database) -> None:
    """19. Not on a replica, nor where it leads to the primary, with or without replicas."""
    cluster, alone = make_sync(), make_sync(replicas=[])
    for connect, with_replicas in (
        (lambda: cluster.connection(read=True), True),
        (lambda: cluster.connection(read=True, consistency=STRONG), True),
        (lambda: alone.connection(read=True), False),
    ):
        with connect() as connection:
            connection.execution_options(postgresql_readonly=False)
            with pytest.raises(DBAPIError, match="read-only transaction") as raised:
                connection.execute(ADD)
        told = "(read=True) has opened, and that reads only, on the primary too; to write, use" in str(
            raised.value
        )
        assert told is with_replicas
    assert sum(member.repeats for member in cluster.status().members) == 0
    for one in (cluster, alone):
        with one.connection() as connection:  # the pool has not kept the mode
            connection.execute(ADD)
    with pytest.raises(ConfigurationError, match="read=True"):
        cluster.connection(consistency=STRONG)


def test_what_was_committed_past_sqlalchemy(make_sync: Callable[..., Cluster], items: Database) -> None:
    """1. By AUTOCOMMIT, or a COMMIT in a text: the visitor reads it."""
    cluster = make_sync()
    with lagging(items):
        with cluster.scope() as scope, cluster.connection() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(ADD)
            connection.rollback()
            assert scope.token is not None
        with cluster.scope() as scope, cluster.connection() as connection:
            connection.execute(ADD)
            connection.exec_driver_sql("COMMIT")
            connection.rollback()
            assert scope.token is not None


async def test_a_request_waits_for_what_a_connection_may_commit(
    make_async: Callable[..., AsyncCluster],
) -> None:
    """1. The middleware holds the response while a transaction is open on a connection for writing."""
    cluster = make_async()
    with cluster.scope() as scope:
        async with cluster.connection() as connection:
            assert not scope.has_uncommitted_writes()
            await connection.execute(ADD)
            assert scope.has_uncommitted_writes()
            await connection.commit()
            assert not scope.has_uncommitted_writes()
        del connection
        async with cluster.connection(read=True) as connection:
            await connection.execute(WHERE)
            assert not scope.has_uncommitted_writes()


def test_what_takes_an_engine(make_sync: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch) -> None:
    """16. DDL, ``inspect()``, sessions of others and execution options, each on today's primary."""
    cluster = make_sync()
    engine = cluster.primary_engine
    metadata = MetaData()
    Table("added", metadata, Column("id", Integer, primary_key=True))
    metadata.create_all(engine)
    assert set(inspect(engine).get_table_names()) == {"added", "item"}
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        assert connection.connection.dbapi_connection.autocommit
        assert tuple(connection.execute(WHERE).one()) == (0, False)
    with Session(engine) as session, session.begin():
        session.execute(ADD)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT stock FROM item WHERE id = 1")) == 1
    raw = engine.raw_connection()
    raw.close()
    # After a failover: the engine is the same, and leads elsewhere.
    fleet: Any = cluster._fleet
    monkeypatch.setattr(fleet, "writer", lambda token: fleet.members[1])
    monkeypatch.setattr("scalekit.database.member.objection", lambda *_, **__: None)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT pg_is_in_recovery()")) is True


def test_an_engine_from_a_session(
    make_sync: Callable[..., Cluster], items: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. 16. ``session.get_bind()`` is ``primary_engine``: its writes are read, and it follows a failover.

    Given back to the session it means nothing in particular.
    """
    cluster = make_sync()
    meet(cluster)
    write, read = ADD, text("SELECT stock, pg_is_in_recovery() FROM item WHERE id = 1")
    with cluster.session() as session:
        engine = session.get_bind()
        assert isinstance(engine, Engine)
        assert engine is cluster.primary_engine
        session.execute(read)
        assert session.get_bind() is engine, "on a replica"
        session.execute(write)
        assert session.get_bind() is engine, "on the primary"
        arguments = {"bind": engine}
        pids = {
            session.scalar(text("SELECT pg_backend_pid()")),
            session.scalar(text("SELECT pg_backend_pid()"), bind_arguments=dict(arguments)),
            session.connection(bind_arguments=dict(arguments)).scalar(text("SELECT pg_backend_pid()")),
        }
        assert len(pids) == 1, "one transaction"
    with lagging(items), cluster.scope():
        with engine.begin() as connection:  # as pandas does for to_sql(con=engine)
            connection.execute(write)
        with cluster.session() as session:
            assert tuple(session.execute(read).one()) == (1, False)
    fleet: Any = cluster._fleet
    monkeypatch.setattr(fleet, "writer", lambda token: fleet.members[1])
    monkeypatch.setattr("scalekit.database.member.objection", lambda *_, **__: None)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT pg_is_in_recovery()")) is True


async def asked_again(cluster: AsyncCluster) -> None:
    """Return when the probe has asked the primary once more."""
    now = time.monotonic()
    async with asyncio.timeout(60):
        while cluster._fleet.primary.health.report.asked <= now:  # type: ignore[union-attr]
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_raw_connections(make_async: Callable[..., AsyncCluster], items: Database, driver: str) -> None:
    """1. What is committed over the driver is read at once; when it is closed its place is known."""
    cluster = make_async(driver)
    async with cluster.session() as session:
        await session.run_sync(lambda _: meet(cluster))

    async def read() -> tuple[int, bool]:
        async with cluster.session() as session:
            return tuple((await session.execute(WHERE)).one())  # type: ignore[return-value]

    with lagging(items):
        for stock, more in ((1, False), (2, True)):
            with cluster.scope() as scope:
                proxy = await cluster.primary_engine.raw_connection()
                raw: Any = proxy.driver_connection
                await raw.execute(str(ADD))
                if driver == "psycopg":
                    await raw.commit()
                assert await read() == (stock, False)
                await asked_again(cluster)  # the probe cannot know what is still to come
                assert scope.token is not None
                assert not scope.token.is_known
                if more and driver == "psycopg":
                    await raw.execute("DELETE FROM item")  # and a transaction that is left open
                await greenlet_spawn(proxy.close)
                assert scope.token.is_known
                assert await read() == (stock, False)
    # psycopg complains of one that is forgotten, as does SQLAlchemy.
    for end in ("close", "invalidate", "forgotten") if driver == "asyncpg" else ("close", "invalidate"):
        with cluster.scope() as scope:
            proxy = await cluster.primary_engine.raw_connection()
            if end != "forgotten":
                cluster._fleet.members[0].cut_writes()  # as when its server is gone
                await greenlet_spawn(getattr(proxy, end))
            with pytest.warns(SAWarning, match="garbage") if end == "forgotten" else nullcontext():
                del proxy
                gc.collect()
            async with asyncio.timeout(60):
                while scope.token is None or not scope.token.is_known:
                    await asyncio.sleep(0.02)
    with pytest.raises(NotImplementedError, match="use connect"):
        cluster._engine(read=True).raw_connection()


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_copies_over_the_driver(
    make_async: Callable[..., AsyncCluster], items: Database, driver: str
) -> None:
    """1. COPY over the driver's connection in a transaction of SQLAlchemy's: it is in the visitor's token."""
    cluster = make_async(driver)
    async with cluster.session() as session:
        await session.run_sync(lambda _: meet(cluster))

    async def copy_to(connection: AsyncConnection, number: int) -> None:
        raw: Any = (await connection.get_raw_connection()).driver_connection
        if driver == "asyncpg":
            await raw.copy_records_to_table("item", records=[(number, "new", 1)])
        else:
            async with raw.cursor() as cursor, cursor.copy("COPY item FROM STDIN") as copy:
                await copy.write_row((number, "new", 1))

    with lagging(items):
        for number in (8, 9):
            with cluster.scope() as scope:
                if number == 8:
                    async with cluster.session() as session:
                        await copy_to(await session.connection(), number)
                        await session.commit()
                else:
                    async with cluster.connection() as connection, connection.begin():
                        await copy_to(connection, number)
                assert scope.token is not None
                assert scope.token.is_known
                async with cluster.session() as session:
                    count = text(f"SELECT count(*) FROM item WHERE id = {number}")
                    assert await session.scalar(count) == 1

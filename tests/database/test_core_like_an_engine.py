"""A connection for reading is to SQLAlchemy, and to who uses it, what an engine's connection is."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    Connection,
    Engine,
    bindparam,
    column,
    create_engine,
    event,
    inspect,
    select,
    table,
    text,
)
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from scalekit.database import AsyncCluster, Cluster
from tests.conftest import Database
from tests.database._lag import meet

ONE = text("SELECT 1")
IDS = select(column("id")).select_from(table("item")).order_by(text("id"))
OF = IDS.where(column("id") == bindparam("x"))


def attempt(call: Callable[[], object]) -> object:
    """Its result, or what its error is, without what differs from run to run."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 (every kind is what is compared)
        return type(error).__name__, str(error)[:40]


def wrong_statements(connection: Connection) -> object:
    found: list[object] = []
    uncompilable = table("item", column("id")).insert().values(nothing=1)
    for wrong in ("SELECT 1", uncompilable, text("SELEC"), text("SELECT :one")):
        found += attempt(lambda wrong=wrong: connection.execute(wrong)), connection.in_transaction()  # type: ignore[misc, call-overload]
        connection.rollback()
    return found


def invalidated(connection: Connection) -> object:
    connection.execute(ONE)
    connection.invalidate()
    found = connection.invalidated, attempt(lambda: connection.execute(ONE))
    connection.rollback()
    return *found, connection.scalar(ONE), connection.invalidated, connection.closed


def ended_within(connection: Connection) -> object:
    with connection.begin() as transaction:
        transaction.rollback()
        found = attempt(lambda: connection.execute(ONE))
    return found, attempt(lambda: transaction.commit()), connection.in_transaction()


def begun_twice(connection: Connection) -> object:
    with connection.begin():
        return (
            attempt(connection.begin),
            attempt(lambda: connection.execution_options(isolation_level="SERIALIZABLE")),
        )


def savepoints(connection: Connection) -> object:
    with connection.begin_nested() as outer:
        found = connection.scalar(ONE)
        inner = connection.begin_nested()
        failed = attempt(lambda: connection.execute(text("SELECT 1 / 0")))
        inner.rollback()
        assert outer.is_active
    return found, failed, connection.in_transaction(), connection.in_nested_transaction()


def streams(connection: Connection) -> object:
    with connection.execute(IDS, execution_options={"yield_per": 2}) as rows:
        found = [len(part) for part in rows.partitions()]
    connection.execution_options(stream_results=True, schema_translate_map={None: "public"})
    return found, connection.scalars(IDS).all(), connection.exec_driver_sql("SELECT %(a)s", {"a": 1}).all()


def level(connection: Connection) -> object:
    connection.execution_options(isolation_level="REPEATABLE READ")
    found = connection.get_isolation_level(), connection.default_isolation_level
    connection.commit()
    connection.execution_options(isolation_level="AUTOCOMMIT")
    return *found, connection.connection.dbapi_connection.autocommit  # type: ignore[union-attr]


def session(connection: Connection) -> object:
    with Session(connection) as session:
        found = session.execute(IDS).scalars().all(), session.in_transaction()
        session.commit()
    return found, connection.in_transaction()


def detached(connection: Connection) -> object:
    connection.detach()
    return connection.scalar(ONE), connection.connection.is_detached


def closed(connection: Connection) -> object:
    connection.execute(ONE)
    connection.close()
    return connection.closed, attempt(lambda: connection.execute(ONE)), attempt(connection.begin)


def heard(connection: Connection) -> object:
    found: list[str] = []
    for name in ("begin", "before_execute", "after_cursor_execute", "savepoint", "commit", "rollback"):
        event.listen(connection, name, lambda *_, name=name: found.append(name))
    with connection.begin():
        connection.scalar(ONE)
    connection.execute(ONE)
    connection.begin_nested()
    connection.rollback()
    return found


def other_ways(connection: Connection) -> object:
    return (
        inspect(connection).get_table_names(),
        connection.connection.cursor().execute("SELECT 1").fetchall(),
        attempt(lambda: connection.execute(OF, [{"x": 1}, {"x": 2}]).all()),
        attempt(connection.begin_twophase),
    )


HABITS = [
    wrong_statements, invalidated, ended_within, begun_twice, savepoints, streams, level, session, detached,
    closed, heard, other_ways,
]  # fmt: skip


def test_every_habit(make_sync: Callable[..., Cluster], items: Database) -> None:
    """25. What is done by hand, wrongly or in the middle of something ends as it does over an engine; so it
    does where a listener to every new connection has sent something before."""
    cluster = make_sync()
    meet(cluster)
    engine = create_engine(items.replica_urls("psycopg")[0])

    def ask(connection: Connection) -> None:
        connection.scalar(ONE)
        connection.rollback()

    for listens in (False, True):
        if listens:
            event.listen(Engine, "engine_connect", ask)
        try:
            for habit in HABITS:
                with engine.connect() as connection:
                    expected = habit(connection)
                with cluster.connection(read=True) as connection:
                    assert habit(connection) == expected, habit
        finally:
            if listens:
                event.remove(Engine, "engine_connect", ask)
    engine.dispose()
    assert [member.in_flight for member in cluster.status().members] == [0, 0, 0]


async def test_every_habit_asynchronously(make_async: Callable[..., AsyncCluster], items: Database) -> None:
    """25. The same over an ``AsyncConnection``; one whose task was cancelled is replaced."""
    cluster = make_async()
    async with cluster.session() as one:
        await one.run_sync(lambda _: meet(cluster))

    async def habits(connection: Any) -> object:
        found: list[object] = [await connection.run_sync(lambda sync: inspect(sync).get_table_names())]
        found.append([row async for row in await connection.stream(IDS)])
        await connection.rollback()
        async with connection.begin_nested():
            found.append((await connection.stream_scalars(IDS)).__class__)
        await connection.rollback()
        raw = await connection.get_raw_connection()
        found.append(type(raw.driver_connection))
        asking = asyncio.create_task(connection.scalar(text("SELECT pg_sleep(60)")))
        while not connection.in_transaction():
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        found.append(connection.invalidated)
        await connection.rollback()
        found.append(await connection.scalar(ONE))
        await connection.invalidate()
        found.append(connection.invalidated)
        await connection.rollback()
        found.append(await connection.scalar(ONE))
        return found

    engine = create_async_engine(items.replica_urls("asyncpg")[0])
    async with engine.connect() as connection:
        expected = await habits(connection)
    async with cluster.connection(read=True) as connection:
        assert await habits(connection) == expected
    await engine.dispose()
    assert [member.in_flight for member in cluster.status().members] == [0, 0, 0]

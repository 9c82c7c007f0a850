"""What statements commit by themselves is read at once, and where it is costs nobody a question more."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from scalekit.database import AsyncCluster
from scalekit.database.sqltext import endings, mysql, postgresql
from scalekit.database.sqltext.endings import Ending
from scalekit.database.sqltext.plain import leaves_nothing
from tests.conftest import Database
from tests.database._lag import lagging, meet

READ = text("SELECT stock, pg_is_in_recovery() FROM item WHERE id = 1")
PLAIN = text("SELECT count(*) FROM item")
WRITE = "UPDATE item SET stock = stock + 1 WHERE id = 1"

both = pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])


async def ready(cluster: AsyncCluster) -> None:
    async with cluster.session() as session:
        await session.run_sync(lambda _: meet(cluster))


async def read(cluster: AsyncCluster) -> tuple[int, bool]:
    async with cluster.session() as session:
        stock, replica = (await session.execute(READ)).one()
        return stock, replica


@both
async def test_autocommit(make_async: Callable[..., AsyncCluster], items: Database, driver: str) -> None:
    """1. What was written in AUTOCOMMIT is read while its session, or connection, is still open.

    By the time that it is closed nobody is sent to the primary for it, and the token is known.
    """
    cluster = make_async(driver, isolation_level="AUTOCOMMIT", probe_interval=30)
    await ready(cluster)
    process = cluster.scopes.process
    with lagging(items):
        for write, stocks in ((WRITE, (1, 2)), ("SELECT place_order(1)", (1, 0))):
            with cluster.scope() as scope:
                async with cluster.session() as session:
                    with cluster.primary():
                        await session.execute(PLAIN)
                    assert scope.token is None, "a plain read"
                    await session.execute(text(write))
                    assert await read(cluster) == (stocks[0], False)
                    assert scope.token is not None
                    assert not scope.token.is_known
                assert scope.token is not None
                assert scope.token.is_known
            async with cluster.connection() as connection:
                await connection.execute(PLAIN)
                assert process.token == scope.token, "a plain read"
                await connection.execute(text(write))
                assert await read(cluster) == (stocks[1], False)
            assert process.token
            assert process.token.is_known


async def test_a_writer_that_stays_open(make_async: Callable[..., AsyncCluster], items: Database) -> None:
    """1. The probe asks the primary how far it is: the visitor is back on a replica that has it."""
    cluster = make_async("psycopg", isolation_level="AUTOCOMMIT")
    await ready(cluster)
    with cluster.scope() as scope:
        async with cluster.session() as session:
            await session.execute(text(WRITE))
            async with asyncio.timeout(60):
                while not (scope.token and scope.token.is_known):
                    await asyncio.sleep(0.02)
            await asyncio.to_thread(items.cluster.wait_caught_up)
            assert await read(cluster) == (1, True)


def by_chain(session: Session) -> None:
    session.execute(text(WRITE))
    session.execute(text("COMMIT AND CHAIN"))


def by_end(session: Session) -> None:
    session.execute(text(WRITE))
    session.execute(text("END"))
    session.execute(text("SELECT 1"))  # with psycopg in another transaction, with asyncpg in none


def by_core(session: Session) -> None:
    connection = session.connection()
    connection.exec_driver_sql(WRITE)
    connection.exec_driver_sql("commit /* really */ work")
    connection.exec_driver_sql("SELECT 1")


def by_two(session: Session) -> None:
    if session.get_bind().dialect.driver == "psycopg":
        session.execute(text(f"{WRITE}; COMMIT; BEGIN"))
    else:  # which takes one at a time; and then what follows commits by itself
        session.execute(text("COMMIT"))
        session.execute(text(WRITE))


def over_the_driver(session: Session) -> None:
    raw: Any = session.connection().connection
    cursor = raw.cursor()
    cursor.execute(WRITE)
    cursor.close()
    raw.commit()


@both
async def test_a_commit_in_a_text(
    make_async: Callable[..., AsyncCluster], items: Database, driver: str
) -> None:
    """1. Whatever comes after it: read at once, and the token is known in the end."""
    cluster = make_async(driver, probe_interval=30)
    await ready(cluster)
    stock = 0
    with lagging(items):
        for write in (by_chain, by_end, by_core, by_two, over_the_driver):
            for end in ("commit", "rollback", "close"):
                case, stock = f"{write.__name__}, {end}", stock + 1
                with cluster.scope() as scope:
                    async with cluster.session() as session:
                        await session.run_sync(write)
                        if write is not over_the_driver:
                            assert await read(cluster) == (stock, False), case
                        await getattr(session, end)()
                    assert scope.token is not None, case
                    assert scope.token.is_known, case
                    assert await read(cluster) == (stock, False), case


async def test_a_prepared_transaction(make_async: Callable[..., AsyncCluster], items: Database) -> None:
    """1. Prepared in a text, and committed in one: by the time of that it is read."""
    cluster = make_async("psycopg", probe_interval=30)
    await ready(cluster)
    name = f"{items.name}-1"
    async with cluster.session() as session:
        await session.execute(text(WRITE))
        await session.execute(text(f"PREPARE TRANSACTION '{name}'"))
        await session.commit()
    with lagging(items), cluster.scope() as scope:
        async with cluster.connection() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.execute(text(f"COMMIT PREPARED '{name}'"))
            assert await read(cluster) == (1, False)
        assert scope.token is not None
        assert scope.token.is_known


async def test_reads_leave_no_token(make_async: Callable[..., AsyncCluster]) -> None:
    """22. Over Core, by a COMMIT of ours, and where a text has rolled back."""
    cluster = make_async()
    with cluster.scope() as scope:
        async with cluster.connection() as connection:
            await connection.execute(READ)
            await connection.commit()
            await connection.execute(text(WRITE))
            await connection.rollback()
        async with cluster.session() as session:
            await session.run_sync(lambda session: session.connection().execute(READ))
            await session.commit()
    assert scope.token is None


PG = [
    ("SELECT count(*) FROM item", Ending.NONE),
    ("SELECT lower(name) FROM item WHERE id IN (1) /* end */", Ending.NONE),
    ("SELECT CASE WHEN a THEN 1 END AS start FROM item", Ending.NONE),
    ("SELECT charge(1)", Ending.ITSELF),
    ("INSERT INTO item VALUES ('commit')", Ending.ITSELF),
    ("CREATE TEMP TABLE t (a int) ON COMMIT DROP", Ending.ITSELF),
    ("ROLLBACK", Ending.ITSELF),
    ("COMMIT PREPARED 'a'", Ending.COMMIT),
    ("commit", Ending.COMMIT),
    ("END;", Ending.COMMIT),
    ("COMMIT AND NO CHAIN", Ending.COMMIT),
    ("PREPARE TRANSACTION 'a'", Ending.COMMIT),
    ("PREPARE a AS SELECT 1", Ending.ITSELF),
    ("UPDATE item SET a = 1; COMMIT", Ending.COMMIT),
    (r"UPDATE item SET a = '\' WHERE COMMIT", Ending.ITSELF),
    (r"UPDATE item SET a = '\'; COMMIT", Ending.COMMIT),
    ("insert$ commit", Ending.ITSELF),
    ("(update item set a = 1;\nend)", Ending.COMMIT),
    ("DO $$ BEGIN COMMIT; END $$", Ending.ITSELF),
    (r"UPDATE item SET a = '\'; COMMIT; BEGIN", Ending.CHAIN),
    ("/* x */ COMMIT AND CHAIN", Ending.CHAIN),
    ("UPDATE item SET a = 1; COMMIT; SELECT 1", Ending.CHAIN),
]
MARIADB = [
    ("SELECT count(*) FROM item", Ending.NONE),
    ("(SELECT 1) UNION (SELECT 2)", Ending.NONE),
    ("SELECT bump(1)", Ending.ITSELF),
    ("INSERT INTO item VALUES ('drop')", Ending.ITSELF),
    (r"INSERT INTO item VALUES ('\n')", Ending.ITSELF),
    ("INSERT INTO item /*! SELECT 1 */", Ending.ITSELF),
    ("/*! COMMIT */ INSERT INTO item VALUES (1)", Ending.CHAIN),
    ("insert$ item", Ending.CHAIN),
    ("SET @a = 1", Ending.ITSELF),
    ("ROLLBACK TO a", Ending.ITSELF),
    ("SET autocommit = 1", Ending.CHAIN),
    ("CREATE TABLE a (b int)", Ending.CHAIN),
    ("/*! DROP TABLE a */", Ending.CHAIN),
    ("COMMIT", Ending.CHAIN),
    ("CALL restock()", Ending.CHAIN),
    ("INSERT INTO a VALUES (1); DROP TABLE b", Ending.CHAIN),
]


def test_which_texts_commit() -> None:
    """1. Judged by their words, not by what is in literals, comments and names."""
    judge = endings.postgresql(postgresql.RULES)
    assert {sql: judge(sql) for sql, _ in PG} == dict(PG)
    judge = endings.mysql(mysql.RULES)
    assert {sql: judge(sql) for sql, _ in MARIADB} == dict(MARIADB)


def test_many_rows_are_not_looked_through() -> None:
    """1. That an INSERT of many rows ends nothing is known by its first word: an event loop is waiting."""

    def cut(sql: str) -> list[str] | None:
        raise AssertionError(f"cut into words: {sql:.20}")

    sql = f"INSERT INTO item VALUES {', '.join(['(%(id__0)s, %(commit__0)s)'] * 1_000)}"
    for judge, rules in ((endings.postgresql, postgresql.RULES), (endings.mysql, mysql.RULES)):
        rules = replace(rules, words=cut)
        assert judge(rules)(sql) is Ending.ITSELF
        assert not rules.is_read(sql)
        assert not leaves_nothing(rules, sql)
        with pytest.raises(AssertionError):
            judge(rules)(f"{sql}; COMMIT")

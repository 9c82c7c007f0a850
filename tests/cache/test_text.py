"""What a statement changes where SQLAlchemy did not build it, or where the database goes on by itself."""

import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Executable,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    column,
    create_engine,
    delete,
    event,
    func,
    insert,
    literal_column,
    select,
    table,
    text,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import DropTable, ExecutableDDLElement

from scalekit.cache import Cache
from scalekit.cache.changes import changed_tables, changes_of
from scalekit.cache.memory import MemoryBackend
from scalekit.cache.texts import judge, shown
from scalekit.errors import ConfigurationError
from tests.cache._shop import Answer, Base, Product, define


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path}/db", poolclass=NullPool)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Product(id=1, price=1))
        session.commit()
    yield engine
    engine.dispose()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "select * from t for update",
        "  \n-- a comment\n/* another */ SELECT 1;",
        "(SELECT 1) UNION (SELECT 2)",
        "WITH a AS (SELECT 1) SELECT * FROM a FOR NO KEY UPDATE",
        "EXPLAIN SELECT 1",
        "SELECT 'a; DELETE FROM t'",
        "SHOW search_path",
        "SET LOCAL statement_timeout = 10",
        "VALUES (1), (2)",
        "PRAGMA table_info(t)",
        "-- don't; delete\nSELECT 1; -- it's over",
        "SELECT \"a; b\", 'it''s; DELETE', replace(c, 'd', 'e') FROM t",
        "SELECT '{}'::jsonb #> '{a}', ARRAY['b;', 'c'], 5--1",
        "EXPLAIN ANALYZE WITH a AS (SELECT replace(b, 'c', 'd')) SELECT * FROM a FOR UPDATE",
        "",
    ],
)
def test_a_text_that_only_reads(sql: str) -> None:
    """11. It leaves the cache in use."""
    assert not any(judge(sql))


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE t SET x = 1",
        "/* a hint */ delete from t",
        "WITH a AS (SELECT 1) UPDATE t SET x = 1",
        "with a as (delete from t returning *) select * from a",
        "EXPLAIN ANALYZE DELETE FROM t",
        "SELECT 1; DELETE FROM t",
        "REPLACE INTO t VALUES (1)",
        "MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE",
        "COPY t FROM STDIN",
        "TRUNCATE t",
        "CALL restock()",
        "/*!50000 DELETE FROM t */",
        "/*M! DELETE FROM t */",
        "?",
        "SELECT 1 INTO t",
        "EXPLAIN ANALYZE EXECUTE p",
        "EXPLAIN (ANALYZE, BUFFERS) REFRESH MATERIALIZED VIEW t",
        "ANALYZE FORMAT=JSON UPDATE t SET x = 1",
        "WITH a AS (SELECT 1) REPLACE/**/INTO t VALUES (1)",
        "BEGIN NOT ATOMIC UPDATE t SET x = 1; END",
        "SET STATEMENT max_statement_time=1 FOR UPDATE t SET x = 1",
    ],
)
def test_a_text_that_may_change_something(sql: str) -> None:
    """7, 11. By its first word, by one that follows WITH or EXPLAIN, behind a semicolon; or nobody knows."""
    assert judge(sql).changes


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 /* don't */; DELETE FROM t WHERE 'a' = 'a'",
        "SELECT 1 -- don't\n; DELETE FROM t WHERE 'a' = 'a'",
        "WITH a AS (SELECT '/*'), b AS (DELETE FROM t RETURNING 1) SELECT '*/'",
        "SELECT 1 /* /* */ don't */; DELETE FROM t WHERE 'a' = 'a'",
        "SELECT \"don't\"; DELETE FROM t WHERE 'a' = 'a'",
        "SELECT $$don't$$; DELETE FROM t WHERE 'a' = 'a'",
        "SELECT $b$ $$ don't $b$; DELETE FROM t WHERE 'a' = 'a'",
        r"SELECT E'\''; DELETE FROM t -- '",
        r"SELECT '\'; DELETE FROM t -- '",
        r"SELECT '\''; DELETE FROM t -- '",
        "SELECT `don't`; DELETE FROM t WHERE 'a' = 'a'",
        "SELECT [don't]; DELETE FROM t WHERE 'a' = 'a'",
        "SELECT 1 # don't\n; DELETE FROM t WHERE 'a' = 'a'",
        "SELECT a #> '{b}'; DELETE FROM t",
        "SELECT 1--';\n'; DELETE FROM t--'",
    ],
)
def test_a_change_behind_what_opens_nothing(sql: str) -> None:
    """7, 11. As PostgreSQL, SQLite or MySQL would read it: quotes in comments, comments in quotes."""
    assert judge(sql).changes


@pytest.mark.parametrize(
    ("sql", "commits"),
    [
        ("COMMIT", True),
        ("CALL restock()", True),
        ("CREATE TABLE t (x int)", True),
        ("BEGIN", True),
        ("UPDATE t SET x = 1", False),
        ("SELECT 1", False),
        ("SELECT 1 INTO t", False),
        ("WITH a AS (SELECT 1) DELETE FROM t", False),
    ],
)
def test_a_text_that_may_commit(sql: str, commits: bool) -> None:
    """8. Statements that read, or change rows, do not."""
    assert judge(sql).commits is commits


def test_values_are_not_shown() -> None:
    """What goes to the log ends where a value may begin."""
    assert shown("INSERT  INTO\n user (name) VALUES ('secret')") == "INSERT INTO user"
    assert shown("UPDATE t SET password = 'secret'") == "UPDATE t SET password"


def by_text(session: Session, sql: str, **options: Any) -> None:
    session.execute(text(sql).execution_options(**options))


def by_driver(session: Session, sql: str, **options: Any) -> None:
    session.connection().exec_driver_sql(sql, execution_options=options)


@pytest.mark.parametrize("send", [by_text, by_driver])
@pytest.mark.parametrize("declared", [[Product], Product, "product", Product.__table__])
def test_a_text_that_says_what_it_changes(engine: Engine, send: Any, declared: Any) -> None:
    """8. It is like any other statement: COMMIT drops what reads these tables."""
    maker, cache = sessionmaker(engine), Cache(MemoryBackend())
    cache.watch(maker)
    price = define(cache)
    with maker() as session:
        assert price(session) == 1
    with maker() as session:
        send(session, "UPDATE product SET price = 2", changes=declared)
        assert price(session) == 2  # its own, without the cache
        session.commit()
        assert [price(session), price(session)] == [2, 2]
    assert (cache.stats().invalidations, cache.stats().fills) == (1, 2)


@pytest.mark.parametrize("send", [by_text, by_driver])
def test_a_text_that_does_not_say_it(engine: Engine, send: Any, caplog: pytest.LogCaptureFixture) -> None:
    """7, 11. Its transaction is out of the cache until its end: nobody gets what is undone. Told once."""
    maker, cache = sessionmaker(engine), Cache(MemoryBackend())
    cache.watch(maker)
    price = define(cache)
    with caplog.at_level(logging.WARNING, "scalekit.cache"), maker() as session:
        for _ in range(2):
            send(session, "UPDATE product SET price = 666")
            assert price(session) == 666
            session.rollback()
            assert price(session) == 1
    assert (cache.stats().fills, cache.stats().bypasses, cache.stats().hits) == (1, 2, 1)
    assert [record.getMessage() for record in caplog.records] == [
        "nobody knows which tables this changes, so nothing that reads them is dropped: UPDATE product SET "
        "price ...; say it by text(...).execution_options(changes=[Product]), changes=[] if it changes none"
    ]


RETURNING = text("UPDATE product SET price = 666 RETURNING id, price")
_COLUMNS = RETURNING.columns(Product.id, Product.price)


@pytest.mark.parametrize(
    ("statement", "warned"),
    [
        (select(Product).from_statement(RETURNING), True),
        (select(Product).from_statement(_COLUMNS), True),
        (_COLUMNS, True),
        (_COLUMNS.execution_options(changes=[Product]), False),
        (select(Product.price).where(text("price = 1")), None),
    ],
)
def test_a_text_inside_of_a_statement(
    engine: Engine, statement: Any, warned: bool | None, caplog: pytest.LogCaptureFixture
) -> None:
    """7, 11. It is a text all the same: nobody is given what it changes. A condition is none."""
    maker, cache = sessionmaker(engine), Cache(MemoryBackend())
    cache.watch(maker)
    price = define(cache)
    with caplog.at_level(logging.WARNING, "scalekit.cache"), maker() as session:
        session.execute(statement)
        assert price(session) == (1 if warned is None else 666)
        session.rollback()
        assert price(session) == 1
    assert cache.stats().fills == 1
    assert bool(caplog.records) is bool(warned)


class Writes(Executable, ColumnElement[int]):
    """As SQLAlchemy's page on custom SQL constructs has it."""

    inherit_cache = False


class Reads(ColumnElement[str]):
    inherit_cache = False


class Truncate(ExecutableDDLElement): ...


@compiles(Writes)
def _writes(*_: Any, **__: Any) -> str:
    return "UPDATE product SET price = 666"


@compiles(Reads)
def _reads(*_: Any, **__: Any) -> str:
    return "current_user"


@compiles(Truncate)
def _truncate(*_: Any, **__: Any) -> str:
    return "TRUNCATE product"


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (select(_COLUMNS.cte()), (False, True)),
        (select(literal_column("1; DELETE FROM t")), (False, True)),
        (select(Product).suffix_with("; DELETE FROM t"), (False, True)),
        (select(Product).with_for_update().order_by(text("price DESC")), (False, False)),
        (insert(Product).from_select(["id"], select(_COLUMNS.cte())), (True, True)),
        (update(Product).values(price=1).where(text("id = 1; DELETE FROM t")), (True, True)),
        (update(Product).values(price=text("price + 1")), (True, False)),
        (Writes(), (False, True)),
        (Truncate(), (False, True)),
        (select(func.lower(Reads())), (False, False)),
        (update(table("product", column("price"))).values(price=1), (True, False)),
        (select(Product).from_statement(insert(Product).returning(Product)), (True, False)),
    ],
)
def test_what_a_statement_changes(statement: Any, expected: tuple[bool, bool]) -> None:
    """7, 8, 11. A text may be anywhere, also beside DML; others' constructs are texts."""
    compiled = statement.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
    changes = changes_of(SimpleNamespace(compiled=compiled, execution_options={}), compiled.string)
    assert (bool(changes.tags), changes.unseen) == expected


def test_a_text_that_changes_no_table(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """`changes=[]` says so: the cache stays in use, and nobody is told anything."""
    maker, cache = sessionmaker(engine), Cache(MemoryBackend())
    cache.watch(maker)
    price = define(cache)
    with maker() as session:
        by_text(session, "ANALYZE", changes=[])
        assert [price(session), price(session)] == [1, 1]
    assert (cache.stats().bypasses, cache.stats().hits, caplog.records) == (0, 1, [])


def test_what_is_no_table_is_refused(engine: Engine) -> None:
    """In our words, before the statement is sent."""
    cache = Cache(MemoryBackend())
    cache.watch(engine)
    with engine.connect() as connection, pytest.raises(ConfigurationError, match=r"^changes= takes mapped"):
        connection.execute(text("UPDATE product SET price = 2").execution_options(changes=[1]))


def test_what_a_function_changes(engine: Engine) -> None:
    """8. The option goes for any statement, as for a SELECT that calls a function, or a trigger's table."""
    maker, cache = sessionmaker(engine), Cache(MemoryBackend())
    cache.watch(maker)
    with maker.begin() as session:
        session.execute(select(1).execution_options(changes=[Product, "log"]))
        session.execute(update(Product).values(price=2).execution_options(changes=["audit"]))
    assert cache.stats().invalidations == 3  # product, log, audit


@pytest.mark.parametrize("statement", [text("COMMIT"), DropTable(Answer.__table__)])  # type: ignore[arg-type]
def test_a_statement_that_commits(engine: Engine, statement: Any) -> None:
    """8. What was changed before is marked before it is sent, and ROLLBACK does not take it back.

    As MySQL and MariaDB do at DDL; here the database is told to.
    """
    engine = engine.execution_options(isolation_level="SERIALIZABLE")
    maker, cache = sessionmaker(engine), Cache(MemoryBackend())
    cache.watch(maker)
    price = define(cache)
    with maker() as session:
        assert price(session) == 1
    with maker() as session:
        session.execute(update(Product).values(price=2))
        event.listen(session.connection(), "before_cursor_execute", _commit)
        session.execute(statement)
        session.rollback()
    with maker() as session:
        assert price(session) == 2


def _commit(connection: Connection, _: Any, statement: str, *__: Any) -> None:
    if statement.strip() != "COMMIT":
        connection.connection.commit()


@pytest.mark.parametrize(
    ("statement", "tables"),
    [
        (delete(Product), {"product", "review", "answer"}),
        (delete(Answer), {"answer"}),
        (update(Product).values(price=2), {"product"}),
        (select(delete(Product).returning(Product.id).cte()), {"product", "review", "answer"}),
        (select(Product), set()),
    ],
)
def test_cascades(statement: Any, tables: set[str]) -> None:
    """8. ON DELETE reaches as far as it does in the database, also from a CTE of a SELECT."""
    assert changed_tables(statement) == tables


def test_cascades_of_an_update() -> None:
    """8. ON UPDATE only where the key is changed; around a circle once; tables that are not described not."""
    metadata = MetaData()
    one = Table(
        "one",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("other", ForeignKey("two.id", onupdate="CASCADE", ondelete="cascade")),
        Column("nobody", ForeignKey("nobody.id", ondelete="CASCADE")),
    )
    Table(
        "two",
        metadata,
        Column("id", ForeignKey("one.id", onupdate="CASCADE", ondelete="CASCADE"), primary_key=True),
    )
    assert changed_tables(update(one).values(id=2)) == {"one", "two"}
    assert changed_tables(update(one).values(other=2)) == {"one"}
    assert changed_tables(update(one), ["id"]) == {"one", "two"}  # executed with these parameters
    assert changed_tables(delete(one)) == {"one", "two"}


def test_a_flush_cascades(engine: Engine) -> None:
    """8. By session.delete() of what the ORM knows no children of."""
    maker, cache = sessionmaker(engine), Cache(MemoryBackend())
    cache.watch(maker)
    with maker.begin() as session:
        session.delete(session.get_one(Product, 1))
    assert cache.stats().invalidations == 3
    with maker.begin() as session:
        session.add(Product(id=1))
    assert cache.stats().invalidations == 4


def test_a_table_that_is_dropped(engine: Engine) -> None:
    """8. DDL of a table counts, and needs no word of the user's."""
    cache = Cache(MemoryBackend())
    cache.watch(engine)
    with engine.begin() as connection:
        connection.execute(DropTable(Answer.__table__))  # type: ignore[arg-type]
    assert cache.stats().invalidations == 2  # MySQL commits by itself, before and after; others by COMMIT

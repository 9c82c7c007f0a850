"""What counts as a read. No server needed."""

from typing import Any

import pytest
from sqlalchemy import (
    DDL,
    ColumnElement,
    Integer,
    Sequence,
    create_engine,
    delete,
    event,
    func,
    insert,
    lambda_stmt,
    literal_column,
    select,
    text,
    union,
    update,
)
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, selectinload
from sqlalchemy.sql.compiler import SQLCompiler

from scalekit.database.routing import Verdicts, changes_rows
from scalekit.database.sqltext.memory import Judgements
from scalekit.database.sqltext.postgresql import RULES


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    share: Mapped[int]
    update: Mapped[str]


READS = [
    "SELECT 1",
    "select * from item;",
    "  -- a comment\n/* and /* a nested */ one */ SELECT 1",
    "WITH a AS (SELECT 1) SELECT * FROM a",
    "WITH RECURSIVE a(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM a WHERE n < 9) SELECT sum(n) FROM a",
    "(SELECT 1) UNION (SELECT 2)",
    "VALUES (1), (2)",
    "TABLE item",
    "SELECT 'nextval(''s'') FOR UPDATE; DELETE FROM item'",
    "SELECT $tag$ INSERT INTO item $tag$",
    "SELECT E'it\\'s; DELETE'",
    'SELECT "update" FROM item',
    "SELECT item.update, item.insert FROM item",
    "SELECT name AS insert FROM item",
    "SELECT share, lo_price FROM item WHERE id = :id AND tags @> '{a}'::text[]",
    "SELECT substring(name from 1 for 3) FROM item",
    "SELECT count(*) FILTER (WHERE price > 1) OVER (PARTITION BY category) FROM item",
    "SELECT * FROM item TABLESAMPLE system (1)",
    "SELECT unknown_function(1)",
]

WRITES = [
    "",
    ";",
    "INSERT INTO item VALUES (1)",
    "UPDATE item SET share = 1",
    "DELETE FROM item",
    "MERGE INTO item USING other ON true WHEN MATCHED THEN DELETE",
    "TRUNCATE item",
    "CREATE TABLE a (b int)",
    "SELECT 1; DELETE FROM item",
    "SELECT * INTO copied FROM item",
    "SELECT * FROM item FOR UPDATE",
    "SELECT * FROM item FOR NO KEY UPDATE SKIP LOCKED",
    "SELECT * FROM item FOR SHARE",
    "SELECT * FROM item FOR/**/KEY SHARE",
    "WITH gone AS (DELETE FROM item RETURNING *) SELECT * FROM gone",
    "WITH a AS MATERIALIZED (INSERT INTO item VALUES (1) RETURNING id) SELECT * FROM a",
    "WITH a AS (SELECT 1) UPDATE item SET share = 1",
    "SELECT nextval('s')",
    "SELECT pg_catalog.nextval('s')",
    "SELECT \"nextval\" ('s')",
    "SELECT NextVal('s')",
    "SELECT setval('s', 1), currval('s'), lastval()",
    "SELECT pg_advisory_lock(1)",
    "SELECT 1 -- a carriage return ends this\r, pg_advisory_lock(1)",
    "SELECT pg_try_advisory_xact_lock(1)",
    "SELECT set_config('a.b', 'c', false)",
    "SELECT setseed(0.5)",
    "SELECT pg_export_snapshot()",
    "SELECT pg_notify('a', 'b')",
    "SELECT lo_create(0)",
    "SELECT pg_promote()",
    "SELECT * FROM dblink_exec('host=other', 'DELETE FROM item')",
    "SELECT pg_current_wal_lsn()",
    "SELECT * FROM pg_buffercache",
    "SELECT pg_buffercache_evict(1)",
    "SELECT * FROM pgrowlocks('item')",
    "SELECT autoprewarm_dump_now()",
    "SET search_path TO a",
    "SHOW search_path",
    "RESET ALL",
    "LISTEN a",
    "NOTIFY a",
    "COPY item TO STDOUT",
    "COPY item FROM STDIN",
    "CALL a()",
    "DO $$ BEGIN END $$",
    "EXPLAIN ANALYZE DELETE FROM item",
    "EXPLAIN SELECT 1",
    "LOCK TABLE item",
    "VACUUM item",
    "DECLARE a CURSOR FOR SELECT 1",
    "FETCH a",
    "PREPARE a AS SELECT 1",
    "EXECUTE a",
    "BEGIN",
    "SAVEPOINT a",
    "REFRESH MATERIALIZED VIEW a",
    # Not understood, so not a read: where such a text ends depends on what the server is set to.
    "SELECT 'open",
    "SELECT 'a\\' OR pg_promote() --'",
    "SELECT $a$ open",
    "SELECT /* open",
    "SELECT U&'d\\0061t'",
    'SELECT U&"d\\0061t"',
    'SELECT "open',
]


@pytest.mark.parametrize("sql", READS)
def test_reads(sql: str) -> None:
    """Text that provably only reads may go to a replica."""
    assert RULES.is_read(sql)


@pytest.mark.parametrize("sql", WRITES)
def test_writes(sql: str) -> None:
    """Text that writes, locks, or is not understood goes to the primary."""
    assert not RULES.is_read(sql)


def test_constructs_are_judged_by_their_sql() -> None:
    """Core and ORM statements are reads exactly when the SQL that is sent for them is."""
    verdicts = Verdicts(psycopg.dialect(), RULES)
    writing_cte = insert(Item).values(id=1).returning(Item.id).cte()
    reads = [
        select(Item),
        select(Item).where(Item.id.in_([1, 2])).options(selectinload("*")),
        union(select(Item.id), select(Item.share)),
        func.now(),
        text("SELECT 1 AS n").columns(n=Integer),
        select(Item).from_statement(text("SELECT * FROM item")),
        lambda_stmt(lambda: select(Item)),
        select(Item).where(Item.update == "nextval('s')"),
    ]
    writes = [
        insert(Item),
        update(Item).values(share=1),
        delete(Item),
        select(Item).with_for_update(),
        select(Item).with_for_update(read=True, key_share=True, skip_locked=True),
        select(writing_cte),
        select(func.nextval("s")),
        func.nextval("s"),
        select(Sequence("s").next_value()),
        Sequence("s"),
        select(Item).suffix_with("FOR UPDATE"),
        select(Item).where(text("pg_try_advisory_lock(1)")),
        select(literal_column("pg_promote()")),
        select(Item).from_statement(text("SELECT * FROM item FOR UPDATE")),
        union(select(Item.id), select(func.setval("s", 1))),
        DDL("CREATE TABLE a (b int)"),
    ]
    assert [verdicts.is_read(statement) for statement in reads] == [True] * len(reads)
    assert [verdicts.is_read(statement) for statement in writes] == [False] * len(writes)


def test_a_refusal_is_remembered_for_every_statement_of_the_same_sql() -> None:
    """What a replica refused once goes to the primary, with other parameters too."""
    verdicts = Verdicts(psycopg.dialect(), RULES)
    first, second = (select(func.place_order(number)) for number in (1, 2))
    assert verdicts.is_read(first)
    verdicts.refused(first)
    assert not verdicts.is_read(second)
    assert verdicts.is_read(select(func.count_orders(1)))


class Unknown(ColumnElement[int]):
    """An element for which SQLAlchemy has no cache key."""

    inherit_cache = False


@compiles(Unknown)
def compile_unknown(element: Unknown, compiler: SQLCompiler, **_: object) -> str:
    return "place_order(1)"


def test_a_refusal_is_remembered_where_nothing_is_cached() -> None:
    """11. What has no cache key is known by its SQL, and so is refused only once, too."""
    verdicts = Verdicts(psycopg.dialect(), RULES)
    statement = select(Unknown())
    assert statement._generate_cache_key() is None
    assert verdicts.is_read(statement)
    verdicts.refused(statement)
    assert not verdicts.is_read(select(Unknown()))
    assert verdicts.is_read(select(Unknown(), literal_column("1")))


def test_what_no_replica_can_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """11. It stays a read, which changes nothing, and is the primary's for a while: the table may change."""
    verdicts = Verdicts(psycopg.dialect(), RULES)
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    for statement in (select(Item.id).where(Item.id == 1), text("SELECT 1"), select(Unknown())):
        now += 100
        verdicts.unable(statement)
        assert verdicts.is_read(statement)
        now += 59
        assert verdicts.needs_primary(statement)
        assert not verdicts.needs_primary(select(Item.share))
        now += 1
        assert not verdicts.needs_primary(statement)
    assert verdicts.needs_primary(select(Item.id).where(Item.id == 2)) is False


def test_names_of_the_applications_own() -> None:
    """10. A function or a view that writes unseen by the server is known by its name, wherever it stands."""
    rules = RULES.with_names(functions=frozenset({"lock_it"}), relations=frozenset({"locked"}))
    reads = ["SELECT lock_it FROM item", "SELECT locked_by FROM item", "SELECT 'locked' FROM item"]
    writes = [
        "SELECT lock_it()",
        "SELECT app.Lock_It (1)",
        'SELECT "lock_it"()',
        "SELECT * FROM item, locked",
        'SELECT * FROM app."locked" l',
    ]
    assert [rules.is_read(sql) for sql in reads] == [True] * len(reads)
    assert [rules.is_read(sql) for sql in writes] == [False] * len(writes)
    assert RULES.is_read("SELECT lock_it() FROM locked")


def test_what_changes_rows_for_certain() -> None:
    """22. Only of the others is a COMMIT to ask whether anything was changed."""
    rows = [insert(Item), update(Item), delete(Item), text("INSERT INTO item VALUES (1)"), text(" update a")]
    other = [
        select(Item),
        text("SELECT place_order(1)"),
        text("SET LOCAL a.b = 'update'"),
        text("UPDATE item SET share = 1; ROLLBACK"),
        text("WITH a AS (SELECT 1) UPDATE item SET share = 1"),
        DDL("DROP TABLE item"),
        "UPDATE item",
    ]
    assert [changes_rows(statement) for statement in rows] == [True] * len(rows)
    assert [changes_rows(statement) for statement in other] == [False] * len(other)


def test_the_memory_of_verdicts_is_bounded() -> None:
    """An application that makes up its SQL does not grow the memory without end: not by many, nor by long."""
    verdicts = Verdicts(psycopg.dialect(), RULES)
    for number in range(5_000):
        verdicts.is_read(text(f"SELECT {number}"))
    assert len(verdicts._memory.known) <= 2_000
    long = "/* " + 100_000 * "x" + " */"
    for number in range(100):
        assert verdicts.is_read(text(f"SELECT {number} {long}"))
        assert not verdicts.is_read(text(f"SELECT {number} {long} FOR UPDATE"))
    assert sum(map(len, verdicts._memory.known)) < 100_000
    for number in range(100):
        assert verdicts.is_read(select(literal_column(f"{number} {long}")))
    assert len(verdicts._memory.known) < 50, "4 Mi characters"
    refused = text(f"SELECT place_order(1) {long}")
    assert verdicts.is_read(refused)
    verdicts.refused(refused)
    assert not verdicts.is_read(text(f"SELECT place_order(1) {long}"))


def test_texts_are_judged_as_they_were_before_their_lists_were_filled_in() -> None:
    """A list of another length is no other statement; what a listener makes of it, and many rows, are."""
    judged: list[str] = []

    def judge(sql: str) -> bool:
        judged.append(sql)
        return True

    judgements = Judgements(judge)
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)

    @event.listens_for(engine, "do_execute")
    def do_execute(cursor: object, sql: str, parameters: object, context: object) -> None:
        judgements.of(sql, context)

    with engine.connect() as connection:
        for length in (1, 2, 3, 500, 501, 0):
            connection.execute(select(Item.id).where(Item.id.in_(range(length))))
        assert len(judged) == 1
        connection.exec_driver_sql("SELECT 1")

        @event.listens_for(connection, "before_cursor_execute", retval=True)
        def comment(*arguments: Any) -> Any:
            return f"{arguments[2]} /* mine */", arguments[3]

        connection.execute(select(Item.id).where(Item.id.in_([1])))
    assert [sql.endswith("/* mine */") for sql in judged] == [False, False, True]
    engine.dispose()

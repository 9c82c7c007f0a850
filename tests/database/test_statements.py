"""Where each kind of statement runs, on a real primary with two replicas; and what no server tells us."""

from collections.abc import Callable
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy import (
    ForeignKey,
    Sequence,
    bindparam,
    delete,
    exists,
    func,
    insert,
    lambda_stmt,
    select,
    text,
    union,
    update,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    WriteOnlyMapped,
    aliased,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
    subqueryload,
)

from scalekit.database import ANY, AsyncCluster, Cluster
from scalekit.errors import ConfigurationError
from tests.conftest import Database

WHERE = text("SELECT pg_is_in_recovery()")


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    stock: Mapped[int] = mapped_column(default=0)
    parts: Mapped[list["Part"]] = relationship(back_populates="item")
    spares: WriteOnlyMapped["Part"] = relationship(viewonly=True)


class Part(Base):
    __tablename__ = "part"
    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))
    item: Mapped[Item] = relationship(back_populates="parts")


SCHEMA = [
    "CREATE TABLE part (id int PRIMARY KEY, item_id int NOT NULL)",
    "INSERT INTO part VALUES (1, 1), (2, 1)",
    "CREATE FUNCTION lock_it() RETURNS boolean LANGUAGE sql AS 'SELECT pg_try_advisory_xact_lock(7)'",
    "CREATE VIEW locked AS SELECT pg_try_advisory_xact_lock(8) AS got",
    "CREATE VIEW numbered AS SELECT nextval('numbers') AS number",
    "CREATE MATERIALIZED VIEW summary AS SELECT count(*) FROM item",
    "CREATE FUNCTION log_position() RETURNS pg_lsn LANGUAGE plpgsql AS "
    "'BEGIN RETURN pg_current_wal_lsn(); END'",
]

# Each of them in a transaction of its own, and whether that is on a replica.
TEXTS: list[tuple[str, bool]] = [
    ("SELECT * FROM item", True),
    ("WITH a AS (SELECT * FROM item) SELECT count(*) FROM a", True),
    ("VALUES (1)", True),
    ("TABLE item", True),
    ("SELECT 'FOR UPDATE'", True),
    ("SELECT * FROM item FOR UPDATE", False),
    ("SELECT * FROM item FOR SHARE SKIP LOCKED", False),
    ("SELECT * FROM item FOR NO KEY UPDATE NOWAIT", False),
    ("INSERT INTO item VALUES (9, 'nine') RETURNING id", False),
    ("UPDATE item SET stock = 2", False),
    ("DELETE FROM item WHERE id = 1", False),
    ("WITH a AS (DELETE FROM item RETURNING id) SELECT * FROM a", False),
    ("WITH a AS (UPDATE item SET stock = 1 RETURNING id) SELECT * FROM a", False),
    ("SELECT nextval('numbers')", False),
    ("SELECT setval('numbers', 7)", False),
    ("SELECT place_order(1)", False),
    ("SELECT * FROM item WHERE stock > place_order(2)", False),
    ("CALL restock()", False),
    ("DO $$ BEGIN UPDATE item SET stock = 5; END $$", False),
    ("SELECT pg_advisory_xact_lock(1)", False),
    ("SELECT pg_try_advisory_xact_lock(1)", False),
    ("SELECT set_config('app.user', '1', true)", False),
    ("SELECT setseed(0.5)", False),
    ("SELECT pg_export_snapshot()", False),
    ("SELECT pg_notify('a', 'b')", False),
    ("NOTIFY a", False),
    ("LISTEN a", False),
    ("SET LOCAL work_mem = '1MB'", False),
    ("SHOW work_mem", False),
    ("EXPLAIN ANALYZE DELETE FROM item", False),
    ("CREATE TABLE made (a int)", False),
    ("CREATE TEMPORARY TABLE passing (a int)", False),
    ("SELECT * INTO copied FROM item", False),
    ("ALTER TABLE item ADD COLUMN colour text", False),
    ("TRUNCATE item", False),
    ("LOCK TABLE item IN SHARE MODE", False),
    ("SELECT txid_current()", False),
    ("SELECT pg_current_wal_lsn()", False),
    ("SELECT lo_create(0)", False),
    ("SELECT id FROM item WHERE id = ANY (SELECT item_id FROM part) ORDER BY id LIMIT 1", True),
    ("SELECT count(*) OVER (PARTITION BY stock) FROM item WINDOW w AS (ORDER BY id)", True),
    ("SELECT 1 /* DELETE */ -- FOR UPDATE", True),
    ("SELECT current_setting('work_mem')", True),
    ("SELECT * FROM part JOIN LATERAL (SELECT * FROM item WHERE id = item_id) i ON true", True),
    ("SELECT * FROM item JOIN part ON item_id = item.id FOR UPDATE OF item SKIP LOCKED", False),
    ("SELECT * FROM item FOR KEY SHARE", False),
    ("SELECT nextval('numbers'), currval('numbers'), lastval()", False),
    ("SELECT number FROM numbered", False),
    ("SELECT * FROM item ORDER BY place_order(id)", False),
    ("SELECT lock_it()", False),
    ("SELECT public.Lock_It() FROM item", False),
    ("SELECT got FROM locked", False),
    ("SELECT log_position()", False),
    ("COPY item TO '/dev/null'", False),
    ("EXPLAIN SELECT * FROM item", False),
    ("EXPLAIN (ANALYZE false) DELETE FROM item", False),
    ("MERGE INTO item USING part ON item.id = part.id WHEN MATCHED THEN UPDATE SET stock = 1", False),
    ("INSERT INTO item VALUES (1, 'again') ON CONFLICT (id) DO UPDATE SET stock = 1", False),
    ("DECLARE found CURSOR FOR SELECT * FROM item", False),
    ("PREPARE kept AS SELECT * FROM item", False),
    ("SAVEPOINT here", False),
    ("UNLISTEN *", False),
    ("RESET work_mem", False),
    ("DISCARD PLANS", False),
    ("ANALYZE item", False),
    ("REFRESH MATERIALIZED VIEW summary", False),
    ("REINDEX TABLE item", False),
    ("COMMENT ON TABLE item IS 'things'", False),
    ("GRANT SELECT ON item TO PUBLIC", False),
    ("DROP VIEW locked", False),
    ("CREATE INDEX ON item (name)", False),
    ("CREATE TABLE copied AS SELECT * FROM item", False),
    ("SELECT pg_advisory_lock(9), pg_advisory_unlock(9)", False),
    ("SELECT pg_logical_emit_message(true, 'a', 'b')", False),
    # A replica shows it 32 numbers ahead. A window function and a table's column are something else.
    ("SELECT last_value FROM numbers", False),
    ("SELECT log_cnt, is_called FROM numbers", False),
    ("SELECT n.last_value FROM (SELECT id AS last_value FROM item) AS n", True),
    ("SELECT last_value(id) OVER (ORDER BY id) AS last_value FROM item", True),
    ("SELECT * FROM pg_sequences", False),
    ("SELECT pg_sequence_last_value('numbers'::regclass)", False),
    # A server's own affairs: who asks means the primary.
    ("SELECT gid FROM pg_prepared_xacts", False),
    ("SELECT mode FROM pg_catalog.pg_locks", False),
    ("SELECT state FROM pg_stat_activity", False),
    ("SELECT application_name FROM pg_stat_replication", False),
    ("SELECT n_live_tup FROM pg_stat_user_tables", False),
    ("SELECT heap_blks_hit FROM pg_statio_user_tables", False),
    ("SELECT slot_name FROM pg_replication_slots", False),
    ("SELECT pg_stat_get_live_tuples('item'::regclass)", False),
    ("SELECT pg_blocking_pids(pg_backend_pid())", False),
    ("SELECT pg_notification_queue_usage()", False),
    ("SELECT txid_status(3), pg_xact_status('3')", False),
    ("SELECT count(*) FROM pg_ls_dir('.')", False),
    ("SELECT setting FROM pg_settings WHERE name = 'max_connections'", False),
    ("SELECT pg_conf_load_time(), checkpoint_lsn FROM pg_control_checkpoint()", False),
    ("SELECT * FROM pg_catalog.pg_shmem_allocations", False),
    ("SELECT count(*) FROM pg_backend_memory_contexts", False),
    ("SELECT count(*) FROM pg_hba_file_rules", False),
    ("SELECT default_version FROM pg_available_extensions WHERE name = 'plpgsql'", False),
    ("SELECT name FROM pg_prepared_statements", False),
    ("SELECT pg_listening_channels()", False),
    # What is in the database's files, and what tells where one is.
    ("SELECT null_frac FROM pg_stats WHERE tablename = 'item'", True),
    ("SELECT pg_total_relation_size('item')", True),
    ("SELECT sequence_name FROM information_schema.sequences", True),
    ("SELECT pg_backend_pid(), inet_server_port(), pg_is_in_recovery()", True),
    ("SELECT pg_last_wal_replay_lsn(), pg_last_xact_replay_timestamp()", True),
    ("SELECT system_identifier FROM pg_control_system()", True),
    ("SELECT version(), pg_postmaster_start_time()", True),
    ("SELECT name FROM pg_timezone_names LIMIT 1", True),
]


def read_parts(session: Session) -> None:
    assert len(session.get_one(Item, 1).parts) == 2


def spare_parts(session: Session) -> None:
    assert len(session.scalars(session.get_one(Item, 1).spares.select()).all()) == 2


def eagerly(load: Callable[..., Any]) -> Callable[[Session], None]:
    def run(session: Session) -> None:
        items = session.scalars(select(Item).order_by(Item.id).options(load(Item.parts))).unique().all()
        assert len(items[0].parts) == 2

    return run


def refresh(session: Session, **how: Any) -> None:
    session.refresh(session.get_one(Item, 1), **how)


def delete_one(session: Session) -> None:
    session.delete(session.get_one(Part, 1))
    session.flush()


def add(session: Session) -> None:
    session.add(Item(id=20, name="twenty", parts=[Part(id=20)]))
    assert session.scalar(select(func.count()).select_from(Part)) == 3


def temporary(session: Session) -> None:
    session.execute(text("CREATE TEMPORARY TABLE passing (a int) ON COMMIT DROP"))
    assert session.execute(text("SELECT * FROM passing")).all() == []


def cursor(session: Session) -> None:
    session.execute(text("DECLARE found CURSOR FOR SELECT * FROM item"))
    assert len(session.execute(text("FETCH ALL FROM found")).all()) == 3


def prepared(session: Session) -> None:
    session.execute(text("PREPARE reading AS SELECT * FROM item"))
    assert len(session.execute(text("EXECUTE reading")).all()) == 3
    session.execute(text("DEALLOCATE reading"))


def streamed(session: Session) -> None:
    assert len(list(session.scalars(select(Item).execution_options(yield_per=1)))) == 3


def fetched(session: Session) -> None:
    session.execute(
        update(Item).where(Item.id > 1).values(stock=4), execution_options={"synchronize_session": "fetch"}
    )


THREE = [{"id": number, "name": "more"} for number in (30, 31, 32)]
RETURNED = insert(Item).returning(Item.id)
OTHER = aliased(Item)

CONSTRUCTS: list[tuple[str, Callable[[Session], Any], bool]] = [
    ("get", lambda session: session.get_one(Item, 1), True),
    ("select", lambda session: session.scalars(select(Item)).all(), True),
    ("query", lambda session: session.query(Item).filter_by(id=1).one(), True),
    ("count", lambda session: session.query(Item).count(), True),
    ("exists", lambda session: session.scalar(select(exists().where(Item.id == 1))), True),
    ("union", lambda session: session.execute(union(select(Item.id), select(Part.id))).all(), True),
    ("self join", lambda session: session.execute(select(Item, OTHER).where(Item.id == OTHER.stock)), True),
    ("lambda", lambda session: session.execute(lambda_stmt(lambda: select(Item))).all(), True),
    ("function", lambda session: session.scalar(func.now()), True),
    ("text columns", lambda session: session.scalars(select(Item).from_statement(text("TABLE item"))), True),
    ("lazy load", read_parts, True),
    ("write-only relationship", spare_parts, True),
    ("selectinload", eagerly(selectinload), True),
    ("subqueryload", eagerly(subqueryload), True),
    ("joinedload", eagerly(joinedload), True),
    ("refresh", refresh, True),
    ("yield_per", streamed, True),
    ("merge and flush", lambda session: (session.merge(Item(id=1, name="other")), session.flush()), False),
    ("refresh for update", lambda session: refresh(session, with_for_update=True), False),
    ("get for update", lambda session: session.get_one(Item, 1, with_for_update={"nowait": True}), False),
    ("for update of", lambda session: session.execute(select(Item).with_for_update(of=Item)), False),
    ("add and autoflush", add, False),
    ("delete and flush", delete_one, False),
    ("insert many returning", lambda session: session.execute(RETURNED, THREE).all(), False),
    ("insert many", lambda session: session.execute(insert(Item), THREE), False),
    ("update by key", lambda session: session.execute(update(Item), [{"id": 1, "stock": 3}]), False),
    ("update fetched", fetched, False),
    ("update", lambda session: session.execute(update(Item).values(stock=bindparam("s")), {"s": 1}), False),
    ("delete", lambda session: session.execute(delete(Part)), False),
    ("query.update", lambda session: session.query(Item).update({"stock": 3}), False),
    ("query.delete", lambda session: session.query(Part).delete(), False),
    ("insert cte", lambda session: session.execute(select(RETURNED.values(id=9, name="n").cte())), False),
    ("nextval", lambda session: session.scalar(select(func.nextval("numbers"))), False),
    ("sequence", lambda session: session.scalar(Sequence("numbers")), False),
    ("bulk_insert_mappings", lambda session: session.bulk_insert_mappings(Item, THREE), False),
    (
        "bulk_update_mappings",
        lambda session: session.bulk_update_mappings(Item, [{"id": 1, "stock": 2}]),
        False,
    ),
    ("bulk_save_objects", lambda session: session.bulk_save_objects([Item(id=12, name="twelve")]), False),
    ("savepoint", lambda session: session.begin_nested(), False),
    ("connection", lambda session: session.connection(), False),
    ("temporary table", temporary, False),
    ("cursor", cursor, False),
    ("prepared statement", prepared, False),
]


def wrong_places(session: Session) -> list[str]:
    """Which statements ended in an error, or ran somewhere else than they should."""
    rows: list[tuple[str, Callable[[Session], Any], bool]] = [
        (sql, lambda session, sql=sql: session.execute(text(sql)), reads) for sql, reads in TEXTS
    ]
    wrong = []
    for name, run, reads in rows + CONSTRUCTS:
        try:
            run(session)
            if session.scalar(WHERE) is not reads:
                wrong.append(name)
        except (SQLAlchemyError, psycopg.Error, asyncpg.PostgresError) as error:
            wrong.append(f"{name}: {error}")
        session.rollback()
        session.expunge_all()
    return wrong


@pytest.fixture
def schema(items: Database) -> None:
    items.cluster.primary.sql(*SCHEMA, database=items.name)
    items.cluster.wait_caught_up()


OWN = {"writing_functions": ["lock_it"], "writing_relations": ["public.locked"]}


def test_there_are_enough() -> None:
    """10. Sixty kinds of statements at least, each once."""
    names = [name for name, _ in TEXTS] + [name for name, *_ in CONSTRUCTS]
    assert len(names) == len(set(names)) >= 100


@pytest.mark.usefixtures("schema")
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_every_kind_of_statement_runs_where_it_can(
    make_async: Callable[..., AsyncCluster], driver: str
) -> None:
    """10. No application sees 'cannot execute ... in a read-only transaction', and reads use replicas."""
    async with make_async(driver, **OWN).session(consistency=ANY) as session:
        assert await session.run_sync(wrong_places) == []


@pytest.mark.usefixtures("schema")
def test_every_kind_of_statement_in_synchronous_code(make_sync: Callable[..., Cluster]) -> None:
    """10. The same, with the synchronous driver."""
    with make_sync(**OWN).session(consistency=ANY) as session:
        assert wrong_places(session) == []


HARMLESS = [
    "SELECT log_position()",
    "SHOW work_mem",
    "SET LOCAL work_mem = '1MB'",
    "EXPLAIN DELETE FROM item",
]


@pytest.mark.usefixtures("schema")
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_what_runs_on_the_primary_and_changes_nothing(
    make_async: Callable[..., AsyncCluster], driver: str
) -> None:
    """22. It leaves the visitor without a token, and so their page without a cookie."""
    cluster = make_async(driver)
    for sql in HARMLESS:
        with cluster.scope() as scope:
            async with cluster.session() as session:
                await session.execute(text(sql))
                assert not await session.scalar(WHERE)
                await session.commit()
            assert scope.token is None, sql
    for changing in (text("UPDATE item SET stock = 1"), update(Item).values(stock=2)):
        with cluster.scope() as scope:
            async with cluster.session() as session:
                await session.execute(changing)
                await session.commit()
            assert scope.token is not None


@pytest.mark.parametrize("option", ["writing_functions", "writing_relations"])
@pytest.mark.parametrize("names", ["lock_it", ["lock_it()"], [""], ["a b"]])
def test_names_that_would_never_be_found(option: str, names: Any) -> None:
    """They are refused when the cluster is made, since nobody would notice later."""
    with pytest.raises(ConfigurationError, match=f"{option}="):
        Cluster("sqlite://", **{option: names})

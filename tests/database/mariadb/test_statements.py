"""Where the statements of a session run, on a real MariaDB primary with a replica."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, event, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from scalekit.database import ANY, STRONG, Bounded
from tests.database._items import Item
from tests.database.mariadb.conftest import WHERE, Both
from tests.servers import MariaDBPair

PRIMARY, REPLICA = 1, 2

READS = [
    "SELECT * FROM item",
    "SELECT `id` AS `update` FROM item",
    "(SELECT id FROM item) UNION (SELECT 7)",
    "WITH a AS (SELECT * FROM item) SELECT count(*) FROM a",
    "WITH RECURSIVE a AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM a WHERE n < 3) SELECT * FROM a",
    "VALUES (1)",
    "SELECT 'FOR UPDATE'",
    'SELECT "INSERT" FROM item',
    "SELECT 1 # FOR UPDATE",
    "SELECT 1 -- FOR UPDATE",
    "SELECT /* FOR UPDATE */ 1",
    "SELECT 5--3",
    "SELECT @@max_connections",
    "SELECT count(*) FROM information_schema.tables",
    "SELECT id, row_number() OVER (ORDER BY id) FROM item",
    "SELECT REPLACE(name, 'o', '0') FROM item",
    "SELECT SLEEP(0)",
    "SELECT JSON_OBJECT('a', 1)",
    # They tell of the statement before, wherever that ran.
    "SELECT FOUND_ROWS(), ROW_COUNT()",
    # Where one is.
    "SELECT CONNECTION_ID(), @@hostname, @@GLOBAL.gtid_slave_pos",
    "SELECT lasts.identity FROM (SELECT 1 AS identity) AS lasts",
]
WRITES = [
    "SELECT * FROM item FOR UPDATE",
    "SELECT * FROM item FOR UPDATE SKIP LOCKED",
    "SELECT * FROM item FOR UPDATE NOWAIT",
    "SELECT * FROM item LOCK IN SHARE MODE",
    "SELECT * FROM item ORDER BY id LIMIT 1 LOCK IN SHARE MODE NOWAIT",
    "INSERT INTO item VALUES (9, 'nine', 0)",
    "INSERT INTO item VALUES (9, 'nine', 0) RETURNING id",
    "INSERT INTO item SELECT id + 20, name, stock FROM item",
    "INSERT INTO item VALUES (1, 'uno', 0) ON DUPLICATE KEY UPDATE stock = 3",
    "REPLACE INTO item VALUES (1, 'uno', 0)",
    "UPDATE item SET stock = 2",
    "UPDATE item, (SELECT 2 AS n) AS a SET stock = n",
    "DELETE FROM item WHERE id = 1",
    "DELETE FROM item WHERE id = 1 RETURNING name",
    "TRUNCATE emptied",
    "SELECT NEXTVAL(numbers)",
    "SELECT NEXT VALUE FOR numbers",
    "SELECT PREVIOUS VALUE FOR numbers",
    "SELECT SETVAL(numbers, 70)",
    "SELECT * FROM counted",
    "SELECT bump(1)",
    "SELECT * FROM (SELECT 1 AS n) AS one WHERE n = bump(2)",
    "CALL restock()",
    "SELECT GET_LOCK('a', 0)",
    "SELECT RELEASE_LOCK('a')",
    "SELECT IS_FREE_LOCK('a')",
    "DO RELEASE_ALL_LOCKS()",
    "SELECT @a := 1",
    "SELECT stock INTO @a FROM item WHERE id = 1",
    "SELECT LAST_INSERT_ID(7)",
    "SELECT LAST_INSERT_ID()",
    "SET @a = 1",
    "SET SESSION sort_buffer_size = 300000",
    "SHOW TABLES",
    "DESCRIBE item",
    "EXPLAIN SELECT * FROM item",
    "EXPLAIN DELETE FROM item",
    "ANALYZE DELETE FROM item WHERE id = 1",
    "ANALYZE TABLE item",
    "CHECK TABLE item",
    "FLUSH TABLES",
    "FLUSH STATUS",
    "CREATE TABLE IF NOT EXISTS made (a int)",
    "ALTER TABLE made ADD COLUMN b int",
    "CREATE INDEX made_a ON made (a)",
    "DROP TABLE made",
    "CREATE TEMPORARY TABLE passing (a int)",
    "CREATE OR REPLACE VIEW seen AS SELECT * FROM item",
    "LOCK TABLES item WRITE",
    "UNLOCK TABLES",
    "PREPARE p FROM 'SELECT 1'",
    "SAVEPOINT a",
    "SELECT /*! SQL_NO_CACHE */ 1",
    "SELECT /*M! 1, */ 2",
    "XA RECOVER",
    # The numbers that come next: the primary counts those too that were rolled back.
    "SELECT LASTVAL(numbers)",
    "SELECT next_not_cached_value FROM numbers",
    "SELECT auto_increment FROM information_schema.tables WHERE table_name = 'item'",
    "SELECT @@insert_id, @@identity",
    "SELECT @@last_insert_id",
    # A server's own affairs: who asks means the primary.
    "SELECT @@last_gtid, @@GLOBAL.gtid_binlog_pos, @@GLOBAL.gtid_current_pos",
    "SELECT IS_USED_LOCK('a')",
    "SELECT COUNT(*) FROM information_schema.processlist",
    "SELECT COUNT(*) FROM information_schema.INNODB_TRX",
    "SELECT COUNT(*) FROM information_schema.GLOBAL_STATUS",
    "SELECT COUNT(*) FROM performance_schema.threads",
]


def where(session: Session) -> int:
    found: int = session.execute(WHERE).one()[0]
    return found


def test_statements_reach_the_right_server(both: Both, mariadb: MariaDBPair, shop: str) -> None:
    """10. Each statement, first in its transaction, runs where it belongs; the application sees no refusal,
    and a replica writes nothing of its own, such as the FLUSH that would break its replication."""
    assert len(READS) + len(WRITES) >= 60
    mariadb.primary.sql(f"CREATE TABLE IF NOT EXISTS {shop}.emptied (a int)")
    mariadb.wait_caught_up()

    def steps(session: Session) -> dict[str, int]:
        ran: dict[str, int] = {}
        for sql in [*READS, *WRITES]:
            session.execute(text(sql.replace(":=", "\\:=")))
            ran[sql] = where(session)
            session.rollback()
            if sql.startswith("LOCK"):
                session.execute(text("UNLOCK TABLES"))
        return ran

    expected = {**dict.fromkeys(READS, REPLICA), **dict.fromkeys(WRITES, PRIMARY)}
    assert both.run(steps, consistency=ANY) == expected
    assert "0-2-" not in mariadb.replica.sql("SELECT @@gtid_binlog_state")
    mariadb.wait_caught_up()


def test_the_ways_of_the_orm(both: Both) -> None:
    """10. Bulk operations, fetched updates, locks, refresh, connections and savepoints."""

    def refreshed(session: Session) -> list[int]:
        item = session.get_one(Item, 1)
        session.refresh(item)
        before = where(session)
        session.refresh(item, with_for_update=True)
        return [before, where(session)]

    assert both.run(refreshed) == [REPLICA, PRIMARY]

    def autoflush(session: Session) -> object:
        session.add(Item(id=10, name="ten"))
        return session.scalars(select(Item).where(Item.id == 10)).one()

    fetched = update(Item).where(Item.id > 1).values(stock=4)
    ways: list[Callable[[Session], Any]] = [
        lambda session: session.execute(fetched, execution_options={"synchronize_session": "fetch"}),
        lambda session: session.execute(insert(Item), [{"id": 10, "name": "a"}, {"id": 11, "name": "b"}]),
        lambda session: session.bulk_save_objects([Item(id=12, name="twelve")]),
        lambda session: session.query(Item).filter(Item.id == 1).delete(),
        lambda session: session.query(Item).filter(Item.id == 1).update({"stock": 5}),
        lambda session: session.execute(update(Item), [{"id": 1, "stock": 6}]),
        lambda session: session.execute(delete(Item).returning(Item.id)).all(),
        lambda session: session.execute(select(Item).with_for_update(skip_locked=True)).all(),
        lambda session: session.execute(select(Item).with_for_update(read=True)).all(),
        lambda session: session.connection().execute(text("SELECT 1")),
        lambda session: session.begin_nested(),
        autoflush,
    ]
    for way in ways:

        def then_where(session: Session, way: Callable[[Session], Any] = way) -> int:
            way(session)
            return where(session)

        assert both.run(then_where) == PRIMARY
    streamed = select(Item).execution_options(yield_per=1)
    assert both.run(lambda session: len(list(session.scalars(streamed)))) == 3


def test_a_transaction_runs_on_one_server(both: Both) -> None:
    """7. All its statements go over one connection, on the replica or on the primary."""

    def steps(session: Session) -> set[tuple[int, int]]:
        seen = set()
        for _ in range(5):
            seen.add(tuple(session.execute(WHERE).one()))
            session.scalars(select(Item)).all()
        return seen

    ((server, _),) = both.run(steps)
    assert server == REPLICA
    ((server, _),) = both.run(steps, consistency=STRONG)
    assert server == PRIMARY


def test_after_a_write_the_transaction_is_on_the_primary(both: Both) -> None:
    """8. After a flush, DML or a lock its reads see what it wrote, on the primary, until it ends."""

    def flushed(session: Session) -> None:
        session.add(Item(id=20, name="twenty"))
        session.flush()

    writes: list[Callable[[Session], Any]] = [
        flushed,
        lambda session: session.execute(update(Item).values(stock=7)),
        lambda session: session.execute(select(Item).with_for_update()).all(),
        lambda session: session.execute(text("SELECT * FROM item LOCK IN SHARE MODE")),
    ]

    def steps(session: Session, write: Callable[[Session], Any]) -> list[int]:
        servers = [where(session)]
        write(session)
        servers += [where(session), where(session)]
        session.rollback()
        return [*servers, where(session)]

    for write in writes:
        found = both.run(lambda session, write=write: steps(session, write))  # type: ignore[misc]
        assert found == [REPLICA, PRIMARY, PRIMARY, REPLICA]


def test_a_function_that_writes_is_refused_once(both: Both) -> None:
    """The first call is repeated on the primary; from then on it goes there at once."""

    def bump(session: Session) -> int:
        assert session.scalar(select(func.bump(3))) == 1
        return where(session)

    def refused() -> list[str]:
        return [str(error) for error in errors]

    errors: list[BaseException] = []
    reader = both.cluster._fleet.members[1].reader
    event.listen(reader, "handle_error", lambda context: errors.append(context.original_exception))
    assert both.run(bump) == PRIMARY
    assert len(refused()) == 1
    assert "READ ONLY" in refused()[0]
    assert both.run(bump, consistency=ANY) == PRIMARY
    assert len(refused()) == 1


def test_connections_for_reading_cannot_write(both: Both) -> None:
    """19. Not even to the primary, as in the moment after a promotion, and not in autocommit mode either."""
    reader = both.cluster._fleet.members[0].read.engine

    def steps(session: Session) -> None:
        for options in ({}, {"isolation_level": "AUTOCOMMIT"}):
            engine = reader.sync_engine if hasattr(reader, "sync_engine") else reader
            with engine.connect().execution_options(**options) as connection:
                assert connection.execute(WHERE).one()[0] == PRIMARY
                with pytest.raises(DBAPIError, match="READ ONLY"):
                    connection.execute(text("UPDATE item SET stock = 1"))

    both.run(steps)


def test_levels(both: Both) -> None:
    """STRONG and the primary block stay on the primary; Bounded and ANY may leave it."""
    assert both.run(where, consistency=STRONG) == PRIMARY
    with both.cluster.primary():
        assert both.run(where) == PRIMARY
    for level in (ANY, Bounded(seconds=30)):
        assert both.run(where, consistency=level) == REPLICA


def test_serializable_transactions_run_on_the_primary(
    make: Callable[..., Both], mariadb: MariaDBPair, shop: str
) -> None:
    """Their reads take locks."""
    both = make([mariadb.primary, mariadb.replica], shop, isolation_level="SERIALIZABLE")
    assert both.run(where) == PRIMARY


def test_the_only_url_leads_to_a_replica(make: Callable[..., Both], mariadb: MariaDBPair, shop: str) -> None:
    """25. Nobody asked what it is, and so nobody says; the refusal of a write tells what it comes from."""
    both = make([mariadb.replica], shop, wanted=("single",))
    with pytest.raises(DBAPIError, match="takes no writes: it is a replica, or was set to read only"):
        both.write()

"""Reads without a transaction around them show the same; test_round_trips counts what they cost."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Select, event, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from scalekit.database import AsyncCluster, Cluster
from scalekit.database.sqltext import mysql, postgresql
from scalekit.database.sqltext.plain import leaves_nothing
from scalekit.errors import ConfigurationError
from tests.conftest import Database
from tests.database._lag import lagging, meet
from tests.servers.waiting import wait_until


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    stock: Mapped[int]


COUNT = select(func.count()).select_from(Item)
STOCK = text("SELECT stock FROM item WHERE id = 1")
WRITE = text("UPDATE item SET stock = stock + 1 WHERE id = 1")


class Both:
    """A cluster of either colour; what runs over its sessions is written once, for a plain ``Session``."""

    def __init__(self, cluster: Cluster | AsyncCluster) -> None:
        self.cluster: Any = cluster

    async def run(self, steps: Callable[[Session], Any], **options: Any) -> Any:
        """Run ``steps`` with a new session, which is closed afterwards."""
        if isinstance(self.cluster, Cluster):
            with self.cluster.session(**options) as session:
                return steps(session)
        async with self.cluster.session(**options) as session:
            return await session.run_sync(steps)

    @property
    def transactions(self) -> list[int]:
        """How many each member has had."""
        return [member.transactions for member in self.cluster.status().members]


@pytest.fixture(params=["asyncpg", "psycopg", "psycopg, synchronous"])
async def make(
    request: pytest.FixtureRequest, items: Database, make_async: Any, make_sync: Any
) -> Callable[..., Any]:
    """Makes clusters with one replica that send reads alone."""
    driver, _, synchronous = request.param.partition(", ")

    async def make(**options: Any) -> Both:
        options = {"replicas": items.replica_urls(driver)[:1], "autocommit_reads": True, **options}
        both = Both(make_sync(**options) if synchronous else make_async(driver, **options))
        await both.run(lambda _: meet(both.cluster))
        await both.run(lambda session: session.execute(COUNT))  # what the connection's level is, is known now
        return both

    return make


def is_alone(session: Session) -> bool:
    """Whether no transaction is open in the database, although one is in the session."""
    place: Any = session._place  # type: ignore[attr-defined]
    assert session.in_transaction()
    assert place.replica
    between: bool = place.member._driver.is_between(place.connection.connection.dbapi_connection)
    return between


@pytest.fixture
def tenant(items: Database) -> Iterator[str]:
    """A role that sees one item; the function ``become`` makes a transaction its, and of that item."""
    role, primary = f"tenant_{items.name}", items.cluster.primary
    primary.sql(
        f"CREATE ROLE {role} NOLOGIN",
        f"GRANT SELECT ON item TO {role}",
        "ALTER TABLE item ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY own ON item USING (id = current_setting('app.tenant')::int)",
        "CREATE FUNCTION become(tenant int) RETURNS text LANGUAGE sql AS "
        f"$$SELECT set_config('role', '{role}', true) || set_config('app.tenant', tenant::text, true)$$",
        database=items.name,
    )
    items.cluster.wait_caught_up()
    yield role
    primary.sql(f"DROP OWNED BY {role}", f"DROP ROLE {role}", database=items.name)


async def test_what_a_transaction_was_told_holds(make: Callable[..., Any], tenant: str) -> None:
    """1. Row-level security holds, however the transaction was told who reads: nobody sees another's rows."""
    both = await make()

    def look(session: Session) -> list[int]:
        found = [*session.scalars(select(Item.id)), *session.scalars(select(Item.id))]
        assert not is_alone(session)
        return found

    def become_and_look(session: Session) -> list[int]:
        session.execute(select(func.become(2)))
        return look(session)

    assert await both.run(become_and_look) == [2, 2]
    assert await both.run(lambda session: is_alone(session) if session.scalar(COUNT) == 3 else None)

    def set_local(session: Any, transaction: Any, connection: Connection) -> None:
        connection.execute(text(f"SET LOCAL ROLE {tenant}"))
        connection.execute(text("SET LOCAL app.tenant = 3"))

    target = both.cluster.event_target
    event.listen(target, "after_begin", set_local)
    assert await both.run(look) == [3, 3]
    event.remove(target, "after_begin", set_local)

    def by_cursor(connection: Any, cursor: Any, *_: Any) -> None:
        cursor.execute(f"SET LOCAL ROLE {tenant}")
        cursor.execute("SET LOCAL app.tenant = 1")

    reader = both.cluster._fleet.members[1].reader
    event.listen(reader, "before_cursor_execute", by_cursor)
    assert await both.run(look) == [1, 1]
    event.remove(reader, "before_cursor_execute", by_cursor)

    def by_connection(connection: Connection, clause: Any, *_: Any) -> None:
        if isinstance(clause, Select) and clause.is_select and "become" not in str(clause):
            connection.execute(select(func.become(2)))

    event.listen(reader, "before_execute", by_connection)
    assert await both.run(look) == [2, 2]
    event.remove(reader, "before_execute", by_connection)
    assert both.transactions[0] == 0, "all of it on the replica"


async def test_each_statement_is_as_fresh_as_its_visitor(make: Callable[..., Any], items: Database) -> None:
    """1. As at READ COMMITTED: what others have committed shows as it comes, what the visitor has at once."""
    both = await make()

    def read_three_times(session: Session) -> list[Any]:
        found = [session.scalar(STOCK)]
        items.cluster.primary.sql("UPDATE item SET stock = 5", database=items.name)
        items.cluster.wait_caught_up()
        found.append(session.scalar(STOCK))
        assert is_alone(session)
        with lagging(items):
            other = both.cluster.session()
            with getattr(other, "sync_session", other) as another:
                another.execute(WRITE)
                another.commit()
            return [*found, session.scalar(STOCK)]

    with both.cluster.scope():
        assert await both.run(read_three_times) == [0, 5, 6]


async def test_cursors_of_the_server(make: Callable[..., Any]) -> None:
    """1. What is streamed lives in a transaction, which is begun for it, and so is what follows."""
    both = await make()

    def stream(session: Session) -> list[int]:
        assert session.scalar(COUNT) == 3
        assert is_alone(session)
        found = [item.id for item in session.scalars(select(Item).execution_options(yield_per=1))]
        assert not is_alone(session)
        assert session.scalar(COUNT) == 3
        return found

    assert sorted(await both.run(stream)) == [1, 2, 3]
    if isinstance(both.cluster, AsyncCluster):
        async with both.cluster.session() as session:
            assert [row.id async for row in await session.stream(select(Item.id).order_by(Item.id))] == [
                1,
                2,
                3,
            ]


async def test_snapshots_are_kept(
    make: Callable[..., Any], items: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """1. Where transactions are REPEATABLE READ by default, they are transactions; people are told once."""
    items.cluster.primary.sql(
        f"ALTER DATABASE {items.name} SET default_transaction_isolation = 'repeatable read'"
    )
    items.cluster.wait_caught_up()
    caplog.set_level(logging.WARNING, "scalekit.database")
    both = await make()

    def read_twice(session: Session) -> None:
        before = session.scalar(STOCK)
        items.cluster.primary.sql("UPDATE item SET stock = stock + 1", database=items.name)
        items.cluster.wait_caught_up()
        assert not is_alone(session)
        assert session.scalar(STOCK) == before

    for _ in range(2):
        await both.run(read_twice)
    (warning,) = [text for text in caplog.messages if "autocommit_reads" in text]
    assert both.cluster.status().members[1].name in warning
    with pytest.raises(ConfigurationError, match=r"REPEATABLE READ.*READ COMMITTED"):
        await make(isolation_level="REPEATABLE READ")
    assert (await make(isolation_level="read_committed")).transactions == [0, 1]  # SQLAlchemy takes that too


def test_connections_of_core_are_left_alone(make_sync: Callable[..., Cluster], items: Database) -> None:
    """1. They are over the pool of the sessions, and may be at another level."""
    cluster = make_sync(replicas=items.replica_urls("psycopg")[:1], autocommit_reads=True)
    meet(cluster)
    for _ in range(3):
        with cluster.session() as session:
            assert session.scalar(STOCK) == 0
    assert cluster.status().members[1].transactions > 0
    with cluster.connection(read=True) as connection:
        connection.execution_options(isolation_level="REPEATABLE READ")
        assert connection.scalar(STOCK) == 0
        items.cluster.primary.sql("UPDATE item SET stock = 5", database=items.name)
        items.cluster.wait_caught_up()
        assert connection.scalar(STOCK) == 0
    with cluster.session() as session:
        assert session.scalar(STOCK) == 5
        assert is_alone(session)


async def test_it_reads_only_and_repeats_elsewhere(make: Callable[..., Any], items: Database) -> None:
    """19. A replica refuses to write without a transaction too; the statement is repeated on the primary.

    An error or a cancellation leaves nothing behind on the connection.
    """
    items.cluster.primary.sql(
        "CREATE VIEW orders AS SELECT place_order(id) AS stock FROM item WHERE id = 1",
        "CREATE VIEW slow AS SELECT pg_sleep(60)::text",
        "CREATE VIEW wrong AS SELECT 1 / (id - 1) FROM item",
        database=items.name,
    )
    items.cluster.wait_caught_up()
    both = await make()
    assert await both.run(lambda session: session.scalar(text("SELECT stock FROM orders"))) == -1
    assert both.transactions == [1, 2]
    assert both.cluster.status().members[1].repeats == 1

    def fail(session: Session) -> None:
        assert session.scalar(COUNT) == 3
        with pytest.raises(DBAPIError, match="division by zero"):
            session.execute(text("SELECT * FROM wrong"))
        assert is_alone(session)
        assert session.scalar(COUNT) == 3

    await both.run(fail)
    if isinstance(both.cluster, AsyncCluster):
        task = asyncio.create_task(both.run(lambda session: session.execute(text("SELECT * FROM slow"))))
        running = (
            "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT * FROM slow' AND state = 'active'"
        )
        replica = items.cluster.replicas[0]
        await asyncio.to_thread(wait_until, lambda: replica.sql(running) == "1", what="it is running")
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    def open_one(session: Session) -> None:
        assert session.scalar(select(func.pg_is_in_recovery()))
        assert not is_alone(session), "a function that nobody knows begins a transaction"

    await both.run(open_one)


@pytest.mark.parametrize(
    ("sql", "plain"),
    [
        ("SELECT item.id, lower(item.name) FROM item WHERE item.id IN ($1::INTEGER, $2) LIMIT $3", True),
        ("SELECT count(*) FILTER (WHERE id > 1), sum(a) OVER (PARTITION BY b) FROM item -- call(1)", True),
        ("WITH last AS (SELECT max(id) FROM item) SELECT cast(id AS numeric(3)) FROM last", True),
        ("SELECT ((1 + 2) * (3)), now() FROM (SELECT 1) AS one", True),
        ("SELECT become(2)", False),
        ("SELECT app.count(2)", False),
        ('SELECT "count"(2)', False),
        ("SELECT become /* spaces */ (2)", False),
        ("SELECT lo_open(1, 2)", False),
        ("SELECT pg_export_snapshot()", False),
        ("SELECT set_config('app.tenant', '2', true)", False),
        ("SET LOCAL app.tenant = 2", False),
        ("SELECT 1; SELECT 2", False),
        ("SELECT 'open", False),
        ("SELECT naïve(2)", False),
        ("SELECT _become(2)", False),
    ],
)
def test_what_leaves_nothing_behind(sql: str, plain: bool) -> None:
    """1. What calls something that is not known to leave nothing is in a transaction."""
    assert leaves_nothing(postgresql.RULES, sql) is plain
    if "::" not in sql and '"' not in sql:
        assert leaves_nothing(mysql.RULES, sql) is plain

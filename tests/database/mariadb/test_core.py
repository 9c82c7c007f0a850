"""Core connections for reading, to a MariaDB replica."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only

from scalekit.database import Cluster
from scalekit.errors import NoServerAvailable
from tests.database.mariadb.conftest import READ, WHERE, WRITE, Both
from tests.faults import pause_replay
from tests.servers import MariaDBPair

PRIMARY, REPLICA = 1, 2


def write(both: Both) -> None:
    """Commit one more in stock, from within what runs over a connection."""
    cluster = both.cluster
    if isinstance(cluster, Cluster):
        both.write()
        return

    async def in_async() -> None:
        async with cluster.session() as session:
            await session.execute(WRITE)
            await session.commit()

    await_only(in_async())


def test_a_replica_that_is_lost(make: Callable[..., Both], mariadb: MariaDBPair, shop: str) -> None:
    """12. Under the first statement of a transaction: it is repeated, in the same one. A later one raises."""
    both = make([mariadb.primary, mariadb.replica], shop)
    fleet: Any = both.cluster._fleet
    ended: list[int] = []

    def before(connection: Connection, *_: Any) -> None:
        if not ended:
            ended.append(connection.connection.driver_connection.thread_id())  # type: ignore[union-attr]
            mariadb.replica.sql(f"KILL {ended[0]}")

    def steps(connection: Connection) -> None:
        event.listen(connection, "before_cursor_execute", before)
        with connection.begin() as transaction:
            server, number = connection.execute(WHERE).one()
            assert (server, number) != (REPLICA, ended[0])
            assert connection.get_transaction() is transaction
        fleet.monitor.poke()
        fleet.monitor.wait(lambda: bool(fleet.readers), 20)
        while (found := connection.execute(WHERE).one())[0] != REPLICA:
            connection.rollback()
            fleet.monitor.wait(lambda: bool(fleet.readers), 20)
        mariadb.replica.sql(f"KILL {found[1]}")
        with pytest.raises(DBAPIError):
            connection.execute(WHERE)
        connection.rollback()
        connection.execute(WHERE)

    both.run_core(steps, read=True)
    assert ended


@pytest.mark.parametrize("level", ["READ COMMITTED", "AUTOCOMMIT", None])
def test_a_later_statement(
    make: Callable[..., Both], mariadb: MariaDBPair, shop: str, level: str | None
) -> None:
    """1. It shows what its visitor has committed meanwhile, or is an error. With AUTOCOMMIT each statement
    has a snapshot of its own, whatever the level; that of a transaction lasts, as is MariaDB's default."""
    both = make([mariadb.primary, mariadb.replica], shop, failover_wait=0.3)

    def steps(connection: Connection) -> None:
        if level is not None:
            connection.execution_options(isolation_level=level)
        stock, server = connection.execute(READ).one()
        assert server == REPLICA
        with pause_replay(mariadb.replica):
            write(both)
            if level is None:
                assert tuple(connection.execute(READ).one()) == (stock, REPLICA)
            else:
                with pytest.raises(NoServerAvailable, match="roll back, and repeat the transaction"):
                    connection.execute(READ)
            connection.rollback()
            assert tuple(connection.execute(READ).one()) == (stock + 1, PRIMARY)

    with both.cluster.scope():
        both.run_core(steps, read=True)
    mariadb.wait_caught_up()


def test_a_later_statement_of_a_session(make: Callable[..., Both], mariadb: MariaDBPair, shop: str) -> None:
    """1. With AUTOCOMMIT too, where the level of transactions says nothing: it goes on on the primary."""
    both = make([mariadb.primary, mariadb.replica], shop, isolation_level="AUTOCOMMIT")

    def steps(session: Session) -> None:
        stock, server = session.execute(READ).one()
        assert server == REPLICA
        with pause_replay(mariadb.replica):
            write(both)
            assert tuple(session.execute(READ).one()) == (stock + 1, PRIMARY)

    with both.cluster.scope():
        both.run(steps)
    mariadb.wait_caught_up()

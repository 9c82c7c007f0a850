"""Reads without a transaction around them, on a real MariaDB."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from tests.database._items import Item
from tests.database.mariadb.conftest import WRITE, Both, url
from tests.faults import FaultProxy
from tests.servers import MariaDBPair

STOCK = text("SELECT stock FROM item WHERE id = 1")


def read(session: Session) -> Any:
    return session.scalar(STOCK)


def read_twice(session: Session) -> Any:
    return session.scalar(STOCK), session.scalar(STOCK)


def stream(session: Session) -> Any:
    return [item.id for item in session.scalars(select(Item).execution_options(yield_per=1))]


def call(session: Session) -> Any:
    return session.scalar(STOCK), session.scalar(text("SELECT @@server_id + SLEEP(0)")), session.scalar(STOCK)


def find(session: Session) -> Any:
    session.execute(text("SELECT SQL_CALC_FOUND_ROWS * FROM item LIMIT 1")).all()
    return session.scalar(text("SELECT FOUND_ROWS()"))


def test_one_round_trip(make: Callable[..., Both], mariadb: MariaDBPair, shop: str, driver: str) -> None:
    """Speed. The statement alone, otherwise followed by ROLLBACK; a transaction for what needs one."""
    replica = mariadb.replica
    with FaultProxy(replica.host, replica.port) as proxy, ExitStack() as stack:

        def cost(both: Both, steps: Callable[[Session], Any], result: Any = None) -> int:
            for _ in range(2):  # until the connection is as it is to stay
                both.run(steps)
            before = proxy.round_trips
            found = both.run(steps)
            assert result in (None, found)
            return proxy.round_trips - before

        servers = [mariadb.primary, proxy.url(url(replica, driver, shop))]
        options = {"isolation_level": "READ COMMITTED", "probe_interval": 3600}
        plain, alone = (make(servers, shop, autocommit_reads=on, **options) for on in (False, True))
        for both in (plain, alone):
            stack.callback(both.dispose)
        assert cost(plain, read, 0) > 1
        assert (cost(alone, read, 0), cost(alone, read_twice, (0, 0)), cost(alone, find, 3)) == (1, 2, 2)
        # A transaction is begun for what streams, and for a function that is not known; and ended.
        assert cost(alone, stream, [1, 2, 3]) > 2
        assert cost(alone, call, (0, 2, 0)) > 4
        assert cost(alone, read, 0) == 1
        assert alone.cluster.status().members[0].transactions == 0


def test_it_reads_only(make: Callable[..., Both], mariadb: MariaDBPair, shop: str) -> None:
    """19. A replica refuses to write without a transaction too; the statement is repeated on the primary."""
    both = make(
        [mariadb.primary, mariadb.replica], shop, autocommit_reads=True, isolation_level="READ COMMITTED"
    )
    with both.cluster.scope():
        assert both.run(read_twice) == (0, 0)
        assert both.run(lambda session: session.execute(text("SELECT number FROM counted")).all())
        assert both.cluster.status().members[1].repeats == 1

        def fail(session: Session) -> None:
            with pytest.raises(DBAPIError, match="no_such_table"):
                session.execute(text("SELECT * FROM no_such_table"))
            assert session.scalar(STOCK) == 0
            session.execute(WRITE)
            session.rollback()

        both.run(fail)
        assert both.run(read_twice) == (0, 0)


def test_snapshots_are_kept(
    make: Callable[..., Both], mariadb: MariaDBPair, shop: str, caplog: pytest.LogCaptureFixture
) -> None:
    """1. MariaDB's transactions are REPEATABLE READ unless they are told otherwise, and stay so."""
    caplog.set_level(logging.WARNING, "scalekit.database")
    both = make([mariadb.primary, mariadb.replica], shop, autocommit_reads=True)

    def read_around(session: Session) -> None:
        before = session.scalar(STOCK)
        mariadb.primary.sql("UPDATE item SET stock = stock + 1 WHERE id = 1", database=shop)
        mariadb.wait_caught_up()
        assert session.scalar(STOCK) == before

    for _ in range(2):
        both.run(read_around)
    assert sum("isolation_level='READ COMMITTED'" in text for text in caplog.messages) == 1

"""What becomes of instances that were read from a MariaDB replica when their transaction writes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from sqlalchemy import inspect
from sqlalchemy.orm import Session

from scalekit.errors import WriteAfterReplicaReads
from tests.database._items import Item, flush, writes
from tests.database.mariadb.conftest import Both
from tests.faults import pause_replay
from tests.servers import MariaDBPair

OLD, NEW = 3, 7


WRITES = writes("bump")


@contextmanager
def sold(mariadb: MariaDBPair, shop: str) -> Iterator[None]:
    """On the primary the stock of the first item is NEW; the replica, which lags, still says OLD."""
    change = "UPDATE item SET stock = {} WHERE id = 1"
    mariadb.primary.sql(change.format(OLD), database=shop)
    mariadb.wait_caught_up()
    with pause_replay(mariadb.replica):
        mariadb.primary.sql(change.format(NEW), database=shop)
        yield
    mariadb.wait_caught_up()


def test_they_are_loaded_again(both: Both, mariadb: MariaDBPair, shop: str) -> None:
    """9. From the primary, when they are next read from: nothing is computed from what a replica said."""

    def steps(session: Session, write: Callable[[Session], object]) -> int:
        item = session.get_one(Item, 1)
        assert item.stock == OLD
        write(session)
        assert "id" not in inspect(item).unloaded
        item.stock += 1
        found = item.stock
        session.rollback()
        return found

    with sold(mariadb, shop):
        for write in WRITES:
            with both.cluster.scope():
                assert both.run(partial(steps, write=write)) == NEW + 1


def test_such_a_write_as_an_error_and_as_it_was(
    make: Callable[..., Both], mariadb: MariaDBPair, shop: str
) -> None:
    """9. With "error" nothing is written; with "allow" they keep what the replica said."""
    servers = [mariadb.primary, mariadb.replica]
    strict, lax = (make(servers, shop, writes_after_reads=mode) for mode in ("error", "allow"))

    def refused(session: Session, write: Callable[[Session], object]) -> str | None:
        assert session.get_one(Item, 1).stock == OLD
        with pytest.raises(WriteAfterReplicaReads) as caught:
            write(session)
        session.rollback()
        return caught.value.replica

    def kept(session: Session) -> int:
        item = session.get_one(Item, 1)
        flush(session)
        found = item.stock
        session.rollback()
        return found

    replica = strict.cluster.status().members[1].name
    with sold(mariadb, shop):
        for write in WRITES:
            with strict.cluster.scope():
                assert strict.run(partial(refused, write=write)) == replica
        with lax.cluster.scope():
            assert lax.run(kept) == OLD
    unchanged = mariadb.primary.sql("SELECT name, stock FROM item WHERE id = 2", database=shop)
    assert unchanged.split() == ["two", "0"]

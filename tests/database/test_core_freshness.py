"""A Core connection for reading that is kept: no transaction over it, and no statement, misses what its
visitor has committed meanwhile."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, text

from scalekit.database import STRONG, AsyncCluster, Cluster
from scalekit.database.scope import Seen
from scalekit.errors import NoServerAvailable
from tests.conftest import Database
from tests.database._lag import lagging, meet
from tests.faults import pause_replay

WHERE = text("SELECT stock, pg_is_in_recovery() FROM item WHERE id = 1")
ADD = text("UPDATE item SET stock = stock + 1 WHERE id = 1")


def add(cluster: Cluster) -> None:
    with cluster.connection() as writing:
        writing.execute(ADD)
        writing.commit()


def where(connection: Connection) -> tuple[int, bool]:
    return tuple(connection.execute(WHERE).one())  # type: ignore[return-value]


def test_a_connection_that_is_first_used_later(make_sync: Callable[..., Cluster]) -> None:
    """12. What was chosen when it was opened may be out by then, and is not read from."""
    cluster = make_sync(probe_interval=3600)
    meet(cluster)
    with cluster.connection(read=True) as reading:
        there = reading.engine  # type: ignore[attr-defined]
        (member,) = [one for one in cluster._fleet.members if one.reader is there]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cluster._fleet.monitor, "poke", lambda: None)
            cluster._fleet.suspect(member, "it is out")
            reading.execute(WHERE)
        assert reading.engine is not there  # type: ignore[attr-defined]


def test_a_later_transaction(make_sync: Callable[..., Cluster], items: Database) -> None:
    """1. It begins where what the visitor wrote is, if need be on the primary, and is back on a replica when
    one has it; what was set over the connection keeps it, so that it waits, and then is an error."""
    cluster = make_sync(failover_wait=0.3)
    meet(cluster)
    with cluster.scope(), cluster.connection(read=True) as reading:
        assert where(reading) == (0, True)
        reading.rollback()
        with lagging(items):
            add(cluster)
            assert where(reading) == (1, False)
            assert reading.get_execution_options() == {"postgresql_readonly": True}
            reading.rollback()
            assert cluster.status().fallback.in_flight == 1
        deadline = time.monotonic() + 60
        while where(reading) != (1, True):
            assert time.monotonic() < deadline
            reading.rollback()
        assert cluster.status().fallback.in_flight == 0
        assert reading.get_execution_options() == {}
        reading.rollback()
        with lagging(items), reading.begin():
            add(cluster)
            assert where(reading) == (2, False), "nothing has been read before"
    with cluster.scope(), cluster.connection(read=True) as reading:
        reading.execute(text("SET application_name = 'kept'"))
        reading.rollback()
        with lagging(items):
            add(cluster)
            with pytest.raises(NoServerAvailable, match="open another connection"):
                where(reading)
    assert [member.in_flight for member in cluster.status().members] == [0, 0, 0]


@pytest.mark.parametrize("level", ["READ COMMITTED", "AUTOCOMMIT", "REPEATABLE READ"])
def test_a_later_statement(make_sync: Callable[..., Cluster], items: Database, level: str) -> None:
    """1. In the same transaction: it waits for what was committed meanwhile, and then is an error, never an
    older read. A snapshot that was promised to last is left alone, and asked about once."""
    cluster = make_sync(failover_wait=20)
    meet(cluster)
    with cluster.scope(), cluster.connection(read=True) as reading:
        reading.execution_options(isolation_level=level)
        assert where(reading) == (0, True)
        add(cluster)
        assert where(reading) == ((0, True) if level == "REPEATABLE READ" else (1, True))
        cluster._fleet.failover_wait = 0.3
        with lagging(items):
            add(cluster)
            if level == "REPEATABLE READ":
                assert where(reading) == (0, True)
            else:
                with pytest.raises(NoServerAvailable, match="roll back, and repeat the transaction"):
                    where(reading)
            reading.rollback()
            assert where(reading) == (2, False)


async def test_a_later_statement_asynchronously(
    make_async: Callable[..., AsyncCluster], items: Database
) -> None:
    """1. The same over an ``AsyncConnection``."""
    cluster = make_async(failover_wait=20)
    async with cluster.session() as session:
        await session.run_sync(lambda _: meet(cluster))
    with cluster.scope():
        async with cluster.connection(read=True) as reading:
            assert tuple((await reading.execute(WHERE)).one()) == (0, True)
            async with cluster.connection() as writing, writing.begin():
                await writing.execute(ADD)
            assert tuple((await reading.execute(WHERE)).one()) == (1, True)
            cluster._fleet.failover_wait = 0.3
            with lagging(items):
                async with cluster.connection() as writing, writing.begin():
                    await writing.execute(ADD)
                with pytest.raises(NoServerAvailable, match="roll back"):
                    await reading.execute(WHERE)
                await reading.rollback()
                assert tuple((await reading.execute(WHERE)).one()) == (2, False)


def test_whose_transaction_it_is(make_sync: Callable[..., Cluster], items: Database) -> None:
    """1. 23. That of the scope in which it begins, and of its blocks, wherever the connection was opened."""
    cluster = make_sync(failover_wait=0.3)
    meet(cluster)
    with cluster.connection(read=True) as reading:
        assert where(reading) == (0, True)
        reading.rollback()
        with cluster.primary():
            assert where(reading) == (0, False)
        reading.rollback()
        assert where(reading) == (0, True)
        reading.rollback()
        with lagging(items), cluster.scope():
            add(cluster)
            assert where(reading)[0] == 1
            reading.rollback()
        with cluster.scope():
            other = cluster.connection(read=True)
        with other, lagging(items), cluster.scope():
            add(cluster)
            assert where(other)[0] == 2
        items.cluster.wait_caught_up()
        with cluster.connection(read=True) as other:
            other.execute(text("SET application_name = 'kept'"))
            other.rollback()
            with cluster.primary(), pytest.raises(NoServerAvailable, match="belongs on the primary"):
                where(other)


def test_what_was_seen_elsewhere(make_sync: Callable[..., Cluster], items: Database) -> None:
    """4. The visitor was shown something newer by another replica: the next transaction shows it too."""
    cluster = make_sync()
    meet(cluster)
    members = cluster._fleet.members[1:]
    with cluster.scope(visitor="one") as scope, cluster.connection(read=True) as reading:
        assert where(reading) == (0, True)
        reading.rollback()
        here = next(index for index, member in enumerate(members) if member.reader is reading.engine)
        there = items.cluster.replicas[1 - here]
        with pause_replay(items.cluster.replicas[here]):
            items.cluster.primary.sql(str(ADD), database=items.name)
            deadline = time.monotonic() + 60
            while there.sql("SELECT stock FROM item WHERE id = 1", database=items.name).strip() != "1":
                assert time.monotonic() < deadline
            assert where(reading) == (0, True), "nobody has told the visitor"
            reading.rollback()
            other, seen = members[1 - here], time.monotonic()
            while (report := other.health.report) is None or report.asked < seen:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            scope.saw(Seen(other, report, seen, seen))
            assert where(reading)[0] == 1


def test_a_primary_that_is_replaced(
    make_sync: Callable[..., Cluster], items: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16. The next transaction over a kept connection to it begins on the new one, except where something is
    set that the new one would not know of."""
    cluster = make_sync(probe_interval=60)
    meet(cluster)
    fleet: Any = cluster._fleet
    with (
        cluster.connection(read=True, consistency=STRONG) as reading,
        cluster.connection(read=True, consistency=STRONG) as kept,
    ):
        kept.execute(text("SET application_name = 'kept'"))
        kept.rollback()
        assert where(reading) == (0, False)
        # One that is a replica still, so that it can be told apart.
        monkeypatch.setattr(fleet, "primary", fleet.members[1])
        monkeypatch.setattr(fleet, "writer", lambda token: fleet.members[1])
        monkeypatch.setattr("scalekit.database.member.objection", lambda *_, **__: None)
        assert where(reading) == (0, False), "a transaction does not move"
        reading.rollback()
        assert where(reading) == (0, True)
        assert where(kept) == (0, False)

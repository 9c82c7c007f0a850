"""A replica's connection that breaks in the middle: what has been read is not read again elsewhere.

The server process of one connection is ended, as an operator or a recovery conflict does; no server dies.
"""

import threading
from collections.abc import Callable
from contextlib import ExitStack, nullcontext, suppress

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

from scalekit.database import ANY, AsyncCluster, Cluster
from tests.conftest import Database
from tests.database._broken import end_at, end_backend
from tests.database._lag import meet
from tests.faults import FaultProxy


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    others: Mapped[list["Item"]] = relationship(
        primaryjoin="foreign(Item.id) > remote(Item.id)", viewonly=True, uselist=True
    )


MANY = text("SELECT pg_backend_pid(), pg_is_in_recovery() FROM generate_series(1, 100000)")
PID = select(func.pg_backend_pid(), func.pg_is_in_recovery())


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_stream_that_breaks(
    make_async: Callable[..., AsyncCluster], items: Database, driver: str
) -> None:
    """12. It raises, since rows have arrived; the next transaction reads as ever."""
    cluster = make_async(driver)
    async with cluster.session(consistency=ANY) as session:
        await session.run_sync(lambda _: meet(cluster))
        rows = await session.stream(MANY, execution_options={"yield_per": 10})
        pid, replica = await anext(rows)
        assert replica
        end_backend(items, pid)
        with pytest.raises(cluster._fleet.members[1].errors):
            await rows.all()
        with suppress(*cluster._fleet.members[1].errors):
            await rows.close()
        await session.rollback()
        assert len((await session.execute(text("SELECT id FROM item"))).all()) == 3


def test_a_later_read_of_the_transaction(make_sync: Callable[..., Cluster], items: Database) -> None:
    """12. The replica is gone after a first answer: another one might not agree with it, so it raises."""
    cluster = make_sync()
    meet(cluster)
    with cluster.session(consistency=ANY) as session:
        pid, replica = session.execute(PID).one()
        assert replica
        end_backend(items, pid)
        with pytest.raises(DBAPIError) as caught:
            session.execute(PID)
        assert caught.value.connection_invalidated
        session.rollback()
        assert session.execute(PID).one()[0] != pid


SLEEP = select(func.pg_sleep(text("CASE WHEN pg_is_in_recovery() THEN 60 ELSE 0 END")))
SLEEPING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"


@pytest.mark.parametrize("silent", [True, False])
@pytest.mark.parametrize("kind", ["session", "connection"])
def test_a_read_that_loses_its_connection_twice(
    make_sync: Callable[..., Cluster], items: Database, kind: str, *, silent: bool
) -> None:
    """12. Without a word of the servers' it may be the reason: it is not tried on the primary, too. Servers
    that say why, as when they are shut down in turns, are no reason to give it up."""
    with ExitStack() as stack:
        ways = [stack.enter_context(FaultProxy(one.host, one.port)) for one in items.cluster.replicas]
        urls = [way.url(url) for way, url in zip(ways, items.replica_urls("psycopg"), strict=True)]
        cluster = make_sync(replicas=urls, probe_interval=3600)
        meet(cluster)

        def interrupt_twice() -> None:
            done: set[str] = set()
            while len(done) < 2 and not over.wait(0.01):
                for replica, way in zip(items.cluster.replicas, ways, strict=True):
                    pid = replica.sql(SLEEPING, database=items.name)
                    if pid and pid not in done:
                        done.add(pid)
                        if silent:
                            way.reset()
                        end_backend(items, int(pid))

        over = threading.Event()
        thread = threading.Thread(target=interrupt_twice)
        thread.start()
        stack.callback(thread.join)
        stack.callback(over.set)
        opened = cluster.session(consistency=ANY) if kind == "session" else cluster.connection(read=True)
        with opened as reading, pytest.raises(DBAPIError) if silent else nullcontext():
            reading.scalar(SLEEP)
        assert sum(member.repeats for member in cluster.status().members) == (1 if silent else 2)


def test_a_first_read(make_sync: Callable[..., Cluster], items: Database) -> None:
    """12. The replica is gone before it answered anything: the read is repeated, and nobody notices."""
    cluster = make_sync()
    meet(cluster)
    backends = end_at(cluster, items, statement=1)
    with cluster.session(consistency=ANY) as session:
        assert session.execute(PID).one()[0] == backends[-1] != backends[0]


def test_the_second_half_of_a_first_read(make_sync: Callable[..., Cluster], items: Database) -> None:
    """7. 12. An eager load is part of the read that caused it: both halves are repeated, on one server."""
    cluster = make_sync()
    meet(cluster)
    backends = end_at(cluster, items, statement=2)
    with cluster.session(consistency=ANY) as session:
        item = session.scalar(select(Item).where(Item.id == 3).options(selectinload(Item.others)))
        assert item is not None
        assert len(item.others) == 2
    assert len(backends) == 4
    assert backends[0] == backends[1] != backends[2] == backends[3]

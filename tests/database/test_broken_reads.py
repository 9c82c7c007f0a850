"""A replica's connection that breaks in the middle: what has been read is not read again elsewhere.

The server process of one connection is ended, as an operator or a recovery conflict does; no server dies.
"""

from collections.abc import Callable
from contextlib import suppress

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

from scalekit.database import ANY, AsyncCluster, Cluster
from tests.conftest import Database
from tests.database._broken import end_at, end_backend
from tests.database._lag import meet


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


@pytest.mark.parametrize("kind", ["session", "connection"])
def test_a_read_that_ends_its_own_connection(
    make_sync: Callable[..., Cluster], items: Database, kind: str
) -> None:
    """12. As one does that takes all memory: it is tried on two replicas, and never on the primary."""
    items.cluster.primary.sql("CREATE SEQUENCE deaths", database=items.name)
    items.cluster.primary.sql(
        "CREATE FUNCTION die() RETURNS int LANGUAGE plpgsql AS $$ BEGIN IF NOT pg_is_in_recovery() THEN "
        "PERFORM nextval('deaths'); END IF; PERFORM pg_terminate_backend(pg_backend_pid()); RETURN 1; END $$",
        database=items.name,
    )
    items.cluster.wait_caught_up()
    cluster = make_sync()
    meet(cluster)
    opened = cluster.session(consistency=ANY) if kind == "session" else cluster.connection(read=True)
    with opened as reading, pytest.raises(DBAPIError):
        reading.scalar(select(func.die()))
    assert sum(member.repeats for member in cluster.status().members) == 1
    assert items.cluster.primary.sql("SELECT is_called FROM deaths", database=items.name) == "f"


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

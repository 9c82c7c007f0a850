"""What the cluster's sessions use of SQLAlchemy that is not documented: still there, and what it was.

No server needed; a failure here names what a new version of SQLAlchemy has changed.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ForeignKey, create_engine, event, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    WriteOnlyMapped,
    mapped_column,
    relationship,
    selectinload,
)

from scalekit.database import AsyncCluster, Cluster, ReadWriteSession
from scalekit.database.moving import MovingConnection


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(default="")
    parts: Mapped[list["Part"]] = relationship()
    spares: WriteOnlyMapped["Part"] = relationship(viewonly=True)


class Part(Base):
    __tablename__ = "part"
    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What sessions have passed to where a server is chosen, though there is only one."""
    seen: list[str] = []

    def perform(self: Any, call: Callable[[], Any], statement: Any, options: Any) -> Any:
        seen.append(str(statement))
        return call()

    monkeypatch.setattr(ReadWriteSession, "_routes", lambda self: True)
    monkeypatch.setattr(ReadWriteSession, "_flushes_here", lambda self: False)
    monkeypatch.setattr(ReadWriteSession, "_perform", perform)
    return seen


@pytest.fixture
def session() -> Iterator[Session]:
    """With an item and its part."""
    with Cluster("sqlite://") as cluster, cluster.session() as session:
        Base.metadata.create_all(cluster._fleet.members[0].writer)
        session.add(Item(id=1, parts=[Part(id=1)]))
        session.commit()
        yield session


WAYS: list[Callable[[Session], Any]] = [
    lambda session: session.execute(select(Item)).all(),
    lambda session: session.scalar(select(Item.id)),
    lambda session: session.scalars(text("SELECT 1")).all(),
    lambda session: session.get(Item, 1),
    lambda session: session.query(Item).all(),
    lambda session: session.query(Item).update({"name": "a"}),
    lambda session: session.query(Part).delete(),
    lambda session: session.execute(insert(Item), [{"id": 2}]),
    lambda session: session.execute(update(Item), [{"id": 1, "name": "b"}]),
    lambda session: session.merge(Item(id=1)),
    lambda session: session.scalar(func.count()),
]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_run_a_statement(
    session: Session, performed: list[str], way: Callable[[Session], Any]
) -> None:
    """10. It comes past the place where a server is chosen, once."""
    way(session)
    assert len(performed) == 1


def test_every_way_to_load(session: Session, performed: list[str]) -> None:
    """10. Lazy loads, eager ones, refreshes and expired attributes come past there, too."""
    item = session.get_one(Item, 1)
    assert len(item.parts) == len(performed) - 1 == 1
    session.expire(item)
    assert item.name == ""
    session.refresh(item)
    assert len(performed) == 4
    assert len(session.scalars(item.spares.select()).all()) == len(performed) - 4 == 1
    session.expunge_all()
    session.scalars(select(Item).options(selectinload(Item.parts))).all()
    assert len(performed) == 7


async def test_every_way_of_asynchronous_sessions(performed: list[str]) -> None:
    """10. AsyncSession has no way of its own around it."""
    async with AsyncCluster("sqlite+aiosqlite://") as cluster, cluster.session() as session:
        assert isinstance(session, AsyncSession)
        await session.execute(text("SELECT 1"))
        await session.scalar(text("SELECT 1"))
        await session.scalars(text("SELECT 1"))
        streamed = await session.stream(text("SELECT 1"))
        assert [tuple(row) async for row in streamed] == [(1,)]
        scalars = await session.stream_scalars(text("SELECT 1"))
        assert [one async for one in scalars] == [1]
        await session.run_sync(lambda sync: sync.execute(text("SELECT 1")))
    assert len(performed) == 6


def test_the_connections_of_a_transaction() -> None:
    """8. They are kept by connection and by engine, and can be taken out before the transaction ends."""
    engine = create_engine("sqlite://")
    with Session() as session, engine.connect() as connection:
        assert session.connection({"bind": connection}) is connection
        transaction = session.get_transaction()
        assert transaction is not None
        held = transaction._connections
        assert set(held) == {connection, engine}
        joined = held.pop(connection)
        assert joined is held.pop(engine)
        assert joined[:2] == (connection, connection.get_transaction())
        joined[1].close()
        assert not connection.in_transaction()
        assert session.connection({"bind": connection}) is connection, "it can join again"
    engine.dispose()


def test_every_way_over_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """12. Whatever runs a statement or begins a transaction over one for reading comes past the place where
    it can be repeated, once; savepoints too."""
    came: list[Any] = []

    def run(self: Any, call: Callable[[], Any], statement: Any = None) -> Any:
        came.append(statement)
        return call()

    monkeypatch.setattr(MovingConnection, "_run", run)
    one = text("SELECT 1")
    with Cluster("sqlite://") as cluster, cluster.connection(read=True) as connection:
        ways: list[Callable[[], Any]] = [
            lambda: connection.begin().rollback(),
            lambda: connection.execute(one).all(),
            lambda: connection.scalar(one),
            lambda: connection.scalars(one).all(),
            lambda: connection.exec_driver_sql("SELECT 1").all(),
            lambda: connection.execute(func.count()).all(),
            lambda: connection.scalar(func.count()),
            lambda: Session(connection).scalar(one),
            lambda: connection.begin_nested().commit(),
        ]
        for way in ways:
            came.clear()
            way()
            sent = [statement for statement in came if statement is not None]
            assert len(sent) == (0 if way is ways[0] else 2 if way is ways[-1] else 1)
            assert sent or len(came) == 1


def test_a_connection_takes_over_anothers_server(tmp_path: Path) -> None:
    """12. Under its open transaction, which can begin again there."""
    begun: list[Any] = []
    with (
        Cluster(f"sqlite:///{tmp_path}/a") as first,
        Cluster(f"sqlite:///{tmp_path}/b") as second,
        first.connection(read=True) as connection,
    ):
        assert isinstance(connection, MovingConnection)
        other = second.connection(read=True)
        event.listen(connection, "begin", begun.append)
        transaction = connection.begin()
        connection._leave()
        assert not transaction.is_valid
        connection._take_over(other)  # type: ignore[arg-type]
        assert transaction.is_valid
        connection._begin_impl(transaction)
        assert begun == [connection, connection]
        assert connection.scalar(text("SELECT file FROM pragma_database_list")).endswith("/b")
        connection.invalidate()
        transaction.rollback()
        assert connection.scalar(text("SELECT file FROM pragma_database_list")).endswith("/a")
        assert first.status().members[0].in_flight == 0


def test_what_a_flush_asks_for(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """8. It says that it flushes, and for which class, before it writes; so does a bulk operation."""
    asked: list[tuple[bool, bool]] = []
    get_bind = ReadWriteSession.get_bind

    def seen(self: Any, mapper: Any = None, *, clause: Any = None, **keywords: Any) -> Any:
        asked.append((self._flushing, mapper is not None and clause is None))
        return get_bind(self, mapper, clause=clause, **keywords)

    monkeypatch.setattr(ReadWriteSession, "get_bind", seen)
    assert session._is_clean()
    session.add(Item(id=3))
    assert not session._is_clean()
    session.flush()
    session.bulk_save_objects([Item(id=4)])
    session.bulk_insert_mappings(Item, [{"id": 5}])
    assert set(asked) == {(True, True)}
    assert len(asked) >= 3
    assert not session._flushing


def test_binds_are_added_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """25. By whatever way, so that none is overlooked."""
    engine = create_engine("sqlite://")
    added: list[object] = []
    monkeypatch.setattr(Session, "_add_bind", lambda self, key, bind: added.append(key))
    session = Session(binds={Item: engine})
    session.bind_mapper(Part, engine)
    session.bind_table(Item.metadata.tables["item"], engine)
    assert added == [Item, Part, Item.metadata.tables["item"]]
    engine.dispose()


def test_cache_keys() -> None:
    """11. They are the same for the same SQL, whatever its parameters."""
    one, other, another = (select(Item).where(Item.id == 1), select(Item).where(Item.id == 2), select(Part))
    keys = [statement._generate_cache_key() for statement in (one, other, another)]
    assert keys[0].key == keys[1].key != keys[2].key  # type: ignore[union-attr]

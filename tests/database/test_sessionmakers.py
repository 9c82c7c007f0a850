"""The ways in which applications make their sessions."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Query, Session, mapped_column, scoped_session

from scalekit.database import ANY, STRONG, AsyncCluster, Cluster, ReadWriteSession
from scalekit.errors import ConfigurationError
from tests.database._items import Item

WHERE = text("SELECT pg_is_in_recovery()")


class Mine(Session):
    """A session class of the application's."""

    def __init__(self, tenant: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.tenant = tenant


class MyAsync(AsyncSession):
    sync_session_class = Mine


def test_arguments_of_a_sessionmaker(make_sync: Callable[..., Cluster]) -> None:
    """Those of SQLAlchemy mean what they do there; ``consistency=`` is ours; session_options come last."""
    cluster = make_sync(session_options={"expire_on_commit": False, "autoflush": False})
    made: list[Any] = []
    make = cluster.sessionmaker(autoflush=True, info={"from": "here"}, query_cls=Query, autobegin=False)
    event.listen(make, "after_begin", lambda session, *_: made.append(session))
    with make() as session:
        assert isinstance(session, ReadWriteSession)
        assert (session.autoflush, session.expire_on_commit, session.autobegin) == (True, False, False)
        assert session.info == {"from": "here"}
        assert not session.in_transaction()
        session.begin()
        assert session.scalar(WHERE) is True
        assert made == [session]
    with make.begin() as session:
        session.add(Item(id=9, stock=1))
    make.configure(expire_on_commit=True, consistency=STRONG)
    with make(autobegin=True) as session:
        assert session.expire_on_commit is True
        assert session.scalar(WHERE) is False
        assert session.get(Item, 9) is not None
    with pytest.raises(ConfigurationError, match="use ANY, CAUSAL"):
        cluster.sessionmaker(consistency="any")  # type: ignore[call-overload]


def test_a_class_of_the_application(make_sync: Callable[..., Cluster]) -> None:
    """It keeps its own constructor and methods, and is routed."""
    cluster = make_sync()
    with cluster.sessionmaker(class_=Mine, tenant="blue")() as session:
        assert isinstance(session, Mine)
        assert session.tenant == "blue"
        assert session.scalar(WHERE) is True
        session.execute(text("UPDATE item SET stock = 5 WHERE id = 1"))
        assert session.scalar(WHERE) is False
        session.commit()
    mixed = cluster.session_class(Mine)
    assert cluster.session_class(mixed) is mixed
    with pytest.raises(ConfigurationError, match="Mine belongs to another cluster"):
        make_sync().session_class(mixed)
    with pytest.raises(ConfigurationError, match="routes by the session behind it"):
        cluster.session_class(AsyncSession)  # type: ignore[type-var]


async def test_asynchronously(make_async: Callable[..., AsyncCluster]) -> None:
    """The same, and the class behind may be the application's too."""
    cluster = make_async()
    make = cluster.sessionmaker(expire_on_commit=False, consistency=ANY)
    async with make() as session:
        assert await session.scalar(WHERE) is True
        assert session.sync_session.expire_on_commit is False
    async with make.begin() as session:
        session.add(Item(id=9, stock=1))
    async with cluster.sessionmaker(class_=MyAsync, tenant="blue")() as session:
        assert isinstance(session, MyAsync)
        assert isinstance(session.sync_session, Mine)
        assert session.sync_session.tenant == "blue"
        assert await session.get(Item, 9) is not None  # from where it is by now
    async with cluster.sessionmaker(sync_session_class=Mine, tenant="red")() as session:
        assert isinstance(session.sync_session, Mine)
    with pytest.raises(ConfigurationError, match="no subclass of AsyncSession"):
        cluster.sessionmaker(class_=Session)


def test_scoped_sessions(make_sync: Callable[..., Cluster]) -> None:
    """7. 23. Each thread has a session of its own; after ``remove()`` it has no place and nothing is held."""
    cluster = make_sync()
    registry = scoped_session(cluster.sessionmaker())
    together = Barrier(4)

    def visit(number: int) -> tuple[int, bool, bool]:
        before = registry.scalar(WHERE)
        together.wait(30)
        registry.add(Item(id=100 + number, stock=number))
        registry.commit()
        found = registry.scalars(select(Item.stock).where(Item.id == 100 + number)).one()
        registry.rollback()
        after = registry.scalar(text("SELECT pg_is_in_recovery() FROM item LIMIT 1 FOR UPDATE"))
        registry.remove()
        return found, before, after

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(visit, range(4))) == [(number, True, False) for number in range(4)]
    assert [member.in_flight for member in cluster.status().members] == [0, 0, 0]


def test_a_class_that_knows_other_databases(make_sync: Callable[..., Cluster], tmp_path: Path) -> None:
    """What its ``get_bind()`` sends elsewhere goes there, and the rest is routed."""
    other = Cluster(f"sqlite:///{tmp_path}/other.db")

    class Elsewhere(DeclarativeBase):
        pass

    class Log(Elsewhere):
        __tablename__ = "log"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Routed(Session):
        def get_bind(self, mapper: Any = None, **keywords: Any) -> Any:
            if mapper is not None and mapper.class_ is Log:
                return other.primary_engine
            return super().get_bind(mapper, **keywords)

    cluster = make_sync()
    make = cluster.sessionmaker(class_=Routed)
    with other:
        Elsewhere.metadata.create_all(other.primary_engine)
        with make.begin() as session:
            session.add_all([Log(id=1), Item(id=9, stock=1)])
        with make() as session:
            assert session.scalars(select(Log.id)).all() == [1]
            assert session.scalars(select(Item.id).where(Item.stock == 1)).all() == [9]
            session.add(Log(id=2))
            session.commit()
            assert session.query(Log).count() == 2

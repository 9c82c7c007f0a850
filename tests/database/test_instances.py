"""What becomes of instances that were read from a replica when their transaction writes."""

import gc
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import ForeignKey, create_engine, event, inspect, select, text
from sqlalchemy.exc import MissingGreenlet, StatementError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    ORMExecuteState,
    Session,
    aliased,
    contains_eager,
    immediateload,
    joinedload,
    lazyload,
    mapped_column,
    relationship,
    selectinload,
    subqueryload,
    undefer,
    with_loader_criteria,
)
from sqlalchemy.orm.exc import StaleDataError

from scalekit.database import ANY, STRONG, AsyncCluster, Cluster
from scalekit.database.instances import expire
from scalekit.database.reloading import reload
from scalekit.errors import ConfigurationError, WriteAfterReplicaReads
from scalekit.testing.database import recording
from tests.conftest import Database
from tests.database._items import Base, Item, flush, writes
from tests.database._lag import lagging, meet


@contextmanager
def sold(items: Database) -> Iterator[None]:
    """On the primary the stock of every item is 7; the replicas, which lag, still say 0."""
    with lagging(items):
        items.cluster.primary.sql("UPDATE item SET stock = 7", database=items.name)
        yield


WRITES = writes("place_order")


@pytest.mark.parametrize("write", WRITES)
def test_they_are_loaded_again(
    make_sync: Callable[..., Cluster], items: Database, write: Callable[[Session], object]
) -> None:
    """9. From the primary, when they are next read from: nothing is computed from what a replica said."""
    cluster = make_sync()
    meet(cluster)
    with sold(items), cluster.session() as session:
        item = session.get_one(Item, 1)
        assert item.stock == 0
        write(session)
        assert "id" not in inspect(item).unloaded
        item.stock += 1
        session.commit()
    assert items.cluster.primary.sql("SELECT stock FROM item WHERE id = 1", database=items.name) == "8"


def test_only_a_write_lets_them_be_loaded_again(make_sync: Callable[..., Cluster], items: Database) -> None:
    """9. A savepoint, or a read that wants the primary, moves the transaction and writes nothing yet."""
    cluster = make_sync()
    meet(cluster)
    with sold(items), cluster.session() as session:
        item, other = session.get_one(Item, 1), session.get_one(Item, 2)
        with session.begin_nested():
            session.scalars(select(Item).execution_options(consistency=STRONG)).all()
            assert (item.stock, other.stock) == (0, 0)
            other.name = "changed"
        assert (item.stock, other.stock) == (7, 7)


def stocks(session: Session, *found: Item) -> list[int | None]:
    """What is known of them after a write; ``None``: it will be loaded again."""
    session.execute(text("UPDATE item SET name = 'two' WHERE id = 2"))
    return [inspect(item).dict.get("stock") for item in found]


def test_what_the_primary_has_shown_is_not_loaded_again(
    make_sync: Callable[..., Cluster], items: Database
) -> None:
    """9. By later transactions of the session, as a job's: on one server it would be no newer."""
    cluster = make_sync()
    meet(cluster)
    with sold(items), cluster.session(expire_on_commit=False, consistency=ANY) as session:
        item, other = session.get_one(Item, 1), session.get_one(Item, 2)
        assert stocks(session, item, other) == [None, None]
        assert item.stock == other.stock == 7
        session.commit()
        third = session.get_one(Item, 3)
        assert third.stock == 0
        assert stocks(session, item, other, third) == [7, 7, None]
        assert third.stock == 7
        session.commit()
        ways: list[Callable[[], object]] = [
            lambda: session.refresh(item),
            lambda: session.scalars(
                select(Item).where(Item.id == 1).execution_options(populate_existing=True)
            ).all(),
            lambda: (session.expire(item, ["stock"]), session.scalars(select(Item)).all()),
            lambda: (session.expire_all(), session.scalars(select(Item)).all()),
            lambda: (session.rollback(), session.scalars(select(Item)).all()),
        ]
        for again in ways:
            session.scalar(select(Item.name))
            assert session.in_transaction()
            again()
            assert item.stock == 0, "a replica has shown it now"
            assert stocks(session, item) == [None]
            assert item.stock == 7
            session.commit()
        session.refresh(item)
        session.commit()  # it has only read, and another transaction writes
        session.get_one(Item, 3, populate_existing=True)
        assert stocks(session, item) == [None]


@pytest.mark.parametrize("write", WRITES)
def test_such_a_write_as_an_error(
    make_sync: Callable[..., Cluster], items: Database, write: Callable[[Session], object]
) -> None:
    """9. With "error" nothing is written; a transaction that begins on the primary is free to."""
    cluster = make_sync(writes_after_reads="error")
    meet(cluster)
    with sold(items), cluster.session() as session:
        assert session.get_one(Item, 1).stock == 0
        with pytest.raises(WriteAfterReplicaReads, match=r"read from the replica 127\.0\.0\.1") as caught:
            write(session)
        assert caught.value.replica in [member.name for member in cluster.status().members]
    with lagging(items), cluster.session() as session:
        assert session.get_one(Item, 1).stock in (0, 7)
        session.begin_nested()  # moves to the primary, and writes nothing yet
        with pytest.raises(WriteAfterReplicaReads):
            write(session)
    with cluster.session() as session, cluster.primary():
        assert session.get_one(Item, 1).stock == 7
        write(session)
        session.commit()


def test_they_may_stay(make_sync: Callable[..., Cluster], items: Database) -> None:
    """9. With "allow" they keep what the replica said."""
    cluster = make_sync(writes_after_reads="allow")
    meet(cluster)
    with sold(items), cluster.session() as session:
        item = session.get_one(Item, 1)
        flush(session)
        assert item.stock == 0


ASYNC_WRITES: list[Callable[[AsyncSession], Awaitable[object]]] = [
    lambda session: session.run_sync(flush),
    lambda session: session.execute(text("UPDATE item SET name = 'two' WHERE id = 2")),
    lambda session: session.scalar(text("SELECT place_order(2)")),
    lambda session: session.connection(),
]


@pytest.mark.parametrize("write", ASYNC_WRITES)
async def test_they_are_loaded_again_in_asynchronous_code(
    make_async: Callable[..., AsyncCluster],
    items: Database,
    write: Callable[[AsyncSession], Awaitable[object]],
) -> None:
    """9. At once, before the write: reading from them needs no server. What was changed is kept."""
    cluster = make_async()
    async with cluster.session() as session:
        await session.run_sync(lambda _: meet(cluster))
    with sold(items):
        items.cluster.primary.sql("DELETE FROM item WHERE id = 3", database=items.name)
        async with cluster.session(expire_on_commit=False) as session:
            item, other, gone = [await session.get_one(Item, number) for number in (1, 2, 3)]
            assert item.stock == other.stock == gone.stock == 0
            item.name = "changed"
            session.autoflush = False
            await write(session)
            assert (item.id, item.name, item.stock, other.stock) == (1, "changed", 7, 7)
            assert other.name == "two"
            with pytest.raises(MissingGreenlet) as caught:
                print(gone.name)
            assert caught.value.__notes__[0].startswith("If read from Item 3: a replica still had that")
            item.stock += 1
            await session.commit()
            assert item.stock == 8
    assert (
        items.cluster.primary.sql("SELECT name, stock FROM item WHERE id = 1", database=items.name)
        == "changed|8"
    )


async def test_what_somebody_else_deleted(tmp_path: Path) -> None:
    """9. Whatever SQLAlchemy makes of it, the error says what has become of the instance."""
    async with AsyncCluster(f"sqlite+aiosqlite:///{tmp_path}/shop.db") as cluster:
        async with cluster.primary_engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with cluster.session() as session, session.begin():
            session.add(Item(id=1, name="one"))
        with recording(cluster):
            async with cluster.session(expire_on_commit=False) as session:
                item = await session.get_one(Item, 1)
                async with cluster.connection() as other:
                    await other.execute(text("DELETE FROM item"))
                    await other.commit()
                await session.run_sync(flush)
                for _ in ("in the transaction", "after it"):
                    with warnings.catch_warnings(action="ignore"):  # of what could not be awaited
                        with pytest.raises((StatementError, MissingGreenlet)) as caught:
                            print(item.name)
                        assert "with cluster.primary():" in caught.value.__notes__[0]
                        del caught
                        gc.collect()
                    await session.commit()


def test_a_mode_that_is_none() -> None:
    """A mistyped mode is refused at once."""
    with pytest.raises(ConfigurationError, match="writes_after_reads='expires'; use 'expire', 'error' or"):
        Cluster("sqlite://", writes_after_reads="expires")  # type: ignore[arg-type]


class Family(DeclarativeBase):
    pass


class Parent(Family):
    __tablename__ = "parent"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    version: Mapped[int] = mapped_column()
    children: Mapped[list["Child"]] = relationship(cascade="all", back_populates="parent")
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012


class Child(Family):
    __tablename__ = "child"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    notes: Mapped[str] = mapped_column(deferred=True, default="")
    parent_id: Mapped[int] = mapped_column(ForeignKey("parent.id"))
    parent: Mapped[Parent] = relationship(back_populates="children")


class Pair(Family):
    __tablename__ = "pair"
    left: Mapped[int] = mapped_column(primary_key=True)
    right: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@pytest.fixture
def family() -> Iterator[Session]:
    """A parent with two children, loaded into the session of a cluster of one server."""
    with Cluster("sqlite://") as cluster, cluster.session() as session:
        Family.metadata.create_all(session.connection())
        children = [Child(id=1, name="one"), Child(id=2, name="two")]
        session.add(Parent(id=1, name="parent", children=children))
        session.commit()
        assert len(session.get_one(Parent, 1).children) == 2
        yield session


def change_behind(session: Session) -> None:
    """As somebody else does, who was faster."""
    session.connection().exec_driver_sql("UPDATE parent SET name = 'theirs', version = version + 1")


def test_what_was_changed_is_kept(family: Session) -> None:
    """9. Also where it is reached from an instance that was not changed, or was added or removed."""
    parent = family.get_one(Parent, 1)
    first, second = parent.children
    first.name = "changed"
    family.delete(second)
    third = Child(id=3, name="three")
    parent.children.append(third)
    expire(family)  # type: ignore[arg-type]
    assert "name" in inspect(parent).unloaded
    assert first.name == "changed"
    assert third.parent is parent
    family.commit()
    assert [(child.id, child.name) for child in parent.children] == [(1, "changed"), (3, "three")]


def test_a_changed_instance_keeps_its_version(family: Session) -> None:
    """9. That somebody else was faster is found out as ever; who changes it now has read what is there."""
    parent = family.get_one(Parent, 1)
    with family.begin_nested() as savepoint:
        parent.name = "mine"
        change_behind(family)
        expire(family)  # type: ignore[arg-type]
        with pytest.raises(StaleDataError):
            family.flush()
        savepoint.rollback()
    change_behind(family)
    expire(family)  # type: ignore[arg-type]
    assert parent.name == "theirs"
    parent.name = "mine"
    family.commit()


def sent(session: Session) -> list[str]:
    """What ``session`` sends from now on."""
    statements: list[str] = []
    event.listen(session.get_bind(), "before_cursor_execute", lambda *all: statements.append(all[2]))
    return statements


def test_one_select_a_kind(family: Session) -> None:
    """9. And one a relationship; what is new there is loaded as far as its like, and no criteria are lost."""
    family.expunge_all()
    eager = selectinload(Parent.children).options(joinedload(Child.parent), undefer(Child.notes))
    (parent,) = family.scalars(select(Parent).options(eager)).all()
    first, _ = parent.children
    first.name = "changed"
    change_behind(family)
    family.connection().exec_driver_sql("INSERT INTO child VALUES (3, 'three', '', 1)")
    statements = sent(family)
    assert reload(family, expire(family)) == []  # type: ignore[arg-type]
    assert len(statements) == 3, statements  # parents, their children, the children's parents
    assert parent.name == "theirs"
    assert [(child.name, child.notes, child.parent) for child in parent.children] == [
        ("changed", "", parent),
        ("two", "", parent),
        ("three", "", parent),
    ]
    assert len(statements) == 3
    family.rollback()
    family.expunge_all()
    filtered = selectinload(Parent.children.and_(Child.id == 2))
    (parent,) = family.scalars(select(Parent).options(filtered)).all()
    change_behind(family)
    assert reload(family, expire(family)) == []  # type: ignore[arg-type]
    assert (parent.name, [child.id for child in parent.children]) == ("theirs", [2])


@pytest.mark.parametrize("again", [True, False], ids=["asynchronously", "synchronously"])
def test_a_collection_that_its_query_has_selected(family: Session, *, again: bool) -> None:
    """9. By ``contains_eager()``: it stays, and what is in it is loaded again. What other ways have filled is
    loaded again as a whole."""
    other = aliased(Child)
    joined = select(Parent).join(Parent.children).where(Child.id == 2)
    by_rows = contains_eager(Parent.children)
    selected = (
        joined.options(by_rows),
        joined.options(by_rows.joinedload(Child.parent)),
        select(Parent).outerjoin(Parent.children).where(Child.id == 2).options(by_rows),
        select(Parent)
        .join(Parent.children.of_type(other))
        .where(other.id == 2)
        .options(contains_eager(Parent.children.of_type(other))),
        joined.join(Child.parent.of_type(up := aliased(Parent))).options(
            by_rows.contains_eager(Child.parent.of_type(up))
        ),
    )
    whole = tuple(
        select(Parent).options(way(Parent.children))
        for way in (joinedload, selectinload, subqueryload, immediateload, lazyload)
    )
    add = "INSERT INTO child VALUES (3, 'three', '', 1)"
    for statement, found, expected in (
        *((one, [2], [(2, "theirs")]) for one in selected),
        *((one, [1, 2], [(1, "one"), (2, "theirs"), (3, "three")]) for one in whole),
    ):
        family.expunge_all()
        parent = family.scalars(statement).unique().one()
        assert sorted(child.id for child in parent.children) == found
        family.connection().exec_driver_sql(add)
        family.connection().exec_driver_sql("UPDATE child SET name = 'theirs' WHERE id = 2")
        expired = expire(family)  # type: ignore[arg-type]
        if again:
            assert reload(family, expired) == []  # type: ignore[arg-type]
        assert sorted((child.id, child.name) for child in parent.children) == expected, statement
        family.rollback()


def test_what_was_moved_by_both(family: Session) -> None:
    """9. A child that was moved here and there: its old parent's children are left for later."""
    family.add(Parent(id=2, name="other"))
    family.commit()
    family.expunge_all()
    (other,) = family.scalars(
        select(Parent).where(Parent.id == 2).options(selectinload(Parent.children))
    ).all()
    first, second = family.scalars(select(Child).order_by(Child.id).options(joinedload(Child.parent))).all()
    first.parent = other
    family.connection().exec_driver_sql("UPDATE child SET parent_id = 2 WHERE id = 1")
    assert reload(family, expire(family)) == []  # type: ignore[arg-type]
    assert inspect(second).dict["parent"].id == 1
    family.commit()
    assert (other.children, second.parent.children) == ([first], [second])


def test_what_is_gone_and_what_is_hidden(family: Session) -> None:
    """9. What the primary does not have is named; what a hook leaves out of queries is loaded."""
    first, second = family.get_one(Parent, 1).children
    family.connection().exec_driver_sql("DELETE FROM child WHERE id = 2")

    def hide(state: ORMExecuteState) -> None:
        if state.is_select and not state.is_column_load:
            state.statement = state.statement.options(with_loader_criteria(Child, Child.id != 1))

    event.listen(family, "do_orm_execute", hide)
    assert reload(family, expire(family)) == ["Child 2"]  # type: ignore[arg-type]
    assert "name" not in inspect(first).unloaded
    assert "name" in inspect(second).unloaded


def test_more_than_one_select_takes(family: Session) -> None:
    """9. A thousand of a kind take a few SELECTs; a key of several columns is one, too."""
    for number in range(600):
        family.add(Pair(left=number, right=-number, name="ours"))
    family.commit()
    pairs = family.scalars(select(Pair)).all()
    statements = sent(family)
    family.connection().exec_driver_sql("UPDATE pair SET name = 'theirs'")
    assert reload(family, expire(family)) == []  # type: ignore[arg-type]
    assert {inspect(pair).dict["name"] for pair in pairs} == {"theirs"}
    assert len(statements) <= 5, len(statements)  # and the parent, and its children


def test_what_was_read_elsewhere_is_kept() -> None:
    """9. A class that the application has bound to another database was not read from a replica."""
    other = create_engine("sqlite://")
    Family.metadata.create_all(other)
    with Cluster("sqlite://") as cluster, cluster.session(binds={Family: other}) as session:
        session.add(Parent(id=1, name="parent"))
        session.flush()
        parent = session.get_one(Parent, 1)
        expire(session)
        assert not inspect(parent).unloaded - {"children"}
    other.dispose()

"""Purges on commit: what was committed is purged, what was rolled back never, and no commit fails for it."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy import Engine, ForeignKey, create_engine, delete, exc, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    scoped_session,
    sessionmaker,
)
from sqlalchemy.pool import NullPool

from scalekit.cdn.commits import purge_on_commit
from scalekit.errors import BackendUnavailable, ConfigurationError, PurgeRefused
from tests.cdn.purgers import AsyncRecorder, Recorder

PATIENCE = 60


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(default="")
    shelf: Mapped[str] = mapped_column(default="", active_history=True)


class Book(Product):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(ForeignKey("product.id"), primary_key=True)
    author: Mapped[str] = mapped_column(default="")


class Visit(Base):
    __tablename__ = "visit"
    id: Mapped[int] = mapped_column(primary_key=True)


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    lines: Mapped[list["Line"]] = relationship(cascade="all, delete-orphan")


class Line(Base):
    __tablename__ = "line"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"))


TAGS: dict[type, Any] = {
    Product: ["products", "product:{id}", "shelf:{shelf}"],
    Book: lambda book: [f"author:{book.author}"],
    Order: ["order:{id}"],
    Line: ["line:{id}"],
}


class Shop:
    """A database, its sessions, and a CDN."""

    def __init__(self, engine: Engine, *failures: Exception) -> None:
        self.sessions = sessionmaker(engine)
        self.cdn = Recorder(*failures)
        self.queue = purge_on_commit(self.sessions, self.cdn, tags=TAGS, delay=0, attempts=2)

    def purged(self) -> list[str]:
        """Since it was asked last."""
        assert self.queue.wait(PATIENCE)
        tags = sorted(tag for batch in self.cdn.purged for tag in batch)
        self.cdn.purged.clear()
        return tags


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db", poolclass=NullPool)
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add_all(
            [Product(id=1, shelf="a"), Product(id=2, shelf="a"), Book(id=3, shelf="b", author="Jane")]
        )
    yield engine
    engine.dispose()


@pytest.fixture
def shop(engine: Engine) -> Shop:
    return Shop(engine)


def test_what_is_committed_is_purged(shop: Shop) -> None:
    """What is new, with the key that it gets; what is changed; what is deleted. After the commit only."""
    with shop.sessions() as session:
        session.add(product := Product(shelf="a"))
        session.flush()
        assert shop.purged() == []
        session.commit()
        assert shop.purged() == [f"product:{product.id}", "products", "shelf:a"]
        session.get_one(Product, 1).name = "Emma"
        session.commit()
        assert shop.purged() == ["product:1", "products", "shelf:a"]
        session.delete(session.get_one(Product, 2))
        session.commit()
        assert shop.purged() == ["product:2", "products", "shelf:a"]


def test_what_it_was_before_is_purged(shop: Shop) -> None:
    """A product that is moved to another shelf is missing on the old one."""
    with shop.sessions.begin() as session:
        session.get_one(Product, 1).shelf = "c"
    assert shop.purged() == ["product:1", "products", "shelf:a", "shelf:c"]


def test_what_the_flush_deletes_is_purged(shop: Shop) -> None:
    """An orphan, which nobody has told the session to delete; and what goes along with another row."""
    with shop.sessions.begin() as session:
        session.add(Order(id=1, lines=[Line(id=1), Line(id=2)]))
    assert shop.purged() == ["line:1", "line:2", "order:1"]
    with shop.sessions.begin() as session:
        order = session.get_one(Order, 1)
        order.lines.pop()
    assert shop.purged() == ["line:2", "order:1"]
    with shop.sessions.begin() as session:
        session.delete(session.get_one(Order, 1))
    assert shop.purged() == ["line:1", "order:1"]


def test_derived_classes_and_functions(shop: Shop) -> None:
    """A book is a product; a function says its own tags."""
    with shop.sessions.begin() as session:
        session.get_one(Book, 3).name = "Persuasion"
    assert shop.purged() == ["author:Jane", "product:3", "products", "shelf:b"]


def test_what_is_not_changed_is_not_purged(shop: Shop) -> None:
    """Reads, the same value once more, and classes that have no tags."""
    with shop.sessions.begin() as session:
        product = session.get_one(Product, 1)
        product.shelf = product.shelf
        session.add(Visit())
        session.scalars(select(Product)).all()
    assert shop.purged() == []


def _rollback(session: Session) -> None:
    session.rollback()


def _close(session: Session) -> None:
    session.close()


def _conflict(session: Session) -> None:
    session.add(Product(id=1))
    with pytest.raises(exc.IntegrityError):
        session.commit()
    session.rollback()


@pytest.mark.parametrize("end", [_rollback, _close, _conflict])
def test_what_is_rolled_back_is_never_purged(shop: Shop, end: Callable[[Session], None]) -> None:
    """By whatever way; nor with the next commit of the same session."""
    with shop.sessions() as session:
        session.add(Product(shelf="x"))
        session.execute(update(Product).values(name="y"))
        session.flush()
        end(session)
        assert shop.purged() == []
        session.get_one(Product, 1).name = "Emma"
        session.commit()
    assert shop.purged() == ["product:1", "products", "shelf:a"]


def test_savepoints(shop: Shop) -> None:
    """What was released counts with the commit; what was rolled back, and all inside it, does not."""
    with shop.sessions.begin() as session:
        with session.begin_nested():
            session.add(Product(id=11, shelf="kept"))
            with session.begin_nested() as inner:
                session.add(Product(id=12, shelf="inner"))
                session.flush()
                inner.rollback()
        assert shop.purged() == []
        with session.begin_nested() as outer:
            with session.begin_nested():
                session.add(Product(id=13, shelf="released"))
            outer.rollback()
        with pytest.raises(exc.IntegrityError), session.begin_nested():
            session.add(Product(id=1, shelf="conflict"))
        assert shop.purged() == []
    assert shop.purged() == ["product:11", "products", "shelf:kept"]


@pytest.mark.parametrize(
    "statement",
    [
        update(Product).values(name="x"),
        delete(Product).where(Product.id == 2),
        insert(Product).values(name="x"),
        update(Product.__table__).values(name="x"),  # type: ignore[arg-type]
    ],
    ids=["update", "delete", "insert", "core"],
)
def test_statements(shop: Shop, statement: Any) -> None:
    """Nobody knows which rows they change: what all of them have is purged."""
    with shop.sessions.begin() as session:
        session.execute(statement)
        assert shop.purged() == []
    assert shop.purged() == ["products"]


def test_a_statement_of_which_nothing_can_be_purged(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """It is said, once."""
    sessions = sessionmaker(engine)
    queue = purge_on_commit(sessions, Recorder(), tags={Product: ["product:{id}"]})
    with caplog.at_level(logging.WARNING, "scalekit.cdn"), sessions.begin() as session:
        for _ in range(2):
            session.execute(update(Product).values(name="x"))
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "a statement changes rows of Product"
    ]
    assert queue.counts.as_dict() == {}


@pytest.mark.parametrize(
    "failure", [BackendUnavailable("down", backend="cdn"), PurgeRefused("no", status=403), OSError("reset")]
)
def test_no_commit_fails_for_the_cdn(engine: Engine, failure: Exception) -> None:
    """Nor waits for it: it is tried again, or reported, by the queue."""
    shop = Shop(engine, failure, failure)
    shop.cdn.open.clear()
    with shop.sessions.begin() as session:
        session.get_one(Product, 1).name = "Emma"
    with shop.sessions() as session:
        assert session.get_one(Product, 1).name == "Emma"
    shop.cdn.open.set()
    assert shop.purged() == []
    assert shop.queue.counts["given up"] == 3
    shop.cdn.failures.clear()
    with shop.sessions.begin() as session:
        session.get_one(Product, 2).name = "Emma"
    assert shop.purged() == ["product:2", "products", "shelf:a"]


def test_no_commit_fails_for_a_function_that_does(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the tags of others are purged."""
    sessions, cdn = sessionmaker(engine), Recorder()
    tags: dict[type, Any] = {Product: ["products"], Book: lambda book: [book.publisher]}
    queue = purge_on_commit(sessions, cdn, tags=tags)
    with sessions.begin() as session:
        session.get_one(Book, 3).name = "Persuasion"
    assert queue.wait(PATIENCE)
    assert cdn.purged == [["products"]]
    assert "the tags of a Book could not be made" in caplog.text


def test_tags_are_spelled_as_pages_spell_them(shop: Shop) -> None:
    """What a tag cannot hold is percent-encoded, in both places."""
    with shop.sessions.begin() as session:
        session.add(Product(id=7, shelf="très loin, à gauche"))
    assert shop.purged() == ["product:7", "products", "shelf:tr%C3%A8s%20loin%2C%20%C3%A0%20gauche"]


def test_whatever_makes_the_sessions(engine: Engine) -> None:
    """A class, a sessionmaker, a registry, one session, or what says which of these it has."""

    class Own(Session):
        pass

    class Cluster:
        event_target = sessionmaker(engine)

    registry = scoped_session(sessionmaker(engine))
    one = Session(engine)
    for target, make in (
        (Own, lambda: Own(engine)),
        (registry, registry),
        (one, lambda: one),
        (Cluster(), Cluster.event_target),
    ):
        cdn = Recorder()
        queue = purge_on_commit(target, cdn, tags={Product: ["product:{id}"]})
        with make() as session:
            session.get_one(Product, 1).name += "x"
            session.commit()
        assert queue.wait(PATIENCE)
        assert cdn.purged == [["product:1"]], target
    registry.remove()


async def test_asynchronous_sessions(engine: Engine, tmp_path: Path) -> None:
    """With an asynchronous purger; other sessions of SQLAlchemy's own class are not watched."""
    asynchronous = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db", poolclass=NullPool)
    sessions, cdn = async_sessionmaker(asynchronous), AsyncRecorder()
    queue = purge_on_commit(sessions, cdn, tags={Product: ["product:{id}", "shelf:{shelf}"]})
    async with sessions.begin() as session:
        (await session.get_one(Product, 1)).shelf = "b"
    async with AsyncSession(asynchronous) as other:
        (await other.get_one(Product, 2)).shelf = "b"
        await other.commit()
    async with sessions() as session:
        (await session.get_one(Product, 2)).shelf = "c"
        await session.flush()
        await session.rollback()
    assert queue.wait(PATIENCE)
    assert cdn.purged == [["product:1", "shelf:b", "shelf:a"]]
    await asynchronous.dispose()


@pytest.mark.parametrize(
    ("target", "tags", "message"),
    [
        (sessionmaker(), {Product: ["{sku}"]}, "no attribute sku"),
        (sessionmaker(), {Product: "products"}, "must be a list"),
        (sessionmaker(), {Product: ["two words"]}, "is no tag"),
        (sessionmaker(), {Recorder: ["x"]}, "no mapped class"),
        (sessionmaker(), {"product": ["x"]}, "no mapped class"),
        (sessionmaker(), [Product], "tags= must be a dict"),
        (object(), {Product: ["x"]}, "wants a sessionmaker"),
        (create_engine("sqlite://"), {Product: ["x"]}, "wants a sessionmaker"),
    ],
)
def test_mistakes_are_told_at_start_up(target: Any, tags: Any, message: str) -> None:
    """With what to give instead."""
    with pytest.raises(ConfigurationError, match=message):
        purge_on_commit(target, Recorder(), tags=tags)


def test_text_is_not_seen(shop: Shop) -> None:
    """As the documentation says."""
    with shop.sessions.begin() as session:
        session.execute(text("UPDATE product SET name = 'x'"))
    assert shop.purged() == []

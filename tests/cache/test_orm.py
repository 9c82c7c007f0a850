"""Invalidation by commits: what changed is dropped, what was rolled back is not. In both colours."""

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    Table,
    delete,
    event,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy import create_engine as make_engine
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
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

from scalekit.cache import Cache
from scalekit.cache.changes import changed_tables
from scalekit.cache.memory import MemoryBackend
from scalekit.cache.redis import RedisBackend
from scalekit.errors import ConfigurationError, WrongColour
from tests.faults import kill
from tests.servers import RedisServer


class Base(DeclarativeBase): ...


labels = Table(
    "product_label",
    Base.metadata,
    Column("product_id", ForeignKey("product.id"), primary_key=True),
    Column("label_id", ForeignKey("label.id"), primary_key=True),
)


class Label(Base):
    __tablename__ = "label"
    id: Mapped[int] = mapped_column(primary_key=True)
    products: Mapped[list["Product"]] = relationship(secondary=labels, back_populates="labels")


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    kind: Mapped[str] = mapped_column(default="product")
    labels: Mapped[list[Label]] = relationship(secondary=labels, back_populates="products")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "product"}  # noqa: RUF012


class Book(Product):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(ForeignKey("product.id"), primary_key=True)
    pages: Mapped[int] = mapped_column(default=0)
    __mapper_args__ = {"polymorphic_identity": "book"}  # noqa: RUF012


@dataclasses.dataclass(frozen=True)
class Seen:
    products: int
    names: tuple[str, ...]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = make_engine(f"sqlite:///{tmp_path}/db", poolclass=NullPool)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
async def async_engine(engine: Engine) -> AsyncIterator[AsyncEngine]:
    url = engine.url.set(drivername="sqlite+aiosqlite")
    made = create_async_engine(url, poolclass=NullPool)
    yield made
    await made.dispose()


class Reader:
    """A cached query over `product`, and how often it ran."""

    def __init__(self, cache: Cache, reads: Any = (Product,)) -> None:
        self.runs = 0

        @cache.query(ttl=60, reads=reads, name=f"reader{id(self)}")
        def read(session: Session) -> Seen:
            self.runs += 1
            names = session.scalars(select(Product.name).order_by(Product.id)).all()
            return Seen(len(names), tuple(names))

        self.read = read


def products(session: Session) -> Any:
    return session.scalar(select(func.count()).select_from(Product))


def by_flush(session: Session) -> None:
    session.add(Product(name="x"))


def by_attribute(session: Session) -> None:
    session.get_one(Product, 1).name = "changed"


def by_session_delete(session: Session) -> None:
    session.delete(session.get_one(Product, 1))


def by_orm_update(session: Session) -> None:
    session.execute(update(Product).values(name="changed"))


def by_orm_delete(session: Session) -> None:
    session.execute(delete(Product))


def by_bulk_insert(session: Session) -> None:
    session.execute(insert(Product), [{"name": "x"}, {"name": "y"}])


def by_legacy_bulk(session: Session) -> None:
    session.bulk_save_objects([Product(name="x")])
    session.bulk_insert_mappings(Product, [{"name": "y"}])  # type: ignore[arg-type]
    session.bulk_update_mappings(Product, [{"id": 1, "name": "z"}])  # type: ignore[arg-type]


def by_query(session: Session) -> None:
    session.query(Product).update({"name": "changed"})


def by_core(session: Session) -> None:
    session.execute(Product.__table__.insert(), [{"name": "x", "kind": "product"}])  # type: ignore[attr-defined]


def by_connection(session: Session) -> None:
    session.connection().execute(update(Product.__table__).values(name="changed"))  # type: ignore[arg-type]


def by_returning(session: Session) -> None:
    session.execute(insert(Product).values(name="x").returning(Product.id)).all()


def by_subclass(session: Session) -> None:
    session.add(Book(name="x", pages=5))


WAYS = [value for name, value in list(globals().items()) if name.startswith("by_")]


@pytest.mark.parametrize("way", WAYS)
def test_a_commit_drops_what_reads_its_tables(engine: Engine, way: Any) -> None:
    """8. However the table is changed; after commit() returns the next reader computes."""
    maker = sessionmaker(engine)
    cache = Cache(MemoryBackend())
    cache.watch(maker)
    reader = Reader(cache)
    with maker.begin() as session:
        session.add(Product(name="first"))
    with maker() as session:
        assert reader.read(session) == reader.read(session) == Seen(1, ("first",))
    with maker() as session:
        way(session)
        session.commit()
        after = reader.read(session)
    with maker() as session:
        names = tuple(session.scalars(select(Product.name).order_by(Product.id)))
    assert after == Seen(len(names), names) != Seen(1, ("first",))
    assert reader.runs == 2


@pytest.mark.parametrize("way", WAYS)
def test_a_rollback_drops_nothing(engine: Engine, way: Any) -> None:
    """7. By rollback(), by close(), and by an error in the block."""
    maker = sessionmaker(engine)
    cache = Cache(MemoryBackend())
    cache.watch(maker)
    reader = Reader(cache)
    with maker.begin() as session:
        session.add(Product(name="first"))
    with maker() as session:
        assert reader.read(session) == Seen(1, ("first",))
    for end in ("rollback", "close", "error"):
        with maker() as session:
            if end == "error":
                with contextlib.suppress(LookupError), session.begin():
                    way(session)
                    session.flush()
                    raise LookupError
            else:
                way(session)
                session.flush()
                getattr(session, end)()
        with maker() as session:
            assert reader.read(session) == Seen(1, ("first",))
    assert reader.runs == 1
    assert cache.stats().invalidations == 1  # the very first commit's


def test_other_tables_are_left_alone(engine: Engine) -> None:
    """7, 8. A commit drops what reads the tables it changed: subclasses' own, and secondary tables."""
    maker = sessionmaker(engine)
    cache = Cache(MemoryBackend())
    cache.watch(maker)
    of_labels, of_books, of_joins = (Reader(cache, [what]) for what in (Label, "book", labels))
    everything = (of_labels, of_books, of_joins)

    def runs() -> tuple[int, ...]:
        with maker() as session:
            for reader in everything:
                reader.read(session)
        return tuple(reader.runs for reader in everything)

    assert runs() == runs() == (1, 1, 1)
    with maker.begin() as session:
        session.add(Product(name="x", labels=[Label()]))
    assert runs() == (2, 1, 2)
    with maker.begin() as session:
        session.add(Book(name="x"))
    assert runs() == (2, 2, 2)
    with maker.begin() as session:
        session.scalars(select(Product)).first()
    assert runs() == (2, 2, 2)


def test_a_mapped_subclass_reads_all_its_tables(engine: Engine) -> None:
    """8. Rows of a joined subclass come from two tables; a change of either drops them."""
    maker = sessionmaker(engine)
    cache = Cache(MemoryBackend())
    cache.watch(maker)
    reader = Reader(cache, [Book])
    with maker() as session:
        reader.read(session)
    with maker.begin() as session:
        session.add(Product(name="x"))
    with maker() as session:
        reader.read(session)
    assert reader.runs == 2


def test_savepoints(engine: Engine) -> None:
    """7. What a savepoint changed counts if it was released, and not if it was rolled back."""
    maker = sessionmaker(engine)
    cache = Cache(MemoryBackend())
    cache.watch(maker)
    of_products, of_labels = Reader(cache), Reader(cache, [Label])

    def runs() -> tuple[int, int]:
        with maker() as session:
            of_products.read(session)
            of_labels.read(session)
        return of_products.runs, of_labels.runs

    assert runs() == (1, 1)
    with maker.begin() as session:
        with session.begin_nested():
            session.execute(insert(Product).values(name="x"))
        undone = session.begin_nested()
        session.execute(insert(Label).values(id=1))
        undone.rollback()
    assert runs() == (2, 1)
    with maker.begin() as session, session.begin_nested():
        with session.begin_nested():
            session.execute(insert(Label).values(id=2))
        session.execute(insert(Product).values(name="y"))
    assert runs() == (3, 2)


def test_inside_a_transaction_with_changes_the_cache_is_out_of_use(engine: Engine) -> None:
    """11. Neither read (it would hide the own changes) nor written (they may be rolled back)."""
    maker = sessionmaker(engine)
    cache = Cache(MemoryBackend())
    cache.watch(maker)
    reader = Reader(cache)
    with maker() as session:
        assert reader.read(session).products == 0
    with maker() as session:
        session.add(Product(name="pending"))
        assert reader.read(session).products == 1  # not flushed before: the query flushes
        session.execute(insert(Product).values(name="sent"))
        assert reader.read(session).products == 2
        session.rollback()
        assert reader.read(session).products == 0
    assert cache.stats().bypasses == 2
    assert reader.runs == 3


def test_a_function_that_writes_is_not_stored(engine: Engine) -> None:
    """11. Its result is its caller's; what it wrote may yet be rolled back."""
    maker = sessionmaker(engine)
    cache = Cache(MemoryBackend())
    cache.watch(maker)

    @cache.query(ttl=60, reads=[Product])
    def get_or_create(session: Session) -> int:
        session.execute(insert(Product).values(name="made"))
        return int(products(session))

    with maker() as session:
        assert get_or_create(session) == 1
        session.rollback()
        assert get_or_create(session) == 1
        session.rollback()
    assert cache.stats().discarded == 2


def test_a_session_on_a_connection_of_its_callers(engine: Engine) -> None:
    """7, 8. As test suites have it: commit() releases a savepoint, a commit to who shares the connection."""
    with engine.connect() as connection, connection.begin() as outer:
        maker = sessionmaker(connection, join_transaction_mode="create_savepoint")
        cache = Cache(MemoryBackend())
        cache.watch(maker)
        reader = Reader(cache)
        with maker() as session:
            assert reader.read(session).products == 0
        with maker.begin() as session:
            session.add(Product(name="x"))
        with maker() as session:
            assert reader.read(session).products == 1
        outer.rollback()


def test_until_the_callers_connection_commits(engine: Engine) -> None:
    """8. A session's commit() inside somebody else's transaction commits nothing; the COMMIT does."""
    maker = sessionmaker(engine)
    cache, other_cache = Cache(MemoryBackend()), Cache(MemoryBackend())
    readers = []
    for one in (cache, other_cache):
        one.watch(maker)
        readers.append(Reader(one))
    with engine.connect() as connection:
        with connection.begin():
            with maker(bind=connection) as session:
                session.execute(insert(Product).values(name="x"))
                session.commit()
            with maker(bind=connection) as session:
                assert [reader.read(session).products for reader in readers] == [1, 1]  # seen, not stored
            with maker() as outsider:
                assert [reader.read(outsider).products for reader in readers] == [0, 0]
        assert cache.stats().invalidations == 1
    with maker() as session:
        assert [reader.read(session).products for reader in readers] == [1, 1]
    assert (cache.stats().invalidations, other_cache.stats().invalidations) == (1, 1)


def test_the_callers_connection_rolls_back(engine: Engine) -> None:
    """7. Then there is nothing to drop at its end, and the connection is like any other again."""
    maker = sessionmaker(engine)
    cache = Cache(MemoryBackend())
    cache.watch(maker)
    reader = Reader(cache)
    with engine.connect() as connection:
        with connection.begin() as outer:
            with maker(bind=connection) as session:
                session.add(Product(name="x"))
                session.commit()
            outer.rollback()
        with maker(bind=connection) as session:
            assert [reader.read(session).products for _ in range(2)] == [0, 0]
    assert (cache.stats().fills, cache.stats().invalidations) == (1, 0)


async def test_until_the_callers_asynchronous_connection_commits(async_engine: AsyncEngine) -> None:
    """8. The same for AsyncConnection and AsyncSession."""
    maker = async_sessionmaker(async_engine)
    cache = Cache(MemoryBackend())
    cache.watch(maker)
    async with async_engine.begin() as connection:
        async with maker(bind=connection) as session:
            session.add(Product(name="x"))
            await session.commit()
        assert cache.stats().invalidations == 0
    assert cache.stats().invalidations == 1


@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
def test_autocommit(engine: Engine, end: str) -> None:
    """8. Each statement is committed by itself, so whatever ends the transaction drops what it changed."""
    maker = sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT"))
    cache = Cache(MemoryBackend())
    cache.watch(maker)
    reader = Reader(cache)
    with maker() as session:
        assert reader.read(session).products == 0
    with maker() as session:
        session.execute(insert(Product).values(name="x"))
        getattr(session, end)()
    with maker() as session:
        assert reader.read(session).products == 1


PRODUCT, LABEL, BOOK = Product.__table__, Label.__table__, Book.__table__
gone = delete(PRODUCT).returning(PRODUCT.c.id).cte("gone")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "statement",
    [
        insert(LABEL).from_select(["id"], select(gone.c.id)),  # type: ignore[arg-type]
        insert(LABEL).values(id=1).add_cte(gone),  # type: ignore[arg-type]
        update(LABEL).where(LABEL.c.id.in_(select(gone.c.id))).values(id=1),  # type: ignore[arg-type]
        update(PRODUCT).where(PRODUCT.c.id == LABEL.c.id).values({PRODUCT.c.name: "x", LABEL.c.id: 1}),  # type: ignore[arg-type]
        update(PRODUCT).ordered_values((LABEL.c.id, 1), (PRODUCT.c.name, "x")),  # type: ignore[arg-type]
        update(Product).where(Product.id == Label.id).values({Product.name: "x", Label.id: 1}),
    ],
)
def test_a_statement_that_changes_two_tables(statement: Any) -> None:
    """8. By DML in its CTEs, and by the UPDATE of several tables that MySQL and MariaDB know."""
    assert changed_tables(statement) == {"product", "label"}


def test_tables_that_are_only_read_are_not_changed() -> None:
    """What a statement selects from stays."""
    for statement in (
        insert(Label).from_select(["id"], select(Book.id)),
        update(Label).where(Label.id.in_(select(Book.id))).values(id=1),
        delete(Label).where(Label.id == Book.id),
    ):
        assert changed_tables(statement) == {"label"}


@pytest.mark.parametrize("by", ["global", "connection argument", "inner function"])
@pytest.mark.parametrize("rolled_back", ["after", "inside"])
def test_what_is_uncommitted_is_not_stored(engine: Engine, by: str, rolled_back: str) -> None:
    """11. However the function comes by the session that has the changes."""
    maker = sessionmaker(engine)
    cache = Cache(MemoryBackend())
    cache.watch(maker)
    db = scoped_session(maker)

    def read(session: Any) -> int:
        found = int(products(session))
        if rolled_back == "inside":
            db.rollback()
        return found

    @cache.query(ttl=60, reads=[Product])
    def of_registry() -> int:
        return read(db)

    @cache.query(ttl=60, reads=[Product])
    def of_connection(connection: Connection) -> int:
        return read(connection)

    @cache.query(ttl=60, reads=[Product])
    def of_another() -> int:
        return of_registry()

    def ask() -> int:
        if by == "connection argument":
            return of_connection(db.connection())
        return of_another() if by == "inner function" else of_registry()

    db.add(Product(name="phantom"))
    db.flush()
    assert ask() == 1
    db.rollback()
    db.remove()
    assert [ask(), ask()] == [0, 0]
    assert cache.stats().invalidations == 0
    db.remove()


async def test_uncommitted_rows_of_a_global_asynchronous_session(async_engine: AsyncEngine) -> None:
    """11. The same for async_scoped_session."""
    maker = async_sessionmaker(async_engine)
    db = async_scoped_session(maker, asyncio.current_task)
    cache = Cache(MemoryBackend())
    cache.watch(db)

    @cache.query(ttl=60, reads=[Product])
    async def count() -> int:
        return await db.scalar(select(func.count()).select_from(Product)) or 0

    db.add(Product(name="phantom"))
    assert await count() == 1
    await db.rollback()
    assert [await count(), await count()] == [0, 0]
    assert (cache.stats().bypasses, cache.stats().hits) == (1, 1)
    await db.remove()


def test_what_a_function_has_committed_is_stored(engine: Engine) -> None:
    """11. A session of its own, whose changes everybody sees by the end."""
    maker = sessionmaker(engine)
    cache = Cache(MemoryBackend())
    cache.watch(maker)

    @cache.query(ttl=60, reads=[Label])
    def remember() -> int:
        with maker.begin() as session:
            session.add(Product(name="log"))
        with maker() as session:
            return int(products(session))

    assert [remember(), remember()] == [1, 1]


@pytest.mark.parametrize("form", ["sessionmaker", "scoped", "class", "instance", "event_target"])
def test_what_can_be_watched(engine: Engine, form: str) -> None:
    """A sessionmaker, a scoped session, a class, one session, or an object that names one of them."""
    own = type("Own", (Session,), {})
    maker = sessionmaker(engine, class_=own)
    one = maker()
    target: Any = {
        "sessionmaker": maker,
        "scoped": scoped_session(maker),
        "class": own,
        "instance": one,
        "event_target": type("Cluster", (), {"event_target": maker})(),
    }[form]
    cache = Cache(MemoryBackend())
    cache.watch(target)
    cache.watch(target)  # twice is once
    reader = Reader(cache)
    assert reader.read(one).products == 0
    one.add(Product(name="x"))
    one.commit()
    assert reader.read(one).products == 1
    assert cache.stats().invalidations == 1
    one.close()


def test_something_else_than_sessions() -> None:
    """It is an error at start-up that says what is wanted."""
    with pytest.raises(ConfigurationError, match="wants a sessionmaker, a Session class or a session"):
        Cache(MemoryBackend()).watch(object())


@pytest.mark.parametrize("given", [Product, Product.__table__])
def test_a_lone_class_or_table_goes_into_a_list(given: Any) -> None:
    """It is told so, whatever SQLAlchemy lets its classes and tables be iterated as."""
    with pytest.raises(ConfigurationError, match=r"put what it names into one: reads=\[\.\.\.\]"):
        Cache(MemoryBackend()).query(ttl=60, reads=given)


def test_an_engine_is_watched_with_all_of_its_connections(engine: Engine) -> None:
    """8. Core connections, and sessions of whatever maker; with ``execution_options()`` or without."""
    cache = Cache(MemoryBackend())
    cache.watch(engine)
    cache.watch(engine)  # twice is once
    reader = Reader(cache)

    def seen() -> int:
        with Session(engine) as session:
            return reader.read(session).products

    assert seen() == 0
    with engine.begin() as connection:
        connection.execute(insert(Product).values(name="x", kind="product"))
    assert [seen(), seen()] == [1, 1]
    with Session(engine.execution_options(isolation_level="AUTOCOMMIT")) as session:
        session.execute(insert(Product).values(name="x"))
        assert [seen(), seen()] == [2, 2]
    with engine.connect() as connection:
        connection.execute(insert(Product).values(name="x", kind="product"))
        connection.commit()
        connection.execute(insert(Product).values(name="x", kind="product"))
        assert seen() == 3  # without the cache: this task has a change of its own
        connection.rollback()
    assert [seen(), seen()] == [3, 3]
    assert (reader.runs, cache.stats().invalidations, cache.stats().bypasses) == (5, 3, 1)


async def test_an_asynchronous_engine_is_watched(async_engine: AsyncEngine) -> None:
    """8. The same for AsyncConnection."""
    cache = Cache(MemoryBackend())
    cache.watch(async_engine)

    @cache.query(ttl=60, reads=[Product])
    async def count() -> int:
        async with AsyncSession(async_engine) as session:
            return await session.scalar(select(func.count()).select_from(Product)) or 0

    assert [await count(), await count()] == [0, 0]
    async with async_engine.begin() as connection:
        await connection.execute(insert(Product).values(name="x", kind="product"))
    assert [await count(), await count()] == [1, 1]
    assert (cache.stats().computes, cache.stats().invalidations) == (2, 1)


def test_the_first_session_while_a_statement_is_sent(engine: Engine) -> None:
    """8. It adds no listener to an engine in use: SQLAlchemy would fail what others send at that moment."""
    maker, cache, begun = sessionmaker(engine), Cache(MemoryBackend()), False
    cache.watch(maker)

    def begin_one(*_: Any) -> None:
        nonlocal begun
        if not begun:
            begun = True
            with maker.begin() as session:
                session.execute(delete(Product))

    event.listen(engine, "before_cursor_execute", begin_one)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    assert cache.stats().invalidations


def test_only_what_is_watched(engine: Engine) -> None:
    """Sessions of other makers, and of SQLAlchemy's own class, are not touched."""
    maker, other = sessionmaker(engine), sessionmaker(engine)
    cache = Cache(MemoryBackend())
    cache.watch(maker)
    for session in (other(), Session(engine)):
        with session:
            session.add(Product(name="x"))
            session.commit()
    assert cache.stats().invalidations == 0


def test_two_caches(engine: Engine) -> None:
    """8. Each is told."""
    maker = sessionmaker(engine)
    readers = []
    for _ in range(2):
        cache = Cache(MemoryBackend())
        cache.watch(maker)
        readers.append(Reader(cache))
    for expected in (0, 1):
        with maker() as session:
            assert [reader.read(session).products for reader in readers] == [expected] * 2
            session.add(Product(name="x"))
            session.commit()


@pytest.mark.parametrize("form", ["maker", "scoped", "session"])
async def test_asynchronous_sessions(
    async_engine: AsyncEngine, redis_url: str, prefix: str, form: str
) -> None:
    """8. AsyncSession.commit() returns after the cache has been told, in Redis."""
    maker = async_sessionmaker(async_engine)
    cache = Cache(RedisBackend.from_url(redis_url, prefix=prefix), local_entries=10)
    runs = 0

    @cache.query(ttl=60, reads=[Product])
    async def count(session: AsyncSession) -> int:
        nonlocal runs
        runs += 1
        return await session.scalar(select(func.count()).select_from(Product)) or 0

    session = maker()
    if form == "maker":
        cache.watch(maker)
        await session.close()
        session = maker()
    else:
        cache.watch(async_scoped_session(maker, asyncio.current_task) if form == "scoped" else session)
        if form == "scoped":
            await session.close()
            session = maker()
    async with session:
        assert [await count(session), await count(session)] == [0, 0]
        session.add(Product(name="x"))
        assert await count(session) == 1  # its own change, which nobody else sees
        await session.rollback()
        assert await count(session) == 0
        for number in range(1, 4):
            session.add(Product(name="x"))
            await session.commit()
            assert [await count(session), await count(session)] == [number, number]
        await session.execute(text("SELECT 1"))
        await session.commit()
        await count(session)
    assert runs == 1 + 1 + 3
    await cache.close()


async def test_other_asynchronous_sessions_are_not_watched(async_engine: AsyncEngine) -> None:
    """Watching one async_sessionmaker does not mean all of them."""
    maker, other = async_sessionmaker(async_engine), async_sessionmaker(async_engine)
    cache = Cache(MemoryBackend())
    cache.watch(maker)
    async with other.begin() as session:
        session.add(Product(name="x"))
    assert cache.stats().invalidations == 0
    async with maker.begin() as session:
        session.add(Product(name="x"))
    assert cache.stats().invalidations == 1


def test_the_wrong_colour_is_found_when_watching(async_engine: AsyncEngine) -> None:
    """An async_sessionmaker with a synchronous Redis client: at start-up, not at the first commit."""
    message = (
        r"^cache\.watch\(async_sessionmaker\) wants an asynchronous client.*pass a redis\.asyncio\.Redis"
    )
    with redis.Redis() as client, pytest.raises(WrongColour, match=message):
        Cache(RedisBackend(client)).watch(async_sessionmaker(async_engine))


@pytest.mark.parametrize("form", ["sessionmaker", "scoped_session"])
async def test_the_other_wrong_colour_is_found_when_watching(engine: Engine, form: str) -> None:
    """A sessionmaker with an asynchronous Redis client."""
    maker = sessionmaker(engine)
    target: Any = maker if form == "sessionmaker" else scoped_session(maker)
    async with redis.asyncio.Redis() as client:
        cache = Cache(RedisBackend(client))
        with pytest.raises(WrongColour, match=rf"^cache\.watch\({form}\) wants a synchronous client"):
            cache.watch(target)
        with maker.begin() as session:
            session.add(Product(name="x"))
    assert cache.stats().invalidations == cache.stats().errors == 0  # nothing is watched


def test_a_cache_that_cannot_be_told(engine: Engine, prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    """15. The commit succeeds and it is logged; this process makes up for it before it trusts the cache."""
    with RedisServer(appendonly="yes", appendfsync="always") as server:
        maker = sessionmaker(engine)
        cache = Cache(
            RedisBackend.from_url(server.url, prefix=prefix, cooldown=0.01),
            local_entries=10,
            local_ttl=60,
            channel=False,
        )
        cache.watch(maker)
        reader = Reader(cache)
        with maker() as session:
            assert reader.read(session).products == 0
        kill(server)
        with caplog.at_level(logging.WARNING, "scalekit.cache"), maker.begin() as session:
            session.add(Product(name="x"))
        assert "changes of product are committed, but the cache could not be told" in caplog.text
        with maker() as session:
            assert reader.read(session).products == 1  # without the cache
        server.start()  # and it has the old result still
        with maker() as session:
            assert [reader.read(session).products for _ in range(20)] == [1] * 20
        cache.close_sync()

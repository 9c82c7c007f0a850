"""What was read in an old snapshot, or loaded before, is nobody else's: it would outlive the commit."""

import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, delete, event, select, text, update
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from scalekit._steps import run
from scalekit.cache import Cache, listeners
from scalekit.cache.backend import Lease, Lookup
from scalekit.cache.entry import Found
from scalekit.cache.memory import MemoryBackend
from scalekit.cache.positions import Positioned, is_after_drop, keeps_snapshot, known_positions, may_share
from scalekit.cache.uses import Uses
from tests.cache._shop import Answer, Base, Product, define
from tests.conftest import Database
from tests.servers import MariaDBPair, wait_until


@contextmanager
def sqlite(path: Path) -> Iterator[Engine]:
    """With transactions that begin with BEGIN, which Python's driver has to be told to."""
    engine = create_engine(f"sqlite:///{path}/db", poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")

    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    yield engine
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Each with an isolation level that keeps a snapshot; MariaDB's and SQLite's is the default."""
    if request.param == "sqlite":
        with sqlite(tmp_path) as engine:
            Base.metadata.create_all(engine)
            yield engine
        return
    if request.param == "postgresql":
        database: Database = request.getfixturevalue("database")
        engine = create_engine(database.primary_url("psycopg"), isolation_level="REPEATABLE READ")
    else:
        pair: MariaDBPair = request.getfixturevalue("mariadb")
        name = f"test_{uuid.uuid4().hex[:12]}"
        pair.primary.sql(f"CREATE DATABASE {name}")
        engine = create_engine(pair.primary.url("pymysql", name))
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()
    if request.param == "mariadb":
        pair.primary.sql(f"DROP DATABASE {name}")


def filled(engine: Engine) -> tuple[sessionmaker[Session], Cache, Any]:
    """With a product, whose price is cached once already."""
    maker, cache = sessionmaker(engine), Cache(MemoryBackend())
    cache.watch(maker)
    price = define(cache)
    with maker.begin() as session:
        session.add(Product(id=1, price=1))
    with maker() as session:
        assert price(session) == 1
    return maker, cache, price


def commit(maker: sessionmaker[Session], price: int) -> None:
    with maker.begin() as session:
        session.execute(update(Product).values(price=price))


def test_a_snapshot_from_before_a_commit(engine: Engine) -> None:
    """6, 8. Its owner gets what it shows, and everybody else what was committed."""
    maker, cache, price = filled(engine)
    with maker() as old:
        old.scalar(select(Product.id))
        commit(maker, 2)
        assert price(old) == 1
        assert (cache.stats().fills, cache.stats().discarded) == (1, 1)
    with maker() as session:
        assert [price(session), price(session)] == [2, 2]
    assert (cache.stats().fills, cache.stats().hits) == (2, 1)


def test_a_snapshot_of_somebody_elses_transaction(tmp_path: Path) -> None:
    """6, 8. That a session joins: it is as old as that, and not as the session's part in it."""
    now = [time.time()]
    cache = Cache(MemoryBackend(clock=lambda: now[0]))
    with sqlite(tmp_path) as engine:
        Base.metadata.create_all(engine)
        maker = sessionmaker(engine)
        cache.watch(maker)
        price = define(cache)
        with maker.begin() as session:
            session.add(Product(id=1, price=1))
        with maker() as session:
            price(session)
        with engine.connect() as connection:
            connection.scalar(select(Product.id))
            listeners._begun[connection] -= 3600  # as if it was an hour ago
            commit(maker, 2)
            for _ in range(2):  # the second time it is known that no key was dropped since
                now[0] += 60
                with maker(bind=connection) as old:
                    assert price(old) == 1
        with maker() as session:
            assert price(session) == 2


class Waits(MemoryBackend):
    """Gives out no lease before a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go = threading.Event(), threading.Event()

    def acquire(self, lookup: Lookup, found: Found, **options: Any) -> Any:
        self.asked.set()
        assert self.go.wait(20)
        return (yield from super().acquire(lookup, found, **options))


def test_who_waits_is_given_no_old_snapshot(tmp_path: Path) -> None:
    """6, 8. Nor while a table is in a commit, when nothing is stored and the result is only handed on."""
    backend = Waits()
    with sqlite(tmp_path) as engine, ThreadPoolExecutor(2) as pool:
        Base.metadata.create_all(engine)
        maker, cache = sessionmaker(engine), Cache(backend)
        cache.watch(maker)
        price = define(cache)
        with maker.begin() as session:
            session.add(Product(id=1, price=1))
        begun, committed = threading.Event(), threading.Event()

        def old() -> Any:
            with maker() as session:
                session.scalar(select(Product.id))
                begun.set()
                assert committed.wait(20)
                return price(session)

        def new() -> Any:
            with maker() as session:
                return price(session)

        leads = pool.submit(old)
        assert begun.wait(20)
        commit(maker, 2)
        run(backend.mark(["product"], b"another.", ttl=60))
        committed.set()
        assert backend.asked.wait(20)
        waits = pool.submit(new)
        wait_until(lambda: cache.stats().waits == 1, what="somebody to wait")
        backend.go.set()
        assert (leads.result(20), waits.result(20)) == (1, 2)


def test_a_snapshot_from_after_a_commit(tmp_path: Path) -> None:
    """6. It is stored, also if the transaction began before the function."""
    now = [time.time()]
    cache = Cache(MemoryBackend(clock=lambda: now[0]))
    with sqlite(tmp_path) as engine:
        Base.metadata.create_all(engine)
        maker = sessionmaker(engine)
        cache.watch(maker)
        price = define(cache)
        with maker.begin() as session:
            session.add(Product(id=1, price=1))
        now[0] += 60
        with maker() as session:
            session.scalar(select(Product.id))
            # The generation is made with the first lease, and so is younger than this snapshot.
            assert (price(session), cache.stats().fills) == (1, 0)
        now[0] += 60
        with maker() as session:
            session.scalar(select(Product.id))
            assert (price(session), cache.stats().fills) == (1, 1)


def test_each_statement_for_itself(database: Database) -> None:
    """6. Under READ COMMITTED a transaction sees what is committed meanwhile, and may store it."""
    engine = create_engine(database.primary_url("psycopg"))
    Base.metadata.create_all(engine)
    maker, cache, price = filled(engine)
    with maker() as old:
        old.scalar(select(Product.id))
        commit(maker, 2)
        assert [price(old), price(old)] == [2, 2]
    with maker() as old:
        old.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        old.scalar(select(Product.id))
        commit(maker, 3)
        assert price(old) == 2  # its own snapshot, which it has asked for in a text
    with maker() as session:
        assert price(session) == 3
    assert cache.stats().fills == 3
    engine.dispose()


@pytest.mark.parametrize(
    "level",
    [
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SET default_transaction_isolation = 'repeatable read'",
    ],
)
def test_a_level_that_lasts(database: Database, level: str) -> None:
    """6. Set by a text in a transaction that is over, it is that of later ones on the same connection."""
    engine = create_engine(database.primary_url("psycopg"), pool_size=1)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.execute(delete(Product))
        session.commit()
    maker, _, price = filled(engine)
    with maker() as old:
        old.execute(text(level))
        old.commit()
        old.scalar(select(Product.id))
        with ThreadPoolExecutor(1) as pool:
            pool.submit(commit, maker, 2).result(20)
        assert price(old) == 1
    with maker() as session:
        assert price(session) == 2
    engine.dispose()


@pytest.mark.parametrize("given", ["argument", "registry"])
def test_what_a_session_keeps(tmp_path: Path, given: str) -> None:
    """6, 8. SQLAlchemy hands out the same instance again, without what was committed since it was loaded."""
    engine = create_engine(f"sqlite:///{tmp_path}/db", poolclass=NullPool)
    Base.metadata.create_all(engine)
    maker, cache = sessionmaker(engine), Cache(MemoryBackend())
    db = scoped_session(maker)
    cache.watch(db)

    @cache.query(ttl=3600, reads=[Product])
    def by_argument(session: Session) -> int:
        return session.get_one(Product, 1).price

    @cache.query(ttl=3600, reads=[Product])
    def by_registry() -> int:
        return db.get_one(Product, 1).price

    def price(session: Session) -> int:
        return by_argument(session) if given == "argument" else by_registry()

    with maker.begin() as session:
        session.add(Product(id=1, price=1))
    kept = db.get_one(Product, 1)
    commit(maker, 2)
    assert (price(db()), kept.price) == (1, 1)
    assert cache.stats().fills == 0
    db.rollback()  # it forgets what it has loaded
    assert [price(db()), price(db())] == [2, 2]
    assert (cache.stats().fills, cache.stats().hits) == (1, 1)
    db.remove()
    engine.dispose()


@pytest.mark.parametrize("kept", ["snapshot", "instance"])
@pytest.mark.parametrize("dropped", ["key", "key of tables", "name", "refresh"])
def test_what_is_older_than_an_invalidation_by_hand(tmp_path: Path, kept: str, dropped: str) -> None:
    """6, 8. Of a key nothing stays behind, and of a name nobody knows the tables: neither is filled."""
    now = [time.time()]
    cache = Cache(MemoryBackend(clock=lambda: now[0]))
    with sqlite(tmp_path) as engine:
        Base.metadata.create_all(engine)
        maker = sessionmaker(engine)
        cache.watch(maker)
        given: dict[str, Any] = {"key of tables": {"reads": [Product]}, "name": {"tags": ["prices"]}}

        @cache.query(ttl=3600, **given.get(dropped, {}))
        def price(session: Session) -> int:
            return session.get_one(Product, 1).price

        with maker.begin() as session:
            session.add(Product(id=1, price=1))
        for stored in (0, 1):  # what nobody has asked for before may have been dropped just now
            now[0] += 60
            with maker() as session:
                held = session.get_one(Product, 1)
                assert (price(session), held.price, cache.stats().fills) == (1, 1, stored)
        now[0] += 60
        with maker() as old:
            held = old.get_one(Product, 1)
            if kept == "snapshot":
                old.expunge(held)
            with Session(engine) as unwatched:
                unwatched.execute(update(Product).values(price=2))
                unwatched.commit()
            if dropped == "name":
                cache.invalidate_tags_sync("prices")
            elif dropped != "refresh":
                price.invalidate()
            assert (price.refresh(old) if dropped == "refresh" else price(old)) == 1
        with maker() as session:
            assert [price(session), price(session)] == [2, 2]


@pytest.mark.parametrize("how", ["add", "merge"])
def test_an_instance_that_was_loaded_elsewhere(tmp_path: Path, how: str) -> None:
    """6, 8. By an earlier session, and attached to this one: it is as old as it may be."""
    now = [time.time()]
    cache = Cache(MemoryBackend(clock=lambda: now[0]))
    engine = create_engine(f"sqlite:///{tmp_path}/db", poolclass=NullPool)
    Base.metadata.create_all(engine)
    maker = sessionmaker(engine)
    cache.watch(maker)

    @cache.query(ttl=3600, reads=[Product])
    def price(session: Session) -> int:
        return session.get_one(Product, 1).price

    with maker.begin() as session:
        session.add(Product(id=1, price=1))
    with maker() as session:
        detached = session.get_one(Product, 1)
        price(session)
    commit(maker, 2)
    now[0] += 60
    with maker() as session:
        kept = detached if how == "add" else session.merge(detached, load=False)
        session.add(kept)
        session.connection()
        assert (price(session), kept.price) == (1, 1)
    with maker() as session:
        assert price(session) == 2
    engine.dispose()


def test_other_instances_do_not_matter_where_tables_are_named(tmp_path: Path) -> None:
    """A request has loaded its user first: what reads other tables is stored, and shared without a lease."""
    cache = Cache(MemoryBackend())
    with sqlite(tmp_path) as engine:
        Base.metadata.create_all(engine)
        engine = engine.execution_options(isolation_level="READ UNCOMMITTED")
        maker = sessionmaker(engine)
        cache.watch(maker)
        price = define(cache)
        with maker.begin() as session:
            session.add_all([Product(id=1, price=1), Answer(id=1)])
        with maker() as session:
            held = session.get_one(Answer, 1)
            assert (price(session), held.id, cache.stats().fills) == (1, 1, 1)


@pytest.mark.parametrize(
    ("past", "dropped", "stored"),
    [
        (-1, 2, True),
        (-1, 1.01, False),  # too close to tell
        (-3, 2, False),  # the commit was begun before
        (None, 2, False),
        (None, 60, True),  # that of the tag, which was marked 40 seconds before it was born, at most
        (None, 49, False),
    ],
)
def test_a_replica_and_a_key_that_was_dropped(past: float | None, dropped: float, stored: bool) -> None:
    """10. It has read past a commit that was begun after the drop: of this process, or of the tables."""
    lease = Lease("k", b"", b"", mine=True, left=1, ages=(90, 10), positions=(None, "5"))
    uses = Uses(lease)
    uses.on_replica = True
    uses.past = None if past is None else uses.started + past
    assert is_after_drop(uses, lease, dropped, now=uses.started) is stored


@pytest.mark.parametrize(
    ("ages", "began", "stored"),
    [
        ((60, 60), -10, True),
        ((60, 9), -10, False),  # the tag was changed since
        ((9, 60), -10, False),  # everything was dropped since
        ((60, 10.01), -10, False),  # too close to tell
        ((60, 0), 0.5, True),  # it began inside of the function
        ((60, 0), None, True),
    ],
)
def test_which_snapshots_may_be_stored(ages: tuple[float, ...], began: float | None, stored: bool) -> None:
    """6. All of the versions are older than the snapshot, by more than a clock's inaccuracy."""
    lease = Lease("k", b"", b"", mine=True, left=1, ages=ages, positions=(None, None))
    uses = Uses(lease)
    uses.oldest = None if began is None else uses.started + began
    assert may_share(uses, lease) is stored


def test_levels_that_keep_a_snapshot() -> None:
    """What nobody knows may."""
    assert [level for level in ("SERIALIZABLE", "REPEATABLE READ", None) if not keeps_snapshot(level)] == []
    for level in ("READ COMMITTED", "read_uncommitted", "AUTOCOMMIT"):
        assert not keeps_snapshot(level)


def test_positions_from_before_the_generation_are_not_known() -> None:
    """10. A commit that nobody could be told of may have come after them."""
    assert known_positions([None, "a", "b", None], [10, 9, 11, 1]) == ("a", None, None)


class OnReplica(Session):
    """As anybody may write one, for replicas of their own."""

    reached = 0

    def committed_position(self) -> str | None:
        return str(self.reached)

    def has_read_past(self, position: str | None) -> bool:
        return position is not None and int(position) <= self.reached


def test_sessions_that_say_how_far_they_have_read(tmp_path: Path) -> None:
    """10. One that is behind the last commit of the tables gets its result, and nothing is stored."""
    now = [time.time()]
    engine = create_engine(f"sqlite:///{tmp_path}/db", poolclass=NullPool)
    Base.metadata.create_all(engine)
    maker, cache = sessionmaker(engine, class_=OnReplica), Cache(MemoryBackend(clock=lambda: now[0]))
    assert isinstance(maker(), Positioned)
    cache.watch(maker)
    price = define(cache)
    fills = []
    with maker() as session:
        price(session)
    now[0] += 60
    for reached in (None, 4, 5, 5):
        with maker() as session:
            if reached is None:
                session.reached = 5
                session.add(Product(id=1, price=1))
                session.commit()  # at 5
            else:
                session.reached = reached
                assert price(session) == 1
        fills.append(cache.stats().fills)
    assert (fills, cache.stats().hits) == ([0, 0, 1, 1], 1)
    engine.dispose()


def test_a_position_that_is_not_known(tmp_path: Path) -> None:
    """10, 12. A version that an invalidation by hand has made, or a miss, has none: no replica fills it."""
    engine = create_engine(f"sqlite:///{tmp_path}/db", poolclass=NullPool)
    Base.metadata.create_all(engine)
    maker, cache = sessionmaker(engine, class_=OnReplica), Cache(MemoryBackend())
    cache.watch(maker)
    price = define(cache)
    with maker() as session:
        session.reached = 5
        price(session)
        cache.invalidate_tags_sync(Product)
        price(session)
    assert cache.stats().fills == 0
    engine.dispose()

"""What is offered to tests: where statements went, and one transaction a test."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import StaticPool, create_engine, func, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from scalekit.database import ANY, STRONG, AsyncCluster, Cluster
from scalekit.database.asgi import ReadYourWritesMiddleware
from scalekit.testing.database import Recording, one_transaction, recording
from tests.conftest import Database
from tests.database._items import Base, Item

COUNT = select(func.count(Item.id))


def roles(seen: Recording) -> list[str]:
    found = [statement.role for statement in seen.statements]
    seen.clear()
    return found


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of one SQLite file with three items."""
    with Cluster(f"sqlite:///{tmp_path}/shop.db") as cluster:
        Base.metadata.create_all(cluster.primary_engine)
        with cluster.session() as session, session.begin():
            session.add_all([Item(id=number) for number in (1, 2, 3)])
        yield cluster


@pytest.fixture(params=["sqlite", "replicas"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """A synchronous cluster with three items."""
    if request.param == "sqlite":
        found: Cluster = request.getfixturevalue("sqlite")
        return found
    make: Callable[..., Cluster] = request.getfixturevalue("make_sync")
    return make()


@pytest.fixture(params=["aiosqlite", "asyncpg"])
async def async_cluster(
    request: pytest.FixtureRequest, tmp_path: Path, make_async: Callable[..., AsyncCluster]
) -> AsyncIterator[AsyncCluster]:
    """An asynchronous cluster with three items."""
    if request.param == "aiosqlite":
        async with AsyncCluster(f"sqlite+aiosqlite:///{tmp_path}/shop.db") as cluster:
            async with cluster.primary_engine.begin() as connection:
                await connection.run_sync(Base.metadata.create_all)
            async with cluster.session() as session, session.begin():
                session.add_all([Item(id=number) for number in (1, 2, 3)])
            yield cluster
    else:
        yield make_async(request.param)


def test_what_is_recorded(cluster: Cluster) -> None:
    """8. Where each statement goes; without replicas where it would have gone."""
    with recording(cluster) as seen:
        with cluster.session() as session:
            session.scalars(select(Item)).all()
            session.scalar(COUNT)
        assert roles(seen) == ["replica"] * 2
        with cluster.session() as session, session.begin():
            session.scalar(COUNT)
            session.add(Item(id=4))
            session.flush()
            session.scalar(COUNT)
        assert roles(seen) == ["replica", "primary", "primary"]
        with cluster.session(consistency=STRONG) as session:
            session.scalar(COUNT)
        with cluster.primary(), cluster.session() as session:
            session.scalar(COUNT)
        with cluster.connection() as connection:
            connection.execute(COUNT)
        assert roles(seen) == ["primary"] * 3
        with cluster.connection(read=True, consistency=ANY) as connection:
            assert connection.scalar(text("SELECT 1")) == 1
        with cluster.session() as session, session.begin_nested():
            session.execute(update(Item).values(stock=5))
        assert "SAVEPOINT" in seen.primary[0].sql
        assert seen.primary[1].sql.startswith("UPDATE item SET stock")
        assert [statement.sql for statement in seen.replicas] == ["SELECT 1"]
    count = len(seen.statements)
    with cluster.session() as session:
        session.scalar(COUNT)
    assert len(seen.statements) == count  # the block is over
    assert cluster.is_single == (len(cluster.status().members) == 1)


def test_members_that_come_later(make_sync: Callable[..., Cluster], items: Database) -> None:
    """24. What is sent to a replica that was found meanwhile is recorded too; other engines are not."""
    listed: list[str] = []
    cluster = make_sync(replicas=lambda: list(listed), refresh=0.05)
    other = create_engine("sqlite://")
    with recording(cluster) as seen, cluster.session() as session:
        session.scalar(COUNT)
        assert roles(seen) == ["primary"]
        listed.extend(items.replica_urls("psycopg"))
        deadline = time.monotonic() + 30
        while not seen.replicas:
            assert time.monotonic() < deadline, seen
            session.rollback()
            session.scalar(COUNT)
        seen.clear()
        with other.connect() as connection:
            connection.execute(text("SELECT 1"))
        assert not seen.statements
    other.dispose()


async def test_an_endpoint_that_never_touches_the_primary(async_cluster: AsyncCluster) -> None:
    """26. Recorded of the application's tasks; a POST begins on the primary."""

    async def count(request: Request) -> JSONResponse:
        async with async_cluster.session() as session:
            return JSONResponse(await session.scalar(COUNT))

    app = Starlette(routes=[Route("/", count, methods=["GET", "POST"])])
    app.add_middleware(ReadYourWritesMiddleware, cluster=async_cluster, secret_key="s" * 16)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        with recording(async_cluster) as seen:
            assert (await client.get("/")).json() == 3
        assert not seen.primary
        assert len(seen.replicas) == 1
        async with one_transaction(async_cluster) as seen:
            assert (await client.post("/")).json() == 3
            assert len(seen.primary) == 1
            assert not seen.replicas


def test_one_transaction_rolls_back_everything(cluster: Cluster) -> None:
    """22. What one session commits the next one sees, a rollback undoes its own, and nothing is left."""
    for _ in range(2):
        with one_transaction(cluster) as seen:
            with cluster.session() as session:
                assert session.scalar(COUNT) == 3
                session.add(Item(id=4))
                session.commit()
                assert session.scalar(COUNT) == 4
                session.add(Item(id=5))
                session.flush()
                session.rollback()
            assert roles(seen) == ["replica", "primary", "replica", "primary"]
            with cluster.primary_engine.begin() as connection:
                connection.execute(text("UPDATE item SET stock = 8 WHERE id = 4"))
            with cluster.session() as session, session.begin():
                with session.begin_nested() as inner:
                    session.add(Item(id=6))
                    session.flush()
                    inner.rollback()
                assert session.scalar(COUNT) == 4
            with cluster.session() as session:
                with pytest.raises(IntegrityError):
                    session.execute(text("INSERT INTO item (id, name, stock) VALUES (1, '', 0)"))
                session.rollback()
                assert session.get_one(Item, 4).stock == 8  # an error undoes its own transaction
            with cluster.connection(read=True) as connection:
                assert connection.scalar(COUNT) == 4
    with cluster.session() as session:
        assert session.scalar(COUNT) == 3
        session.add(Item(id=4))
        session.commit()
    with cluster.session() as session:
        assert session.scalar(COUNT) == 4  # transactions are real again
    assert all(member.in_flight == 0 for member in cluster.status().members)


async def test_one_transaction_asynchronously(async_cluster: AsyncCluster) -> None:
    """22. The same for an ``AsyncCluster``, in tasks too."""
    for _ in range(2):
        async with one_transaction(async_cluster) as seen:
            async with async_cluster.session() as session:
                session.add(Item(id=4))
                await session.commit()
            async with async_cluster.primary_engine.begin() as connection:
                await connection.execute(text("UPDATE item SET stock = 8 WHERE id = 4"))

            async def look() -> int | None:
                async with async_cluster.session() as session:
                    item = await session.get(Item, 4)
                    return item and item.stock

            assert await asyncio.create_task(look()) == 8
            assert roles(seen) == ["primary", "primary", "replica"]
            async with async_cluster.session() as session:
                session.add(Item(id=5))
                await session.flush()
                await session.rollback()
                assert await session.scalar(COUNT) == 4
    async with async_cluster.session() as session:
        assert await session.scalar(COUNT) == 3


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_one_postgresql(make_async: Callable[..., AsyncCluster], items: Database, driver: str) -> None:
    """8, 22. What is committed on one server, over connections from before the block too."""
    cluster = make_async(driver, replicas=[])

    async def add(number: int) -> None:
        async with cluster.session() as session:
            assert await session.scalar(COUNT) == number - 1
            session.add(Item(id=number))
            await session.commit()

    with recording(cluster) as seen:
        await add(4)
        async with cluster.connection() as connection:
            await connection.execute(text("UPDATE item SET stock = 8 WHERE id = 4"))
            await connection.commit()
    assert roles(seen) == ["replica", "primary", "primary"]
    await add(5)
    with recording(cluster), cluster.scope() as scope:
        await add(6)
        async with cluster.session() as session:
            assert (await session.get_one(Item, 4)).stock == 8
    assert scope.token is not None
    async with one_transaction(cluster) as seen:
        await add(7)
        assert roles(seen) == ["replica", "primary"]
    await add(7)
    assert items.cluster.primary.sql("SELECT count(*) FROM item", database=items.name) == "7"


def test_one_postgresql_synchronously(make_sync: Callable[..., Cluster]) -> None:
    """8, 22. The same for a ``Cluster``."""
    cluster = make_sync(replicas=[])
    with recording(cluster) as seen, cluster.session() as session:
        session.add(Item(id=4))
        session.commit()
        assert session.scalar(COUNT) == 4
    assert roles(seen) == ["primary", "replica"]
    with one_transaction(cluster), cluster.session() as session, session.begin():
        session.add(Item(id=5))
    with cluster.session() as session:
        assert session.scalar(COUNT) == 4


def test_an_application_that_ends_within(cluster: Cluster) -> None:
    """22. Its lifespan disposes of the cluster; what it did is there until the test ends, and then undone."""
    for _ in range(2):
        with one_transaction(cluster):
            with cluster, cluster.session() as session, session.begin():
                session.add(Item(id=4))
            with cluster.session() as session:
                assert session.scalar(COUNT) == 4
    with cluster.session() as session:
        assert session.scalar(COUNT) == 3


async def test_an_application_that_ends_within_asynchronously(async_cluster: AsyncCluster) -> None:
    """22. The same for an ``AsyncCluster``, by the lifespan of an application."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with async_cluster:
            yield

    app = Starlette(lifespan=lifespan)
    for _ in range(2):
        async with one_transaction(async_cluster) as seen:
            async with app.router.lifespan_context(app), async_cluster.session() as session, session.begin():
                session.add(Item(id=4))
            async with async_cluster.session() as session:
                assert await session.scalar(COUNT) == 4
            assert roles(seen) == ["primary", "replica"]
    async with async_cluster.session() as session:
        assert await session.scalar(COUNT) == 3


async def test_on_another_event_loop(make_async: Callable[..., AsyncCluster]) -> None:
    """An error that names the cure, as for those who use Starlette's TestClient; and the test can go on."""
    cluster = make_async()

    async def count() -> int | None:
        async with cluster.session() as session:
            return await session.scalar(COUNT)

    async with one_transaction(cluster):
        with pytest.raises(RuntimeError, match=r"another event loop .* use httpx\.AsyncClient"):
            await asyncio.to_thread(asyncio.run, count())
        assert await count() == 3


async def test_a_connection_that_is_closed(tmp_path: Path) -> None:
    """By whatever closes it: an error, and the next test gets another."""
    async with AsyncCluster(f"sqlite+aiosqlite:///{tmp_path}/shop.db") as cluster:
        test = one_transaction(cluster)
        await test.__aenter__()
        async with cluster.connection() as connection:
            raw = await connection.get_raw_connection()
            assert raw.driver_connection is not None
            await raw.driver_connection.close()
        with pytest.raises(RuntimeError, match="a lost connection"):
            await test.__aexit__(None, None, None)
        async with one_transaction(cluster), cluster.connection() as connection:
            assert await connection.scalar(text("SELECT 1")) == 1


@pytest.mark.parametrize("replicas", [True, False])
def test_what_a_replica_would_refuse(make_sync: Callable[..., Cluster], replicas: bool) -> None:
    """11. 19. PostgreSQL refuses it in the test too: a session goes on on the primary, a connection fails."""
    cluster = make_sync(**({} if replicas else {"replicas": []}))
    with one_transaction(cluster) as seen:
        with cluster.session() as session:
            assert session.scalar(COUNT) == 3
            assert session.scalar(text("SELECT place_order(1)")) == -1
            session.commit()
        assert roles(seen) == ["replica", "replica", "primary"]
        with cluster.connection(read=True) as connection, pytest.raises(DBAPIError, match="read-only"):
            connection.execute(update(Item).values(stock=5))
        with cluster.primary(), cluster.connection(read=True) as connection:
            assert connection.scalar(COUNT) == 3
            with pytest.raises(DBAPIError, match="read-only"):
                connection.execute(update(Item).values(stock=5))
        with cluster.session() as session:
            assert session.get_one(Item, 1).stock == -1
    with cluster.session() as session:
        assert session.get_one(Item, 1).stock == 0


def test_transactions_that_overlap(cluster: Cluster) -> None:
    """7. Readers may end when they like; of two that write, the later one ends first, or it is an error."""
    with one_transaction(cluster):
        with cluster.session() as reader:
            assert reader.scalar(COUNT) == 3
            with cluster.session() as writer:
                writer.add(Item(id=4))
                writer.flush()
                assert reader.scalar(COUNT) == 4
                reader.rollback()
                assert reader.scalar(COUNT) == 4
                writer.commit()
            assert reader.scalar(COUNT) == 4
        idle, inner = cluster.session(consistency=STRONG), cluster.session()
        idle.scalar(COUNT)
        inner.add(Item(id=5))
        inner.flush()
        idle.rollback()  # it has written nothing, and the other's work stays
        inner.commit()
        outer, inner = cluster.session(), cluster.session()
        outer.add(Item(id=6))
        outer.flush()
        inner.add(Item(id=7))
        inner.flush()
        outer.commit()
        with pytest.raises(RuntimeError, match="transactions overlap"):
            inner.rollback()
    for inner_ends_first in (True, False):
        with one_transaction(cluster):
            outer, inner = cluster.session(), cluster.session()
            outer.add(Item(id=6))
            outer.flush()
            inner.add(Item(id=7))
            inner.flush()
            if inner_ends_first:
                inner.commit()
            with pytest.raises(RuntimeError, match="transactions overlap"):
                outer.rollback()
    with cluster.session() as session:
        assert session.scalar(COUNT) == 3


def test_a_transaction_that_has_failed(make_sync: Callable[..., Cluster]) -> None:
    """22. Until it is rolled back, others go on, as when an error handler writes into a log."""
    cluster = make_sync()
    with one_transaction(cluster):
        with cluster.session() as failed:
            failed.add(Item(id=4))
            failed.flush()
            with pytest.raises(IntegrityError):
                failed.execute(text("INSERT INTO item (id, name, stock) VALUES (1, '', 0)"))
            with cluster.session() as other, other.begin():
                other.add(Item(id=5))
            failed.rollback()
        with cluster.session() as session:
            assert session.scalars(select(Item.id).order_by(Item.id)).all() == [1, 2, 3, 5]


def test_a_transaction_that_is_ended_for_real(cluster: Cluster) -> None:
    """It is an error, since the next test will find what this one left."""
    with pytest.raises(RuntimeError, match="a COMMIT in a text"), one_transaction(cluster):  # noqa: PT012
        with cluster.session() as session:
            session.add(Item(id=4))
            session.commit()
        with cluster.primary_engine.connect() as connection:
            connection.exec_driver_sql("COMMIT")
    with cluster.session(consistency=STRONG) as session:  # of that COMMIT nobody was told
        assert session.scalar(COUNT) == 4


def test_a_session_that_outlives_the_test(cluster: Cluster) -> None:
    """23. It has no say any more over a connection that others use by then."""
    with one_transaction(cluster):
        late = cluster.session()
        late.add(Item(id=4))
        late.flush()
    with cluster.session() as session:
        session.add(Item(id=5))
        session.flush()
        late.rollback()
        late.close()
        session.commit()
    with cluster.session() as session:
        assert session.scalars(select(Item.id).order_by(Item.id)).all() == [1, 2, 3, 5]


def test_isolation_levels_within(make_sync: Callable[..., Cluster]) -> None:
    """They change nothing, and under AUTOCOMMIT what was sent stays."""
    cluster = make_sync(isolation_level="AUTOCOMMIT")
    with one_transaction(cluster):
        with cluster.session() as session:
            session.execute(text("UPDATE item SET stock = 5"))
        with cluster.session() as session:
            assert session.get_one(Item, 1).stock == 5
    with cluster.session() as session:
        assert session.get_one(Item, 1).stock == 0
        assert session.connection().connection.dbapi_connection.autocommit  # as it was
    cluster = make_sync()
    with one_transaction(cluster):
        with cluster.session() as session:
            session.connection(execution_options={"isolation_level": "SERIALIZABLE"})
            session.add(Item(id=4))
            session.commit()
        with cluster.connection() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(update(Item).values(stock=5))
        with cluster.session() as session:
            assert session.get_one(Item, 4).stock == 5


def test_a_database_in_memory() -> None:
    """25. It is kept: its one connection goes back to the pool. Threads share it, as a test client's do."""
    arguments: dict[str, Any] = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
    with Cluster("sqlite://", **arguments) as cluster:
        Base.metadata.create_all(cluster.primary_engine)
        with one_transaction(cluster) as seen:

            def visit() -> None:
                with cluster.session() as session, session.begin():
                    session.add(Item(id=1))

            thread = threading.Thread(target=visit)
            thread.start()
            thread.join()
            with cluster.session() as session:
                assert session.scalar(COUNT) == 1
            assert roles(seen) == ["primary", "replica"]
        with cluster.session() as session:
            assert session.scalar(COUNT) == 0


async def test_wrong_ways(sqlite: Cluster, tmp_path: Path) -> None:
    """The other colour's ``with``, and one inside another."""
    with pytest.raises(TypeError, match="a Cluster takes `with"):
        async with one_transaction(sqlite):
            pass
    async with AsyncCluster(f"sqlite+aiosqlite:///{tmp_path}/shop.db") as cluster:
        with pytest.raises(TypeError, match="takes `async with"), one_transaction(cluster):
            pass
    for outer in (recording, one_transaction):
        with outer(sqlite), pytest.raises(RuntimeError, match="around this already"):
            one_transaction(sqlite).__enter__()
    with one_transaction(sqlite), recording(sqlite) as seen, sqlite.session() as session:
        session.scalar(COUNT)
    assert roles(seen) == ["replica"]


def test_a_connection_that_is_lost(make_sync: Callable[..., Cluster], items: Database) -> None:
    """12. There is no other to go on with: an error, and then the database is as it was."""
    cluster = make_sync(replicas=[], failover_wait=0.2)
    with pytest.raises(RuntimeError, match="a lost connection"), one_transaction(cluster):  # noqa: PT012
        with cluster.session() as session, session.begin():
            session.add(Item(id=4))
            pid = session.scalar(text("SELECT pg_backend_pid()"))
        items.cluster.primary.sql(f"SELECT pg_terminate_backend({pid}, 20000)")
        with cluster.session() as session:
            session.scalar(COUNT)
    with cluster.session() as session:
        assert session.scalar(COUNT) == 3

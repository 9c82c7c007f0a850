"""What COMMIT came to, where nobody says so: on one server, and in two phases."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from scalekit.database import AsyncCluster, Cluster
from scalekit.database.backends.postgresql import PostgreSQL
from scalekit.database.backends.protocol import Trouble
from scalekit.database.connecting import raw
from scalekit.database.drivers.asyncpg import Asyncpg
from scalekit.errors import NoServerAvailable, OutcomeUnknown
from scalekit.testing.database import recording
from tests.conftest import Database
from tests.database._waiting import until, wait
from tests.database.conftest import PATIENT
from tests.faults import FaultProxy

READ = text("SELECT stock, pg_is_in_recovery() FROM item WHERE id = 1")
WRITE = text("UPDATE item SET stock = stock + 1 WHERE id = 1")

both = pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])


@pytest.fixture
def proxy(items: Database) -> Iterator[FaultProxy]:
    """The way to the primary."""
    with FaultProxy(items.cluster.primary.host, items.cluster.primary.port) as way:
        yield way


@pytest.fixture
async def by(items: Database, proxy: FaultProxy) -> AsyncIterator[Callable[[str, list[str]], AsyncCluster]]:
    """Makes a cluster that reaches its primary through the proxy."""
    made: list[AsyncCluster] = []

    def make(driver: str, replicas: list[str]) -> AsyncCluster:
        url = proxy.url(items.primary_url(driver))
        made.append(AsyncCluster(url, replicas=replicas, probe_interval=30, failover_wait=30, **PATIENT))
        return made[-1]

    yield make
    proxy.pass_through()
    for cluster in made:
        await cluster.dispose()


def stock(items: Database) -> str:
    return items.cluster.primary.sql("SELECT stock FROM item WHERE id = 1", database=items.name)


@both
async def test_what_was_sent_along_with_commit_is_cancelled(
    make_async: Callable[..., AsyncCluster], items: Database, driver: str
) -> None:
    """17. Where the log is, is asked in the same message: an error of that question is none of COMMIT's."""
    cluster = make_async(driver)
    async with cluster.session() as session:
        await session.execute(WRITE)
        backend: Any = cluster._fleet.members[0].backend
        backend.position = "(SELECT pg_sleep(60)::text)"
        committing = asyncio.create_task(session.commit())
        sleeping = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        await until(lambda: items.cluster.primary.sql(sleeping, database=items.name) == "1")
        with pytest.raises(OutcomeUnknown, match="may or may not have been applied"):
            await committing
    assert stock(items) == "1"


@both
async def test_a_commit_that_the_server_refuses(
    make_async: Callable[..., AsyncCluster], items: Database, driver: str
) -> None:
    """17. The server says so, and that is known."""
    items.cluster.primary.sql(
        "CREATE TABLE one_each (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)", database=items.name
    )
    cluster = make_async(driver)
    async with cluster.session() as session:
        await session.execute(text("INSERT INTO one_each VALUES (1), (1)"))
        with pytest.raises(IntegrityError):
            await session.commit()


@both
async def test_a_connection_that_dies_under_autocommit_goes_back(
    items: Database, proxy: FaultProxy, by: Any, driver: str
) -> None:
    """23. Its place in the pool is free again, wherever in the answers it died."""
    cluster = by(driver, items.replica_urls(driver)[:1])
    for after, commits in itertools.product((0, 10, 30, 60), (False, True)):
        proxy.pass_through()
        with suppress(DBAPIError, NoServerAvailable):
            async with cluster.connection() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                proxy.cut(after=after)
                await connection.execute(WRITE)
                if commits:
                    await connection.commit()
        assert cluster._fleet.members[0].writer.pool.checkedout() == 0


@both
async def test_what_was_committed_by_itself_is_no_failed_commit(
    items: Database, proxy: FaultProxy, by: Any, driver: str
) -> None:
    """17. In AUTOCOMMIT a write is over with its answer. An error of commit() would have it repeated."""
    cluster = by(driver, items.replica_urls(driver)[:1])
    with cluster.scope() as scope:
        async with cluster.session() as session:
            await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
            await session.execute(WRITE)
            proxy.reset()
            await session.commit()
        assert scope.token is not None
        assert not scope.token.is_known
    assert stock(items) == "1"


@both
async def test_outcome_unknown_on_one_server(
    items: Database, proxy: FaultProxy, by: Any, driver: str
) -> None:
    """17. One PostgreSQL, without replicas, tells the same: no answer to COMMIT is OutcomeUnknown, once."""
    cluster = by(driver, [])
    async with cluster.session() as session:
        await session.execute(WRITE)
        proxy.cut()
        with pytest.raises(OutcomeUnknown, match=f"from 127.0.0.1:{proxy.port}/.*may or may not"):
            await session.commit()
    proxy.pass_through()
    assert stock(items) == "1", "applied, and not repeated"
    async with cluster.session() as session:
        assert (await session.execute(READ)).one() == (1, False)


def test_the_same_in_synchronous_code(items: Database, proxy: FaultProxy) -> None:
    """17. And what the server refuses is an error like any other; so is what was lost before COMMIT."""
    with Cluster(proxy.url(items.primary_url("psycopg")), **PATIENT) as cluster:
        with cluster.session() as session:
            session.execute(WRITE)
            proxy.cut()
            with pytest.raises(OutcomeUnknown):
                session.commit()
        proxy.pass_through()
        with cluster.session() as session:
            session.execute(text("CREATE TABLE once (x int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
            session.execute(text("INSERT INTO once VALUES (1), (1)"))
            with pytest.raises(DBAPIError, match="once_x_key"):
                session.commit()
        with cluster.session() as session:
            pid = session.scalar(text("SELECT pg_backend_pid()"))
            session.execute(WRITE)
            items.cluster.primary.sql(f"SELECT pg_terminate_backend({pid}, 20000)")
            ended, driver = raw(session.connection()), cluster._fleet.members[0]._driver
            assert driver is not None
            wait(lambda: driver.is_closed(ended))  # the proxy passes it on
            with pytest.raises(OperationalError, match="before COMMIT was sent: nothing was applied"):
                session.commit()
    assert stock(items) == "1"


async def test_an_error_of_nobody_who_was_asked(
    make_async: Callable[..., AsyncCluster], items: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """17. A mistake in the way of COMMIT stays one, with a note; the visitor reads from the primary."""

    def mistaken(self: Asyncpg, connection: Any, plain: Callable[[], None], **_: Any) -> None:
        plain()
        raise AttributeError("no such thing")

    cluster = make_async()
    monkeypatch.setattr(Asyncpg, "commit", mistaken)
    with cluster.scope() as scope:
        async with cluster.session() as session:
            await session.execute(WRITE)
            with pytest.raises(AttributeError, match="no such thing") as raised:
                await session.commit()
        assert "it ended a COMMIT on" in raised.value.__notes__[0]
        assert "may or may not have been applied" in raised.value.__notes__[0]
        assert scope.token is not None
        assert not scope.token.is_known
        async with cluster.session() as session:
            assert (await session.execute(READ)).one() == (1, False)


@pytest.mark.parametrize("replicas", [False, True])
async def test_connections_that_the_application_opens(
    items: Database, make_async: Callable[..., AsyncCluster], *, replicas: bool
) -> None:
    """17. Its creator may ignore which class is asked for, or pass one of its own along."""

    async def open_one(*arguments: Any, connection_class: object = None, **parameters: Any) -> Any:
        return await asyncpg.connect(*arguments, **parameters)

    class Own(asyncpg.Connection):  # type: ignore[misc]
        pass

    for given in ({"async_creator_fn": open_one}, {"connection_class": Own}):
        urls = items.replica_urls("asyncpg")[:1] if replicas else []
        cluster = make_async(replicas=urls, connect_args=given)
        with recording(cluster), cluster.scope() as scope:
            async with cluster.session() as session:
                await session.execute(WRITE)
                await session.commit()
            assert scope.token is not None
            assert scope.token.is_known
    assert stock(items) == "2"


@both
async def test_two_phases(items: Database, proxy: FaultProxy, by: Any, driver: str) -> None:
    """17. COMMIT PREPARED has a position like COMMIT; without an answer the error names the transaction."""
    cluster = by(driver, items.replica_urls(driver)[:1])
    with cluster.scope() as scope:
        async with cluster.session(twophase=True) as session:
            await session.execute(WRITE)
            await session.commit()
        assert scope.token is not None
        assert scope.token.is_known, "the visitor reads from replicas again as soon as they have it"
        async with cluster.session(twophase=True) as session:
            await session.execute(WRITE)
            await session.run_sync(lambda sync: sync.prepare())
            gone = items.cluster.primary.sql("SELECT gid FROM pg_prepared_xacts", database=items.name)
            items.cluster.primary.sql(f"ROLLBACK PREPARED '{gone}'", database=items.name)
            with pytest.raises(DBAPIError, match="does not exist"):
                await session.commit()
        async with cluster.session(twophase=True) as session:
            await session.execute(WRITE)
            await session.run_sync(lambda sync: sync.prepare())
            proxy.cut()
            with pytest.raises(OutcomeUnknown, match=r"COMMIT PREPARED came from .*the transaction '_sa_"):
                await session.commit()
        assert not scope.token.is_known
        proxy.pass_through()
        left = items.cluster.primary.sql("SELECT gid FROM pg_prepared_xacts", database=items.name)
        if left:  # asyncpg may only have had it parsed when the connection was cut
            items.cluster.primary.sql(f"COMMIT PREPARED '{left}'", database=items.name)
        assert stock(items) == "2"
        async with cluster.session() as session:
            assert (await session.execute(READ)).one() == (2, False)


def test_a_server_that_does_not_know_either() -> None:
    """17. SQLSTATE 40003, "statement completion unknown", is no refusal; its class otherwise is one."""
    trouble = PostgreSQL().trouble
    assert trouble("40003") is Trouble.OTHER
    assert trouble("40002") is Trouble.SERVER_SAID_NO

"""How transactions end: what the visitor reads afterwards, whatever became of COMMIT."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from scalekit.database import STRONG, AsyncCluster, Cluster, Token
from scalekit.database.scope import Scope
from scalekit.errors import OutcomeUnknown
from tests.conftest import Database
from tests.database._lag import lagging
from tests.database._readers import all_readers
from tests.database._tokens import token
from tests.database.conftest import PATIENT
from tests.faults import FaultProxy

pytestmark = pytest.mark.slow

READ = text("SELECT stock, pg_is_in_recovery() FROM item WHERE id = 1")
WRITE = text("UPDATE item SET stock = stock + 1 WHERE id = 1")

both = pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])


async def read(cluster: AsyncCluster) -> tuple[int, bool]:
    async with cluster.session() as session:
        return tuple((await session.execute(READ)).one())


@asynccontextmanager
async def slow_primary(
    items: Database, driver: str, **options: Any
) -> AsyncIterator[tuple[FaultProxy, AsyncCluster]]:
    """A cluster that reaches its primary through a proxy; both replicas are known."""
    primary = items.cluster.primary
    async with FaultProxy(primary.host, primary.port) as proxy:
        urls = proxy.url(items.primary_url(driver)), items.replica_urls(driver)
        options |= {"probe_interval": 30, "failover_wait": 30, **PATIENT}
        async with AsyncCluster(urls[0], replicas=urls[1], **options) as cluster:
            await all_readers(cluster)
            yield proxy, cluster


async def applied(items: Database, wanted: int = 1) -> None:
    """Return when the primary has as many writes."""
    async with asyncio.timeout(20):
        while await asyncio.to_thread(stock, items) < wanted:
            await asyncio.sleep(0.02)


def stock(items: Database) -> int:
    return int(items.cluster.primary.sql("SELECT stock FROM item WHERE id = 1", database=items.name))


@both
async def test_finding_out_what_became_of_a_commit_reads_the_primary(items: Database, driver: str) -> None:
    """After OutcomeUnknown the visitor is not shown a replica that has yet to see what was applied."""
    async with slow_primary(items, driver) as (proxy, cluster):
        with lagging(items), cluster.scope() as scope:
            async with cluster.session() as session:
                await session.execute(WRITE)
                proxy.cut(after=0)
                with pytest.raises(OutcomeUnknown):
                    await session.commit()
            proxy.pass_through()
            await applied(items)
            assert await read(cluster) == (1, False)
            assert scope.advanced
            assert scope.commits == 0, "no response may claim that it was saved"


@both
async def test_a_commit_that_is_cancelled_may_have_been_applied(items: Database, driver: str) -> None:
    """A time-out around commit(): the visitor reads from the primary from then on."""
    async with slow_primary(items, driver) as (proxy, cluster):
        with lagging(items), cluster.scope():

            async def write() -> None:
                async with cluster.session() as session:
                    await session.execute(WRITE)
                    proxy.delay(30)
                    await session.commit()

            writing = asyncio.create_task(write())
            await applied(items)
            writing.cancel()
            await asyncio.sleep(0)  # it is told before the answer comes, for which psycopg waits all the same
            proxy.pass_through()
            with pytest.raises(asyncio.CancelledError):
                await writing
            assert await read(cluster) == (1, False)


async def test_a_time_out_of_the_driver_during_commit_is_no_answer(items: Database) -> None:
    """asyncpg's command_timeout: not a plain TimeoutError, which reads as if nothing had been applied."""
    options = {"connect_args": {"command_timeout": 1}}
    async with slow_primary(items, "asyncpg", **options) as (proxy, cluster):
        async with cluster.session() as session:
            await session.execute(WRITE)
            proxy.delay(30)
            with pytest.raises(OutcomeUnknown, match="may or may not"):
                await session.commit()
        proxy.pass_through()
    await applied(items)


@both
async def test_a_commit_that_the_server_refuses_is_just_an_error(
    make_async: Callable[..., AsyncCluster], driver: str
) -> None:
    """A deferred constraint fails at COMMIT: nothing was applied, and nothing is remembered."""
    cluster = make_async(driver)
    with cluster.scope() as scope:
        async with cluster.session() as session:
            await session.execute(text("CREATE TABLE once (x int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
            await session.execute(text("INSERT INTO once VALUES (1), (1)"))
            with pytest.raises(DBAPIError, match="once_x_key"):
                await session.commit()
        assert not scope.advanced


@both
async def test_a_connection_lost_before_commit(
    make_async: Callable[..., AsyncCluster], items: Database, driver: str
) -> None:
    """COMMIT was never sent: the error of SQLAlchemy that says so, not OutcomeUnknown."""
    cluster = make_async(driver)
    with cluster.scope() as scope:
        async with cluster.session() as session:
            await session.execute(WRITE)
            # As when another server was promoted.
            cluster._fleet.members[0].cut_writes()
            with pytest.raises(DBAPIError, match="before COMMIT was sent") as caught:
                await session.commit()
        assert caught.value.connection_invalidated
        assert not scope.advanced
    assert stock(items) == 0


def test_what_autocommit_wrote_is_remembered(make_sync: Callable[..., Cluster], items: Database) -> None:
    """Without a call of commit(), and for a function in what looks like a read."""
    cluster = make_sync(isolation_level="AUTOCOMMIT")
    writes = (WRITE, text("SELECT place_order(1)"))
    with cluster.session() as session:
        session.execute(READ)
    with lagging(items):
        for write, expected in zip(writes, (1, 0), strict=True):
            with cluster.scope() as scope:
                with cluster.session(consistency=STRONG) as session:
                    session.execute(write)
                assert scope.token is not None
                assert scope.token.is_known
                with cluster.session() as session:
                    assert session.execute(READ).one() == (expected, False)


@pytest.mark.parametrize("end", ["commit", "close"])
def test_a_commit_in_a_text_is_remembered(
    make_sync: Callable[..., Cluster], items: Database, end: str
) -> None:
    """The session knows that it wrote, and the server that no transaction is in progress any more."""
    cluster = make_sync()
    with cluster.session() as session:
        session.execute(READ)
    with lagging(items), cluster.scope():
        session = cluster.session()
        session.execute(text("UPDATE item SET stock = 1 WHERE id = 1; COMMIT"))
        getattr(session, end)()
        session.close()
        with cluster.session() as session:
            assert session.execute(READ).one() == (1, False)


async def test_a_commit_in_a_text_that_nobody_answers(items: Database) -> None:
    """17. Its visitor looks for what became of it on the primary, too. (asyncpg prepares it first.)"""
    async with slow_primary(items, "psycopg") as (proxy, cluster):
        with lagging(items), cluster.scope() as scope:
            async with cluster.session() as session:
                await session.execute(WRITE)
                proxy.cut(after=0)
                with pytest.raises(DBAPIError):
                    await session.execute(text("COMMIT AND CHAIN"))
            proxy.pass_through()
            await applied(items)
            assert scope.token is not None
            assert not scope.token.is_known
            assert await read(cluster) == (1, False)


@both
async def test_a_read_on_the_primary_is_not_repeated(items: Database, driver: str) -> None:
    """It may call a function that writes, and in AUTOCOMMIT what that wrote stays: once, or an error."""
    items.cluster.primary.sql(
        "CREATE FUNCTION charge() RETURNS int LANGUAGE plpgsql AS "
        "'BEGIN UPDATE item SET stock = stock + 1 WHERE id = 1; RETURN 1; END'",
        database=items.name,
    )
    async with slow_primary(items, driver, isolation_level="AUTOCOMMIT") as (proxy, cluster):
        with cluster.scope() as scope:
            async with cluster.session(consistency=STRONG) as session:
                # From here on asyncpg has it prepared, and sends it in one message.
                await session.execute(text("SELECT charge()"))
                await session.commit()
            async with cluster.session(consistency=STRONG) as session:
                await session.execute(text("SELECT 1"))
                await session.commit()
                proxy.delay(30)
                charging = asyncio.create_task(session.scalar(text("SELECT charge()")))
                await applied(items, 2)
                proxy.reset()
                proxy.pass_through()
                with pytest.raises(DBAPIError):
                    await charging
            assert scope.token is not None
            assert not scope.token.is_known, "it was applied, and nobody knows where"
    assert stock(items) == 2


@both
async def test_a_cancelled_question_leaves_no_trace(items: Database, driver: str) -> None:
    """Cancelled while a replica is asked for its position: the pooled connection still opens transactions."""
    replica = items.cluster.replicas[0]
    async with FaultProxy(replica.host, replica.port) as proxy:
        cluster = AsyncCluster(
            items.primary_url(driver),
            replicas=[proxy.url(items.replica_urls(driver)[0])],
            probe_interval=30,
            pool_size=1,
            max_overflow=0,
            **PATIENT,
        )
        async with cluster:
            assert (await read(cluster))[1]
            before = cluster.status().members[1].transactions
            with cluster.scope():
                async with cluster.session() as session:
                    await session.execute(WRITE)
                    await session.commit()
                asked = asyncio.Event()
                ask = cluster._fleet.members[1].ask_over

                def ask_over(connection: Any) -> Any:
                    proxy.delay(30)
                    asyncio.get_running_loop().call_soon(asked.set)
                    return ask(connection)

                cluster._fleet.members[1].ask_over = ask_over  # type: ignore[method-assign]
                reading = asyncio.create_task(read(cluster))
                await asked.wait()
                reading.cancel()
                proxy.pass_through()
                with pytest.raises(asyncio.CancelledError):
                    await reading
                cluster._fleet.members[1].ask_over = ask  # type: ignore[method-assign]
            await asyncio.to_thread(items.cluster.wait_caught_up)
            async with cluster.session() as session:
                moment = text("SELECT pg_is_in_recovery(), now()")
                first, second = [(await session.execute(moment)).one() for _ in range(2)]
            assert first[0] is True
            assert first == second, "one transaction"
            assert cluster.status().members[1].transactions > before


def test_a_later_commit_covers_one_whose_position_is_unknown() -> None:
    """The visitor is free again; but a transaction that began before the unknown one covers nothing."""
    scope = Scope()

    def doubt() -> None:
        scope.advance(Token.unknown("pg:1", 1), confirmed=False)

    def commits(position: int, *, began: float, timeline: int = 1) -> Token:
        scope.advance(token(timeline, position), began=began)
        assert scope.token is not None
        return scope.token

    before = time.monotonic()
    doubt()
    assert not commits(100, began=before).is_known
    between = time.monotonic()
    doubt()
    assert not commits(200, began=between).is_known
    assert commits(300, began=time.monotonic()) == token(1, 300)
    assert commits(400, began=time.monotonic(), timeline=0) == token(1, 300), "it says nothing"


def test_two_threads_that_commit_at_once() -> None:
    """The scope keeps the later position, whichever thread is interrupted while it compares them."""
    scope = Scope(token(1, 50))
    other = threading.Thread(target=lambda: scope.advance(token(1, 300)))

    class Interrupted(int):
        def __gt__(self, value: int) -> bool:
            if not other.ident:
                other.start()
                other.join(0.5)  # it is through, or waits for this one
            return int(self) > value

        def __lt__(self, value: int) -> bool:
            return int(self) < value

        def __eq__(self, value: object) -> bool:
            return int(self) == value

        __hash__ = int.__hash__

    scope.advance(token(1, Interrupted(200)))
    other.join(20)
    assert scope.token == token(1, 300)
    assert scope.commits == 2


def test_a_scope_in_a_scope() -> None:
    """It starts from what the outer one was promised; its commits and open writes are the outer one's too."""
    outer = Scope(token(1, 100))
    inner = Scope(token(1, 50), parent=outer)
    assert inner.token == outer.token
    inner.advance(token(1, 200))
    assert outer.token == token(1, 200)
    assert outer.commits == 1

    class Pending:
        def has_uncommitted_writes(self) -> bool:
            return True

    pending = Pending()
    inner.watch(pending)
    assert outer.has_uncommitted_writes()
    del pending
    assert not outer.has_uncommitted_writes()

"""The reads that the primary takes over from its replicas, and no more than it can bear."""

import asyncio
import gc
import threading
from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeout

from scalekit.database import ANY, STRONG, AsyncCluster, Cluster
from scalekit.database.fallback import Fallback, Turn, give_back
from scalekit.errors import ConfigurationError, NoServerAvailable, TooManyFallbackReads
from tests.conftest import Database
from tests.database._waiting import wait
from tests.servers.ports import free_port
from tests.servers.waiting import wait_until

READ = text("SELECT stock, pg_is_in_recovery() FROM item WHERE id = 1")
WRITE = text("UPDATE item SET stock = stock + 1 WHERE id = 1 RETURNING stock")


class Waiting:
    """As the threads' monitor does it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()

    def wait(self, condition: Callable[[], bool], timeout: float) -> None:
        with self._changed:
            self._changed.wait_for(condition, timeout)

    def changed(self) -> None:
        with self._changed:
            self._changed.notify_all()


def make(limit: int | None) -> Fallback:
    monitor = Waiting()
    return Fallback(lambda: monitor, limit=lambda: limit, reasons=lambda: {"replica": "is on fire"})


def test_who_came_first_is_first() -> None:
    """14. Ten wait for one place: they get it in the order in which they came."""
    fallback, order = make(1), list[int]()
    first = fallback.enter(0)

    def visit(number: int) -> None:
        turn = fallback.enter(20)
        order.append(number)
        turn.give_back()

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(10)]
    for number, thread in enumerate(threads):
        thread.start()
        wait(partial(lambda waiting: fallback.waits == waiting, number + 1))
    first.give_back()
    for thread in threads:
        thread.join(20)
    assert order == list(range(10))
    assert (fallback.in_flight, fallback.reads, fallback.refused) == (0, 11, 0)


def test_beyond_the_limit() -> None:
    """14. The error says how many there are, which replica is why, and what to do; nobody is forgotten."""
    fallback = make(2)
    turns = [fallback.enter(0), fallback.enter(0)]
    with pytest.raises(
        TooManyFallbackReads, match=r"had 2 of their reads .* \(replica: is on fire\)"
    ) as error:
        fallback.enter(0.01)
    assert error.value.limit == 2
    assert error.value.reasons == {"replica": "is on fire"}
    turns[0].give_back()
    turns[0].give_back()
    fallback.enter(0)
    with pytest.raises(TooManyFallbackReads):
        fallback.enter(0)
    assert fallback.refused == 2


def test_without_a_limit() -> None:
    """A pool that makes as many connections as are asked for has no part to keep free."""
    fallback = make(None)
    for _ in range(100):
        fallback.enter(0)
    assert fallback.in_flight == 100


def test_a_place_goes_back_with_its_connection() -> None:
    """However the connection's use ends: what is kept with it is given back once."""
    fallback = make(1)
    info: dict[str, Turn] = {}
    fallback.enter(0).keep_with(info)
    assert fallback.in_flight == 1
    give_back(info)
    give_back(info)
    assert fallback.in_flight == 0


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "5"])
def test_wrong_limits(wrong: object) -> None:
    """The option is a number of reads."""
    with pytest.raises(ConfigurationError, match="fallback_reads="):
        Cluster("sqlite://", fallback_reads=wrong)  # type: ignore[arg-type]


def nobody(items: Database, driver: str) -> list[str]:
    """The URL of a replica that does not run."""
    replica = items.cluster.replicas[0]
    return [items.replica_urls(driver)[0].replace(f":{replica.port}/", f":{free_port()}/")]


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_writes_are_not_starved_by_fallback_reads(
    items: Database, make_async: Callable[..., AsyncCluster], driver: str
) -> None:
    """14. No replica: reads hold half of the primary's pool, beyond it is a clear error; writes go on."""
    options = {"pool_size": 2, "max_overflow": 2, "pool_timeout": 0.3}
    cluster = make_async(driver, replicas=nobody(items, driver), **options)
    sessions = [cluster.session() for _ in range(2)]
    for session in sessions:
        assert (await session.execute(READ)).one() == (0, False)
    async with cluster.session() as session:
        with pytest.raises(TooManyFallbackReads, match=r"had 2 of their reads .*raise fallback_reads="):
            await session.execute(READ)
    async with cluster.session() as session:
        assert (await session.execute(WRITE)).scalar_one() == 1
        await session.commit()
    # Who asks for the primary is no fallback, and who waits gets the place that becomes free, in time.
    cluster._fleet.members[0].pool_timeout = 30
    async with cluster.session(consistency=STRONG) as session:
        assert (await session.execute(READ)).one() == (1, False)
    sessions.append(cluster.session())
    waiting = asyncio.create_task(sessions[2].execute(READ))
    await sessions[0].close()
    assert (await waiting).one() == (1, False)
    for session in sessions:
        await session.close()
    assert cluster._fleet.fallback.in_flight == 0


def test_synchronous_fallback_reads(items: Database, make_sync: Callable[..., Cluster]) -> None:
    """14. The same in threads; a place comes back from a session that was lost, or whose connection was."""
    cluster = make_sync(replicas=nobody(items, "psycopg"), fallback_reads=1, pool_timeout=0.3)
    fallback = cluster._fleet.fallback

    def read() -> None:
        with cluster.session() as session:
            assert session.execute(READ).one() == (0, False)

    forgotten = cluster.session()
    forgotten.execute(READ)
    with pytest.raises(NoServerAvailable):
        read()
    with pytest.raises(NoServerAvailable), cluster.connection(read=True):
        pass
    del forgotten
    gc.collect()
    read()
    with cluster.session() as session:
        session.execute(READ)
        session.connection().invalidate()
    read()
    with cluster.connection(read=True) as connection:
        assert connection.execute(READ).one() == (0, False)
        assert fallback.in_flight == 1
    assert fallback.in_flight == 0


def test_a_full_pool(items: Database, make_sync: Callable[..., Cluster]) -> None:
    """27. Waited for in several turns, it is one error in the end: which server, how long, and what helps."""
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 1.5, "connect_timeout": 0.5}
    cluster = make_sync(replicas=items.replica_urls("psycopg")[:1], fallback_reads=1, **options)
    with cluster.session() as session:
        session.execute(READ)
    wait_until(lambda: cluster.status().members[1].role == "replica", what="the replica is read from")
    for member, level in zip(cluster.status().members, (STRONG, ANY), strict=True):
        with cluster.session(consistency=level) as holding, cluster.session(consistency=level) as waiting:
            holding.execute(READ)
            with pytest.raises(PoolTimeout) as raised:
                waiting.execute(READ)
        assert str(raised.value).startswith(
            f"no connection to {member.name} became free in 1.5 s: all 1 are in use; shorten"
        )

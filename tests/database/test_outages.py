"""Servers that go out and come back, as those who wait for them and those who operate them see it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest
from sqlalchemy import text

from scalekit.database import ANY, STRONG, AsyncCluster
from scalekit.errors import NoServerAvailable
from tests.database.conftest import ITEMS
from tests.faults import freeze
from tests.servers import PostgresCluster

pytestmark = pytest.mark.slow

READ = text("SELECT stock FROM item WHERE id = 1")
WRITE = text("UPDATE item SET stock = stock + 1 WHERE id = 1 RETURNING stock")


@pytest.fixture(scope="module")
def servers() -> Iterator[PostgresCluster]:
    """A primary and a replica with a table, to be frozen and killed; each test leaves both running."""
    with PostgresCluster(replicas=1) as cluster:
        cluster.primary.sql(ITEMS)
        cluster.wait_caught_up()
        yield cluster


@pytest.fixture(autouse=True)
def one_item(servers: PostgresCluster) -> None:
    servers.primary.sql("TRUNCATE item", "INSERT INTO item VALUES (1, 'one')")
    servers.wait_caught_up()


def over(servers: PostgresCluster, driver: str = "asyncpg", **options: object) -> AsyncCluster:
    options = {"probe_interval": 0.1, "probe_timeout": 0.5, **options}
    replicas = [replica.url(driver) for replica in servers.replicas]
    return AsyncCluster(servers.primary.url(driver), replicas=replicas, **options)  # type: ignore[arg-type]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def roles(cluster: AsyncCluster, *wanted: str) -> None:
    """Return when the members have these roles."""
    await until(lambda: tuple(member.role for member in cluster.status().members) == wanted)


async def write(cluster: AsyncCluster) -> int:
    async with cluster.session() as session:
        stock: int = (await session.execute(WRITE)).scalar_one()
        await session.commit()
        return stock


async def read(cluster: AsyncCluster, level: object) -> int:
    async with cluster.session(consistency=level) as session:  # type: ignore[arg-type]
        stock: int = (await session.execute(READ)).scalar_one()
        return stock


async def is_refused(transaction: Awaitable[object], why: str) -> None:
    with pytest.raises(NoServerAvailable, match=why):
        async with asyncio.timeout(20):
            await transaction


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_frozen_primary(servers: PostgresCluster, driver: str) -> None:
    """16. SIGSTOP, and nobody is promoted: what needs the primary ends in an error and waits on no pooled
    connection, from the first answer that does not come. What was under way is not cut: it ends well when
    the server goes on, and so does everything else, without a restart."""
    async with over(servers, driver, failover_wait=0.3, connect_timeout=4) as cluster:
        ready = asyncio.Event()

        async def commit_later() -> None:
            async with cluster.session() as session:
                await session.execute(WRITE)
                ready.set()
                await frozen.wait()
                await session.commit()

        frozen = asyncio.Event()
        await asyncio.gather(*(read(cluster, STRONG) for _ in range(4)))  # the pool has connections
        await roles(cluster, "primary", "replica")
        under_way = asyncio.create_task(commit_later())
        await ready.wait()
        member = cluster._fleet.members[0]
        with freeze(servers.primary):
            frozen.set()
            await until(lambda: member.suspected is not None)
            assert cluster.status().primary == member.name, "it is only being asked over a new connection"
            await is_refused(read(cluster, STRONG), member.name)
            await is_refused(write(cluster), member.name)
            assert await read(cluster, ANY) == 0
            await roles(cluster, "out", "replica")
            await is_refused(write(cluster), f"no primary.*{member.name}")
            assert not under_way.done()
        async with asyncio.timeout(20):
            await under_way
        cluster._fleet.failover_wait = 30
        assert await write(cluster) == 2
        await roles(cluster, "primary", "replica")

"""Promotions of real servers: what is lost is told, and what was promised to be kept is there."""

import asyncio
import logging
from contextlib import suppress

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from scalekit.database import AsyncCluster, Token
from scalekit.errors import DatabaseError, OutcomeUnknown
from tests.database._waiting import until, until_roles
from tests.database.conftest import ITEMS, PATIENT
from tests.faults import freeze, kill, promote
from tests.servers import PostgresCluster, PostgresServer
from tests.servers.waiting import wait_until

pytestmark = pytest.mark.slow

READ = text("SELECT stock, pg_is_in_recovery() FROM item WHERE id = 1")
WRITE = text("UPDATE item SET stock = stock + 1 WHERE id = 1")


def over(servers: PostgresCluster, driver: str, **options: object) -> AsyncCluster:
    # Whoever comes back gets its reads at once.
    options = {**PATIENT, "probe_interval": 0.1, "failover_wait": 20, "ramp": 0, **options}
    replicas = [replica.url(driver) for replica in servers.replicas]
    return AsyncCluster(servers.primary.url(driver), replicas=replicas, **options)  # type: ignore[arg-type]


def fill(servers: PostgresCluster) -> None:
    servers.primary.sql(ITEMS, "INSERT INTO item VALUES (1, 'one')")
    servers.wait_caught_up()


def cut_off(replica: PostgresServer) -> None:
    """It receives nothing any more."""
    replica.sql("ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
    query = "SELECT count(*) FROM pg_stat_wal_receiver"
    wait_until(lambda: replica.sql(query) == "0", what="the replica receives nothing")


async def read(cluster: AsyncCluster, token: Token | None = None) -> tuple[int, bool]:
    with cluster.scope(token):
        async with cluster.session() as session:
            return tuple((await session.execute(READ)).one())


async def write(cluster: AsyncCluster) -> Token:
    with cluster.scope() as scope:
        async with cluster.session() as session:
            await session.execute(WRITE)
            await session.commit()
        assert scope.token is not None
        return scope.token


async def test_a_lost_commit_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """16. Asynchronous replication: the status and the log say that, where and how much; and a token of the
    old timeline is answered by replicas if they have it, by the primary if nobody has."""
    with PostgresCluster() as servers:
        fill(servers)
        chosen, other = servers.replicas
        async with over(servers, "asyncpg") as cluster:
            kept = await write(cluster)
            await asyncio.to_thread(servers.wait_caught_up)
            await until_roles(cluster, "primary", "replica", "replica")
            for replica in servers.replicas:
                await asyncio.to_thread(cut_off, replica)
            with cluster.scope():  # one visitor: the second write is known to come after the first
                lost = [await write(cluster) for _ in range(3)][-1]
            await asyncio.to_thread(kill, servers.primary)
            with caplog.at_level(logging.WARNING, "scalekit.database"):
                await asyncio.to_thread(promote, chosen)
                await until_roles(cluster, "out", "primary", "out")
            (promotion,) = cluster.status().promotions
            assert (promotion.timeline, promotion.lost) == (2, True)
            assert promotion.member == cluster.status().primary
            assert promotion.position == chosen.sql("SELECT pg_last_wal_replay_lsn()")
            assert promotion.behind
            assert f"its last {promotion.behind} bytes is lost" in caplog.text

            await asyncio.to_thread(other.sql, "ALTER SYSTEM RESET primary_conninfo")
            await asyncio.to_thread(other.follow, chosen)
            await until_roles(cluster, "out", "primary", "replica")
            assert await read(cluster, kept) == (1, True)
            assert await read(cluster, lost) == (1, False), "lost, and nobody claims to have it"


async def test_no_acknowledged_commit_is_lost_with_synchronous_replication() -> None:
    """16. A replica has confirmed each commit, and the one that has most is promoted: they all are there."""
    with PostgresCluster(synchronous_standby_names="ANY 1 (*)") as servers:
        fill(servers)
        async with over(servers, "psycopg", failover_wait=0.1) as cluster:
            acknowledged: list[int] = []
            numbers = iter(range(2, 100_000))

            async def writer() -> None:
                with suppress(DBAPIError, DatabaseError):
                    for number in numbers:
                        async with cluster.session() as session:
                            await session.execute(
                                text("INSERT INTO item VALUES (:id, 'new')"), {"id": number}
                            )
                            await session.commit()
                        acknowledged.append(number)

            writers = [asyncio.create_task(writer()) for _ in range(8)]
            await until(lambda: len(acknowledged) >= 200)
            await asyncio.to_thread(kill, servers.primary)
            await asyncio.gather(*writers)

            def received(replica: PostgresServer) -> int:
                return int(replica.sql("SELECT pg_last_wal_receive_lsn() - '0/0'::pg_lsn"))

            chosen = max(servers.replicas, key=received)
            await asyncio.to_thread(promote, chosen)
            await until(lambda: cluster.status().promotions)
            found = chosen.sql("SELECT id FROM item").split()
            assert set(acknowledged) <= set(map(int, found))
            assert cluster.status().promotions[0].lost is not True


@pytest.mark.parametrize("asked", [False, True])
async def test_a_promoted_node_behind_a_pooled_reader_is_noticed_by_its_next_reply(asked: bool) -> None:
    """18. 19. The old primary lives and nobody is asked for an hour: the next read tells, whether it was sent
    as it was or, for a visitor who has written, after a question."""
    with PostgresCluster(replicas=1) as servers:
        fill(servers)
        async with over(servers, "psycopg", probe_interval=3600) as cluster:
            assert await read(cluster) == (0, True)
            token = await write(cluster) if asked else None
            await asyncio.to_thread(servers.wait_caught_up)
            await asyncio.to_thread(promote, servers.replicas[0])
            before = int(asked)
            assert await read(cluster, token) == (before, False)
            await until_roles(cluster, "out", "primary")
            await write(cluster)
            assert servers.replicas[0].sql("SELECT stock FROM item") == str(before + 1)
            assert servers.primary.sql("SELECT stock FROM item") == str(before)
            assert cluster.status().promotions[0].lost is False


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_primary_that_hangs_and_is_replaced(driver: str) -> None:
    """16. 17. 18. SIGSTOP: who waits on it is told when another is promoted, of a COMMIT that its outcome is
    unknown; the others' writes go on there, and when it wakes up it gets nothing."""
    with PostgresCluster(replicas=1) as servers:
        fill(servers)
        impatient = {"probe_timeout": 0.5, "connect_timeout": 1, "failover_wait": 60}
        async with over(servers, driver, **impatient) as cluster:
            await write(cluster)
            await asyncio.to_thread(servers.wait_caught_up)
            await until_roles(cluster, "primary", "replica")
            async with cluster.session() as first, cluster.session() as second:
                await first.execute(WRITE)
                await second.execute(text("INSERT INTO item VALUES (2, 'two')"))
                with freeze(servers.primary):
                    committing = asyncio.create_task(first.commit())
                    asking = asyncio.create_task(second.execute(text("INSERT INTO item VALUES (3, 'three')")))
                    await until_roles(cluster, "out", "replica")
                    assert not committing.done()
                    waiting = asyncio.create_task(write(cluster))
                    await asyncio.to_thread(promote, servers.replicas[0])
                    async with asyncio.timeout(60):
                        await waiting
                        with pytest.raises(OutcomeUnknown):
                            await committing
                        with pytest.raises(DBAPIError):
                            await asking
            for _ in range(5):
                await write(cluster)
            await until(lambda: "old primary" in str(cluster.status().members[0].reason))
            assert servers.replicas[0].sql("SELECT stock FROM item WHERE id = 1") == "7"
            assert servers.primary.sql("SELECT count(*) FROM item") == "1"

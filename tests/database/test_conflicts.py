"""Reads that a replica cancels, and servers that are too old."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from scalekit.database import ANY, AsyncCluster
from scalekit.database.backends.postgresql import PostgreSQL
from scalekit.errors import NoServerAvailable
from tests.conftest import Database
from tests.database._readers import all_readers
from tests.servers.postgres import PostgresServer
from tests.servers.waiting import wait_until

# Slow on a replica only, with a lock on the table that is about to change.
SLOW = text(
    "SELECT pg_is_in_recovery(), pg_sleep(CASE WHEN pg_is_in_recovery() THEN 60 ELSE 0 END) "
    "FROM item WHERE id = 1"
)
SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"


@pytest.fixture
def impatient(items: Database) -> Iterator[PostgresServer]:
    """A replica that lets no read delay what it has to apply."""
    replica = items.cluster.replicas[0]
    replica.sql("ALTER SYSTEM SET max_standby_streaming_delay = 0")
    replica.sql("SELECT pg_reload_conf()")
    wait_until(lambda: replica.sql("SHOW max_standby_streaming_delay") == "0", what="the setting")
    yield replica
    replica.sql("ALTER SYSTEM RESET max_standby_streaming_delay")
    replica.sql("SELECT pg_reload_conf()")


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_reads_that_a_replica_cancels(
    make_async: Callable[..., AsyncCluster], items: Database, impatient: PostgresServer, driver: str
) -> None:
    """12. The first of a transaction is repeated; a later one raises, with replica and cure. Both count."""
    cluster = make_async(driver, replicas=[impatient.url(driver, items.name)], consistency=ANY)

    async def read(session: AsyncSession, change: str) -> Any:
        reading = asyncio.create_task(session.execute(SLOW))
        await asyncio.to_thread(wait_until, lambda: impatient.sql(SLEEPING) == "1", what="the read")
        await asyncio.to_thread(items.cluster.primary.sql, change, database=items.name)
        return (await reading).one()[0]

    async with cluster.session() as session:
        assert await read(session, "ALTER TABLE item ADD COLUMN more int") is False
    async with cluster.session() as session:
        assert (await session.execute(text("SELECT pg_is_in_recovery()"))).scalar_one() is True
        with pytest.raises(DBAPIError) as raised:
            await read(session, "ALTER TABLE item DROP COLUMN more")
    replica = cluster.status().members[1]
    assert f"the replica {replica.name} cancelled it" in str(raised.value)
    assert "set hot_standby_feedback=on" in str(raised.value)
    assert replica.cancellations == 2


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_every_replica_cancels_a_read(
    make_async: Callable[..., AsyncCluster], items: Database, driver: str
) -> None:
    """12. Each is tried once, and then the primary."""
    items.cluster.primary.sql(
        "CREATE FUNCTION conflict() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN IF pg_is_in_recovery() THEN "
        "RAISE EXCEPTION 'conflict with recovery' USING ERRCODE = '40001'; END IF; RETURN false; END $$",
        database=items.name,
    )
    items.cluster.wait_caught_up()
    cluster = make_async(driver, consistency=ANY)
    await all_readers(cluster)
    async with cluster.session() as session:
        assert (await session.execute(text("SELECT conflict()"))).scalar_one() is False
    assert [member.repeats for member in cluster.status().members] == [0, 1, 1]


async def test_servers_that_are_too_old(
    make_async: Callable[..., AsyncCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found when they are asked: each says what it runs and what it should, and nothing is sent there."""
    monkeypatch.setattr(PostgreSQL, "oldest", (99,))
    cluster = make_async(failover_wait=0)
    with pytest.raises(NoServerAvailable, match=r"PostgreSQL \d+\.\d+ is too old, .* need 99 or later"):
        async with cluster.session() as session:
            await session.execute(text("SELECT 1"))
    assert {member.role for member in cluster.status().members} == {"out"}

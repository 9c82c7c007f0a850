"""Reads per second that a primary and two replicas answer, against the primary alone.

What this can show: reads are spread over the replicas, and each of them is used to its limit. What it cannot:
that three servers do three times the work. On a machine of two processors, servers and clients share these,
and a second server adds nothing. So each server is played by one that has little to give, whatever the
machine does: a read keeps one of its few connections for a time, without any processor (``pg_sleep``).
"""

from collections.abc import AsyncIterator

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from benchmarks._database_items import many
from benchmarks.harness import Case
from scalekit.database import AsyncCluster
from tests.database._lag import meet
from tests.servers import PostgresCluster

MILLISECONDS = 20
READ = text(f"SELECT pg_sleep({MILLISECONDS / 1000})")
POOL = {"pool_size": 2, "max_overflow": 0}


async def cases(servers: PostgresCluster) -> AsyncIterator[Case]:
    primary, *replicas = (server.url("asyncpg") for server in (servers.primary, *servers.replicas))
    engine = create_async_engine(primary, **POOL)
    async with AsyncCluster(primary, replicas=replicas, **POOL) as cluster:
        async with cluster.session() as session:
            await session.run_sync(lambda _: meet(cluster))

        async def ours() -> None:
            async with cluster.session() as session:
                await session.execute(READ)

        async def alone() -> None:
            async with AsyncSession(engine) as session:
                await session.execute(READ)

        yield Case(
            piece="database",
            name=f"throughput, 2 replicas that answer 2 reads in {MILLISECONDS} ms, 8 concurrent",
            ours=many(ours, concurrent=8, each=5),
            peers={"the primary alone": many(alone, concurrent=8, each=5)},
            units=40,
            rounds=5,
        )
        read_from = [member.transactions for member in cluster.status().members]
        assert min(read_from[1:]) > 0, f"not spread over the replicas: {read_from}"
    await engine.dispose()

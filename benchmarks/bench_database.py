"""The database piece: routing alone, units of a session, and many servers together.

The three files say what they measure. All of it runs on one PostgreSQL primary with two replicas.
"""

from collections.abc import AsyncIterator

from benchmarks import bench_database_routing, bench_database_servers, bench_database_units
from benchmarks._database_items import fill
from benchmarks.harness import Case
from tests.servers import PostgresCluster


async def cases() -> AsyncIterator[Case]:
    with PostgresCluster(replicas=2) as servers:
        fill(servers)
        for module in (bench_database_routing, bench_database_units, bench_database_servers):
            async for case in module.cases(servers):
                yield case

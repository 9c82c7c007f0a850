"""Waiting for replicas to be read from, for the tests."""

from sqlalchemy import text

from scalekit.database import AsyncCluster
from tests.database._waiting import until


async def all_readers(cluster: AsyncCluster) -> None:
    """Return when both replicas are read from."""
    async with cluster.session() as session:
        await session.execute(text("SELECT 1"))
    await until(lambda: len(cluster._fleet.readers) == 2)

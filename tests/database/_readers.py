"""Waiting for replicas to be read from, for the tests."""

import asyncio

from sqlalchemy import text

from scalekit.database import AsyncCluster


async def all_readers(cluster: AsyncCluster) -> None:
    """Return when both replicas are read from."""
    async with cluster.session() as session:
        await session.execute(text("SELECT 1"))
    async with asyncio.timeout(20):
        while len(cluster._fleet.readers) < 2:
            await asyncio.sleep(0.02)

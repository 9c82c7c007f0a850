"""Who is cancelled while it waits for news of the members, and how it ends."""

import asyncio

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("asyncpg")

from scalekit.database import AsyncCluster


async def test_a_cancellation_that_comes_with_the_news() -> None:
    """A task that is cancelled at the moment at which it hears of a change waits no more."""
    url = "postgresql+asyncpg://app@127.0.0.1:1/shop"
    async with AsyncCluster(url, replicas=[url.replace(":1/", ":2/")]) as cluster:
        monitor = cluster._tasks
        task = asyncio.create_task(monitor._wait(lambda: False, 30))
        while not monitor._waiters:
            await asyncio.sleep(0)
        monitor.changed()
        asyncio.get_running_loop().call_soon(task.cancel)
        await asyncio.wait({task}, timeout=5)
        assert task.cancelled()

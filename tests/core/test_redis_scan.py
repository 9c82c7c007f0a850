"""Going through the keys of a Redis, for people: how it is stopped."""

import asyncio
from typing import Any

import pytest

pytest.importorskip("redis")

from scalekit._redis import scan


async def test_a_cancellation_that_comes_with_the_answer() -> None:
    """Who is stopped at the moment at which the server answers goes no further."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Any] = loop.create_future()

    async def ask() -> None:
        await scan._within(answer, 30)
        await asyncio.Event().wait()  # for what is to be asked next

    task = asyncio.create_task(ask())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    answer.set_result(b"0")
    loop.call_soon(task.cancel)
    await asyncio.wait({task}, timeout=5)
    stopped = task.cancelled()
    task.cancel()
    assert stopped

"""The client of S3Storage: made once for each event loop, and closed whatever happens while it is made."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from scalekit.storage._s3_client import Clients
from tests.storage.helpers import eventually


class Made:
    """Clients that take as long to be made as the test wants; the first ``failing`` of them fail."""

    def __init__(self, *, failing: int = 0) -> None:
        self.begun = self.open = 0
        self.failing = failing
        self.go_on = asyncio.Event()

    def __call__(self) -> AbstractAsyncContextManager[object]:
        return self._client()

    @asynccontextmanager
    async def _client(self) -> AsyncGenerator[object, None]:
        self.begun += 1
        number = self.begun
        await self.go_on.wait()
        if number <= self.failing:
            raise ConnectionError("no credentials today")
        self.open += 1
        try:
            yield object()
        finally:
            self.open -= 1


async def test_closed_while_it_is_made() -> None:
    """4. A storage that is closed during its first request, cancelled or not, leaves no client open."""
    made = Made()
    clients = Clients(None, made)
    first = asyncio.create_task(clients.get())
    await eventually(lambda: made.begun == 1)
    first.cancel()
    await asyncio.wait({first})
    closing = asyncio.create_task(clients.aclose())
    await asyncio.sleep(0)
    made.go_on.set()
    await closing
    await eventually(lambda: not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()])
    assert (made.begun, made.open) == (1, 0)


async def test_one_that_could_not_be_made_takes_no_other_along() -> None:
    """Whoever hears last that there is no client leaves alone the one that another has asked for since."""
    made = Made(failing=1)
    clients = Clients(None, made)

    async def again() -> object:
        try:
            return await clients.get()
        except ConnectionError:
            return await clients.get()

    async def once() -> object:
        with pytest.raises(ConnectionError):
            await clients.get()
        return None

    waiting = [asyncio.create_task(again()), asyncio.create_task(once())]
    await eventually(lambda: made.begun == 1)
    made.go_on.set()
    await asyncio.gather(*waiting)
    assert await clients.get() is await waiting[0]
    assert (made.begun, made.open) == (2, 1)
    await clients.aclose()
    assert made.open == 0

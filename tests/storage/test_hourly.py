"""What servers do on behalf of all disturbs neither their beginning nor their end."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from scalekit.storage import MemoryStorage, Storage
from scalekit.storage._hourly import EVERY, Hourly
from scalekit.storage.quarantine import Quarantine
from scalekit.storage.s3 import S3Storage
from scalekit.storage.tus import FinishedUpload, TusUploads
from tests.storage.helpers import eventually
from tests.storage.stand_in import S3StandIn
from tests.storage.tus_requests import SECRET, Clock, client_of, create, patch


async def nothing() -> None:
    pass


async def test_not_as_a_server_starts() -> None:
    """7. Servers that start together sweep at different moments of their first hour, then once an hour."""
    seconds, done = 0.0, dict[float, list[float]]()

    def server(moment: float) -> Hourly:
        async def work() -> None:
            done.setdefault(moment, []).append(seconds)

        return Hourly(work, lambda: 1e9 + seconds, lambda: moment)

    servers = [server(moment) for moment in (0.01, 0.5, 0.99)]
    for minute in range(180):
        seconds = minute * 60.0
        for each in servers:
            each.remind()
        await eventually(lambda: all(each.idle for each in servers))
    assert done == {
        0.01: [60, 60 + EVERY, 60 + 2 * EVERY],
        0.5: [1800, 1800 + EVERY, 1800 + 2 * EVERY],
        0.99: [3600, 3600 + EVERY],
    }


def test_the_moment_is_another_one_for_each() -> None:
    """7. Nobody has to say when."""
    moments = {Hourly(nothing, lambda: 0.0).moment() for _ in range(20)}
    assert len(moments) == 20
    assert all(0 <= moment < 1 for moment in moments)


class Clients:
    """What makes clients of a stand-in, and counts those that are open."""

    def __init__(self, server: S3StandIn) -> None:
        self.server, self.made, self.open = server, 0, 0
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Any:
        from aiobotocore.session import get_session

        making = get_session().create_client("s3", **self.server.client_kwargs)
        client = await self._stack.enter_async_context(making)
        self.made, self.open = self.made + 1, self.open + 1
        return client

    async def __aexit__(self, *error: object) -> None:
        self.open -= 1
        await self._stack.aclose()


def itself(storage: S3Storage) -> Storage:
    return storage


def in_quarantine(storage: S3Storage) -> Storage:
    async def scan(stored: object, content: object) -> None:
        return None

    return Quarantine(storage.scoped("a/"), scan=scan).waiting.scoped("b/")


around = pytest.mark.parametrize("wrapped", [itself, in_quarantine])


@around
async def test_a_storage_is_closed_over_a_sweep(
    stand_in: S3StandIn, wrapped: Callable[[S3Storage], Storage]
) -> None:
    """4, 7. A sweep that is under way ends before the connections are closed, and opens none after that."""
    clients, begun, go_on, open_at_its_end = Clients(stand_in), asyncio.Event(), asyncio.Event(), list[int]()
    whole = S3Storage("media", client=clients)
    storage = wrapped(whole)

    async def sweep() -> None:
        await storage.stat("a")
        begun.set()
        try:
            await go_on.wait()
        finally:
            open_at_its_end.append(clients.open)
        await storage.stat("b")

    hourly = Hourly(sweep, lambda: 0.0, lambda: 0.0)
    await storage.stat("a")
    hourly.remind()
    await begun.wait()
    await whole.aclose()
    go_on.set()
    await eventually(lambda: hourly.idle)
    assert open_at_its_end == [1]
    assert (clients.made, clients.open) == (1, 0)


@around
async def test_a_sweep_begins_when_the_storage_is_closed(
    stand_in: S3StandIn, wrapped: Callable[[S3Storage], Storage], caplog: pytest.LogCaptureFixture
) -> None:
    """4, 7. It waits until somebody uses the storage again; that it could not is worth no warning."""
    clients, swept = Clients(stand_in), list[int]()
    whole = S3Storage("media", client=clients)
    storage = wrapped(whole)

    async def sweep() -> None:
        await asyncio.gather(storage.stat("a"), asyncio.create_task(nothing()))
        swept.append(1)

    hourly = Hourly(sweep, lambda: 0.0, lambda: 0.0)
    for _ in range(2):
        hourly.remind()
        await eventually(lambda: hourly.idle)
        assert (clients.made, swept) == (0, [])
    await storage.stat("a")
    hourly.remind()
    await eventually(lambda: hourly.idle)
    assert (clients.made, swept) == (1, [1])
    await whole.aclose()
    assert clients.open == 0
    assert not [entry for entry in caplog.records if entry.levelno >= logging.WARNING]


async def test_a_server_is_shut_down_over_a_sweep(stand_in: S3StandIn) -> None:
    """4, 7. The application is being told of a file as it closes the storage: nothing opens that again."""
    clients, told, hold = Clients(stand_in), list[str](), asyncio.Event()

    async def on_complete(file: FinishedUpload) -> None:
        told.append(file.key)
        if len(told) == 1:
            raise ConnectionError("killed")
        await hold.wait()

    async with S3Storage("media", client=clients) as storage:
        app = TusUploads(storage, secret_key=SECRET, expires=EVERY, on_complete=on_complete)
        app._sweeper._hourly.moment = lambda: 0.0
        clock = Clock(app)
        async with client_of(app) as client:
            url = await create(client, 5)
            with pytest.raises(ConnectionError):
                await patch(client, url, 0, b"hello")
            clock.seconds = 3 * EVERY + 1
            await create(client, 5)
            await eventually(lambda: len(told) == 2)
    hold.set()
    await eventually(lambda: app._sweeper._hourly.idle)
    assert (clients.made, clients.open) == (1, 0)
    assert len(told) == 2


async def test_closed_by_the_sweep_itself(stand_in: S3StandIn) -> None:
    """4. What an application does when it is told of a file may be to close: it does not wait for itself."""
    clients = Clients(stand_in)
    storage = S3Storage("media", client=clients)

    async def sweep() -> None:
        await storage.stat("a")
        await storage.aclose()

    hourly = Hourly(sweep, lambda: 0.0, lambda: 0.0)
    await storage.stat("a")
    hourly.remind()
    await eventually(lambda: hourly.idle)
    assert (clients.made, clients.open) == (1, 0)


async def test_stopped_before_it_began() -> None:
    """4. A server that is shut down right after it was reminded."""
    storage = MemoryStorage()

    async def sweep() -> None:
        await storage.put("a", b"")

    hourly = Hourly(sweep, lambda: 0.0, lambda: 0.0)
    hourly.remind()
    assert hourly._working is not None
    hourly._working.cancel()
    await eventually(lambda: hourly.idle)
    assert await storage.stat("a") is None

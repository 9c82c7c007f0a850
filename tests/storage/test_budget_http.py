"""The memory budget behind a real server: what its clients do decides what is held."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from scalekit.storage import MiB
from scalekit.storage.budget import MemoryBudget
from scalekit.storage.forms import stream_form
from scalekit.storage.s3 import S3Storage
from tests.storage.forms import BOUNDARY, form, part
from tests.storage.helpers import eventually
from tests.storage.served import served_by_uvicorn
from tests.storage.stand_in import S3StandIn

pytestmark = pytest.mark.slow

PART = 5 * MiB
CHUNK = 256 * 1024
"""What a server hands over at once, at most: four times the usual."""


@asynccontextmanager
async def _served(stand_in: S3StandIn, memory: MemoryBudget) -> AsyncGenerator[tuple[str, int], None]:
    async with S3Storage("media", part_size=PART, memory=memory, **stand_in.client_kwargs) as storage:

        async def upload(request: Request) -> PlainTextResponse:
            async with stream_form(request, storage, max_file_size=20 * MiB) as found:
                return PlainTextResponse(str(found.files["file"].size))

        app = Starlette(routes=[Route("/", upload, methods=["POST"])])
        async with served_by_uvicorn(app) as address:
            yield address


class _Client:
    """A browser that sends a file of ``size`` bytes."""

    def __init__(self, address: tuple[str, int], size: int) -> None:
        self.address, self.size = address, size
        self.body = form(part("file", b"x" * size, filename="a.bin"))
        self.sent = 0

    async def send(self, until: float = 1.0) -> None:
        """This fraction of it, and no more for now."""
        if not self.sent:
            self.reader, self.writer = await asyncio.open_connection(*self.address)
            kind = f"multipart/form-data; boundary={BOUNDARY}"
            head = f"POST / HTTP/1.1\r\nHost: test\r\nContent-Type: {kind}\r\nConnection: close\r\n"
            self.writer.write(f"{head}Content-Length: {len(self.body)}\r\n\r\n".encode())
        end = int(len(self.body) * until)
        self.writer.write(self.body[self.sent : end])
        self.sent = end
        await self.writer.drain()

    async def is_stored(self) -> None:
        """The server says that it has all of it."""
        answer = await self.reader.read()
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"\r\n%d" % self.size)
        self.writer.close()

    async def upload(self) -> None:
        await self.send()
        await self.is_stored()


@asynccontextmanager
async def _most(memory: MemoryBudget) -> AsyncGenerator[Callable[[], int], None]:
    """What is held at most, as seen between any two steps of the server."""
    seen = 0

    async def look() -> None:
        nonlocal seen
        while True:
            seen = max(seen, memory.held)
            await asyncio.sleep(0)

    task = asyncio.create_task(look())
    try:
        yield lambda: seen
    finally:
        task.cancel()


@pytest.mark.parametrize("size", [MiB, 11 * MiB], ids=["small", "large"])
async def test_slow_clients_and_quick_ones(stand_in: S3StandIn, size: int) -> None:
    """Browsers that stall in the middle of their files have filled the memory. All quick ones are stored
    nevertheless, many more than fit at once; then of the slow ones those that go on; those that go away leave
    nothing behind. What is held stays within what is said all the time.
    """
    memory, count = MemoryBudget(12 * MiB), 40 * MiB // size
    async with _served(stand_in, memory) as address, _most(memory) as most:
        slow = [_Client(address, 4 * MiB) for _ in range(7)]
        stalled = [asyncio.create_task(client.send(0.5)) for client in slow]
        await eventually(lambda: memory.held > memory.limit)
        async with asyncio.timeout(60):
            await asyncio.gather(*(_Client(address, size).upload() for _ in range(count)))
        assert not any(kept == 4 * MiB for _, _, _, kept in stand_in.objects.values())
        for client in slow[::2]:
            client.writer.transport.abort()
        async with asyncio.timeout(60):
            await asyncio.gather(*stalled[1::2])
            await asyncio.gather(*(client.upload() for client in slow[1::2]))
        await asyncio.wait(stalled)
        await eventually(lambda: memory.held == 0)
        sizes = sorted(kept for _, _, _, kept in stand_in.objects.values())
        assert sizes == sorted([size] * count + [4 * MiB] * 3)
        assert most() <= memory.limit + memory.limit // 8 + 2 * PART + 2 * CHUNK * (7 + count)

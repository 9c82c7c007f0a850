"""TusUploads in several processes, of which some are killed and some are frozen."""

import asyncio
import signal
from collections.abc import AsyncGenerator
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from scalekit.storage import FileStorage, KiB, MiB, Storage
from tests.conftest import MakeNginx
from tests.storage.helpers import eventually
from tests.storage.tus_fleet import Fleet, behind, fleet
from tests.storage.tus_requests import TUS, content_of, create, keys, offset_of, patch

pytestmark = pytest.mark.slow

PATIENCE = httpx.Timeout(60)


async def test_one_of_three_is_killed(
    shared_storage: tuple[Storage, dict[str, Any]], nginx: MakeNginx
) -> None:
    """20. Three servers behind a balancer in turn, the one that has the body killed: what it had stored
    stays, the rest goes to the others in turn, and the object is byte-identical."""
    storage, options = shared_storage
    size = options["piece_size"]
    content = content_of(3 * size + 1000 * 32)
    async with fleet(3, options) as servers:
        directives, upstream = behind(servers.ports)
        front = nginx(directives, http=upstream)
        async with httpx.AsyncClient(base_url=front.url, timeout=PATIENCE) as client:
            url = await create(client, len(content))

            async def breaks_off() -> AsyncGenerator[bytes, None]:
                for start in range(0, size * 3 // 2, 64 * KiB):
                    yield content[start : start + 64 * KiB]
                await asyncio.Event().wait()

            sending = asyncio.create_task(patch(client, url, 0, breaks_off()))

            async def stored() -> bool:
                return await offset_of(client, url) == size

            await eventually(stored, seconds=60)
            [pid] = servers.log("PATCH")
            servers.send(servers.port_of(pid), signal.SIGKILL)
            sending.cancel()
            await asyncio.wait({sending})
            offset = await offset_of(client, url)
            assert offset == size
            answered = set()
            while offset < len(content):
                part = content[offset : offset + len(content) // 12]
                answer = await patch(client, url, offset, part)
                if answer.status_code == 204:
                    answered.add(answer.headers["x-server"])
                    offset += len(part)
                    assert int(answer.headers["upload-offset"]) == offset
                else:  # what the balancer says of the one that is gone
                    assert answer.status_code == 502
                    offset = await offset_of(client, url)
    assert len(answered) == 2
    [key] = await keys(storage)
    assert set(servers.log("done")) == {key}
    assert await storage.read(key) == content


async def test_a_frozen_server_is_fenced(shared_storage: tuple[Storage, dict[str, Any]]) -> None:
    """20. A server is frozen with part of a body in its hands, another takes the upload further: when the
    first one wakes up, nothing of what it had gets in."""
    storage, options = shared_storage
    size = options["piece_size"]
    right, wrong = content_of(2 * size), bytes(2 * size)
    async with fleet(2, options) as servers:
        one, two = (httpx.AsyncClient(base_url=servers.url(port), timeout=PATIENCE) for port in servers.ports)
        url = await create(one, 2 * size)
        go_on = asyncio.Event()

        async def slowly() -> AsyncGenerator[bytes, None]:
            yield wrong[: size // 2]
            await go_on.wait()
            yield wrong[size // 2 :]

        stale = asyncio.create_task(patch(one, url, 0, slowly()))
        await eventually(lambda: bool(servers.log("PATCH")))
        servers.send(servers.ports[0], signal.SIGSTOP)
        assert (await patch(two, url, 0, right[: size + 1])).status_code == 204
        servers.send(servers.ports[0], signal.SIGCONT)
        go_on.set()
        assert (await stale).status_code == 409
        assert await offset_of(one, url) == size + 1
        assert (await patch(one, url, size + 1, right[size + 1 :])).status_code == 204
        await one.aclose()
        await two.aclose()
    [key] = await keys(storage)
    assert await storage.read(key) == right


class Uploader:
    """A client that is told nothing but offsets, and asks another server whenever one does not answer."""

    def __init__(self, servers: Fleet, random: Random, content: bytes) -> None:
        self.servers, self.random, self.content = servers, random, content
        self.seen = 0

    async def run(self, path: str) -> None:
        async with httpx.AsyncClient(timeout=1.0) as client:
            while self.seen < len(self.content):
                url = self.servers.url(self.random.choice(self.servers.ports)).rstrip("/") + path
                try:
                    answer = await client.head(url, headers=TUS)
                    if answer.status_code == 423:
                        continue
                    assert answer.status_code == 200
                    offset = int(answer.headers["upload-offset"])
                    assert offset >= self.seen, "what was told is there is not"
                    self.seen = offset
                    end = offset + self.random.randrange(1, len(self.content) // 2)
                    answer = await patch(client, url, offset, self._body(offset, end))
                    assert answer.status_code in (204, 409, 423)
                    if answer.status_code == 204:
                        self.seen = max(self.seen, int(answer.headers["upload-offset"]))
                except httpx.TransportError:
                    await asyncio.sleep(0.02)

    async def _body(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        for at in range(start, min(end, len(self.content)), 64 * KiB):
            yield self.content[at : min(end, at + 64 * KiB)]
            await asyncio.sleep(0.002)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(3))
async def test_servers_are_killed_and_frozen_at_random(seed: int, tmp_path: Path) -> None:
    """20. Three requests at a time for one upload, on three servers that are killed and frozen all the while:
    no offset goes back, and the object is byte-identical, told of, and all there is."""
    random = Random(seed)
    directory = tmp_path / "media"
    options = {"directory": str(directory), "log": str(tmp_path / "log"), "piece_size": 100_000}
    content = content_of(6 * MiB)
    async with fleet(3, options) as servers:

        async def faults() -> None:
            while True:
                port = random.choice(servers.ports)
                if random.random() < 0.5:
                    servers.send(port, signal.SIGSTOP)
                    await asyncio.sleep(random.random() * 2)
                    servers.send(port, signal.SIGCONT)
                else:
                    servers.send(port, signal.SIGKILL)
                    servers.start(port)
                    await servers.up(port)
                await asyncio.sleep(random.random() / 4)

        async with httpx.AsyncClient(base_url=servers.url(servers.ports[0]), timeout=PATIENCE) as client:
            path = await create(client, len(content))
        breaking = asyncio.create_task(faults())
        try:
            async with asyncio.timeout(200), asyncio.TaskGroup() as clients:
                for _ in range(3):
                    clients.create_task(Uploader(servers, random, content).run(path))
        finally:
            breaking.cancel()  # or it would start servers that nobody ends
            await asyncio.wait({breaking})
        assert breaking.cancelled(), breaking
        for port in servers.ports:
            servers.send(port, signal.SIGCONT)
        await asyncio.gather(*map(servers.up, servers.ports))
        # One that was killed after the last answer left something to see through.
        async with httpx.AsyncClient(base_url=servers.url(servers.ports[0]), timeout=PATIENCE) as client:
            assert await offset_of(client, path) == len(content)
    storage = FileStorage(directory)
    [key] = [key for key in await keys(storage) if not key.startswith("tus/")]
    assert await storage.read(key) == content
    assert set(servers.log("done")) == {key}

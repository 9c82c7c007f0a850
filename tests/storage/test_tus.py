"""TusUploads: resumable uploads that any server can go on with."""

import asyncio
import base64
import hashlib
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest

from scalekit.errors import ConfigurationError
from scalekit.storage import FileStorage, MemoryStorage, Source, Storage, Stored, UploadedFile
from scalekit.storage.tus import TusUploads
from tests.storage.helpers import PNG, eventually

SECRET = "a secret of at least 16 bytes"
TUS = {"tus-resumable": "1.0.0"}
PATCH = TUS | {"content-type": "application/offset+octet-stream"}


def client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


def metadata(**pairs: str) -> str:
    return ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in pairs.items())


async def create(client: httpx.AsyncClient, length: int, **pairs: str) -> str:
    headers = TUS | {"upload-length": str(length)}
    if pairs:
        headers["upload-metadata"] = metadata(**pairs)
    answer = await client.post("/", headers=headers)
    assert answer.status_code == 201
    return answer.headers["location"]


async def patch(client: httpx.AsyncClient, url: str, offset: int, content: Any) -> httpx.Response:
    return await client.patch(url, headers=PATCH | {"upload-offset": str(offset)}, content=content)


async def offset_of(client: httpx.AsyncClient, url: str) -> int:
    answer = await client.head(url, headers=TUS)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    return int(answer.headers["upload-offset"])


async def keys(storage: Storage) -> list[str]:
    return [stored.key async for stored in storage.list()]


async def test_a_file_in_pieces_over_two_servers(storage: Storage) -> None:
    """Pieces sent to two servers in turn become one object with a random key; the pieces are gone."""
    done: list[UploadedFile] = []

    async def on_complete(file: UploadedFile) -> None:
        done.append(file)

    servers = [
        client_of(
            TusUploads(storage, secret_key=SECRET, accept=["image/*"], on_complete=on_complete, prefix="u/")
        )
        for _ in range(2)
    ]
    content = PNG * 20
    url = await create(servers[0], len(content), filename="../cat.png", filetype="image/png")
    offset = 0
    for turn in range(4):
        piece = content[offset : offset + 12_345]
        answer = await patch(servers[turn % 2], url, offset, piece)
        assert answer.status_code == 204
        offset += len(piece)
        assert int(answer.headers["upload-offset"]) == offset
        assert await offset_of(servers[(turn + 1) % 2], url) == offset
    assert offset == len(content)
    [file] = done
    assert (file.filename, file.content_type, file.size) == ("cat.png", "image/png", len(content))
    assert file.key.startswith("u/")
    assert await storage.read(file.key) == content
    assert await keys(storage) == [file.key]
    # A client that lost the last answer asks, and is told that all is there; sending again changes nothing.
    assert await offset_of(servers[0], url) == len(content)
    assert (await patch(servers[0], url, len(content), b"")).status_code == 204
    assert len(done) == 1


async def test_a_broken_connection_keeps_what_arrived() -> None:
    """What had arrived when the client went away is kept, and the upload goes on from there."""
    storage = MemoryStorage()
    app = TusUploads(storage, secret_key=SECRET)
    content = PNG * 4
    async with client_of(app) as client:
        url = await create(client, len(content))
        messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": content[:5000], "more_body": True},
            {"type": "http.disconnect"},
        ]
        sent: list[Any] = []

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [
            (name.encode(), value.encode()) for name, value in (PATCH | {"upload-offset": "0"}).items()
        ]
        await app({"type": "http", "method": "PATCH", "path": url, "headers": headers}, receive, send)
        assert await offset_of(client, url) == 5000
        assert (await patch(client, url, 5000, content[5000:])).status_code == 204
    [key] = await keys(storage)
    assert await storage.read(key) == content


async def test_a_stale_server_is_fenced() -> None:
    """Two servers append at one offset: one wins, the other is told so, and the object is the winner's."""
    storage = MemoryStorage()
    app = TusUploads(storage, secret_key=SECRET)
    content = b"A" * 5000
    resume = asyncio.Event()

    async def slow() -> AsyncGenerator[bytes, None]:
        yield b"B" * 2000
        await resume.wait()
        yield b"B" * 3000

    async with client_of(app) as client:
        url = await create(client, len(content))
        stale = asyncio.create_task(patch(client, url, 0, slow()))
        await asyncio.sleep(0)
        assert (await patch(client, url, 0, content[:1000])).status_code == 204
        assert (await patch(client, url, 1000, content[1000:])).status_code == 204
        resume.set()
        assert (await stale).status_code == 409
        assert await offset_of(client, url) == len(content)
        [key] = await keys(storage)
        assert await storage.read(key) == content


class _AnswersLate(MemoryStorage):
    """Pieces are stored at once, and their writers told of it later."""

    def __init__(self, shared: MemoryStorage) -> None:
        super().__init__()
        self._objects = shared._objects
        self.stored, self.answer = asyncio.Event(), asyncio.Event()

    async def put(self, key: str, source: Source, **options: Any) -> Stored:
        stored = await super().put(key, source, **options)
        self.stored.set()
        await self.answer.wait()
        return stored


@pytest.mark.parametrize("dies", [True, False])
async def test_another_finishes_with_my_piece(dies: bool) -> None:
    """A server asked by HEAD joins a piece whose writer does not know yet that it is stored.

    The piece was accepted, so its PATCH is answered with 204; and if the other server died over on_complete,
    it is called here.
    """
    shared, done = MemoryStorage(), []
    late = _AnswersLate(shared)

    async def on_complete(file: UploadedFile) -> None:
        done.append(file.key)

    async def fails(file: UploadedFile) -> None:
        raise ConnectionError("killed")

    mine = client_of(TusUploads(late, secret_key=SECRET, on_complete=on_complete))
    other = client_of(TusUploads(shared, secret_key=SECRET, on_complete=fails))
    url = await create(mine, 5)
    writing = asyncio.create_task(patch(mine, url, 0, b"hello"))
    await late.stored.wait()
    if dies:
        with pytest.raises(ConnectionError):
            await offset_of(other, url)
    late.answer.set()
    assert (await writing).status_code == 204
    [key] = await keys(shared)
    assert done == [key]
    assert await shared.read(key) == b"hello"
    assert await offset_of(other, url) == 5


async def test_asking_while_it_is_finished() -> None:
    """However many ask while a process joins the pieces, they are joined once and nobody waits for it."""
    joins, joining, go_on = [], asyncio.Event(), asyncio.Event()

    class Slow(MemoryStorage):
        async def put(self, key: str, source: Source, **options: Any) -> Stored:
            if ".part" not in key:
                joins.append(key)
                joining.set()
                await go_on.wait()
            return await super().put(key, source, **options)

    storage, done = Slow(), []

    async def on_complete(file: UploadedFile) -> None:
        done.append(file.key)

    async with client_of(TusUploads(storage, secret_key=SECRET, on_complete=on_complete)) as client:
        url = await create(client, len(PNG))
        writing = asyncio.create_task(patch(client, url, 0, PNG))
        await joining.wait()
        assert [await offset_of(client, url) for _ in range(20)] == [len(PNG)] * 20
        hangs_up = asyncio.create_task(patch(client, url, len(PNG), b""))
        await asyncio.sleep(0)
        hangs_up.cancel()
        await asyncio.wait({hangs_up})
        go_on.set()
        assert (await writing).status_code == 204
    assert len(joins) == len(done) == 1
    assert await keys(storage) == joins


async def test_racing_at_one_offset(storage: Storage) -> None:
    """Of several PATCHes that arrive together at one offset, one is taken and the others get a 409."""
    app = TusUploads(storage, secret_key=SECRET)
    async with client_of(app) as client:
        url = await create(client, 4000)
        answers = await asyncio.gather(*(patch(client, url, 0, bytes([65 + n]) * 2000) for n in range(4)))
        assert sorted(answer.status_code for answer in answers) == [204, 409, 409, 409]
        assert await offset_of(client, url) == 2000


async def test_a_server_that_died_before_it_finished(storage: Storage) -> None:
    """All pieces are there but not the object: the next HEAD, on any server, finishes it."""
    content = PNG * 3

    class DiesFinishing(TusUploads):
        async def _finish(self, *arguments: Any) -> None:
            raise ConnectionError("killed")

    async with client_of(DiesFinishing(storage, secret_key=SECRET)) as client:
        url = await create(client, len(content))
        with pytest.raises(ConnectionError):
            await patch(client, url, 0, content)
    done: list[UploadedFile] = []

    async def on_complete(file: UploadedFile) -> None:
        done.append(file)
        if len(done) == 1:
            raise ConnectionError("killed again")

    async with client_of(TusUploads(storage, secret_key=SECRET, on_complete=on_complete)) as client:
        with pytest.raises(ConnectionError):
            await offset_of(client, url)
        assert await offset_of(client, url) == len(content)
    assert done[0].key == done[1].key
    assert await keys(storage) == [done[0].key]
    assert await storage.read(done[0].key) == content


async def test_creation_with_upload_and_empty_files() -> None:
    """The first bytes may come with the creation; a file of no bytes is finished by it."""
    storage = MemoryStorage()
    async with client_of(TusUploads(storage, secret_key=SECRET)) as client:
        answer = await client.post("/", headers=PATCH | {"upload-length": "10"}, content=b"hello")
        assert (answer.status_code, answer.headers["upload-offset"]) == (201, "5")
        assert (await patch(client, answer.headers["location"], 5, b"world")).status_code == 204
        url = await create(client, 0)
        assert await offset_of(client, url) == 0
    contents = [await storage.read(key) for key in await keys(storage)]
    assert sorted(content or b"" for content in contents) == [b"", b"helloworld"]


async def test_what_is_not_accepted() -> None:
    """A web page that calls itself a PNG is refused at its first bytes; in tiny pieces, when complete."""
    storage = MemoryStorage()
    page = b"<html><script>" + b"x" * 3000
    async with client_of(TusUploads(storage, secret_key=SECRET, accept=["image/*"])) as client:
        url = await create(client, len(page), filetype="image/png")
        assert (await patch(client, url, 0, page)).status_code == 415
        assert await keys(storage) == []
        assert (await patch(client, url, 0, page[:3])).status_code == 204
        assert (await patch(client, url, 3, page[3:])).status_code == 415
        assert await keys(storage) == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 400),
        ({"upload-length": "-1"}, 400),
        ({"upload-length": "many"}, 400),
        ({"upload-length": "9" * 30}, 400),
        ({"upload-length": "1001"}, 413),
        ({"upload-defer-length": "1"}, 400),
        ({"upload-length": "10", "upload-metadata": "filename not-base64!"}, 400),
        ({"upload-length": "10", "tus-resumable": "0.2.2"}, 412),
    ],
)
async def test_refused_creations(headers: dict[str, str], status: int) -> None:
    """A creation that cannot be kept is refused with the status of the protocol."""
    async with client_of(TusUploads(MemoryStorage(), secret_key=SECRET, max_size=1000)) as client:
        assert (await client.post("/", headers=TUS | headers)).status_code == status


async def test_refused_patches() -> None:
    """Wrong offsets, types, tokens and lengths are refused, and nothing is stored for them."""
    storage = MemoryStorage()
    async with client_of(TusUploads(storage, secret_key=SECRET)) as client:
        url = await create(client, 10)
        good = PATCH | {"upload-offset": "0"}
        for headers, content, status in (
            (good | {"upload-offset": "5"}, b"x", 409),
            (good | {"upload-offset": "x"}, b"x", 400),
            (good | {"content-type": "text/plain"}, b"x", 415),
            (good | {"tus-resumable": "2.0.0"}, b"x", 412),
            (good, b"x" * 11, 413),
        ):
            assert (await client.patch(url, headers=headers, content=content)).status_code == status
        for token in ("/nothing", url + "x", "/" + url[5:], "/../secret"):
            assert (await client.patch(token, headers=good, content=b"x")).status_code == 404
        assert (await client.get(url, headers=TUS)).status_code == 405
        another = client_of(TusUploads(storage, secret_key="another secret of 16 bytes"))
        assert (await another.head(url, headers=TUS)).status_code == 404
    assert await keys(storage) == []


async def test_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload that was not finished in time is gone; a finished one stays."""
    storage = MemoryStorage()
    async with client_of(TusUploads(storage, secret_key=SECRET, expires=60)) as client:
        open_url, done_url = await create(client, 10), await create(client, 1)
        assert (await patch(client, done_url, 0, b"x")).status_code == 204
        import time

        later = time.time() + 120
        monkeypatch.setattr("scalekit.storage.tus.time.time", lambda: later)
        assert (await client.head(open_url, headers=TUS)).status_code == 410
        assert (await client.head(done_url, headers=TUS)).status_code == 200


async def test_what_the_server_says_of_itself() -> None:
    """OPTIONS names the version, the extensions and the limit, whatever version is asked for."""
    async with client_of(TusUploads(MemoryStorage(), secret_key=SECRET, max_size=1000)) as client:
        answer = await client.request("OPTIONS", "/")
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == answer.headers["tus-resumable"] == "1.0.0"
    assert answer.headers["tus-extension"] == "creation,creation-with-upload,expiration"
    assert answer.headers["tus-max-size"] == "1000"


async def test_keys_can_be_rotated() -> None:
    """An upload that began under the old key goes on while that key is still in the ring."""
    storage = MemoryStorage()
    async with client_of(TusUploads(storage, secret_key=SECRET)) as client:
        url = await create(client, 1)
    async with client_of(TusUploads(storage, secret_key=[SECRET, "the next secret, longer"])) as client:
        assert await offset_of(client, url) == 0
    with pytest.raises(ConfigurationError):
        TusUploads(storage, secret_key="short")


_SERVER = """
import sys, socket, uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from scalekit.storage import FileStorage
from scalekit.storage.tus import TusUploads

app = Starlette(routes=[Mount("/uploads", TusUploads(FileStorage(sys.argv[1]), secret_key=sys.argv[2]))])
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_config=None)).run(sockets=[listener])
"""


async def test_a_server_is_killed(tmp_path: Path) -> None:
    """kill -9 in the middle of a PATCH: the upload goes on at another server, and no byte differs."""
    directory = tmp_path / "media"
    servers = [
        subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(directory), SECRET], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    try:
        clients = []
        for server in servers:
            assert server.stdout is not None
            port = int(await asyncio.to_thread(server.stdout.readline))
            clients.append(httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}"))
        content = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(100_000))
        answer = await clients[0].post("/uploads/", headers=TUS | {"upload-length": str(len(content))})
        url = answer.headers["location"]
        assert url.startswith("/uploads/")
        assert (await patch(clients[0], url, 0, content[:1_000_000])).status_code == 204

        async def never_ends() -> AsyncGenerator[bytes, None]:
            yield content[1_000_000:2_500_000]
            await asyncio.Event().wait()

        cut_off = asyncio.create_task(patch(clients[0], url, 1_000_000, never_ends()))
        # It has written a part of the PATCH to its temporary file, which is what is lost.
        await eventually(lambda: any(path.stat().st_size > 0 for path in directory.glob(".scalekit-*")))
        servers[0].kill()
        servers[0].wait()
        cut_off.cancel()
        await asyncio.wait({cut_off})
        offset = await offset_of(clients[1], url)
        assert offset == 1_000_000
        assert (await patch(clients[1], url, offset, content[offset:])).status_code == 204
        for client in clients:
            await client.aclose()
    finally:
        for server in servers:
            server.kill()
            server.communicate()
    [stored] = [stored async for stored in FileStorage(directory).list()]
    assert await FileStorage(directory).read(stored.key) == content

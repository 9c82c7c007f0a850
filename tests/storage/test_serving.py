"""StorageFiles behind real servers: uvicorn, and the WSGI server of the standard library."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncGenerator, Generator
from datetime import UTC, datetime
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import httpx
import pytest
import uvicorn

from scalekit.storage import FileStorage, MemoryStorage, MiB, Opened, Storage, Stored
from scalekit.storage.serve import StorageFiles
from scalekit.storage.wsgi import StorageFiles as WSGIStorageFiles
from tests.storage.helpers import eventually, settled, stream

SIZE = 3 * MiB + 7


@contextlib.asynccontextmanager
async def uvicorn_serving(storage: Storage, **options: Any) -> AsyncGenerator[tuple[str, int], None]:
    app = StorageFiles(storage, **options)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))  # type: ignore[arg-type]
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()
        finally:
            server.should_exit = True
            await task


class _Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = False  # each is waited for at the end


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def wsgi_serving(storage: Storage, **options: Any) -> Generator[tuple[str, int], None, None]:
    with (
        storage.sync() as files,
        make_server("127.0.0.1", 0, WSGIStorageFiles(files, **options), _Threads, _Quiet) as server,
    ):
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield ("127.0.0.1", server.server_port)
        finally:
            server.shutdown()
            thread.join()


@contextlib.asynccontextmanager
async def serving(shell: str, storage: Storage, **options: Any) -> AsyncGenerator[tuple[str, int], None]:
    if shell == "asgi":
        async with uvicorn_serving(storage, **options) as address:
            yield address
        return
    manager = wsgi_serving(storage, **options)
    address = await asyncio.to_thread(manager.__enter__)
    try:
        yield address
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)


@pytest.mark.parametrize("shell", ["asgi", "wsgi"])
async def test_downloads(shell: str, storage: Storage) -> None:
    """22. Whole objects, ranges and conditions arrive through a real server, from every storage."""
    content = b"".join([chunk async for chunk in stream(SIZE)])
    stored = await storage.put("a/ä.bin", content)
    async with (
        serving(shell, storage) as (host, port),
        httpx.AsyncClient(base_url=f"http://{host}:{port}") as client,
    ):
        whole = await client.get("/a/ä.bin")
        assert (whole.status_code, whole.content == content) == (200, True)
        assert whole.headers["content-length"] == str(SIZE)
        part = await client.get("/a/ä.bin", headers={"range": f"bytes={MiB}-"})
        assert (part.status_code, part.content == content[MiB:]) == (206, True)
        head = await client.head("/a/ä.bin")
        assert (head.status_code, head.headers["content-length"]) == (200, str(SIZE))
        same = await client.get("/a/ä.bin", headers={"if-none-match": f'"{stored.etag}"'})
        assert (same.status_code, same.content) == (304, b"")
        assert (await client.get("/a/b.bin")).status_code == 404


class _Watched(MemoryStorage):
    """One object of ``size`` bytes that nobody has to keep; it is counted what is taken, and what is open."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.taken, self.open_now, self.opened = size, 0, 0, 0

    async def stat(self, key: str) -> Stored | None:
        return Stored(
            key=key,
            size=self.size,
            content_type="text/plain",
            etag="v",
            modified=datetime(2026, 1, 1, tzinfo=UTC),
        )

    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Opened | None:
        async def chunks() -> AsyncGenerator[bytes, None]:
            async for chunk in stream(self.size, chunk=256 * 1024):
                self.taken += len(chunk)
                yield chunk

        async def close() -> None:
            self.open_now -= 1

        stored = await self.stat(key)
        assert stored is not None
        self.open_now += 1
        self.opened += 1
        return Opened(stored, chunks(), close=close)


@pytest.mark.parametrize("shell", ["asgi", "wsgi"])
async def test_a_client_that_reads_slowly_and_goes(shell: str) -> None:
    """22. No more is taken from the storage than the client takes; when it hangs up, reading ends."""
    storage = _Watched(256 * MiB)
    async with serving(shell, storage) as address:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, address)
            await loop.sock_sendall(client, b"GET /a.txt HTTP/1.1\r\nHost: test\r\n\r\n")
            assert (await loop.sock_recv(client, 15)).startswith(b"HTTP/1.")
            await eventually(lambda: storage.taken > 0)
            # What the client has not read is in the buffers of the kernel: some MiB, not hundreds.
            assert await settled(lambda: storage.taken) < 64 * MiB
        await eventually(lambda: storage.open_now == 0)
    assert (storage.opened, storage.taken < storage.size) == (1, True)


@pytest.mark.parametrize("headers", [{}, {"range": "bytes=5-9"}], ids=["whole", "range"])
async def test_the_file_wrapper(tmp_path: Path, headers: dict[str, str]) -> None:
    """22. A WSGI server sends a whole file by itself; ranges, and other storages, it iterates over."""
    storage = FileStorage(tmp_path)
    await storage.put("a.txt", b"0123456789")
    wrapped: list[Any] = []

    def wrapper(file: Any, size: int) -> Any:
        wrapped.append(file)
        return iter(lambda: file.read(4), b"")

    def request(used: Storage) -> bytes:
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/a.txt",
            "wsgi.file_wrapper": wrapper,
            **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
        }
        with used.sync() as files:
            body: Any = WSGIStorageFiles(files)(environ, lambda *_: lambda data: None)
            content = b"".join(body)
            for file in (*wrapped, body):
                if hasattr(file, "close"):
                    file.close()
            return content

    memory = MemoryStorage()
    await memory.put("a.txt", b"0123456789")
    expected = b"56789" if headers else b"0123456789"
    assert await asyncio.to_thread(request, memory) == expected
    assert wrapped == []
    assert await asyncio.to_thread(request, storage) == expected
    assert len(wrapped) == (0 if headers else 1)


@pytest.mark.parametrize(
    ("cache_control", "headers", "sent"),
    [
        ("max-age=31536000, immutable", [], True),
        ("max-age=31536000, immutable", [(b"range", b"bytes=1-3")], False),
        ("no-cache", [], False),
    ],
)
async def test_servers_that_send_files(
    tmp_path: Path, cache_control: str, headers: list[tuple[bytes, bytes]], sent: bool
) -> None:
    """22. A server that offers pathsend gets the path of a whole file, if keys are never used again.

    Otherwise another version, with other headers, could stand there by the time that the server opens it.
    """
    storage = FileStorage(tmp_path)
    await storage.put("a.txt", b"0123456789")
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    async def receive() -> Any:
        await asyncio.Event().wait()

    scope = {"type": "http", "method": "GET", "path": "/a.txt", "headers": headers}
    offered = scope | {"extensions": {"http.response.pathsend": {}}}
    await StorageFiles(storage, cache_control=cache_control)(offered, receive, send)
    kinds = [message["type"] for message in messages]
    if sent:
        assert kinds == ["http.response.start", "http.response.pathsend"]
        assert Path(messages[1]["path"]).read_bytes() == b"0123456789"
    else:
        assert set(kinds) == {"http.response.start", "http.response.body"}
    messages.clear()
    await StorageFiles(storage, cache_control=cache_control)(scope, receive, send)
    assert {message["type"] for message in messages} == {"http.response.start", "http.response.body"}

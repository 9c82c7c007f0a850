"""StorageFiles: stored objects over HTTP, harmless whatever was uploaded."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from scalekit.storage import MemoryStorage, Opened, Storage
from scalekit.storage.serve import StorageFiles
from tests.storage.helpers import PNG


def client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def test_get_and_head(storage: Storage) -> None:
    """22. GET gives the object with its type, length and ETag; HEAD the same without the content."""
    stored = await storage.put("u/cat photo.png", PNG)
    async with client_of(Starlette(routes=[Mount("/media", StorageFiles(storage))])) as client:
        got = await client.get("/media/u/cat%20photo.png")
        assert (got.status_code, got.content) == (200, PNG)
        assert got.headers["content-type"] == "image/png"
        assert got.headers["etag"] == f'"{stored.etag}"'
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["content-disposition"] == "inline"
        assert got.headers["cache-control"] == "no-cache"
        head = await client.head("/media/u/cat%20photo.png")
        assert (head.status_code, head.content) == (200, b"")
        assert dict(head.headers) == dict(got.headers)


async def test_the_url_leads_here(tmp_path: Path) -> None:
    """public_url() of a storage and StorageFiles mounted at its base_url belong together."""
    storage = MemoryStorage(base_url="/media")
    await storage.put("a/ä b.txt", b"found")
    async with client_of(Starlette(routes=[Mount("/media", StorageFiles(storage))])) as client:
        assert (await client.get(storage.public_url("a/ä b.txt"))).content == b"found"


@pytest.mark.parametrize(
    ("wanted", "content", "content_range"),
    [
        ("bytes=0-3", b"0123", "bytes 0-3/10"),
        ("bytes=4-", b"456789", "bytes 4-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=-100", b"0123456789", None),
        ("bytes=8-100", b"89", "bytes 8-9/10"),
        ("bytes=0-", b"0123456789", None),
        ("bytes=5-4", b"0123456789", None),
        ("bytes=0-1,3-4", b"0123456789", None),
        ("bytes=-", b"0123456789", None),
        ("lines=1-2", b"0123456789", None),
    ],
)
async def test_ranges(wanted: str, content: bytes, content_range: str | None) -> None:
    """22. One range is answered with 206; what is not understood, or is all, with everything."""
    storage = MemoryStorage()
    await storage.put("a.txt", b"0123456789")
    async with client_of(StorageFiles(storage)) as client:
        answer = await client.get("/a.txt", headers={"range": wanted})
    assert answer.content == content
    assert answer.status_code == (206 if content_range else 200)
    assert answer.headers.get("content-range") == content_range


async def test_ranges_of_every_storage(storage: Storage) -> None:
    """22. Ranges work on every storage; one behind the end is a 416 that names the size."""
    await storage.put("a.txt", b"0123456789")
    async with client_of(StorageFiles(storage)) as client:
        assert (await client.get("/a.txt", headers={"range": "bytes=3-5"})).content == b"345"
        behind = await client.get("/a.txt", headers={"range": "bytes=10-"})
    assert (behind.status_code, behind.headers["content-range"]) == (416, "bytes */10")


@pytest.mark.parametrize("wanted", ["bytes=0-", "bytes=5-", "bytes=0-0", "bytes=-3"])
async def test_ranges_of_nothing(wanted: str) -> None:
    """22. An empty object has no ranges: it is sent whole."""
    storage = MemoryStorage()
    await storage.put("e.txt", b"")
    async with client_of(StorageFiles(storage)) as client:
        answer = await client.get("/e.txt", headers={"range": wanted})
    assert (answer.status_code, answer.headers["content-length"]) == (200, "0")
    assert "content-range" not in answer.headers


async def test_a_client_that_hangs_up() -> None:
    """What nobody reads any more is not read from the storage either."""
    storage, sent = MemoryStorage(), []
    await storage.put("big.bin", bytes(10_000_000))

    async def receive() -> Any:
        if sum(len(message.get("body", b"")) for message in sent) < 300_000:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await StorageFiles(storage)(
        {"type": "http", "method": "GET", "path": "/big.bin", "headers": []}, receive, send
    )
    assert 300_000 <= sum(len(message.get("body", b"")) for message in sent) < 500_000


async def test_conditions() -> None:
    """22. If-None-Match of the current content is a 304; If-Range of another content gives all of it."""
    storage = MemoryStorage()
    etag = (await storage.put("a.txt", b"0123456789")).etag
    async with client_of(StorageFiles(storage)) as client:
        for known in (f'"{etag}"', f'"x", W/"{etag}"', "*"):
            answer = await client.get("/a.txt", headers={"if-none-match": known})
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", f'"{etag}"')
        assert (await client.get("/a.txt", headers={"if-none-match": '"x"'})).status_code == 200
        for condition, status in ((f'"{etag}"', 206), ('"x"', 200)):
            headers = {"range": "bytes=0-1", "if-range": condition}
            assert (await client.get("/a.txt", headers=headers)).status_code == status


@pytest.mark.parametrize(
    ("key", "content_type"),
    [
        ("a.html", None),
        ("a.svg", None),
        ("a.png", "text/html"),
        ("a", "application/javascript"),
        ("a.xml", None),
        ("a", "image/svg+xml; charset=utf-8"),
        ("a", "image/x-nobody-knows"),
    ],
)
async def test_nothing_can_run(key: str, content_type: str | None) -> None:
    """What a browser could execute is offered for saving, in a sandbox, and never guessed."""
    storage = MemoryStorage()
    await storage.put(key, b"<script>alert(1)</script>", content_type=content_type)
    async with client_of(StorageFiles(storage)) as client:
        answer = await client.get(f"/{key}")
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "written", ["image/png, text/html", "text/csv\r\nset-cookie: admin=1", "text/csv\u20ac", "x"]
)
async def test_types_that_are_none(written: str) -> None:
    """What others wrote into a bucket as a type does not reach the browser unless it is one."""
    storage = MemoryStorage()
    stored = await storage.put("a.txt", b"<script>alert(1)</script>")
    storage._objects["a.txt"] = b"<script>", replace(stored, size=8, content_type=written)
    async with client_of(StorageFiles(storage)) as client:
        answer = await client.get("/a.txt")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "kind", ["image/png", "audio/wav", "video/mp4", "text/plain; charset=utf-8", "application/pdf"]
)
async def test_what_is_shown(kind: str) -> None:
    """Types that run nothing are shown, and the policy lets films and music play, but nothing run."""
    storage = MemoryStorage()
    await storage.put("a", b"x", content_type=kind)
    async with client_of(StorageFiles(storage)) as client:
        answer = await client.get("/a")
    assert (answer.headers["content-type"], answer.headers["content-disposition"]) == (kind, "inline")
    policy = answer.headers["content-security-policy"]
    plays = "media-src 'self'; sandbox allow-same-origin" in policy
    assert plays == kind.startswith(("audio/", "video/"))
    assert "default-src 'none'" in policy
    assert "allow-scripts" not in policy


async def test_what_is_not_there(tmp_path: Path) -> None:
    """22. Absent objects and keys that are none are both a 404; other methods a 405; empty objects a 200."""
    storage = MemoryStorage()
    await storage.put("empty.txt", b"")
    async with client_of(StorageFiles(storage)) as client:
        for path in ("/", "/nothing", "/..%2f..%2fetc%2fpasswd", "/a%00b", "/.env", "//x", "/%ff"):
            assert (await client.get(path)).status_code == 404
        posted = await client.post("/empty.txt")
        assert (posted.status_code, posted.headers["allow"]) == (405, "GET, HEAD")
        empty = await client.get("/empty.txt", headers={"range": "bytes=0-"})
        assert (empty.status_code, empty.content) == (200, b"")


class _Changes(MemoryStorage):
    """The object is replaced, or removed, between the look and the read."""

    def __init__(self, *contents: bytes | None) -> None:
        super().__init__()
        self.contents = list(contents)

    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Opened | None:
        if self.contents:
            content = self.contents.pop(0)
            await self.delete(key)
            if content is not None:
                await self.put(key, content)
        return await super().open(key, offset=offset, length=length)


async def test_an_object_that_changes_meanwhile() -> None:
    """Headers of one version never come with the content of another, and a replaced object is not absent."""
    storage = _Changes(b"two", b"three")
    await storage.put("a.txt", b"one")
    known = {"if-none-match": '"known"'}  # so that it is looked at first
    async with client_of(StorageFiles(storage)) as client:
        answer = await client.get("/a.txt", headers=known)
        assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"three", "5")
        storage.contents = [b"another"]
        answer = await client.get("/a.txt", headers={"range": "bytes=1-"})
        assert (answer.content, answer.headers["content-range"]) == (b"nother", "bytes 1-6/7")
        storage.contents = [b"newer"]
        answer = await client.get("/a.txt")
        assert (answer.content, answer.headers["content-length"]) == (b"newer", "5")
        storage.contents = [b"%d" % number for number in range(100)]
        answer = await client.get("/a.txt", headers=known)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        storage.contents = [None]
        assert (await client.get("/a.txt")).status_code == 404
    with pytest.raises(RuntimeError, match="websocket"):
        await StorageFiles(storage)({"type": "websocket"}, None, None)  # type: ignore[arg-type]

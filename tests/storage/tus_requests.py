"""What a client of the tus protocol sends, for the tests of the server."""

import base64
import hashlib
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import httpx

from scalekit.storage import Storage
from scalekit.storage.tus import TusUploads

SECRET = "a secret of at least 16 bytes"
TUS = {"tus-resumable": "1.0.0"}
PATCH = TUS | {"content-type": "application/offset+octet-stream"}


def client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


def metadata(**pairs: str) -> str:
    return ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in pairs.items())


async def create(client: httpx.AsyncClient, length: int | None, path: str = "/", **pairs: str) -> str:
    headers = TUS | ({"upload-defer-length": "1"} if length is None else {"upload-length": str(length)})
    if concat := pairs.pop("concat", None):
        headers["upload-concat"] = concat
    if pairs:
        headers["upload-metadata"] = metadata(**pairs)
    answer = await client.post(path, headers=headers)
    assert answer.status_code == 201, answer.text
    location: str = answer.headers["location"]
    return location


async def patch(
    client: httpx.AsyncClient, url: str, offset: int, content: Any, **more: str
) -> httpx.Response:
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    return await client.patch(url, headers=PATCH | {"upload-offset": str(offset)} | headers, content=content)


async def head(client: httpx.AsyncClient, url: str) -> httpx.Response:
    return await client.head(url, headers=TUS)


async def offset_of(client: httpx.AsyncClient, url: str) -> int:
    answer = await head(client, url)
    assert answer.status_code == 200, answer.status_code
    assert answer.headers["cache-control"] == "no-store"
    return int(answer.headers["upload-offset"])


async def keys(storage: Storage) -> list[str]:
    """All that is there, apart from the notes of how uploads ended, which stay until they expire."""
    found = [stored.key async for stored in storage.list()]
    return [key for key in found if not key.endswith((".end", ".gone"))]


async def in_chunks(*chunks: bytes) -> AsyncGenerator[bytes, None]:
    """A body that does not say how long it is."""
    for chunk in chunks:
        yield chunk


class Clock:
    """The time as an application sees it: ``clock.seconds`` more than when it was set."""

    def __init__(self, app: TusUploads) -> None:
        self.seconds = 0.0
        cut = app._cut
        app._cut = replace(cut, now=lambda: cut.now() + self.seconds, clock=lambda: self.seconds)


class Broken:
    """A body by ASGI's messages: chunks, and then the client hangs up."""

    def __init__(self, *chunks: bytes) -> None:
        self._messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks
        ]
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        return self._messages.pop(0) if self._messages else {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def patch(self, app: TusUploads, url: str, offset: int, **more: str) -> int:
        """The status of the answer that nobody reads."""
        sent = PATCH | {"upload-offset": str(offset)} | {k.replace("_", "-"): v for k, v in more.items()}
        headers = [(name.encode(), value.encode()) for name, value in sent.items()]
        scope = {"type": "http", "method": "PATCH", "path": url, "headers": headers}
        await app(scope, self.receive, self.send)
        return int(self.sent[0]["status"])


def content_of(size: int) -> bytes:
    """Bytes that are nowhere the same."""
    return b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(size // 32))

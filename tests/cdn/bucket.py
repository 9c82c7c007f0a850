"""S3 for the tests of pushing: one that is strict and whose clock can be set, and a reader who knows nothing
of how a push works."""

import asyncio
import hashlib
import json
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.storage.stand_in import S3StandIn

BUCKET = "shop-assets"
_KEPT = ("content-type", "cache-control", "content-encoding", "x-amz-meta-")
_TEXT = "application/xml"

Answer = tuple[int, bytes, dict[str, object]]


class AssetsS3(S3StandIn):
    """Refuses a body without its MD5, keeps headers and times, and says at which request it is."""

    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 11, 1, 12, tzinfo=UTC)
        self.times: dict[str, datetime] = {}
        self.log: list[tuple[str, str]] = []
        """Method and key of each request; ``"LIST"`` and the prefix for a listing."""
        self.before: Callable[[str, str], None] = lambda method, key: None
        """Called with each request, as it is in the log, before it is carried out."""
        self.refused: dict[str, tuple[int, str]] = {}
        """Methods that are answered with this status and code."""
        self.opaque_tags = False
        """Entity tags are no MD5s, as in a bucket that is encrypted by a key of the customer's."""

    def url(self, prefix: str = "static") -> str:
        return f"s3://{BUCKET}/{prefix}?endpoint_url={self.endpoint_url}&region_name=us-east-1"

    def later(self, **passed: float) -> None:
        self.now += timedelta(**passed)

    def _answer(self, method: str, target: str, headers: dict[str, str], body: bytes, size: int) -> Answer:
        url = urlsplit(target)
        key = unquote(url.path).lstrip("/").partition("/")[2]
        query = parse_qs(url.query)
        asked = (method, key) if key else ("LIST", query.get("prefix", [""])[0])
        self.before(*asked)
        self.log.append(asked)
        status, content, facts = self._decide(asked[0], method, key, target, headers, body, size)
        return status, content, {"date": format_datetime(self.now, usegmt=True), **facts}

    def _decide(
        self, asked: str, method: str, key: str, target: str, headers: dict[str, str], body: bytes, size: int
    ) -> Answer:
        if asked in self.refused:
            status, code = self.refused[asked]
            return status, f"<Error><Code>{code}</Code></Error>".encode(), {"content-type": _TEXT}
        if not unquote(urlsplit(target).path).startswith(f"/{BUCKET}"):
            return 404, b"<Error><Code>NoSuchBucket</Code></Error>", {"content-type": _TEXT}
        if method == "PUT":
            if b64decode(headers.get("content-md5", "")) != hashlib.md5(body).digest():
                return 400, b"<Error><Code>BadDigest</Code></Error>", {"content-type": _TEXT}
            self.times[key] = self.now
        status, content, facts = super()._answer(method, target, headers, body, size)
        if method == "PUT":
            tag = hashlib.sha1(body).hexdigest()[:32] if self.opaque_tags else hashlib.md5(body).hexdigest()
            kept = {name: value for name, value in headers.items() if name.startswith(_KEPT)}
            self.objects[key] = body, tag, kept, size
            facts = {"etag": f'"{tag}"'}
        return status, content, facts

    def _list(self, query: dict[str, list[str]]) -> Answer:
        prefix, after = query.get("prefix", [""])[0], query.get("continuation-token", [""])[0]
        keys = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        page = keys[: self.page_size]
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{self.objects[key][3]}</Size>"
            f"<ETag>&quot;{self.objects[key][1]}&quot;</ETag>"
            f"<LastModified>{self.times[key]:%Y-%m-%dT%H:%M:%S.000Z}</LastModified></Contents>"
            for key in page
        )
        more = page != keys
        entries += f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        answer = f"<R>{entries}<IsTruncated>{str(more).lower()}</IsTruncated></R>"
        return 200, answer.encode(), {"content-type": _TEXT}


async def read_site(get: Callable[[str], Any]) -> dict[str, bytes] | None:
    """What a stranger finds who begins at the pointer: the files of the current release, by plain name.

    All that it names has to be there, with the bytes that the manifest says; ``None`` without a pointer.

    Args:
        get: the content of what is called so below the prefix, or ``None``; awaited.
    """
    pointer = await get(".scalekit/current.json")
    if pointer is None:
        return None
    manifest = json.loads(await get(json.loads(pointer)["manifest"]))
    site = {}
    for name, record in manifest["assets"].items():
        content = await get(record["file"])
        assert content is not None, f"{record['file']} is named and not there"
        assert hashlib.sha256(content).hexdigest() == record["sha256"]
        for coding in record.get("encodings", []):
            assert await get(record["file"] + {"gzip": ".gz", "br": ".br", "zstd": ".zst"}[coding])
        site[name] = content
    return site


async def read_stand_in(s3: AssetsS3, prefix: str = "static/") -> dict[str, bytes] | None:
    """The same, of a stand-in."""

    async def get(name: str) -> bytes | None:
        await asyncio.sleep(0)
        found = s3.objects.get(prefix + name)
        return None if found is None else found[0]

    return await read_site(get)


def reader(client: Any, bucket: str, prefix: str) -> Callable[[str], Any]:
    """For :func:`read_site`, by a client of a real server."""

    async def get(name: str) -> Any:
        try:
            answer = await client.get_object(Bucket=bucket, Key=prefix + name)
        except client.exceptions.NoSuchKey:
            return None
        async with answer["Body"] as body:
            return await body.read()

    return get


@contextmanager
def served_apart() -> Iterator[AssetsS3]:
    """A stand-in in a thread of its own, for commands, which have an event loop of their own."""
    server = AssetsS3()
    ready, done = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with server:
            ready.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(30)
        yield server
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()

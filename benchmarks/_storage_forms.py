"""A form with a large file: ``stream_form`` into a storage that keeps nothing, beside Starlette's form()."""

import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import starlette
from python_multipart.multipart import MultipartParser
from starlette.requests import Request

from benchmarks.harness import Case
from scalekit.storage import KiB, MemoryStorage, MiB, Stored
from scalekit.storage.forms import stream_form

_SIZE = 64 * MiB
_MEGABYTE = 1_000_000
_CHUNK = 64 * KiB
_HEAD = b'--boundary\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
_TAIL = b"\r\n--boundary--\r\n"
_RANDOM = os.urandom(_CHUNK)
_LINES = (b"x" * 60 + b"\r\n--") * (_CHUNK // 64)  # every line begins like a boundary


class _Nowhere(MemoryStorage):
    async def put(self, key: str, source: Any, **options: Any) -> Stored:
        size = 0
        async for chunk in source:
            size += len(chunk)
        now = datetime.now(UTC)
        return Stored(key=key, size=size, content_type="application/octet-stream", etag="", modified=now)


def _chunks(block: bytes) -> Iterator[bytes]:
    yield _HEAD
    for _ in range(_SIZE // len(block)):
        yield block
    yield _TAIL


def _request(block: bytes) -> Request:
    chunks = _chunks(block)

    async def receive() -> dict[str, Any]:
        chunk = next(chunks, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    headers = [(b"content-type", b"multipart/form-data; boundary=boundary")]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
    return Request(scope, receive)


async def form_cases() -> AsyncIterator[Case]:
    for kind, block in (("random bytes", _RANDOM), ("lines that begin like a boundary", _LINES)):

        async def ours(block: bytes = block) -> None:
            async with stream_form(_request(block), _Nowhere(), max_file_size=_SIZE):
                pass

        async def theirs(block: bytes = block) -> None:
            async with _request(block).form():
                pass

        def floor(block: bytes = block) -> None:
            parser = MultipartParser(b"boundary", {"on_part_data": lambda data, start, end: None})
            for chunk in _chunks(block):
                parser.write(chunk)

        yield Case(
            piece="storage",
            name=f"form with a file of {_SIZE // MiB} MiB, {kind}, one MB of it",
            ours=ours,
            peers={f"starlette {starlette.__version__} form()": theirs},
            floor=floor,
            rate=True,
            units=_SIZE // _MEGABYTE,
            rounds=9,
        )

"""Who uploads to the sink: scalekit, its peers, and the floors, each as ``await contender(size)``.

All of them get the body as it comes from a client, in fresh chunks of 64 KiB, and send parts of 8 MiB, four
at once, so that the code is compared and not the configuration. Over plain HTTP S3 clients sign the SHA-256
of every body, and so do these; ``signed=False`` is as over TLS: then ours sends a CRC-32 of each part, as it
does to Amazon, and the peers send no checksum at all.

As a program, ``python -m benchmarks._storage_contenders NAME PORT SIZE``, one of them makes one upload and
prints, as JSON, by how many bytes its memory peaked above what it was before, and how many seconds of
processor time it took.
"""

import asyncio
import hashlib
import io
import json
import socket
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import Any

import aioboto3
import boto3
import obstore
from aiobotocore.config import AioConfig
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from obstore.store import S3Store

from benchmarks._growth import Growth
from benchmarks._s3_sink import OPTIONS
from scalekit.storage import KiB, MiB
from scalekit.storage._s3_client import use_digests
from scalekit.storage.profiles import AMAZON, COMPATIBLE
from scalekit.storage.s3 import S3Storage

CHUNK = 64 * KiB
PART = 8 * MiB
CONCURRENCY = 4

OURS = "scalekit"
OBSTORE = f"obstore {version('obstore')} put_async"
AIOBOTO3 = f"aioboto3 {version('aioboto3')} upload_fileobj"
S3TRANSFER = f"boto3 {version('boto3')} upload_fileobj (s3transfer {version('s3transfer')})"
SOCKET = "raw socket"
SHA256 = "raw socket + SHA-256"

Upload = Callable[[int], Awaitable[object]]


def _chunk(number: int) -> bytes:
    return number.to_bytes(4, "big") * (CHUNK // 4)


class Arriving:
    """A body of ``size`` bytes, for those who iterate and for those who ``await read()``."""

    def __init__(self, size: int) -> None:
        self._left = range(size // CHUNK)

    async def read(self, size: int = -1) -> bytes:
        if not self._left:
            return b""
        number, self._left = self._left[0], self._left[1:]
        return _chunk(number)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self.read():
            yield chunk


class _Read(io.RawIOBase):
    """The same for a thread. s3transfer wants as many bytes as it asks for: give it a buffered reader."""

    def __init__(self, size: int) -> None:
        self._left = iter(range(size // CHUNK))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        number = next(self._left, None)
        if number is None:
            return 0
        buffer[:CHUNK] = _chunk(number)
        return CHUNK


def _over_a_socket(port: int, *, hashed: bool) -> Upload:
    async def upload(size: int) -> None:
        digest = hashlib.sha256()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"PUT /floor HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size)
            async for chunk in Arriving(size):
                if hashed:
                    digest.update(chunk)
                connection.sendall(chunk)
            connection.recv(1024)

    return upload


@asynccontextmanager
async def contenders(port: int, *, signed: bool = True) -> AsyncGenerator[dict[str, Upload], None]:
    """All of them, by name."""
    endpoint = f"http://127.0.0.1:{port}"
    s3 = {"addressing_style": "path", "payload_signing_enabled": signed}
    # As ours has them; with the defaults the peers would compute a checksum of their own as well.
    config: dict[str, Any] = {
        "signature_version": "s3v4",
        "max_pool_connections": 256,
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "s3": s3,
    }
    transfer = TransferConfig(multipart_chunksize=PART, multipart_threshold=PART, max_concurrency=CONCURRENCY)
    options: dict[str, Any] = {**OPTIONS, "endpoint_url": endpoint}
    async with AsyncExitStack() as stack:
        make = aioboto3.Session().client
        client = await stack.enter_async_context(make("s3", config=AioConfig(**config), **options))
        own = await stack.enter_async_context(make("s3", config=AioConfig(**config), **options))
        use_digests(own)  # as the storage does with a client that it makes itself
        storage = S3Storage("media", client=own, profile=COMPATIBLE if signed else AMAZON)
        threaded = boto3.client("s3", config=Config(**config), **options)
        stack.callback(threaded.close)
        store = S3Store(
            "media",
            endpoint=endpoint,
            region="us-east-1",
            access_key_id="key",
            secret_access_key="secret",
            virtual_hosted_style_request=False,
            unsigned_payload=not signed,
            client_options={"allow_http": True},
        )

        async def ours(size: int) -> None:
            await storage.put("object.bin", Arriving(size), overwrite=True)

        async def with_obstore(size: int) -> None:
            body = aiter(Arriving(size))
            await obstore.put_async(store, "object.bin", body, chunk_size=PART, max_concurrency=CONCURRENCY)

        async def with_aioboto3(size: int) -> None:
            await client.upload_fileobj(Arriving(size), "media", "object.bin", Config=transfer)

        async def with_s3transfer(size: int) -> None:
            body = io.BufferedReader(_Read(size), CHUNK)
            await asyncio.to_thread(threaded.upload_fileobj, body, "media", "object.bin", Config=transfer)

        yield {
            OURS: ours,
            OBSTORE: with_obstore,
            AIOBOTO3: with_aioboto3,
            S3TRANSFER: with_s3transfer,
            SOCKET: _over_a_socket(port, hashed=False),
            SHA256: _over_a_socket(port, hashed=True),
        }


async def _one(name: str, port: int, size: int) -> None:
    async with contenders(port) as found:
        await found[name](PART // 2)  # what is made once, such as connections, is not growth
        growth, started = Growth(), time.process_time()
        await found[name](size)
        seconds = time.process_time() - started
        print(json.dumps({"grown": growth.peak(), "seconds": seconds}))


if __name__ == "__main__":
    asyncio.run(_one(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))

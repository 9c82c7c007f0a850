"""Uploads in 64 KiB chunks to a bare S3 sink, beside aioboto3's upload_fileobj; floor: the bytes on a socket.

All go over plain HTTP, where S3 clients sign the SHA-256 of every body: that is in ours and in the peer's
time, and not in the floor's.
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aioboto3
from aiobotocore.config import AioConfig

from benchmarks.harness import Case
from scalekit.storage import KiB, MiB
from scalekit.storage.s3 import S3Storage

_CHUNK = bytes(64 * KiB)
_OPTIONS = {"region_name": "us-east-1", "aws_access_key_id": "key", "aws_secret_access_key": "secret"}
_PEER = f"aioboto3 {aioboto3.__version__} upload_fileobj"


class _Arriving:
    """A body as it comes from a client, for both contenders."""

    def __init__(self, size: int) -> None:
        self.left = size

    async def read(self, size: int = -1) -> bytes:
        taken = min(self.left, len(_CHUNK))
        self.left -= taken
        return _CHUNK[:taken]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self.read():
            yield chunk


async def _floor(port: int, size: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"PUT /floor HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size)
    async for chunk in _Arriving(size):
        writer.write(chunk)
        await writer.drain()
    await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()


def _times(number: int, once: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
    async def together() -> None:
        await asyncio.gather(*(once() for _ in range(number)))

    return together


async def cases() -> AsyncIterator[Case]:
    sink = subprocess.Popen(
        [sys.executable, "-m", "benchmarks._s3_sink"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert sink.stdout is not None
        port = int(sink.stdout.readline())
        options = _OPTIONS | {"endpoint_url": f"http://127.0.0.1:{port}"}
        # The settings that ours has by default, so that the code is compared and not the configuration.
        config = AioConfig(
            signature_version="s3v4",
            max_pool_connections=256,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        async with (
            S3Storage("media", **options) as storage,
            aioboto3.Session().client("s3", config=config, **options) as client,
        ):

            async def ours(size: int) -> None:
                await storage.put("object.bin", _Arriving(size), overwrite=True)

            async def theirs(size: int) -> None:
                await client.upload_fileobj(_Arriving(size), "media", "object.bin")

            for size, number, rounds in (
                (64 * MiB, 1, 10),
                (8 * MiB, 1, 20),
                (256 * KiB, 1, 60),
                (256 * KiB, 32, 15),
            ):
                shown = f"{size // MiB} MiB" if size >= MiB else f"{size // KiB} KiB"
                yield Case(
                    piece="storage",
                    name=f"upload of {shown}, {number} concurrent",
                    ours=_times(number, lambda size=size: ours(size)),
                    peers={_PEER: _times(number, lambda size=size: theirs(size))},
                    floor=_times(number, lambda size=size: _floor(port, size)),
                    units=number,
                    rounds=rounds,
                )
    finally:
        sink.communicate("")

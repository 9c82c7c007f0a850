"""Sources that the checks store, and what they expect to be raised."""

import asyncio
from collections.abc import AsyncGenerator

from scalekit.storage import MiB, Source


class Broken(Exception):
    """What the sources of these tests fail with."""


async def raises(expected: type[Exception], call: object, message: str) -> None:
    try:
        await call  # type: ignore[misc]
    except expected:
        return
    raise AssertionError(message)


def pieces(content: bytes, size: int) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


def source(*chunks: bytes | bytearray | memoryview) -> Source:
    async def generate() -> AsyncGenerator[bytes | bytearray | memoryview, None]:
        for chunk in chunks:
            await asyncio.sleep(0)
            yield chunk

    return generate()


async def broken(size: int) -> AsyncGenerator[bytes, None]:
    for piece in pieces(bytes(size), MiB):
        yield piece
    raise Broken


async def stuck(size: int, waiting: asyncio.Event) -> AsyncGenerator[bytes, None]:
    for piece in pieces(bytes(size), MiB):
        yield piece
    waiting.set()
    await asyncio.Event().wait()

"""The checksum of what a storage has now, by reading it."""

from collections.abc import Callable
from typing import TypeAlias

from scalekit.storage._contract import Storage
from scalekit.storage._shield import in_thread
from scalekit.storage.checksums import Checksum, hasher

OnBytes: TypeAlias = Callable[[int], None]
"""Told how many bytes of an object have been read."""


async def digest(
    storage: Storage, key: str, algorithm: str, on_bytes: OnBytes = lambda count: None
) -> Checksum | None:
    """The checksum of an object as it is read now; ``None`` if it is gone."""
    opened = await storage.open(key)
    if opened is None:
        return None
    running, count = hasher(algorithm), 0
    async with opened:
        async for chunk in opened:
            (await in_thread(running.update, chunk)).unwrap()
            count += len(chunk)
            on_bytes(count)
    return Checksum(algorithm, running.digest())

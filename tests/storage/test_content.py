"""Objects that are named by their content."""

import asyncio
import hashlib

import pytest

from scalekit.errors import MalformedUpload
from scalekit.storage import MemoryStorage, Storage
from scalekit.storage.content import put_by_content
from tests.storage.helpers import PNG, SourceBroken, broken, cancel_everywhere, chunks


def key_of(content: bytes, extension: str = "") -> str:
    name = hashlib.sha256(content).hexdigest()
    return f"photos/{name[:2]}/{name}{extension}"


async def test_the_same_content_is_stored_once(storage: Storage) -> None:
    """However often and however cut it is sent, there is one object, which its name tells."""
    stored = await put_by_content(storage, chunks(PNG[:10], PNG[10:]), prefix="photos/", extension=".png")
    again = await asyncio.gather(
        *(put_by_content(storage, PNG, prefix="photos/", extension=".png") for _ in range(3))
    )
    assert {one.key for one in [stored, *again]} == {key_of(PNG, ".png")}
    assert {one.etag for one in [stored, *again]} == {stored.etag}
    assert [found.key async for found in storage.list()] == [key_of(PNG, ".png")]
    assert await storage.read(stored.key) == PNG


async def test_what_fails_leaves_nothing() -> None:
    """6. A source that fails or has another length leaves no object and no draft."""
    storage = MemoryStorage()
    with pytest.raises(SourceBroken):
        await put_by_content(storage, broken(10), prefix="photos/")
    with pytest.raises(MalformedUpload):
        await put_by_content(storage, b"123", size=4)
    assert [found.key async for found in storage.list()] == []


async def test_cancelled_at_every_await() -> None:
    """4. Wherever it is cancelled, no draft remains, and the object is whole or not there."""
    storage = MemoryStorage()

    async def check(number: int) -> None:
        found = [(stored.key, await storage.read(stored.key)) async for stored in storage.list()]
        assert found in ([], [(key_of(PNG), PNG)])

    await cancel_everywhere(lambda: put_by_content(storage, chunks(PNG), prefix="photos/"), check)

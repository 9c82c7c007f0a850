"""Objects that are named by their content."""

import asyncio
import hashlib
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scalekit.errors import MalformedUpload
from scalekit.storage import FileStorage, MemoryStorage, Storage
from scalekit.storage.content import DRAFTS, put_by_content
from scalekit.storage.sweep import sweep
from scalekit.testing import FaultyStorage
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


async def test_a_draft_that_stays_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """6. The content is stored; that its draft could not be removed is in the log, with the key to remove."""
    storage = FaultyStorage(MemoryStorage())
    storage.fail("delete")
    stored = await put_by_content(storage, PNG, prefix="photos/")
    [draft] = [found.key async for found in storage.list() if found.key != stored.key]
    assert draft in caplog.text


@pytest.mark.parametrize("size", [100, 1024 * 1024])
async def test_large_chunks_are_hashed_beside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """What takes milliseconds is done in a worker thread; for less the way there would take longer."""
    threads: list[threading.Thread] = []

    class Hash:
        def __init__(self) -> None:
            self.real = hashlib.sha256()

        def update(self, data: bytes) -> None:
            threads.append(threading.current_thread())
            self.real.update(data)

        def digest(self) -> bytes:
            return self.real.digest()

    monkeypatch.setattr("scalekit.storage.content.hasher", lambda algorithm: Hash())
    for source in (bytes(size), chunks(bytes(size))):
        stored = await put_by_content(MemoryStorage(), source, prefix="photos/")
        assert stored.key == key_of(bytes(size))
    assert [thread is threading.current_thread() for thread in threads] == [size == 100] * 2


@pytest.mark.parametrize("kind", [MemoryStorage, FileStorage])
async def test_cancelled_at_every_await(kind: type[Storage], tmp_path: Path) -> None:
    """4. Wherever it is cancelled, no draft remains, and the object is whole or not there.

    Also where the draft is just getting its name, from when on it stays.
    """
    storage = MemoryStorage() if kind is MemoryStorage else FileStorage(tmp_path)

    async def check(number: int) -> None:
        found = [(stored.key, await storage.read(stored.key)) async for stored in storage.list()]
        assert found in ([], [(key_of(PNG), PNG)])

    await cancel_everywhere(lambda: put_by_content(storage, chunks(PNG), prefix="photos/"), check)


async def test_what_a_killed_server_leaves_is_swept() -> None:
    """7. A draft whose server was killed before it had its name is removed once it is old; no object is."""
    storage = MemoryStorage()
    await put_by_content(storage, PNG, prefix="photos/")
    await storage.put(f"{DRAFTS}{'0' * 32}.png", PNG)
    later = datetime.now(UTC) + timedelta(days=2)
    assert (await sweep(storage, 86400)).removed == ()
    (removed,) = (await sweep(storage, 86400, now=lambda: later)).removed
    assert removed.kind == "draft of a content"
    assert [found.key async for found in storage.list()] == [key_of(PNG)]

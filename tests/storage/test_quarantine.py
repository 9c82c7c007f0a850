"""What a scanner refuses was never readable, and what it lets pass arrives once."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scalekit.errors import (
    BackendUnavailable,
    ConfigurationError,
    FileRefused,
    InvalidKey,
    ObjectExists,
    ObjectMissing,
)
from scalekit.storage import FileStorage, MemoryStorage, Storage, Stored
from scalekit.storage.quarantine import Quarantine
from scalekit.storage.sweep import sweep
from scalekit.storage.tus import TusUploads
from scalekit.testing import check_storage
from tests.storage.helpers import SourceBroken, broken, cancel_everywhere, chunks
from tests.storage.tus_requests import SECRET, client_of, create, offset_of, patch

EVIL = b"X5O! something evil"


async def scan(stored: Stored, content: AsyncIterator[bytes]) -> str | None:
    """A scanner that knows one signature."""
    whole = b"".join([chunk async for chunk in content])
    assert len(whole) == stored.size
    return "Evil.A" if EVIL in whole else None


async def keys(storage: Storage) -> list[str]:
    return [stored.key async for stored in storage.list()]


async def test_it_keeps_the_contract() -> None:
    """A quarantine is a storage, and leaves nothing that waits."""
    inner = MemoryStorage()
    await check_storage(Quarantine(inner, scan=scan))
    assert await keys(inner) == []


async def test_what_is_refused_is_never_readable(storage: Storage) -> None:
    """21. An infected upload is a 422 that tells the client nothing of the scanner; nothing is stored."""
    seen: list[bool] = []

    async def looking(stored: Stored, content: AsyncIterator[bytes]) -> str | None:
        seen.append(await quarantine.stat("a.txt") is None and await keys(quarantine) == [])
        return await scan(stored, content)

    quarantine = Quarantine(storage, scan=looking)
    with pytest.raises(FileRefused) as refused:
        await quarantine.put("a.txt", chunks(b"so far so good ", EVIL))
    assert (refused.value.status, refused.value.found, seen) == (422, "Evil.A", [True])
    assert "Evil" not in str(refused.value)
    assert await keys(storage) == []
    stored = await quarantine.put("a.txt", chunks(b"good"), filename="a.txt")
    assert (stored.key, await storage.read("a.txt"), await keys(storage)) == ("a.txt", b"good", ["a.txt"])


@pytest.mark.parametrize("answer", [False, True, 0, ["Evil.A"]])
async def test_a_scanner_that_says_neither(answer: Any) -> None:
    """It may mean either: nothing passes and, what was to be promoted, nothing is removed."""

    async def unclear(stored: Stored, content: AsyncIterator[bytes]) -> Any:
        return answer

    inner = MemoryStorage()
    quarantine = Quarantine(inner, scan=unclear)
    await quarantine.waiting.put("a.txt", b"good")
    with pytest.raises(ConfigurationError, match=f"scan= answered {type(answer).__name__}; return"):
        await quarantine.promote("a.txt")
    assert await keys(inner) == ["quarantine/a.txt"]


async def test_what_could_never_scan() -> None:
    """A plain function, something that is none, and what is no storage are told of in their own words."""
    quarantine = Quarantine(MemoryStorage(), scan=lambda stored, content: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(ConfigurationError, match="scan= must be a coroutine function; write `async def`"):
        await quarantine.put("a.txt", b"good")
    assert await keys(quarantine.storage) == []
    with pytest.raises(ConfigurationError, match="scan= must be a coroutine function"):
        Quarantine(MemoryStorage(), scan="clamav")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="storage must be a storage"):
        Quarantine("uploads", scan=scan)  # type: ignore[arg-type]


async def test_promotion_is_idempotent(storage: Storage) -> None:
    """21. However many promote at once, or again later, all get the one object, and nothing waits."""
    quarantine = Quarantine(storage, scan=scan)
    await quarantine.waiting.put("a.txt", b"good")
    promoted = await asyncio.gather(*(quarantine.promote("a.txt") for _ in range(5)))
    promoted.append(await quarantine.promote("a.txt"))
    assert len({stored.etag for stored in promoted}) == 1
    assert await keys(storage) == ["a.txt"]
    assert await storage.read("a.txt") == b"good"


async def test_promotion_that_was_cut_off() -> None:
    """21. Cancelled at any moment and done again, it ends with the object and nothing that waits."""
    inner = MemoryStorage()
    quarantine = Quarantine(inner, scan=scan)

    async def promote() -> None:
        await quarantine.waiting.put("a.txt", b"good", overwrite=True)
        await quarantine.promote("a.txt")

    async def check(number: int) -> None:
        assert await inner.read("a.txt") in (None, b"good")
        if await inner.stat("quarantine/a.txt") is not None:
            await quarantine.promote("a.txt")
            assert await keys(inner) == ["a.txt"]

    await cancel_everywhere(promote, check)


async def test_cancelled_at_every_await(tmp_path: Path) -> None:
    """4. Wherever a write is cancelled, nothing stays in quarantine, and the object is whole or not there."""
    inner = FileStorage(tmp_path)
    quarantine = Quarantine(inner, scan=scan)

    async def check(number: int) -> None:
        assert await keys(inner) in ([], ["a.txt"])
        assert await inner.read("a.txt") in (None, b"good")
        await inner.delete("a.txt")

    await cancel_everywhere(lambda: quarantine.put("a.txt", chunks(b"good")), check)


async def test_what_is_infected_is_not_promoted(storage: Storage) -> None:
    """21. It is gone, and asking again says that there is nothing."""
    quarantine = Quarantine(storage, scan=scan)
    await quarantine.waiting.put("a.txt", EVIL)
    with pytest.raises(FileRefused):
        await quarantine.promote("a.txt")
    assert await keys(storage) == []
    with pytest.raises(ObjectMissing):
        await quarantine.promote("a.txt")


async def test_what_was_replaced_after_the_scan(storage: Storage) -> None:
    """21. What a client with a ticket writes while its file is scanned is not promoted."""

    async def replaced(stored: Stored, content: AsyncIterator[bytes]) -> str | None:
        await quarantine.waiting.put("a.txt", EVIL + secrets.token_bytes(4), overwrite=True)
        return None

    quarantine = Quarantine(storage, scan=replaced)
    await quarantine.waiting.put("a.txt", b"good")
    with pytest.raises(ObjectMissing):
        await quarantine.promote("a.txt")
    assert await keys(storage) == ["quarantine/a.txt"]
    await storage.put("a.txt", b"somebody's")
    with pytest.raises(ObjectMissing, match="changed"):
        await quarantine.promote("a.txt")
    assert await keys(storage) == ["a.txt", "quarantine/a.txt"]


async def test_what_was_written_after_it_was_copied(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """21. What a client writes between the copy and the removal is not what was scanned: it goes on waiting,
    also when the promotion is done again, and is promoted to another key like any other."""
    quarantine, second = Quarantine(storage, scan=scan), b"good as well"
    copy = storage.copy

    async def overtaken(source: str, key: str, **options: Any) -> Stored:
        stored = await copy(source, key, **options)
        await quarantine.waiting.put("a.txt", second, overwrite=True)
        return stored

    await quarantine.waiting.put("a.txt", b"good")
    monkeypatch.setattr(storage, "copy", overtaken)
    await quarantine.promote("a.txt")
    monkeypatch.undo()
    assert await storage.read("a.txt") == b"good"
    assert await quarantine.waiting.read("a.txt") == second
    with pytest.raises(ObjectExists):
        await quarantine.promote("a.txt")
    await quarantine.promote("a.txt", to="b.txt")
    assert await keys(storage) == ["a.txt", "b.txt"]
    assert await storage.read("b.txt") == second


async def test_what_was_written_after_it_was_refused(storage: Storage) -> None:
    """21. A client that replaces what the scanner is about to refuse does not lose what it replaced it by."""

    async def replaced(stored: Stored, content: AsyncIterator[bytes]) -> str | None:
        found = await scan(stored, content)
        await quarantine.waiting.put("a.txt", b"good", overwrite=True)
        return found

    quarantine = Quarantine(storage, scan=replaced)
    await quarantine.waiting.put("a.txt", EVIL)
    with pytest.raises(FileRefused):
        await quarantine.promote("a.txt")
    quarantine.scan = scan
    await quarantine.promote("a.txt")
    assert await storage.read("a.txt") == b"good"


async def test_another_server_has_promoted_it_meanwhile(storage: Storage) -> None:
    """21. It was copied and removed by the other, and the client has written again: that goes on waiting."""

    async def late(stored: Stored, content: AsyncIterator[bytes]) -> str | None:
        found = await scan(stored, content)
        await Quarantine(storage, scan=scan).promote("a.txt")
        await quarantine.waiting.put("a.txt", b"good as well")
        return found

    quarantine = Quarantine(storage, scan=late)
    await quarantine.waiting.put("a.txt", b"good")
    with pytest.raises(ObjectMissing, match="changed"):
        await quarantine.promote("a.txt")
    assert await quarantine.waiting.read("a.txt") == b"good as well"


async def test_another_object_is_there() -> None:
    """16, 21. A promotion replaces nothing; a copy of the same content is one that was promoted before."""
    inner = MemoryStorage()
    quarantine = Quarantine(inner, scan=scan)
    await inner.put("a.txt", b"older")
    await quarantine.waiting.put("a.txt", b"newer")
    with pytest.raises(ObjectExists):
        await quarantine.promote("a.txt")
    assert await keys(inner) == ["a.txt", "quarantine/a.txt"]
    assert (await quarantine.promote("a.txt", to="b.txt")).key == "b.txt"
    assert await inner.read("a.txt") == b"older"


async def test_what_waits_is_not_shown() -> None:
    """21. Neither reads nor lists nor addresses nor copies lead to what was not scanned."""
    inner = MemoryStorage()
    quarantine = Quarantine(inner, scan=scan)
    await quarantine.waiting.put("a.txt", b"?")
    assert await keys(quarantine) == []
    for attempt in (
        quarantine.read("quarantine/a.txt"),
        quarantine.stat("quarantine/a.txt"),
        quarantine.url("quarantine/a.txt"),
        quarantine.signed_url("quarantine/a.txt"),
        quarantine.delete("quarantine/a.txt"),
        quarantine.copy("quarantine/a.txt", "b.txt"),
        quarantine.copy("b.txt", "quarantine/a.txt"),
        quarantine.put("quarantine/b.txt", b"?"),
        quarantine.promote("a.txt", to="quarantine/b.txt"),
    ):
        with pytest.raises(InvalidKey):
            await attempt
    assert await quarantine.scoped("quarantine/").storage.stat("b.txt") is None  # type: ignore[attr-defined]


async def test_a_scanner_that_fails() -> None:
    """What it raises reaches the caller; an upload is dropped, and what waited still waits."""

    async def unwell(stored: Stored, content: AsyncIterator[bytes]) -> str | None:
        raise BackendUnavailable("the scanner is not there", backend="scanner")

    inner = MemoryStorage()
    quarantine = Quarantine(inner, scan=unwell)
    with pytest.raises(BackendUnavailable):
        await quarantine.put("a.txt", b"good")
    assert await keys(inner) == []
    await quarantine.waiting.put("b.txt", b"good")
    with pytest.raises(BackendUnavailable):
        await quarantine.promote("b.txt")
    assert await keys(inner) == ["quarantine/b.txt"]


async def test_a_source_that_fails() -> None:
    """6. Nothing is stored, nothing waits."""
    inner = MemoryStorage()
    with pytest.raises(SourceBroken):
        await Quarantine(inner, scan=scan).put("a.txt", broken(10))
    assert await keys(inner) == []


async def test_what_nobody_promoted_is_swept(tmp_path: Any) -> None:
    """7. A sweep removes what has waited too long, and nothing else."""
    quarantine = Quarantine(FileStorage(tmp_path), scan=scan)
    await quarantine.put("kept.txt", b"good")
    await quarantine.waiting.put("old.txt", b"?")
    later = datetime.now(UTC) + timedelta(days=2)
    assert (await sweep(quarantine, 86400, now=lambda: later, dry_run=True)).removed[0].name == "old.txt"
    assert (await sweep(quarantine, 86400)).removed == ()
    assert len((await sweep(quarantine, 86400, now=lambda: later)).removed) == 1
    assert await keys(quarantine.storage) == ["kept.txt"]


async def test_resumable_uploads_that_go_on_are_not_swept() -> None:
    """7, 20. What waits may be the pieces of an upload that is under way: its own sweep removes those."""
    quarantine = Quarantine(MemoryStorage(), scan=scan)
    app = TusUploads(quarantine.waiting, secret_key=SECRET, expires=timedelta(days=7))
    async with client_of(app) as client:
        url = await create(client, 3)
        await patch(client, url, 0, b"ab")
        later = datetime.now(UTC) + timedelta(days=2)
        assert (await sweep(quarantine, 86400, now=lambda: later)).removed == ()
        assert await offset_of(client, url) == 2

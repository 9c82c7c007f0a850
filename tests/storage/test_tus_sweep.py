"""TusUploads: nothing is left for ever of what nobody finishes, and nothing is taken from those who will."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scalekit.errors import UploadFailed
from scalekit.storage import MemoryStorage, Storage, Stored
from scalekit.storage._tus_sweep import expired, remove
from scalekit.storage.sweep import sweep
from scalekit.storage.tus import FinishedUpload, TusUploads
from tests.storage.helpers import PNG, eventually
from tests.storage.tus_requests import SECRET, TUS, Clock, client_of, create, head, offset_of, patch

HOUR = 3600


async def everything(storage: Storage) -> list[str]:
    return [stored.key async for stored in storage.list()]


async def test_what_has_expired_is_removed(storage: Storage) -> None:
    """7. An hour after they expired, unfinished uploads and notes of ended ones go; all else stays."""
    app = TusUploads(storage, secret_key=SECRET, expires=HOUR, prefix="u/", piece_size=1000)
    clock = Clock(app)
    async with client_of(app) as client:
        late, done, given_up = [await create(client, len(PNG)) for _ in range(3)]
        await create(client, None)
        await patch(client, late, 0, PNG[:-1])
        await patch(client, done, 0, PNG)
        await patch(client, given_up, 0, PNG[:-1])
        await client.delete(given_up, headers=TUS)
        await storage.put("tus/readme.txt", b"mine")
        [file] = [key for key in await everything(storage) if key.startswith("u/")]
        before = await everything(storage)
        clock.seconds = HOUR
        assert await app.sweep() == 0
        assert await everything(storage) == before
        clock.seconds = 3 * HOUR + 1
        going_on = await create(client, 5)
        await patch(client, going_on, 0, b"x")
        await app.sweep()
        left = await everything(storage)
        assert [key for key in left if not key.startswith("tus/2")] == ["tus/readme.txt", file]
        assert len(left) == 3
        assert await offset_of(client, going_on) == 1
        for url in (late, done, given_up):
            assert (await head(client, url)).status_code == 410


async def test_servers_sweep_by_themselves() -> None:
    """7. An upload that begins in its first hour sweeps, and so does the next one an hour later."""
    storage = MemoryStorage()
    app = TusUploads(storage, secret_key=SECRET, expires=HOUR)
    app._sweeper._hourly.moment = lambda: 0.0
    clock = Clock(app)
    async with client_of(app) as client:
        for _ in range(3):
            url = await create(client, 5)
            await patch(client, url, 0, b"x")
            await eventually(lambda: len(storage._objects) == 1)
            clock.seconds += 3 * HOUR


async def test_a_sweep_that_fails(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """7. A sweep that fails disturbs no request, and is in the log."""
    storage = MemoryStorage()

    def fails(prefix: str = "") -> Any:
        raise ConnectionError("no listing today")

    app = TusUploads(storage, secret_key=SECRET)
    app._sweeper._hourly.moment = lambda: 0.0
    async with client_of(app) as client:
        monkeypatch.setattr(storage, "list", fails)
        await create(client, 5)
        await eventually(lambda: "no listing today" in caplog.text)


async def test_one_that_cannot_be_removed_keeps_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """7. The storage fails for one upload, as when another server sweeps it: the others go."""

    class Fails(MemoryStorage):
        broken = ""

        async def put(self, key: str, source: Any, **options: Any) -> Stored:
            if key == self.broken:
                raise UploadFailed("PreconditionFailed")
            return await super().put(key, source, **options)

    storage = Fails()
    app = TusUploads(storage, secret_key=SECRET, expires=HOUR)
    clock = Clock(app)
    async with client_of(app) as client:
        for _ in range(2):
            await patch(client, await create(client, 5), 0, b"x")
    first = (await everything(storage))[0]
    storage.broken = f"{first.partition('.')[0]}.end"
    clock.seconds = 3 * HOUR + 1
    assert await app.sweep() == 1
    assert await everything(storage) == [first]
    assert first.partition(".")[0] in caplog.text
    storage.broken = ""
    assert await app.sweep() == 1
    assert await everything(storage) == []


async def test_what_nobody_was_told_of_is_told() -> None:
    """20. The server died over on_complete, the client never asked again: the sweep tells the application."""
    storage, told = MemoryStorage(), list[FinishedUpload]()

    async def on_complete(file: FinishedUpload) -> None:
        told.append(file)
        if len(told) == 1:
            raise ConnectionError("killed")

    app = TusUploads(storage, secret_key=SECRET, expires=HOUR, on_complete=on_complete, user=lambda _: "ann")
    clock = Clock(app)
    async with client_of(app) as client:
        url = await create(client, 5, filename="a.txt")
        with pytest.raises(ConnectionError):
            await patch(client, url, 0, b"hello")
        clock.seconds = 3 * HOUR + 1
        assert await app.sweep() == 1
    assert told[0] == told[1]
    assert (told[1].user, told[1].filename) == ("ann", "a.txt")
    assert await everything(storage) == [told[1].key]


async def test_a_file_that_nobody_will_be_told_of() -> None:
    """20. A server died after it had made the file and before it was decided: who sweeps removes the file."""
    storage = MemoryStorage()

    class Dies(MemoryStorage):
        async def put(self, key: str, source: Any, **options: Any) -> Stored:
            if key.endswith(".end"):
                raise ConnectionError("killed")
            return await super().put(key, source, **options)

    dies = Dies()
    dies._objects = storage._objects
    async with client_of(TusUploads(dies, secret_key=SECRET, expires=HOUR)) as client:
        url = await create(client, len(PNG))
        with pytest.raises(ConnectionError):
            await patch(client, url, 0, PNG)
    assert len([key for key in await everything(storage) if key.endswith(".png")]) == 1
    before = datetime.now(UTC) + timedelta(hours=3)
    [upload] = [upload async for upload in expired(storage, before)]
    assert (upload.objects, upload.size) == (2, len(PNG) + 36)
    await remove(storage, upload.stem)
    assert await everything(storage) == []


async def test_swept_while_a_server_finishes() -> None:
    """20. A server is frozen while it joins and wakes up after the sweep: its file is whole, and told of."""
    joining, go_on, told = asyncio.Event(), asyncio.Event(), list[str]()

    class Slow(MemoryStorage):
        async def compose(self, key: str, sources: Any, **options: Any) -> Stored:
            content = b"".join([await self.read(source) or b"" for source in sources])
            joining.set()
            await go_on.wait()
            return await self.put(key, content)

    async def on_complete(file: FinishedUpload) -> None:
        told.append(file.key)

    storage = Slow()
    app = TusUploads(storage, secret_key=SECRET, expires=HOUR, on_complete=on_complete)
    async with client_of(app) as client:
        url = await create(client, len(PNG))
        writing = asyncio.create_task(patch(client, url, 0, PNG))
        await joining.wait()
        [upload] = [u async for u in expired(storage, datetime.now(UTC) + timedelta(hours=3))]
        await remove(storage, upload.stem)
        go_on.set()
        assert (await writing).status_code == 204
    [upload] = [u async for u in expired(storage, datetime.now(UTC) + timedelta(hours=3))]
    await remove(storage, upload.stem)
    assert await everything(storage) == told
    assert await storage.read(told[0]) == PNG


async def test_the_sweeper_of_the_command_line(storage: Storage) -> None:
    """7. The sweep of a storage removes them too, a day after they expired, and no file that was told of."""
    done: list[str] = []

    async def on_complete(file: FinishedUpload) -> None:
        done.append(file.key)

    app = TusUploads(storage, secret_key=SECRET, expires=HOUR, on_complete=on_complete)
    async with client_of(app) as client:
        urls = [await create(client, len(PNG)) for _ in range(2)]
        await patch(client, urls[0], 0, PNG)
        await patch(client, urls[1], 0, PNG[:1500])
    for hours, removed in ((24, 0), (27, 2)):
        now = datetime.now(UTC) + timedelta(hours=hours)
        assert len((await sweep(storage, now=lambda now=now: now, prefix="photos/")).removed) == 0
        swept = await sweep(storage, now=lambda now=now: now, dry_run=True)
        assert [leftover.kind for leftover in swept.removed] == ["resumable upload"] * removed
        assert len(await everything(storage)) == 3
    swept = await sweep(storage, now=lambda: now)
    assert sorted(leftover.size > 1000 for leftover in swept.removed) == [False, True]
    assert await everything(storage) == done

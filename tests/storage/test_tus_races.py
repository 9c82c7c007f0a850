"""TusUploads on several servers at once: who wins, who is told, and what is left when one of them dies."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from random import Random
from typing import Any

import pytest

from scalekit.storage import MemoryStorage, Source, Storage, Stored, UploadedFile
from scalekit.storage.tus import TusUploads
from tests.storage.helpers import PNG, eventually
from tests.storage.tus_requests import (
    SECRET,
    TUS,
    client_of,
    create,
    head,
    in_chunks,
    keys,
    offset_of,
    patch,
)


async def test_a_stale_server_is_fenced() -> None:
    """20. Two servers append at one offset: one wins; the other is told so, the object is the winner's."""
    storage = MemoryStorage()
    app = TusUploads(storage, secret_key=SECRET)
    content = b"A" * 5000
    resume = asyncio.Event()

    async def slow() -> AsyncGenerator[bytes, None]:
        yield b"B" * 2000
        await resume.wait()
        yield b"B" * 3000

    async with client_of(app) as client:
        url = await create(client, len(content))
        stale = asyncio.create_task(patch(client, url, 0, slow()))
        await asyncio.sleep(0)
        assert (await patch(client, url, 0, content[:1000])).status_code == 204
        assert (await patch(client, url, 1000, content[1000:])).status_code == 204
        resume.set()
        assert (await stale).status_code == 409
        assert await offset_of(client, url) == len(content)
        [key] = await keys(storage)
        assert await storage.read(key) == content


class _AnswersLate(MemoryStorage):
    """Pieces are stored at once, and their writers told of it later."""

    def __init__(self, shared: MemoryStorage) -> None:
        super().__init__()
        self._objects = shared._objects
        self.stored, self.answer = asyncio.Event(), asyncio.Event()

    async def put(self, key: str, source: Source, **options: Any) -> Stored:
        stored = await super().put(key, source, **options)
        self.stored.set()
        await self.answer.wait()
        return stored


@pytest.mark.parametrize("dies", [True, False])
async def test_another_finishes_with_my_piece(dies: bool) -> None:
    """20. A server asked by HEAD joins a piece whose writer does not know yet that it is stored.

    The piece was accepted, so its PATCH is answered with 204; and if the other server died over on_complete,
    it is called here.
    """
    shared, done = MemoryStorage(), []
    late = _AnswersLate(shared)

    async def on_complete(file: UploadedFile) -> None:
        done.append(file.key)

    async def fails(file: UploadedFile) -> None:
        raise ConnectionError("killed")

    mine = client_of(TusUploads(late, secret_key=SECRET, on_complete=on_complete))
    other = client_of(TusUploads(shared, secret_key=SECRET, on_complete=fails))
    url = await create(mine, 5)
    writing = asyncio.create_task(patch(mine, url, 0, b"hello"))
    await late.stored.wait()
    if dies:
        with pytest.raises(ConnectionError):
            await offset_of(other, url)
    late.answer.set()
    assert (await writing).status_code == 204
    [key] = await keys(shared)
    assert done == [key]
    assert await shared.read(key) == b"hello"
    assert await offset_of(other, url) == 5


async def test_racing_at_one_offset(storage: Storage) -> None:
    """20. Of several PATCHes that arrive together at one offset, one is taken and the others get a 409."""
    app = TusUploads(storage, secret_key=SECRET)
    async with client_of(app) as client:
        url = await create(client, 4000)
        answers = await asyncio.gather(*(patch(client, url, 0, bytes([65 + n]) * 2000) for n in range(4)))
        assert sorted(answer.status_code for answer in answers) == [204, 409, 409, 409]
        assert await offset_of(client, url) == 2000


async def test_a_server_that_died_before_it_finished(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20. All pieces are there but not the object: the next HEAD, on any server, finishes it."""
    content = PNG * 3

    async def dies(*arguments: Any, **options: Any) -> Stored:
        raise ConnectionError("killed")

    async with client_of(TusUploads(storage, secret_key=SECRET)) as client:
        url = await create(client, len(content))
        with monkeypatch.context() as dying:
            dying.setattr(storage, "compose", dies)
            with pytest.raises(ConnectionError):
                await patch(client, url, 0, content)
    done: list[UploadedFile] = []

    async def on_complete(file: UploadedFile) -> None:
        done.append(file)
        if len(done) == 1:
            raise ConnectionError("killed again")

    async with client_of(TusUploads(storage, secret_key=SECRET, on_complete=on_complete)) as client:
        with pytest.raises(ConnectionError):
            await offset_of(client, url)
        assert await offset_of(client, url) == len(content)
        assert await offset_of(client, url) == len(content)
    assert len(done) == 2
    assert done[0].key == done[1].key
    assert await keys(storage) == [done[0].key]
    assert await storage.read(done[0].key) == content


class _JoinsSlowly(MemoryStorage):
    """Objects are put together when the test says so."""

    def __init__(self, shared: MemoryStorage | None = None) -> None:
        super().__init__()
        if shared is not None:
            self._objects = shared._objects
        self.joins: list[str] = []
        self.joining, self.go_on = asyncio.Event(), asyncio.Event()

    async def compose(self, key: str, sources: Sequence[str], **options: Any) -> Stored:
        self.joins.append(key)
        self.joining.set()
        await self.go_on.wait()
        return await super().compose(key, sources, **options)


async def test_asking_while_it_is_finished() -> None:
    """20. However many ask while a server joins the pieces, they are joined once; who asks waits a while."""
    storage, done = _JoinsSlowly(), []

    async def on_complete(file: UploadedFile) -> None:
        done.append(file.key)

    app = TusUploads(storage, secret_key=SECRET, on_complete=on_complete)
    async with client_of(app) as client:
        url = await create(client, len(PNG))
        writing = asyncio.create_task(patch(client, url, 0, PNG))
        await storage.joining.wait()
        app._finisher.patience = 0
        assert (await head(client, url)).status_code == 423
        app._finisher.patience = 30
        asking = [asyncio.create_task(offset_of(client, url)) for _ in range(20)]
        hangs_up = asyncio.create_task(patch(client, url, len(PNG), b""))
        await asyncio.sleep(0)
        hangs_up.cancel()
        await asyncio.wait({hangs_up})
        storage.go_on.set()
        assert (await writing).status_code == 204
        assert await asyncio.gather(*asking) == [len(PNG)] * 20
    assert len(storage.joins) == len(done) == 1
    assert await keys(storage) == storage.joins


async def test_nobody_waits_for_what_fails(caplog: pytest.LogCaptureFixture) -> None:
    """20. The application fails after the client has gone: the log says so, the next request tries again."""
    storage, done = _JoinsSlowly(), []

    async def on_complete(file: UploadedFile) -> None:
        done.append(file.key)
        if len(done) == 1:
            raise LookupError("the database is away")

    async with client_of(TusUploads(storage, secret_key=SECRET, on_complete=on_complete)) as client:
        url = await create(client, len(PNG))
        writing = asyncio.create_task(patch(client, url, 0, PNG))
        await storage.joining.wait()
        writing.cancel()
        await asyncio.wait({writing})
        storage.go_on.set()
        await eventually(lambda: "the database is away" in caplog.text)
        assert await offset_of(client, url) == len(PNG)
    assert len(done) == 2


async def test_given_up_while_another_appends() -> None:
    """20. DELETE while a server has a body in its hands: the server is told, and leaves nothing."""
    storage = MemoryStorage()
    one, two = (client_of(TusUploads(storage, secret_key=SECRET, piece_size=1000)) for _ in range(2))
    url = await create(one, 5000)

    async def body() -> AsyncGenerator[bytes, None]:
        yield b"x" * 2500
        assert (await two.delete(url, headers=TUS)).status_code == 204
        yield b"x" * 2500

    assert (await patch(one, url, 0, body())).status_code == 410
    assert await keys(storage) == []


async def test_given_up_while_another_finishes() -> None:
    """20. DELETE while a server joins the pieces: the file is removed, and the application never told."""
    slow, done = _JoinsSlowly(), []

    async def on_complete(file: UploadedFile) -> None:
        done.append(file.key)

    mine = client_of(TusUploads(slow, secret_key=SECRET, on_complete=on_complete))
    other = client_of(TusUploads(_JoinsSlowly(slow), secret_key=SECRET))
    url = await create(mine, len(PNG))
    writing = asyncio.create_task(patch(mine, url, 0, PNG))
    await slow.joining.wait()
    # It has what it needs for the file, and is slow to store it.
    pieces = dict(slow._objects)
    assert (await other.delete(url, headers=TUS)).status_code == 204
    slow._objects.update({key: value for key, value in pieces.items() if key not in slow._objects})
    slow.go_on.set()
    assert (await writing).status_code == 410
    assert done == []
    assert (await head(other, url)).status_code == 410
    assert [key for key in await keys(slow) if "tus/" not in key] == []


async def test_a_late_server_takes_nothing_away() -> None:
    """20. A server wakes up in the middle of joining, when another has finished and the address was given up:
    the file is the application's and stays."""
    slow = _JoinsSlowly()
    late = client_of(TusUploads(slow, secret_key=SECRET))
    done: list[str] = []

    async def on_complete(file: UploadedFile) -> None:
        done.append(file.key)

    shared = MemoryStorage()
    shared._objects = slow._objects
    other = client_of(TusUploads(shared, secret_key=SECRET, on_complete=on_complete))
    url = await create(late, len(PNG))
    writing = asyncio.create_task(patch(late, url, 0, PNG))
    await slow.joining.wait()
    assert await offset_of(other, url) == len(PNG)
    assert (await other.delete(url, headers=TUS)).status_code == 204
    slow.go_on.set()
    await writing
    assert await keys(shared) == done


async def test_overtaken_in_the_middle_of_a_body() -> None:
    """20. A server that is frozen between two pieces and overtaken stops: what it stored before stays."""
    storage = MemoryStorage()
    one, two = (client_of(TusUploads(storage, secret_key=SECRET, piece_size=1000)) for _ in range(2))
    url = await create(one, 5000)

    async def body() -> AsyncGenerator[bytes, None]:
        yield b"A" * 2500
        offset = await offset_of(two, url)
        assert offset == 2000
        # What this server has of the next piece is not stored yet.
        assert (await patch(two, url, offset, b"B" * 1500)).status_code == 204
        yield b"A" * 2500

    answer = await patch(one, url, 0, body())
    assert (answer.status_code, "by HEAD" in answer.text) == (409, True)
    assert (await patch(two, url, 3500, b"B" * 1500)).status_code == 204
    [key] = await keys(storage)
    assert await storage.read(key) == b"A" * 2000 + b"B" * 3000


@pytest.mark.parametrize("seed", range(6))
async def test_what_was_acknowledged_stays(seed: int) -> None:
    """20. Clients with different contents fight over one upload: each range that was acknowledged is in
    the file as that client sent it, and the offset never goes back."""
    random = Random(seed)

    class Shuffled(MemoryStorage):
        async def put(self, key: str, source: Source, **options: Any) -> Stored:
            for _ in range(random.randrange(8)):
                await asyncio.sleep(0)
            stored = await super().put(key, source, **options)
            for _ in range(random.randrange(8)):
                await asyncio.sleep(0)
            return stored

    storage, length = Shuffled(), 2000
    servers = [client_of(TusUploads(storage, secret_key=SECRET, piece_size=97)) for _ in range(3)]
    url = await create(servers[0], length)
    acknowledged: list[tuple[int, int, int]] = []

    async def client(letter: int) -> None:
        seen = 0
        while seen < length:
            offset = await offset_of(random.choice(servers), url)
            assert offset >= seen
            size = min(random.randrange(1, 400), length - offset)
            body = in_chunks(*[bytes([letter]) * 50] * (size // 50), bytes([letter]) * (size % 50))
            answer = await patch(random.choice(servers), url, offset, body)
            if answer.status_code == 204:
                seen = int(answer.headers["upload-offset"])
                assert seen == offset + size
                acknowledged.append((offset, seen, letter))
            else:
                assert answer.status_code == 409

    await asyncio.gather(*(client(letter) for letter in b"ABC"))
    [key] = await keys(storage)
    content = await storage.read(key)
    assert content is not None
    assert len(content) == length
    assert acknowledged
    for start, end, letter in acknowledged:
        assert content[start:end] == bytes([letter]) * (end - start)


class _ListsSlowly(MemoryStorage):
    """Reads the names first, as a folder does, and looks at each after something else has happened."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def list(self, prefix: str = "") -> AsyncGenerator[Stored, None]:
        names = [stored.key async for stored in super().list(prefix)]
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        for name in names:
            if (stored := await self.stat(name)) is not None:
                yield stored


async def test_an_offset_never_goes_back_while_pieces_are_removed() -> None:
    """20. Another server completes the upload and removes its pieces while this one lists them: it says that
    all is there, and not what the list had left."""
    storage = _ListsSlowly()
    content = b"0123456789" * 100
    one, two = (TusUploads(storage, secret_key=SECRET) for _ in range(2))
    async with client_of(one) as here, client_of(two) as there:
        url = await create(here, len(content))
        assert (await patch(here, url, 0, content[:600])).status_code == 204
        storage.meanwhile = lambda: patch(there, url, 600, content[600:])
        assert await offset_of(here, url) == len(content)
    [key] = await keys(storage)
    assert await storage.read(key) == content

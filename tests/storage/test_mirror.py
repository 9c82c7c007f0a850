"""MirroredStorage in one process: what is read is what the origin has, wherever the bytes come from."""

import asyncio
import os
import resource
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scalekit.errors import BackendTimeout, BackendUnavailable, ConfigurationError, StorageError
from scalekit.storage import (
    Checksum,
    FileStorage,
    KiB,
    MemoryStorage,
    MiB,
    MirroredStorage,
    Opened,
    Storage,
    Stored,
)
from scalekit.storage._mirror_copy import BLOCK, HEADER, length_of
from scalekit.storage._mirror_directory import Directory, Part
from scalekit.testing import FaultyStorage, check_storage
from tests.storage.helpers import eventually

CONTENT = bytes(range(256)) * 4096  # 1 MiB, four blocks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "copies"


@pytest.fixture
def origin() -> FaultyStorage:
    return FaultyStorage(MemoryStorage())


def asked(origin: FaultyStorage) -> list[str]:
    """What the origin was asked since the last time."""
    calls = [method for method, _ in origin.calls]
    origin.calls.clear()
    return calls


def copies(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*") if len(path.name) == 64]


async def no_part(folder: Path) -> None:
    await eventually(lambda: not list(folder.glob("*.part")))


async def copied(mirror: MirroredStorage, key: str) -> bytes | None:
    """Read, and wait until the copy is there."""
    content = await mirror.read(key)
    await eventually(lambda: not any(mirror._fills.values()))
    return content


async def piece(storage: Storage, key: str, offset: int, length: int | None = None) -> bytes:
    opened = await storage.open(key, offset=offset, length=length)
    assert opened is not None
    async with opened:
        return await opened.read()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_it_keeps_the_contract(kind: str, tmp_path: Path, folder: Path) -> None:
    """6, 16. A mirror of a storage is a storage, and leaves no copy of what was deleted."""
    origin = MemoryStorage() if kind == "memory" else FileStorage(tmp_path / "media")
    async with MirroredStorage(origin, folder, max_bytes=100 * MiB) as mirror:
        await check_storage(mirror)
    assert sorted(os.listdir(folder)) == ["dropped", "ledger"]


async def test_one_question(origin: FaultyStorage, folder: Path) -> None:
    """The first read copies; each further one asks the origin once, and reads nothing from it."""
    await origin.put("a.bin", CONTENT, content_type="image/png", filename="a b.png")
    async with MirroredStorage(origin, folder, max_bytes=10 * MiB) as mirror:
        asked(origin)
        assert await copied(mirror, "a.bin") == CONTENT
        assert asked(origin) == ["stat", "open"]
        for offset, length in ((0, None), (5, 10), (BLOCK - 1, 2), (2 * BLOCK, BLOCK), (MiB, None), (7, 0)):
            end = MiB if length is None else offset + length
            assert await piece(mirror, "a.bin", offset, length) == CONTENT[offset:end]
            assert asked(origin) == ["stat"]
        opened = await mirror.open("a.bin", offset=3)
        assert opened is not None
        assert opened.stored == await origin.stat("a.bin")
        await opened.aclose()
        await opened.aclose()


async def test_what_changes_elsewhere(origin: FaultyStorage, folder: Path) -> None:
    """What another server wrote or deleted is seen by the next read, with everything that is said of it."""
    async with MirroredStorage(origin, folder, max_bytes=10 * MiB) as mirror:
        for content, name in ((b"one", None), (b"two", "two.txt"), (b"two", "three.txt"), (b"", None)):
            await origin.put("a.txt", content, overwrite=True, filename=name)
            for _ in range(2):
                assert await copied(mirror, "a.txt") == content
                assert await mirror.stat("a.txt") == await origin.stat("a.txt")
            assert len(copies(folder)) == 1
        await origin.delete("a.txt")
        assert await mirror.read("a.txt") is None
        assert copies(folder) == []


async def test_fresh_for(origin: FaultyStorage, folder: Path) -> None:
    """Within fresh_for nobody who shares the directory asks again; afterwards the next one does."""
    await origin.put("a.txt", b"one")
    mirror, other = (MirroredStorage(origin, folder, max_bytes=MiB, fresh_for=60) for _ in range(2))
    now = mirror._directory.clock()
    mirror._directory.clock = other._directory.clock = lambda: now
    assert await copied(mirror, "a.txt") == b"one"
    await origin.put("a.txt", b"two", overwrite=True)
    asked(origin)
    now += 59 * 10**9
    assert await mirror.read("a.txt") == await other.read("a.txt") == b"one"
    assert (await other.stat("a.txt")).size == 3  # type: ignore[union-attr]
    assert asked(origin) == []
    now += 2 * 10**9
    assert await copied(other, "a.txt") == b"two"
    assert asked(origin) == ["stat", "open"]
    assert await mirror.read("a.txt") == b"two"
    assert asked(origin) == []
    now -= 10**9  # a clock that was set back
    assert await mirror.read("a.txt") == b"two"
    assert asked(origin) == ["stat"]


@pytest.mark.parametrize("change", ["put", "delete", "compose", "copy", "failed"])
async def test_own_writes_are_seen_at_once(change: str, origin: FaultyStorage, folder: Path) -> None:
    """Whatever fresh_for is: what was written through the mirror is what is read, in every process."""
    await origin.put("a.txt", b"one")
    await origin.put("b.txt", b"two")
    mirror, other = (MirroredStorage(origin, folder, max_bytes=MiB, fresh_for=60) for _ in range(2))
    assert await copied(mirror, "a.txt") == b"one"
    if change == "put":
        await mirror.put("a.txt", b"two", overwrite=True)
    elif change == "delete":
        await mirror.delete("a.txt")
    elif change == "compose":
        await mirror.compose("a.txt", ["b.txt"], overwrite=True)
    elif change == "copy":
        await mirror.copy("b.txt", "a.txt", overwrite=True)
    else:
        origin.fail("put", after=True)
        with pytest.raises(BackendUnavailable):
            await mirror.put("a.txt", b"two", overwrite=True)
    expected = None if change == "delete" else b"two"
    assert await copied(other, "a.txt") == expected
    assert await copied(mirror, "a.txt") == expected


@pytest.mark.parametrize("options", [{"fresh_for": 60}, {"immutable": True}], ids=["fresh_for", "immutable"])
async def test_a_write_that_overtakes_a_copy(
    options: dict[str, Any], origin: FaultyStorage, folder: Path
) -> None:
    """A copy that was begun of what a write replaced meanwhile is never taken for fresh."""
    await origin.put("a.txt", b"one")
    mirror = MirroredStorage(origin, folder, max_bytes=MiB, **options)
    held = origin.hold("open")
    reading = asyncio.create_task(mirror.read("a.txt"))
    await held.reached()  # it was asked, a part is there, nothing is copied
    await mirror.put("a.txt", b"two", overwrite=True)
    held.release()
    assert await reading == b"two"
    assert await copied(mirror, "a.txt") == b"two"

    held = origin.hold("stat")
    reading = asyncio.create_task(copied(mirror, "b.txt"))
    await origin.put("b.txt", b"one")
    await held.reached()
    await mirror.put("b.txt", b"two", overwrite=True)
    held.release()
    assert await reading == b"two"
    asked(origin)
    assert await mirror.read("b.txt") == b"two"
    assert asked(origin) == ["stat"]  # nobody knows whether it was said before or after the write
    assert await mirror.read("b.txt") == b"two"
    assert asked(origin) == []


@pytest.mark.parametrize("immutable", [True, lambda key: key.startswith("random/")])
async def test_immutable_keys(immutable: Any, origin: FaultyStorage, folder: Path) -> None:
    """What never changes is asked for once, and read even while the origin is down."""
    await origin.put("random/a.txt", b"one")
    async with MirroredStorage(origin, folder, max_bytes=MiB, immutable=immutable) as mirror:
        assert await copied(mirror, "random/a.txt") == b"one"
        origin.fail("stat", times=None)
        asked(origin)
        assert await mirror.read("random/a.txt") == b"one"
        assert asked(origin) == []


async def test_an_origin_that_is_down(origin: FaultyStorage, folder: Path) -> None:
    """That is an error by default; with stale_if_error a copy is good for so long after the last question."""
    await origin.put("a.txt", b"one")
    strict = MirroredStorage(origin, folder, max_bytes=MiB)
    lenient = MirroredStorage(origin, folder, max_bytes=MiB, stale_if_error=60)
    now = lenient._directory.clock()
    lenient._directory.clock = strict._directory.clock = lambda: now
    assert await copied(lenient, "a.txt") == b"one"
    down = origin.fail("stat", times=None)
    now += 59 * 10**9
    assert await lenient.read("a.txt") == b"one"
    with pytest.raises(BackendUnavailable):
        await strict.read("a.txt")
    with pytest.raises(BackendUnavailable):
        await lenient.read("b.txt")
    now += 2 * 10**9
    with pytest.raises(BackendUnavailable):
        await lenient.read("a.txt")
    down.stop()
    now -= 2 * 10**9
    origin.fail("stat", error=StorageError("S3 refused: AccessDenied"))
    with pytest.raises(StorageError, match="AccessDenied"):
        await lenient.read("a.txt")


async def test_an_origin_that_is_silent(origin: FaultyStorage, folder: Path) -> None:
    """The origin has `timeout` to answer; then it counts as down."""
    await origin.put("a.txt", b"one")
    async with MirroredStorage(origin, folder, max_bytes=MiB) as mirror:
        assert await copied(mirror, "a.txt") == b"one"
    held = origin.hold("stat", times=None)
    with pytest.raises(BackendTimeout, match=r"did not look up 'a\.txt' within 0\.01 s"):
        await MirroredStorage(origin, folder, max_bytes=MiB, timeout=0.01).read("a.txt")
    lenient = MirroredStorage(origin, folder, max_bytes=MiB, timeout=0.01, stale_if_error=3600)
    assert await lenient.read("a.txt") == b"one"
    held.release()


async def test_many_want_the_same(origin: FaultyStorage, folder: Path) -> None:
    """Concurrent misses read the origin once, also those of another storage with the same directory."""
    await origin.put("a.bin", CONTENT)
    mirror, other = (MirroredStorage(origin, folder, max_bytes=10 * MiB) for _ in range(2))
    asked(origin)
    held = origin.hold("open", times=None)
    readers = [asyncio.create_task((mirror, other)[number % 2].read("a.bin")) for number in range(10)]
    await held.reached()
    await eventually(lambda: [method for method, _ in origin.calls].count("stat") == 10)
    held.release()
    assert await asyncio.gather(*readers) == [CONTENT] * 10
    assert asked(origin).count("open") == 1
    await no_part(folder)
    await mirror.aclose()
    await other.aclose()


class _Paused(MemoryStorage):
    """Reading stops after ``after`` bytes until it is let go; how often it began is counted."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after, self.go, self.begun = after, asyncio.Event(), 0

    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Opened | None:
        opened = await super().open(key, offset=offset, length=length)
        assert opened is not None
        self.begun += 1
        if offset:
            return opened

        async def chunks() -> AsyncGenerator[bytes, None]:
            sent = 0
            async with aclosing(opened._chunks):
                async for chunk in opened:
                    if sent >= self.after:
                        await self.go.wait()
                    sent += len(chunk)
                    yield chunk

        return Opened(opened.stored, chunks(), close=opened.aclose)


async def test_the_first_reader_does_not_wait(folder: Path) -> None:
    """What has come is read while the rest is still on its way; a range behind that comes from the origin."""
    origin = _Paused(512 * KiB)
    await origin.put("a.bin", CONTENT)
    async with MirroredStorage(origin, folder, max_bytes=10 * MiB) as mirror:
        first = await mirror.open("a.bin")
        assert first is not None
        found = b""
        while len(found) < 512 * KiB:
            found += await anext(aiter(first))
        assert not origin.go.is_set()
        assert await piece(mirror, "a.bin", 100, 1000) == CONTENT[100:1100]
        assert origin.begun == 1
        assert await piece(mirror, "a.bin", MiB - 10) == CONTENT[-10:]
        assert origin.begun == 2
        origin.go.set()
        async with first:
            found += await first.read()
        assert found == CONTENT
        await no_part(folder)
        assert await mirror.read("a.bin") == CONTENT
        assert origin.begun == 2


async def test_whose_context_a_copy_runs_in(origin: FaultyStorage, folder: Path) -> None:
    """The copy has nothing of the request that happened to be first, whose scopes end before it does."""
    request: ContextVar[str] = ContextVar("request", default="nobody's")
    seen = []

    class Watching(FaultyStorage):
        async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Opened | None:
            seen.append(request.get())
            return await super().open(key, offset=offset, length=length)

    await origin.put("a.txt", b"one")
    async with MirroredStorage(Watching(origin), folder, max_bytes=MiB) as mirror:
        request.set("the first one's")
        assert await mirror.read("a.txt") == b"one"
    assert seen == ["nobody's"]


async def test_a_reader_who_hangs_up(folder: Path) -> None:
    """The copy is made to its end although whoever began it is gone, closed or cancelled."""
    origin = _Paused(64 * KiB)
    await origin.put("a.bin", CONTENT)
    async with MirroredStorage(origin, folder, max_bytes=10 * MiB) as mirror:
        opened = await mirror.open("a.bin")
        assert opened is not None
        await anext(aiter(opened))
        await opened.aclose()
        reading = asyncio.create_task(mirror.read("a.bin"))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait({reading})
        origin.go.set()
        await eventually(lambda: len(copies(folder)) == 1)
        assert await copied(mirror, "a.bin") == CONTENT
        assert origin.begun == 1


async def test_a_copy_that_fails_while_it_is_read(folder: Path) -> None:
    """Whoever reads what another copies learns of its end though a slow reader has the file open still."""
    paused = _Paused(256 * KiB)
    origin = FaultyStorage(paused)
    await origin.put("a.bin", CONTENT)
    mirror, other = (MirroredStorage(origin, folder, max_bytes=10 * MiB, timeout=10_000) for _ in range(2))
    origin.cut("open", after=512 * KiB)
    slow = await mirror.open("a.bin")
    assert slow is not None
    async with slow:
        await anext(aiter(slow))
        reading = asyncio.create_task(other.read("a.bin"))
        await eventually(
            lambda: any(fill.written for each in other._fills.values() for fill in each.values())
        )
        paused.go.set()
        assert await reading == CONTENT
    await mirror.aclose()
    await other.aclose()


async def test_a_part_that_is_no_longer_ours(folder: Path) -> None:
    """Of two versions that are copied at once, each appears whole or not at all."""
    memory, directory = MemoryStorage(), Directory(folder, 10 * MiB, "")
    one = await memory.put("a.txt", b"one")
    two = await memory.put("a.txt", b"twofold", overwrite=True)
    first, second = (directory.begin(stored, asked=1, dropped=0) for stored in (one, two))
    assert isinstance(first, Part)
    assert isinstance(second, Part)
    first.writer.append(b"one")
    assert first.writer.end()
    directory.finish(first)
    directory.abandon(first)
    assert directory.find("a.txt") == (None, 0)
    second.writer.append(b"twofold")
    assert second.writer.end()
    directory.finish(second)
    copy, _ = directory.find("a.txt")
    assert copy is not None
    assert (copy.stored, copy.block(0)) == (two, b"twofold")
    for fd in (copy.fd, first.writer.fd, second.writer.fd):
        os.close(fd)


async def test_dropped_while_there_is_no_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy for which there is no room, and whose key another process drops that moment, leaves no file
    open."""
    stored = await MemoryStorage().put("a.txt", b"one")
    directory, other = (Directory(folder, 10 * MiB, "") for _ in range(2))

    def reserves(ledger: int, length: int) -> bool:
        other.drop(stored.key)
        return False

    monkeypatch.setattr(directory, "_reserves", reserves)
    open_files = len(os.listdir("/proc/self/fd"))
    assert directory.begin(stored, asked=1, dropped=0) is None
    assert len(os.listdir("/proc/self/fd")) == open_files


async def test_closing_in_the_middle(folder: Path) -> None:
    """A storage that is closed while it copies leaves no half copy; a reader goes on from the origin."""
    origin = _Paused(64 * KiB)
    await origin.put("a.bin", CONTENT)
    mirror = MirroredStorage(origin, folder, max_bytes=10 * MiB)
    opened = await mirror.open("a.bin")
    assert opened is not None
    found = await anext(aiter(opened))
    await mirror.aclose()
    assert (list(folder.glob("*.part")), copies(folder)) == ([], [])
    async with opened:
        assert found + await opened.read() == CONTENT


async def test_closing_before_a_copy_began(folder: Path) -> None:
    """15. A mirror that is closed in the moment in which a reader asks for a copy keeps no reader waiting."""
    origin = MemoryStorage()
    await origin.put("a.bin", CONTENT)
    mirror = MirroredStorage(origin, folder, max_bytes=4 * MiB)
    reading = asyncio.create_task(mirror.read("a.bin"))
    while not mirror._fills:  # its task has not had a turn yet
        await asyncio.sleep(0)
    await mirror.aclose()
    async with asyncio.timeout(30):
        assert await reading == CONTENT


async def test_too_many_open_files(folder: Path) -> None:
    """15. Where this process can open no more files, what is read comes from the origin."""
    taken: list[int] = []

    class Greedy(MemoryStorage):
        async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Opened | None:
            with suppress(OSError):
                while True:
                    taken.append(os.dup(0))
            return await super().open(key, offset=offset, length=length)

    origin = Greedy()
    await origin.put("a.bin", CONTENT)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    mirror = MirroredStorage(origin, folder, max_bytes=4 * MiB)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        assert await mirror.read("a.bin") == CONTENT
        assert await mirror.read("a.bin") == CONTENT
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    await mirror.aclose()


@pytest.mark.parametrize("after", [0, 1, BLOCK, MiB - 1])
async def test_a_read_that_breaks_off(after: int, origin: FaultyStorage, folder: Path) -> None:
    """Whoever reads goes on from where the copy ended, or gets an error. No half copy is kept."""
    await origin.put("a.bin", CONTENT)
    async with MirroredStorage(origin, folder, max_bytes=10 * MiB) as mirror:
        origin.cut("open", after=after)
        assert await copied(mirror, "a.bin") == CONTENT
        assert (list(folder.glob("*.part")), copies(folder)) == ([], [])
        origin.cut("open", after=after)
        origin.fail("open")
        # The second is met by the copy or by its reader, whichever comes first; both read on then.
        lost = origin.fail("open", times=None)
        with pytest.raises(BackendUnavailable):
            await mirror.read("a.bin")
        lost.stop()
        await no_part(folder)
        assert copies(folder) == []
        assert await copied(mirror, "a.bin") == CONTENT


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[HEADER + BLOCK + 5] ^= 1
    path.write_bytes(content)


def _sums(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize(
    "damage",
    [
        _flip,
        _sums,
        lambda path: os.truncate(path, HEADER + BLOCK),
        lambda path: os.truncate(path, length_of(MiB) + 1),
        lambda path: path.write_bytes(bytes(length_of(MiB))),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"x" + path.read_bytes()[1:]),
    ],
    ids=["a bit", "a sum", "cut", "longer", "zeros", "empty", "header"],
)
@pytest.mark.parametrize("immutable", [False, True])
async def test_damaged_copies(damage: Any, immutable: bool, origin: FaultyStorage, folder: Path) -> None:
    """What a disk or a crash has damaged is never read, not in part either; it is found and replaced."""
    await origin.put("a.bin", CONTENT)
    async with MirroredStorage(origin, folder, max_bytes=10 * MiB, immutable=immutable) as mirror:
        await copied(mirror, "a.bin")
        [path] = copies(folder)
        damage(path)
        assert await copied(mirror, "a.bin") == CONTENT
        assert await copied(mirror, "a.bin") == CONTENT
        asked(origin)
        assert await piece(mirror, "a.bin", BLOCK + 1, 100) == CONTENT[BLOCK + 1 : BLOCK + 101]
        assert "open" not in asked(origin)


class _Corrupting(MemoryStorage):
    """What is read is not what was stored."""

    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Opened | None:
        content, stored = self._objects[key]
        self._objects[key] = b"X" + content[1:], stored
        opened = await super().open(key, offset=offset, length=length)
        self._objects[key] = content, stored
        return opened


async def test_a_content_with_another_checksum(folder: Path) -> None:
    """What does not have the origin's checksum is not read to its end, and not kept."""
    origin = _Corrupting()
    await origin.put("a.bin", CONTENT, checksum=Checksum.of(CONTENT))
    async with MirroredStorage(origin, folder, max_bytes=10 * MiB) as mirror:
        opened = await mirror.open("a.bin")
        assert opened is not None
        found = 0
        async with opened:
            with pytest.raises(StorageError, match="did not come as it was stored"):  # noqa: PT012
                async for chunk in opened:
                    found += len(chunk)
        assert found < MiB
        await no_part(folder)
        assert copies(folder) == []


async def test_the_bound(origin: FaultyStorage, folder: Path) -> None:
    """All copies together never take more than max_bytes; those unused for longest go first."""
    names = [f"{number}.bin" for number in range(8)]
    for name in names:
        await origin.put(name, name.encode() * 20_000)
    each = length_of(5 * 20_000)
    bound = 5 * each
    async with MirroredStorage(origin, folder, max_bytes=bound) as mirror:
        for name in names[:4]:
            await copied(mirror, name)
        assert len(copies(folder)) == 4
        await mirror.read(names[0])  # so that it is not the one unused for longest
        for name in names[4:]:
            await copied(mirror, name)
            assert sum(path.stat().st_size for path in copies(folder)) <= bound
        asked(origin)
        await mirror.read(names[7])
        assert "open" not in asked(origin)
        for name in names[1:3]:
            await copied(mirror, name)
            assert "open" in asked(origin)


async def test_what_is_being_read_stays(origin: FaultyStorage, folder: Path) -> None:
    """A copy that is evicted while it is read is read to its end all the same."""
    await origin.put("a.bin", CONTENT)
    await origin.put("b.bin", CONTENT)
    async with MirroredStorage(origin, folder, max_bytes=length_of(MiB) * 3 // 2) as mirror:
        await copied(mirror, "a.bin")
        opened = await mirror.open("a.bin")
        assert opened is not None
        found = await anext(aiter(opened))
        await copied(mirror, "b.bin")
        assert len(copies(folder)) == 1
        asked(origin)
        async with opened:
            assert found + await opened.read() == CONTENT
        assert asked(origin) == []


async def test_what_has_no_room(origin: FaultyStorage, folder: Path) -> None:
    """What is larger than max_bytes is read, and nothing goes for it."""
    await origin.put("small.txt", b"x")
    await origin.put("large.bin", CONTENT)
    async with MirroredStorage(origin, folder, max_bytes=length_of(MiB) - 1) as mirror:
        await copied(mirror, "small.txt")
        assert await copied(mirror, "large.bin") == CONTENT
        assert await piece(mirror, "large.bin", 7, 5) == CONTENT[7:12]
        assert len(copies(folder)) == 1


async def test_copies_on_their_way_have_room(folder: Path) -> None:
    """Copies on their way count with all that they will take; what has no room beside them has none."""
    origin = _Paused(64 * KiB)
    for name in ("a.bin", "b.bin"):
        await origin.put(name, CONTENT)
    async with MirroredStorage(origin, folder, max_bytes=length_of(MiB) * 3 // 2) as mirror:
        first, second = await mirror.open("a.bin"), await mirror.open("b.bin")
        assert first is not None
        assert second is not None
        origin.go.set()
        async with first, second:
            assert await first.read() == await second.read() == CONTENT
        await no_part(folder)
        assert len(copies(folder)) == 1


async def test_a_disk_that_cannot_be_used(origin: FaultyStorage, tmp_path: Path) -> None:
    """Where copies can be neither read nor made, objects come from the origin."""
    (tmp_path / "file").write_bytes(b"")
    await origin.put("a.bin", CONTENT)
    async with MirroredStorage(origin, tmp_path / "file" / "copies", max_bytes=10 * MiB) as mirror:
        assert await mirror.read("a.bin") == CONTENT
        assert await piece(mirror, "a.bin", MiB - 3) == CONTENT[-3:]


async def test_a_disk_that_fills_up(
    origin: FaultyStorage, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full in the middle of a copy is no matter of whoever reads."""
    real = os.pwrite
    room = 300 * KiB

    def pwrite(fd: int, data: Any, offset: int) -> int:
        if offset > room:
            raise OSError(28, "No space left on device")
        return real(fd, data, offset)

    monkeypatch.setattr("scalekit.storage._mirror_copy.os.pwrite", pwrite)
    await origin.put("a.bin", CONTENT)
    async with MirroredStorage(origin, folder, max_bytes=10 * MiB) as mirror:
        assert await copied(mirror, "a.bin") == CONTENT
        assert (list(folder.glob("*.part")), copies(folder)) == ([], [])


class _Flickers(MemoryStorage):
    """Another version each time that somebody looks."""

    async def stat(self, key: str) -> Stored | None:
        found = self._objects.get(key)
        if found is not None:
            self._objects[key] = found[0], replace(found[1], etag=found[1].etag + "x")
        return found and found[1]


async def test_an_object_that_changes_all_the_time(folder: Path) -> None:
    """It is read without a copy, and the reading comes to an end."""
    origin = _Flickers()
    await origin.put("a.txt", b"one")
    async with MirroredStorage(origin, folder, max_bytes=MiB) as mirror:
        for _ in range(3):
            opened = await mirror.open("a.txt", offset=1)
            assert opened is not None
            async with opened:
                assert await opened.read() == b"ne"
        await eventually(lambda: not any(mirror._fills.values()))


async def test_origins_that_share_a_folder(tmp_path: Path, folder: Path) -> None:
    """15. Copies of one origin, or of one tenant's part of it, are never taken for another's."""
    origins = [FileStorage(tmp_path / "a"), FileStorage(tmp_path / "b")]
    parts = [origins[0].scoped("t/1/"), origins[0].scoped("t/2/")]
    mirrors = [MirroredStorage(each, folder, max_bytes=MiB, fresh_for=60) for each in (*origins, *parts)]
    for number, mirror in enumerate(mirrors):
        await mirror.put("k.txt", b"%d" % number)
    for _ in range(2):
        assert [await copied(mirror, "k.txt") for mirror in mirrors] == [b"0", b"1", b"2", b"3"]
    assert len(copies(folder)) == 4


async def test_addresses(folder: Path) -> None:
    """Addresses are the origin's, unless the mirror is what is served."""
    origin = MemoryStorage(base_url="https://cdn.example/")
    mirror = MirroredStorage(origin, folder, max_bytes=MiB)
    assert mirror.public_url("a.txt") == await mirror.url("a.txt") == "https://cdn.example/a.txt"
    assert await mirror.signed_url("a.txt") is None
    served = MirroredStorage(origin, folder, max_bytes=MiB, base_url="/media")
    assert served.public_url("a.txt") == await served.url("a.txt") == "/media/a.txt"


def test_synchronous(folder: Path) -> None:
    """The synchronous twin reads through the same copies, and its end leaves nothing half."""
    origin = FaultyStorage(MemoryStorage())
    with MirroredStorage(origin, folder, max_bytes=10 * MiB).sync() as files:
        files.put("a.bin", CONTENT)
        assert files.read("a.bin") == CONTENT
        with files.open("a.bin", offset=5) as opened:  # type: ignore[union-attr]
            assert next(opened)[:3] == CONTENT[5:8]
    assert list(folder.glob("*.part")) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_bytes": 0}, "max_bytes= must be a whole number, at least 1"),
        ({"fresh_for": -1}, "fresh_for=-1 must be"),
        ({"stale_if_error": "60"}, "stale_if_error='60' must be"),
        ({"timeout": 0}, "timeout=0 must be"),
        ({"origin": "s3://media"}, "origin must be a storage"),
        ({"base_url": "media"}, "base_url='media'"),
    ],
)
def test_options(options: dict[str, Any], message: str, folder: Path) -> None:
    """A mistake is told at start-up."""
    given: dict[str, Any] = {"origin": MemoryStorage(), "directory": folder, "max_bytes": MiB} | options
    with pytest.raises(ConfigurationError, match=message):
        MirroredStorage(**given)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    """A mistake is told at start-up."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="is a file; give the path of a folder"):
        MirroredStorage(MemoryStorage(), tmp_path / "file", max_bytes=MiB)

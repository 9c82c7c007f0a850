"""sync: the destination ends in the state of the source, whatever kinds the two are."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from hashlib import md5
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from scalekit.errors import ConfigurationError, InvalidKey, ObjectExists, StorageError, UploadFailed
from scalekit.storage import Checksum, FileStorage, MemoryStorage, Source, Storage, Stored
from scalekit.storage.moving import MAX_FAILURES, Change, Compare, SyncProgress, SyncReport, sync
from tests.storage.helpers import stream

CONTENT = {
    "a.txt": b"a",
    "a/b.txt": b"below a directory of the same beginning",
    "empty": b"",
    "photos/1.png": b"\x89PNG" + bytes(3000),
    "photos/ä ö.png": b"not ASCII",
    "z/z/z.bin": bytes(range(256)) * 100,
}


async def fill(storage: Storage, content: dict[str, bytes]) -> None:
    for key, data in content.items():
        await storage.put(key, data, overwrite=True)


async def held(storage: Storage) -> dict[str, bytes | None]:
    return {stored.key: await storage.read(stored.key) async for stored in storage.list()}


@pytest.fixture
async def make(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncGenerator[Callable[[str, str], Storage]]:
    """A function that makes a storage of a kind, apart from others by its name."""
    made: list[Storage] = []

    def make(kind: str, name: str) -> Storage:
        if kind == "memory":
            return MemoryStorage()
        if kind == "file":
            return FileStorage(tmp_path / name)
        from scalekit.storage.s3 import S3Storage

        server, bucket = request.getfixturevalue("s3_server"), request.getfixturevalue("bucket")
        made.append(S3Storage(bucket, prefix=f"{name}/", **server.client_kwargs))
        return made[-1]

    yield make
    for storage in made:
        await storage.aclose()


@pytest.mark.parametrize(
    ("one", "other"),
    [("memory", "file"), ("file", "memory"), ("file", "file"), ("file", "s3"), ("s3", "file"), ("s3", "s3")],
)
async def test_from_any_storage_to_any(make: Callable[[str, str], Storage], one: str, other: str) -> None:
    """25. What is new, changed or the same is told apart, between every two kinds of storages."""
    source, destination = make(one, "from"), make(other, "to")
    await fill(source, CONTENT)
    everything = sum(map(len, CONTENT.values()))
    assert await sync(source, destination) == SyncReport(created=6, bytes_written=everything)
    assert await held(destination) == CONTENT
    before = {stored.key: stored async for stored in destination.list()}

    assert await sync(source, destination) == SyncReport(unchanged=6)
    assert {stored.key: stored async for stored in destination.list()} == before

    await fill(source, {"a.txt": b"b", "photos/1.png": b"\x89PNG" + bytes(2999) + b"1"})  # of the same size
    await fill(destination, {"only/here": b"x"})
    assert await sync(source, destination) == SyncReport(replaced=2, unchanged=4, bytes_written=3005)
    now = await held(source)
    assert await held(destination) == now | {"only/here": b"x"}

    assert await sync(source, destination, delete=True) == SyncReport(unchanged=6, deleted=1)
    assert await held(destination) == now
    assert await held(source) == now


async def test_type_and_name_come_along(make: Callable[[str, str], Storage]) -> None:
    """25. What a storage knows of an object beside its content is kept, where the other keeps it."""
    source, destination = MemoryStorage(), make("s3", "to")
    await source.put("a1b2", b"content", content_type="image/png", filename="Ämne.png")
    await sync(source, destination)
    stored = await destination.stat("a1b2")
    assert stored is not None
    assert (stored.content_type, stored.filename) == ("image/png", "Ämne.png")


async def test_a_time_says_nothing(tmp_path: Path) -> None:
    """25. An older or an equal time does not make another content the same."""
    source, destination = FileStorage(tmp_path / "from"), FileStorage(tmp_path / "to")
    await destination.put("a", b"old")
    await source.put("a", b"new")
    facts = os.stat(tmp_path / "to/a")
    for time in (facts.st_mtime_ns, facts.st_mtime_ns - 10**12):
        await destination.put("a", b"old", overwrite=True)
        os.utime(tmp_path / "from/a", ns=(time, time))
        os.utime(tmp_path / "to/a", ns=(facts.st_mtime_ns, facts.st_mtime_ns))
        await sync(source, destination)
        assert await destination.read("a") == b"new"


@pytest.mark.parametrize(
    ("compare", "expected"),
    [
        ("checksum", {"same": "unchanged", "rotten": "unchanged", "other": "replaced", "longer": "replaced"}),
        ("content", {"same": "unchanged", "rotten": "replaced", "other": "replaced", "longer": "replaced"}),
        ("size", {"same": "unchanged", "rotten": "unchanged", "other": "unchanged", "longer": "replaced"}),
        ("presence", dict.fromkeys(("same", "rotten", "other", "longer"), "unchanged")),
    ],
)
async def test_how_to_compare(compare: Compare, expected: dict[str, str]) -> None:
    """25. Kept checksums are believed by default; on request nothing is, or less is asked for."""
    source, destination = MemoryStorage(), MemoryStorage()
    await fill(source, dict.fromkeys(expected, b"12345"))
    await fill(destination, {"same": b"12345", "rotten": b"12345", "other": b"54321", "longer": b"123456"})
    _, stored = destination._objects["rotten"]
    destination._objects["rotten"] = b"1234x", stored  # the storage does not know
    changes: list[Change] = []
    await sync(source, destination, compare=compare, on_change=changes.append)
    assert {change.key: change.action for change in changes} == expected
    for key, action in expected.items():
        assert (await destination.read(key) == b"12345") or action == "unchanged"


class KeepsSHA1(MemoryStorage):
    """As a storage that keeps another checksum than the other one does; counts what is read of it."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    async def put(self, key: str, source: Source, **options: Any) -> Stored:
        return self._with_sha1(await super().put(key, source, **options))

    async def stat(self, key: str) -> Stored | None:
        stored = await super().stat(key)
        return None if stored is None else self._with_sha1(stored)

    async def list(self, prefix: str = "") -> AsyncGenerator[Stored, None]:
        async for stored in super().list(prefix):
            yield replace(stored, checksum=None)

    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Any:
        self.opened.append(key)
        return await super().open(key, offset=offset, length=length)

    def _with_sha1(self, stored: Stored) -> Stored:
        return replace(stored, checksum=Checksum.of(self._objects[stored.key][0], "sha1"))


async def test_only_what_keeps_no_checksum_is_read(tmp_path: Path) -> None:
    """25. The folder is hashed as the other side hashes, which is asked for its checksum only.

    Which it keeps shows with the first object that is written; only that one is read again.
    """
    source, destination = FileStorage(tmp_path), KeepsSHA1()
    await fill(source, CONTENT)
    await sync(source, destination, concurrency=1)
    assert destination.opened == ["a.txt"]
    destination.opened.clear()
    assert (await sync(source, destination)).unchanged == len(CONTENT)
    assert destination.opened == []


class HasMD5AsETag(MemoryStorage):
    """As S3 that keeps nothing else; counts what is asked of it.

    ``etag_of`` makes other ETags, as S3 does of what came in parts.
    """

    def __init__(self, etag_of: Callable[[bytes], str] = lambda content: md5(content).hexdigest()) -> None:
        super().__init__()
        self.etag_of, self.asked = etag_of, list[str]()

    async def put(self, key: str, source: Source, **options: Any) -> Stored:
        await super().put(key, source, **options)
        content, stored = self._objects[key]
        stored = replace(stored, etag=self.etag_of(content), checksum=None)
        self._objects[key] = content, stored
        return stored

    async def stat(self, key: str) -> Stored | None:
        self.asked.append(f"stat {key}")
        return await super().stat(key)

    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Any:
        self.asked.append(f"open {key}")
        return await super().open(key, offset=offset, length=length)


async def test_an_etag_that_is_the_md5_is_enough(tmp_path: Path) -> None:
    """25. A service whose listing shows MD5s is asked for nothing else, to compare or to verify."""
    folder, service = FileStorage(tmp_path), HasMD5AsETag()
    await fill(folder, CONTENT)
    assert (await sync(folder, service)).created == 6
    assert (await sync(folder, service)).unchanged == 6
    assert (await sync(service, folder)).unchanged == 6
    assert service.asked == []
    another = HasMD5AsETag()
    assert (await sync(service, another)).created == 6
    service.asked.clear()
    assert (await sync(service, another)).unchanged == 6
    assert service.asked == another.asked == []
    await fill(folder, {"a.txt": b"b"})
    assert await sync(folder, service) == SyncReport(replaced=1, unchanged=5, bytes_written=1)
    assert await held(service) == await held(folder)


@pytest.mark.parametrize("etag_of", [lambda content: uuid4().hex, lambda content: f"{uuid4().hex}-2"])
async def test_an_etag_that_is_none_says_nothing(tmp_path: Path, etag_of: Callable[[bytes], str]) -> None:
    """25. Where an ETag is something else, as of what S3 encrypts by a key, contents are compared."""
    folder, service = FileStorage(tmp_path), HasMD5AsETag(etag_of)
    await fill(folder, CONTENT)
    assert (await sync(folder, service)).created == 6
    assert (await sync(folder, service)).unchanged == 6
    await fill(folder, {"a.txt": b"b"})
    assert await sync(folder, service) == SyncReport(replaced=1, unchanged=5, bytes_written=1)
    other = HasMD5AsETag(etag_of)
    await fill(other, CONTENT)
    assert await sync(service, other) == SyncReport(replaced=1, unchanged=5, bytes_written=1)
    assert await held(other) == await held(folder)


async def test_two_kinds_of_checksums() -> None:
    """25. Where both keep one, but not of the same kind, one side is read."""
    source, destination = MemoryStorage(), KeepsSHA1()
    await fill(source, CONTENT)
    await fill(destination, CONTENT | {"a.txt": b"b"})
    assert await sync(source, destination) == SyncReport(replaced=1, unchanged=5, bytes_written=1)


async def test_what_changes_on_its_way_is_told(tmp_path: Path) -> None:
    """25. A destination that stores another content than it was given fails the object."""

    class Forgetful(FileStorage):
        async def put(self, key: str, source: Source, **options: Any) -> Stored:
            return await super().put(key, b"else", overwrite=True)

    source = MemoryStorage()
    await fill(source, {"a": b"what"})
    changes: list[Change] = []
    report = await sync(source, Forgetful(tmp_path), on_change=changes.append)
    assert report == SyncReport(failed=1)
    assert changes[0].reason is not None
    assert changes[0].reason.startswith("the content has the checksum sha256:")


async def test_a_source_that_does_not_yield_what_it_keeps_stores_nothing() -> None:
    """25. What went bad on the source does not replace what is good at the destination."""
    source, destination = MemoryStorage(), MemoryStorage()
    await fill(source, {"a": b"good"})
    source._objects["a"] = b"evil", source._objects["a"][1]
    await fill(destination, {"a": b"good, before"})
    assert await sync(source, destination) == SyncReport(failed=1)
    assert await destination.read("a") == b"good, before"


async def test_a_dry_run(tmp_path: Path) -> None:
    """25. It tells what would be done, and does nothing."""
    source, destination = FileStorage(tmp_path / "from"), FileStorage(tmp_path / "to")
    await fill(source, {"new": b"1", "changed": b"22", "same": b"333"})
    there = {"changed": b"2x", "same": b"333", "extra": b"4"}
    await fill(destination, there)
    changes: list[Change] = []
    report = await sync(source, destination, delete=True, dry_run=True, on_change=changes.append)
    assert report == SyncReport(created=1, replaced=1, unchanged=1, deleted=1, bytes_written=3)
    assert sorted((change.key, change.action) for change in changes) == [
        ("changed", "replaced"), ("extra", "deleted"), ("new", "created"), ("same", "unchanged"),
    ]  # fmt: skip
    assert await held(destination) == there


async def test_a_prefix_limits_everything() -> None:
    """25. What does not begin with the prefix is neither written nor removed."""
    source, destination = MemoryStorage(), MemoryStorage()
    await fill(source, {"a/1": b"1", "b/1": b"1"})
    await fill(destination, {"a/2": b"2", "b/2": b"2"})
    await sync(source, destination, prefix="a/", delete=True)
    assert await held(destination) == {"a/1": b"1", "b/2": b"2"}
    with pytest.raises(InvalidKey):
        await sync(source, destination, prefix="../")


async def test_an_empty_source_removes_nothing(tmp_path: Path) -> None:
    """25. A disk that is not mounted looks empty; that is no order to remove all."""
    destination = MemoryStorage()
    await fill(destination, CONTENT)
    with pytest.raises(ConfigurationError, match="is its disk mounted"):
        await sync(FileStorage(tmp_path / "unmounted"), destination, delete=True)
    assert await held(destination) == CONTENT
    assert await sync(FileStorage(tmp_path), MemoryStorage(), delete=True) == SyncReport()


async def test_what_appeared_meanwhile_is_not_removed() -> None:
    """25. An object that the source stored after its listing was read is not superfluous."""
    destination = MemoryStorage()

    class Busy(MemoryStorage):
        async def list(self, prefix: str = "") -> AsyncGenerator[Stored, None]:
            async for stored in super().list(prefix):
                if stored.key != "uploaded":
                    yield stored

    source = Busy()
    await fill(source, {"a": b"1", "uploaded": b"2"})
    await fill(destination, {"uploaded": b"2", "gone": b"3"})
    assert (await sync(source, destination, delete=True)).deleted == 1
    assert await held(destination) == {"a": b"1", "uploaded": b"2"}


async def test_nothing_is_removed_when_something_failed(tmp_path: Path) -> None:
    """25. One object that fails keeps no other; what is superfluous waits for a run without failures."""
    source, destination = MemoryStorage(), FileStorage(tmp_path)
    await fill(source, {"a": b"1", "a/b": b"a file cannot be a directory too", "c": b"3"})
    await fill(destination, {"extra": b"x"})
    changes: list[Change] = []
    report = await sync(source, destination, delete=True, concurrency=1, on_change=changes.append)
    assert report == SyncReport(created=2, failed=1, bytes_written=2)
    assert await held(destination) == {"a": b"1", "c": b"3", "extra": b"x"}
    (failed,) = [change for change in changes if change.action == "failed"]
    assert failed.key == "a/b"
    assert "is the beginning of this one" in str(failed.reason)


async def test_a_storage_that_fails_altogether() -> None:
    """25. After a hundred failures it is the storage that fails, and the sync says so."""

    class Full(MemoryStorage):
        async def put(self, key: str, source: Source, **options: Any) -> Stored:
            raise UploadFailed("the disk is full")

    source = MemoryStorage()
    await fill(source, {str(number): b"x" for number in range(2 * MAX_FAILURES)})
    changes: list[Change] = []
    with pytest.raises(StorageError, match="100 objects have failed, the last one: the disk is full"):
        await sync(source, Full(), on_change=changes.append)
    assert MAX_FAILURES <= len(changes) < MAX_FAILURES + 8  # those that were under way


async def test_what_no_key_can_name_is_told(tmp_path: Path) -> None:
    """25. A file that cannot be an object, and so stays behind, is not passed over in silence."""
    source = FileStorage(tmp_path / "from")
    await source.put("photos/a.png", b"x")
    folder = tmp_path / "from/photos"
    (folder / "ends with a space ").write_text("x")
    (folder / "decomposed u\u0308.png").write_text("x")
    (folder / "link").symlink_to(folder / "a.png")
    (folder / "bad ").mkdir()
    (folder / "bad /below.png").write_text("x")
    os.mkfifo(folder / "pipe")
    (folder / ".DS_Store").write_text("nobody's")
    with open(os.fsencode(folder) + b"/latin-\xe4.png", "w"):
        pass
    changes: list[Change] = []
    report = await sync(source, MemoryStorage(), on_change=changes.append)
    assert report == SyncReport(created=1, skipped=6, bytes_written=1)
    told = {change.key: change.reason for change in changes if change.action == "skipped"}
    assert told["photos/link"] == "is a link"
    assert told["photos/pipe"] == "is no regular file"
    assert "normal form C" in str(told["photos/decomposed u\u0308.png"])
    assert set(told) >= {"photos/ends with a space ", "photos/bad ", "photos/latin-\udce4.png"}
    assert (await sync(source, MemoryStorage(), prefix="other/")).skipped == 0


async def test_storages_that_share_objects_are_refused(tmp_path: Path) -> None:
    """25. A storage inside of the other would be read while it is written; so it is an error at the start."""
    for one, other in (("a", "a"), ("a", "a/b"), ("a/b", "a")):
        with pytest.raises(ConfigurationError, match="share objects"):
            await sync(FileStorage(tmp_path / one), FileStorage(tmp_path / other))
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(ConfigurationError, match="share objects"):
        await sync(FileStorage(tmp_path / "a"), FileStorage(tmp_path / "link/below"))
    memory = MemoryStorage()
    with pytest.raises(ConfigurationError, match="share objects"):
        await sync(memory, memory)
    await sync(FileStorage(tmp_path / "a"), FileStorage(tmp_path / "ab"))
    whole = FileStorage(tmp_path / "a")
    await sync(whole.scoped("x/"), whole.scoped("y/"))
    with pytest.raises(ConfigurationError, match="share objects"):
        await sync(whole.scoped("x/"), whole)


async def test_another_writer_at_the_destination() -> None:
    """25. What somebody stores after the listing is compared like any other, and with "presence" it stays."""

    class Raced(MemoryStorage):
        async def put(self, key: str, source: Source, **options: Any) -> Stored:
            assert not isinstance(source, bytes)
            content = b"".join([bytes(chunk) async for chunk in source])
            if not options.get("overwrite"):
                await super().put(key, b"a newer server's", overwrite=True)
            return await super().put(key, content, **options)

    source = MemoryStorage()
    await fill(source, {"a": b"old"})
    compare: Compare
    for compare, expected in (("presence", b"a newer server's"), ("checksum", b"old")):
        destination, seen = Raced(), list[SyncProgress]()
        await sync(source, destination, compare=compare, on_progress=seen.append)
        assert await destination.read("a") == expected
        assert max(now.done for now in seen) == seen[-1].done == 3, "no byte is counted twice"


async def test_what_is_in_the_way_fails_the_object(tmp_path: Path) -> None:
    """25. A link at the destination is no object to be replaced: it is told, and the rest goes on."""
    source, destination = MemoryStorage(), FileStorage(tmp_path / "there")
    await fill(source, {"a": b"a", "b": b"b"})
    destination.directory.mkdir()
    (destination.directory / "a").symlink_to(tmp_path / "elsewhere")
    changes: list[Change] = []
    report = await sync(source, destination, on_change=changes.append)
    assert report == SyncReport(created=1, failed=1, bytes_written=1)
    [failed] = [change for change in changes if change.action == "failed"]
    assert (failed.key, "something that is no file" in (failed.reason or "")) == ("a", True)
    assert await held(destination) == {"b": b"b"}


async def test_a_destination_that_cannot_say_what_it_has() -> None:
    """25. What refuses an object as being there, and then has none, fails it, and is not asked for ever."""

    class Unsure(MemoryStorage):
        async def put(self, key: str, source: Source, **options: Any) -> Stored:
            raise ObjectExists(key)

    source = MemoryStorage()
    await fill(source, {"a": b"a"})
    assert await sync(source, Unsure()) == SyncReport(failed=1)


async def test_an_unordered_listing_is_an_error() -> None:
    """25. A storage that lists in another order would seem to lack objects; nothing is guessed from that."""

    class Unordered(MemoryStorage):
        async def list(self, prefix: str = "") -> AsyncGenerator[Stored, None]:
            for stored in reversed([stored async for stored in super().list(prefix)]):
                yield stored

    destination = Unordered()
    await fill(destination, {"a": b"1", "b": b"2"})
    with pytest.raises(StorageError, match="not in order of keys"):
        await sync(MemoryStorage(), destination)


async def test_progress_ends_at_the_total() -> None:
    """25. Bytes that are compared and bytes that are written add up to what the source has."""
    source, destination = MemoryStorage(), MemoryStorage()
    await fill(source, CONTENT)
    await fill(destination, {"a/b.txt": CONTENT["a/b.txt"], "z/z/z.bin": bytes(256 * 100)})
    seen: list[SyncProgress] = []
    report = await sync(source, destination, compare="content", on_progress=seen.append)
    everything = sum(map(len, CONTENT.values()))
    assert seen[-1] == SyncProgress(done=everything, total=everything, report=report)
    assert all(0 <= now.done <= everything for now in seen)


async def test_so_many_at_a_time_and_no_more() -> None:
    """25. `concurrency` objects are under way, and the listing is not read further ahead."""
    under_way = most = 0

    class Slow(MemoryStorage):
        async def put(self, key: str, source: Source, **options: Any) -> Stored:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.001)
            stored = await super().put(key, source, **options)
            under_way -= 1
            return stored

    source = MemoryStorage()
    await fill(source, {f"{number:03}": b"x" for number in range(40)})
    assert (await sync(source, Slow(), concurrency=3)).created == 40
    assert most == 3
    with pytest.raises(ConfigurationError, match="concurrency="):
        await sync(source, MemoryStorage(), concurrency=0)


async def test_cancelled_half_way(tmp_path: Path) -> None:
    """25. A cancelled sync leaves whole objects only, and no temporary file."""
    source, destination = MemoryStorage(), FileStorage(tmp_path / "to")
    for number in range(6):
        await source.put(str(number), stream(300_000))
    begun = asyncio.Event()

    def on_progress(now: SyncProgress) -> None:
        if now.report.created == 2:
            begun.set()

    task = asyncio.create_task(sync(source, destination, concurrency=2, on_progress=on_progress))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    files = list((tmp_path / "to").iterdir())
    assert 2 <= len(files) < 6
    assert {path.stat().st_size for path in files} == {300_000}

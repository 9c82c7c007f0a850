"""The storage contract as a test that anyone can run: ``await check_storage(MyStorage(...))``."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

from scalekit.errors import InvalidKey, MalformedUpload, ObjectExists
from scalekit.storage import MiB, Storage
from scalekit.storage.keys import random_key
from scalekit.testing._storages.promises import check_promises
from scalekit.testing._storages.scopes import check_scopes
from scalekit.testing._storages.sources import Broken, broken, pieces, raises, source, stuck

_BAD_KEYS = (
    "",
    "/etc/passwd",
    "../secret",
    "a/../b",
    "a/./b",
    "a//b",
    "a/",
    ".htaccess",
    "a\\b",
    "nul\x00byte",
    "line\nbreak",
    "txt.\u202egnp",
    "zero\u200bwidth",
    "lone\ud800",
    "e\u0301",
    "dot.",
    " space",
    "x" * 300,
    "/".join(["directory"] * 120),
)
_SIZES = (0, 1, 8 * MiB - 1, 8 * MiB, 8 * MiB + 1)


async def check_storage(storage: Storage, *, prefix: str | None = None, strict: bool = True) -> None:
    """Check that ``storage`` keeps the contract of :class:`scalekit.storage.Storage`; leaves nothing behind.

    Args:
        storage: the storage to check; it may hold other objects.
        prefix: objects are made under it; random by default.
        strict: false leaves out the race of several large writes, which some S3 servers (LocalStack, moto,
            SeaweedFS) do not decide as S3 does.

    Raises:
        AssertionError: it does not; the message says what.
    """
    prefix = random_key(prefix="check-") + "/" if prefix is None else prefix
    try:
        await _check_round_trip(storage, prefix)
        await _check_sizes(storage, prefix)
        await _check_ranges(storage, prefix)
        await _check_create_only(storage, prefix, (10, 9 * MiB) if strict else (10,))
        await _check_failing_sources(storage, prefix)
        await _check_cancellation(storage, prefix)
        await check_promises(storage, prefix)
        await _check_listing(storage, prefix)
        await check_scopes(storage, prefix)
        await _check_keys(storage)
    finally:
        for stored in [stored async for stored in storage.list(prefix)]:
            await storage.delete(stored.key)


async def _check_round_trip(storage: Storage, prefix: str) -> None:
    key = prefix + "photo.png"
    assert await storage.stat(key) is None, "stat() of an absent object is not None"
    assert await storage.open(key) is None, "open() of an absent object is not None"
    assert await storage.read(key) is None, "read() of an absent object is not None"
    await storage.delete(key)
    stored = await storage.put(
        key, source(b"one", b"", bytearray(b"two"), memoryview(b"three")), content_type="image/png"
    )
    assert (stored.key, stored.size, stored.content_type) == (key, 11, "image/png"), (
        f"put() returned {stored}"
    )
    assert stored.etag.strip('"') == stored.etag != "", f"etag is {stored.etag!r}"
    seen = await storage.stat(key)
    assert seen is not None, "stat() does not see what put() stored"
    assert (seen.key, seen.size, seen.content_type, seen.etag) == (key, 11, "image/png", stored.etag), (
        f"stat(): {seen}"
    )
    assert abs(seen.modified - datetime.now(UTC)) < timedelta(minutes=15), f"modified is {seen.modified}"
    assert await storage.read(key) == b"onetwothree", "what is read is not what was stored"
    await storage.put(key, b"another", overwrite=True)
    seen = await storage.stat(key)
    assert seen is not None, "an overwritten object is gone"
    assert seen.etag != stored.etag, "the etag did not change with the content"
    assert await storage.read(key) == b"another", "overwrite=True did not replace the object"
    await storage.delete(key)
    await storage.delete(key)
    assert await storage.stat(key) is None, "delete() did not delete"


async def _check_sizes(storage: Storage, prefix: str) -> None:
    for size in _SIZES:
        key = f"{prefix}{size}.bin"
        content = (b"0123456789abcdef" * (size // 16 + 1))[:size]
        stored = await storage.put(key, source(*pieces(content, 100_000)), size=size)
        assert stored.size == size, f"{size} bytes are {stored.size} when stored"
        assert await storage.read(key) == content, f"an object of {size} bytes comes back changed"
        await storage.delete(key)


async def _check_ranges(storage: Storage, prefix: str) -> None:
    key = prefix + "range.txt"
    await storage.put(key, b"0123456789")
    for offset, length, expected in (
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (3, 4, b"3456"),
        (8, 100, b"89"),
        (10, None, b""),
        (4, 0, b""),
    ):
        opened = await storage.open(key, offset=offset, length=length)
        assert opened is not None, f"open(offset={offset}, length={length}) found nothing"
        async with opened:
            assert opened.stored.size == 10, "the size of an object changes with the range that is read"
            assert await opened.read() == expected, (
                f"open(offset={offset}, length={length}) read something else"
            )
    unread = await storage.open(key)
    assert unread is not None, "open() found nothing"
    await unread.aclose()
    await unread.aclose()
    await storage.delete(key)


async def _check_create_only(storage: Storage, prefix: str, sizes: tuple[int, ...]) -> None:
    key = prefix + "once.txt"
    await storage.put(key, b"first")
    await raises(ObjectExists, storage.put(key, b"second"), "a create-only write replaced an object")
    assert await storage.read(key) == b"first", "a refused write changed the object"
    await storage.delete(key)
    for size in sizes:  # in one piece and in several
        contents = [bytes([number]) * size for number in range(4)]
        results = await asyncio.gather(
            *(storage.put(key, source(*pieces(content, MiB))) for content in contents),
            return_exceptions=True,
        )
        winners = [number for number, result in enumerate(results) if not isinstance(result, BaseException)]
        assert len(winners) == 1, f"{len(winners)} of 4 writers of one key won: {results}"
        losers = [result for number, result in enumerate(results) if number not in winners]
        assert all(isinstance(result, ObjectExists) for result in losers), f"the others got {losers}"
        assert await storage.read(key) == contents[winners[0]], "the object is not the winner's"
        await storage.delete(key)


async def _check_failing_sources(storage: Storage, prefix: str) -> None:
    for size in (10, 9 * MiB):
        key = f"{prefix}broken-{size}.txt"
        await raises(Broken, storage.put(key, broken(size)), "the error of a source was swallowed")
        assert await storage.stat(key) is None, f"a truncated object was stored ({size} bytes)"
        for promised in (size - 1, size + 1):
            written = storage.put(key, source(*pieces(bytes(size), MiB)), size=promised)
            await raises(MalformedUpload, written, f"{size} bytes were taken for {promised}")
            assert await storage.stat(key) is None, "an object of the wrong size was stored"
        await storage.put(key, b"before")
        await raises(Broken, storage.put(key, broken(size), overwrite=True), "a source's error was swallowed")
        assert await storage.read(key) == b"before", "a failed overwrite did not leave what was there"
        await storage.delete(key)


async def _check_cancellation(storage: Storage, prefix: str) -> None:
    for size in (10, 9 * MiB):
        key = f"{prefix}cancelled-{size}.txt"
        waiting = asyncio.Event()
        task = asyncio.create_task(storage.put(key, stuck(size, waiting)))
        await waiting.wait()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled(), "a cancelled put() did not end as cancelled"
        assert await storage.stat(key) is None, "a cancelled put() stored something"


async def _check_listing(storage: Storage, prefix: str) -> None:
    names = ["a-b", "a.txt", "a/b.txt", "a/c/d.txt", "aa", "b/e.txt"]
    for name in names:
        await storage.put(prefix + name, b"x" * len(name))
    for start, expected in (
        ("", names),
        ("a", names[:5]),
        ("a/", names[2:4]),
        ("a/b", names[2:3]),
        ("z", []),
    ):
        found = [stored async for stored in storage.list(prefix + start)]
        keys = [stored.key.removeprefix(prefix) for stored in found]
        assert keys == expected, f"list({start!r}) gave {keys}, not {expected}"
        assert [stored.size for stored in found] == [len(name) for name in expected], (
            "list() gave wrong sizes"
        )
    for name in names:
        await storage.delete(prefix + name)


async def _check_keys(storage: Storage) -> None:
    for key in _BAD_KEYS:
        read = False

        async def source() -> AsyncGenerator[bytes, None]:
            nonlocal read
            read = True
            yield b"content"

        await raises(InvalidKey, storage.put(key, source()), f"put() took the key {key!r}")
        assert not read, f"put() read the source before it refused the key {key!r}"
        await raises(InvalidKey, storage.open(key), f"open() took the key {key!r}")
        await raises(InvalidKey, storage.stat(key), f"stat() took the key {key!r}")
        await raises(InvalidKey, storage.delete(key), f"delete() took the key {key!r}")

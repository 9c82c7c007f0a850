"""Every storage keeps the contract, and the contract's test finds those that do not."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scalekit.errors import StorageError
from scalekit.storage import (
    Checksum,
    FileStorage,
    MemoryStorage,
    Opened,
    ScopedStorage,
    Source,
    Storage,
    Stored,
)
from scalekit.storage.s3 import S3Storage
from scalekit.testing import check_storage
from scalekit.testing._storages.promises import check_promises
from scalekit.testing._storages.scopes import check_scopes
from tests.storage.helpers import chunks, on_strict_s3
from tests.storage.stand_in import S3StandIn


async def test_memory() -> None:
    """6, 16. MemoryStorage keeps the contract."""
    await check_storage(MemoryStorage())


async def test_files(tmp_path: Path) -> None:
    """6, 16. FileStorage keeps the contract, and leaves no file behind."""
    await check_storage(FileStorage(tmp_path / "media"))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_s3(s3_storage: Storage, s3_client: Any, bucket: str) -> None:
    """6. S3Storage keeps the contract on a real S3 server, and leaves no object and no upload behind.

    Except for the race of large writes, which this server (LocalStack) does not decide; see below.
    """
    await check_storage(s3_storage, strict=False)
    await _nothing_left(s3_client, bucket)


class _Sorted(S3Storage):
    """Lists by key, as AWS does and SeaweedFS, which goes folder by folder, does not."""

    async def list(self, prefix: str = "") -> AsyncGenerator[Stored, None]:
        for stored in sorted(
            [stored async for stored in super().list(prefix)], key=lambda stored: stored.key
        ):
            yield stored


@on_strict_s3
async def test_strict_s3(s3_server: Any, s3_client: Any, bucket: str) -> None:
    """6. S3Storage keeps it on a server that refuses half a body, SeaweedFS, with the same exception."""
    async with _Sorted(bucket, **s3_server.client_kwargs) as storage:
        await check_storage(storage, strict=False)
    await _nothing_left(s3_client, bucket)


async def _nothing_left(client: Any, bucket: str) -> None:
    assert "Contents" not in await client.list_objects_v2(Bucket=bucket)
    assert not (await client.list_multipart_uploads(Bucket=bucket)).get("Uploads")


async def test_s3_that_decides_races(stand_in: S3StandIn) -> None:
    """6, 16. S3Storage keeps the whole contract where conditional writes are decided in one step."""
    async with S3Storage("media", **stand_in.client_kwargs) as storage:
        await check_storage(storage)
    assert (stand_in.objects, stand_in.uploads) == ({}, {})


class _Faulty(MemoryStorage):
    """A storage with one fault."""


class _Overwrites(_Faulty):
    async def put(self, key: str, source: Source, **options: Any) -> Stored:
        return await super().put(key, source, **(options | {"overwrite": True}))


class _LooksBeforeItWrites(_Faulty):
    async def put(self, key: str, source: Source, **options: Any) -> Stored:
        if not options.get("overwrite") and await self.stat(key):
            return await super().put(key, source, **options)
        return await super().put(key, source, **(options | {"overwrite": True}))


class _Truncates(_Faulty):
    async def put(self, key: str, source: Source, **options: Any) -> Stored:
        if isinstance(source, bytes):
            return await super().put(key, source, **options)
        content = b""
        try:
            async for chunk in source:  # type: ignore[union-attr]
                content += chunk
        finally:
            result = await super().put(key, content, **options)
        return result


class _TrustsTheLength(_Faulty):
    async def put(self, key: str, source: Source, **options: Any) -> Stored:
        return await super().put(key, source, **(options | {"size": None}))


class _DeletesOnce(_Faulty):
    async def delete(self, key: str) -> None:
        if not await self.stat(key):
            raise KeyError(key)
        await super().delete(key)


class _IgnoresRanges(_Faulty):
    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Opened | None:
        return await super().open(key)


class _SameETag(_Faulty):
    async def stat(self, key: str) -> Stored | None:
        stored = await super().stat(key)
        return stored and Stored(
            key=key,
            size=stored.size,
            content_type=stored.content_type,
            etag="always",
            modified=stored.modified,
        )


class _Swallows(_Faulty):
    async def put(self, key: str, source: Source, **options: Any) -> Stored:
        try:
            return await super().put(key, source, **options)
        except asyncio.CancelledError:
            return await super().put(key, b"what was there", **options)


@pytest.mark.parametrize("faulty", _Faulty.__subclasses__(), ids=lambda faulty: faulty.__name__)
async def test_faulty_storages_are_found(faulty: type[Storage]) -> None:
    """A storage with a single fault does not pass."""
    with pytest.raises((AssertionError, KeyError)):
        await check_storage(faulty())


class _Careless(MemoryStorage):
    """A storage that keeps its bytes, and breaks one promise besides."""


class _TakesAnyContent(_Careless):
    async def put(self, key: str, source: Source, **options: Any) -> Stored:
        return await super().put(key, source, **(options | {"checksum": None}))


class _KeepsAnotherChecksum(_Careless):
    async def stat(self, key: str) -> Stored | None:
        stored = await super().stat(key)
        return stored and replace(stored, checksum=Checksum.of(b"part of it"))


class _KeepsAnyName(_Careless):
    async def put(self, key: str, source: Source, **options: Any) -> Stored:
        stored = await super().put(key, source, **options)
        self._objects[key] = self._objects[key][0], replace(stored, filename=options.get("filename"))
        return self._objects[key][1]


class _ComposesAsListed(_Careless):
    async def compose(self, key: str, sources: Sequence[str], **options: Any) -> Stored:
        return await super().compose(key, sorted(sources), **options)


class _ComposesWhatIsThere(_Careless):
    async def compose(self, key: str, sources: Sequence[str], **options: Any) -> Stored:
        there = [source for source in sources if await self.stat(source)]
        return await super().compose(key, there, **options)


class _CopiesBytesOnly(_Careless):
    async def copy(self, source: str, key: str, *, overwrite: bool = False) -> Stored:
        return await self.compose(key, [source], overwrite=overwrite)


class _Moves(_Careless):
    async def copy(self, source: str, key: str, *, overwrite: bool = False) -> Stored:
        stored = await super().copy(source, key, overwrite=overwrite)
        await self.delete(source)
        return stored


class _ShowsWholeKeys(_Careless):
    def scoped(self, prefix: str) -> Storage:
        part = ScopedStorage(self, prefix)
        part._own = lambda stored: stored  # type: ignore[method-assign]
        return part


class _ComposesAcross(_Careless):
    def scoped(self, prefix: str) -> Storage:
        class Part(ScopedStorage):
            async def compose(self, key: str, sources: Sequence[str], **options: Any) -> Stored:
                return await self.storage.compose(self._whole(key), sources, **options)

        return Part(self, prefix)


class _SharesOnePlace(_Careless):
    def scoped(self, prefix: str) -> Storage:
        return self


@pytest.mark.parametrize("careless", _Careless.__subclasses__(), ids=lambda careless: careless.__name__)
async def test_broken_promises_are_found(careless: type[Storage]) -> None:
    """A storage that breaks a promise about checksums, names, composing or scopes does not pass."""
    storage = careless()

    async def check() -> None:
        await check_promises(storage, "p/")
        await check_scopes(storage, "p/")

    with pytest.raises((AssertionError, StorageError)):
        await check()


async def test_other_objects_are_left_alone(tmp_path: Path) -> None:
    """The check touches nothing that was there before."""
    storage = FileStorage(tmp_path)
    await storage.put("mine.txt", chunks(b"keep"))
    await check_storage(storage)
    assert [stored.key async for stored in storage.list()] == ["mine.txt"]


async def test_what_people_call_it(s3_storage: Storage) -> None:
    """14. A file name is kept beside the object, whatever script it is in, and cleaned of what is no name."""
    name = "../Été – 東京\u202e.png"
    for storage in (MemoryStorage(), s3_storage):
        stored = await storage.put("a.png", b"png", filename=name)
        seen = await storage.stat("a.png")
        assert seen is not None
        assert stored.filename == seen.filename == "Été – 東京.png"
        assert (await storage.put("b.png", b"png", filename="\x00")).filename is None

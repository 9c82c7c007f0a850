"""A tenant's part of a storage."""

from collections.abc import AsyncGenerator

import pytest

from scalekit.errors import InvalidKey, ObjectExists, ObjectMissing
from scalekit.storage import MemoryStorage, ScopedStorage, Storage
from scalekit.storage.s3 import S3Storage
from scalekit.testing import check_storage
from tests.storage.helpers import chunks


async def test_it_keeps_the_contract() -> None:
    """A part of a storage is a storage."""
    await check_storage(MemoryStorage().scoped("tenants/a/"))


async def test_it_reaches_its_own_alone(storage: Storage) -> None:
    """15. Tenant A neither reads, lists, deletes, copies nor overwrites what is B's, by whatever key."""
    a, b = storage.scoped("tenants/a/"), storage.scoped("tenants/b/")
    await b.put("secret.txt", b"b's")
    await a.put("mine.txt", chunks(b"a's"))
    assert [stored.key async for stored in a.list()] == ["mine.txt"]
    assert await a.read("secret.txt") is None
    for key in ("../b/secret.txt", "/tenants/b/secret.txt", "tenants/../../b/secret.txt", ".", ""):
        with pytest.raises(InvalidKey):
            await a.read(key)
        with pytest.raises(InvalidKey):
            await a.put(key, b"a's", overwrite=True)
        with pytest.raises(InvalidKey):
            await a.delete(key)
        with pytest.raises(InvalidKey):
            await a.url(key)
        with pytest.raises(InvalidKey):
            await a.copy(key, "taken.txt")
        with pytest.raises(InvalidKey):
            await a.compose(key, ["mine.txt"], overwrite=True)
    with pytest.raises(InvalidKey):
        [stored async for stored in a.list("../b/")]
    assert await b.read("secret.txt") == b"b's"
    assert await storage.read("tenants/a/mine.txt") == b"a's"


@pytest.mark.parametrize("prefix", ["", "tenants/1", "../", "a//", "/a/", ".hidden/"])
def test_a_prefix_that_is_no_place(prefix: str) -> None:
    """15. ``tenants/1`` would hold what is ``tenants/10``'s; what no key could begin with is refused."""
    with pytest.raises(InvalidKey):
        MemoryStorage().scoped(prefix)


async def test_within_each_other(storage: Storage) -> None:
    """15. A part of a part is below both, and its addresses lead there."""
    inner = storage.scoped("tenants/a/").scoped("photos/")
    await inner.put("one.txt", b"1")
    assert await storage.read("tenants/a/photos/one.txt") == b"1"
    assert "tenants/a/photos/one.txt" in await inner.url("one.txt")


async def test_errors_name_the_tenants_own_keys(storage: Storage) -> None:
    """15. What is there, or is missing, is named as it was asked for, without the prefix."""
    part = storage.scoped("tenants/7/")
    await part.put("a.txt", b"a")
    with pytest.raises(ObjectExists) as there:
        await part.put("a.txt", b"b")
    with pytest.raises(ObjectMissing) as missing:
        await part.copy("b.txt", "c.txt")
    with pytest.raises(ObjectMissing) as composed:
        await part.compose("c.txt", ["a.txt", "b.txt"])
    with pytest.raises(ObjectMissing, match="has changed") as changed:
        await part.copy("a.txt", "c.txt", etag="another")
    errors = (there.value, missing.value, composed.value, changed.value)
    assert [error.key for error in errors] == ["a.txt", "b.txt", "b.txt", "a.txt"]
    assert not any("tenants" in str(error) for error in errors)


async def test_an_error_of_the_source_is_the_callers() -> None:
    """6. What a source raises reaches the caller unchanged, be it an error of another storage."""
    error = ObjectMissing("elsewhere")

    async def source() -> AsyncGenerator[bytes, None]:
        yield b"a"
        raise error

    with pytest.raises(ObjectMissing) as raised:
        await MemoryStorage().scoped("tenants/7/").put("a.txt", source())
    assert raised.value is error


async def test_closing_a_part_closes_nothing_of_the_others(s3_storage: S3Storage) -> None:
    """15. A part that is closed, at the end of a request say, leaves the others' connections as they are."""
    client = await s3_storage.client()
    for part in (s3_storage.scoped("tenants/a/"), ScopedStorage(s3_storage, "tenants/b/")):
        async with part, part.scoped("photos/"):
            await part.put("a.txt", b"a")
        assert await s3_storage.client() is client
        assert await part.read("a.txt") == b"a"

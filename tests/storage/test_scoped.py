"""A tenant's part of a storage."""

import pytest

from scalekit.errors import InvalidKey
from scalekit.storage import MemoryStorage, Storage
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

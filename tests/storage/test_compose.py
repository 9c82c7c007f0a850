"""One object out of others, and copies."""

import pytest

from scalekit.errors import InvalidKey, ObjectExists, ObjectMissing
from scalekit.storage import MemoryStorage, MiB, Storage


async def test_one_after_the_other(storage: Storage) -> None:
    """The object has the contents of all sources in their order, small and large; the sources stay."""
    parts = {"p/1.bin": b"a" * 6 * MiB, "p/2.bin": b"b", "p/3.bin": b"", "p/4.bin": b"c" * 5 * MiB}
    for key, content in parts.items():
        await storage.put(key, content)
    stored = await storage.compose("whole.png", list(parts), content_type="image/png")
    assert (stored.key, stored.size, stored.content_type) == ("whole.png", 11 * MiB + 1, "image/png")
    assert await storage.read("whole.png") == b"".join(parts.values())
    assert [found.key async for found in storage.list("p/")] == list(parts)
    seen = await storage.stat("whole.png")
    assert seen is not None
    assert seen.etag == stored.etag


async def test_create_only(storage: Storage) -> None:
    """16. What is there is kept, unless it is to be replaced."""
    await storage.put("a.txt", b"a")
    await storage.put("b.txt", b"b")
    for attempt in (storage.compose("b.txt", ["a.txt"]), storage.copy("a.txt", "b.txt")):
        with pytest.raises(ObjectExists):
            await attempt
    assert await storage.read("b.txt") == b"b"
    await storage.copy("a.txt", "b.txt", overwrite=True)
    assert await storage.read("b.txt") == b"a"


async def test_a_source_that_is_missing(storage: Storage) -> None:
    """Nothing is stored, and the error names the source."""
    await storage.put("a.txt", b"a")
    for attempt in (storage.compose("c.txt", ["a.txt", "b.txt"]), storage.copy("b.txt", "c.txt")):
        with pytest.raises(ObjectMissing, match=r"b\.txt"):
            await attempt
    assert await storage.stat("c.txt") is None


async def test_of_nothing(storage: Storage) -> None:
    """No sources make an empty object."""
    assert (await storage.compose("empty.txt", [])).size == 0
    assert await storage.read("empty.txt") == b""


async def test_never_of_itself(storage: Storage) -> None:
    """An object cannot be its own source; keys are checked before anything is read."""
    await storage.put("a.txt", b"a")
    for attempt in (
        storage.compose("a.txt", ["a.txt"], overwrite=True),
        storage.copy("a.txt", "a.txt", overwrite=True),
        storage.compose("b.txt", ["../a.txt"]),
        storage.copy("a.txt", "../b.txt"),
    ):
        with pytest.raises(InvalidKey):
            await attempt
    assert await storage.read("a.txt") == b"a"


async def test_a_copy_is_the_same() -> None:
    """A copy has the type and the file name of its source, where the storage keeps them."""
    storage = MemoryStorage()
    await storage.put("a", b"{}", content_type="application/json", filename="figures.json")
    copied = await storage.copy("a", "b")
    assert (copied.content_type, copied.filename) == ("application/json", "figures.json")


async def test_a_copy_of_what_was_seen(storage: Storage) -> None:
    """What was replaced since it was looked at is not copied; what was not, is."""
    seen = await storage.put("a.txt", b"harmless")
    await storage.copy("a.txt", "b.txt", etag=seen.etag)
    await storage.put("a.txt", b"something else", overwrite=True)
    with pytest.raises(ObjectMissing, match="changed"):
        await storage.copy("a.txt", "c.txt", etag=seen.etag)
    assert await storage.stat("c.txt") is None
    assert await storage.read("b.txt") == b"harmless"

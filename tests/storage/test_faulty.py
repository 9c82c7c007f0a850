"""FaultyStorage: faults at the calls that a test chooses, and nowhere else."""

import asyncio
import threading
from typing import Any

import pytest

from scalekit.errors import BackendTimeout, BackendUnavailable, ConfigurationError, InvalidKey
from scalekit.storage import MemoryStorage
from scalekit.testing import FaultyStorage, check_storage
from tests.storage.helpers import chunks


@pytest.mark.slow
async def test_without_a_plan() -> None:
    """It keeps the contract of the storage that it wraps, and notes the calls."""
    storage = FaultyStorage(MemoryStorage())
    await check_storage(storage)
    storage.calls.clear()
    await storage.put("a.txt", b"x", filename="a b.txt")
    stored = await storage.stat("a.txt")
    assert stored is not None
    assert (stored.filename, storage.public_url("a.txt")) == ("a b.txt", "/media/a.txt")
    await storage.copy("a.txt", "b.txt")
    assert [stored.key async for stored in storage.list("b")] == ["b.txt"]
    assert storage.calls == [("put", "a.txt"), ("stat", "a.txt"), ("copy", "b.txt"), ("list", "b")]


_CALLS: dict[str, Any] = {
    "put": lambda storage: storage.put("b.txt", b"x"),
    "open": lambda storage: storage.open("a.txt"),
    "stat": lambda storage: storage.stat("a.txt"),
    "delete": lambda storage: storage.delete("a.txt"),
    "list": lambda storage: anext(storage.list()),
    "compose": lambda storage: storage.compose("b.txt", ["a.txt"]),
    "copy": lambda storage: storage.copy("a.txt", "b.txt"),
    "url": lambda storage: storage.url("a.txt"),
    "signed_url": lambda storage: storage.signed_url("a.txt"),
}


@pytest.mark.parametrize("method", _CALLS)
async def test_before(method: str) -> None:
    """A call that fails has done nothing; the next one works."""
    real = MemoryStorage()
    await real.put("a.txt", b"content")
    storage = FaultyStorage(real)
    fault = storage.fail(method)
    with pytest.raises(BackendUnavailable, match="told to fail"):
        await _CALLS[method](storage)
    assert [stored.key async for stored in real.list()] == ["a.txt"]
    await _CALLS[method](storage)
    assert fault.hits == 1


@pytest.mark.parametrize("method", ["put", "delete", "compose", "copy"])
async def test_a_lost_answer(method: str) -> None:
    """With after=True it is done, and only its answer is lost."""
    real = MemoryStorage()
    await real.put("a.txt", b"content")
    storage = FaultyStorage(real)
    error = BackendTimeout("lost", backend="s3")
    storage.fail(method, after=True, error=error)
    with pytest.raises(BackendTimeout, match="lost") as raised:
        await _CALLS[method](storage)
    assert raised.value is error
    assert [stored.key async for stored in real.list()] == ([] if method == "delete" else ["a.txt", "b.txt"])


@pytest.mark.parametrize("after", [0, 3, 5, 9])
async def test_cut(after: int) -> None:
    """Reading, writing and listing break off after so many bytes, or objects; a cut write stores nothing."""
    storage = FaultyStorage(MemoryStorage())
    await storage.put("a.txt", b"0123456789")
    storage.cut("open", after=after)
    opened = await storage.open("a.txt")
    assert opened is not None
    found = b""
    async with opened:
        with pytest.raises(BackendUnavailable):  # noqa: PT012  what came before it counts
            async for chunk in opened:
                found += chunk
    assert found == b"0123456789"[:after]
    storage.cut("put", after=after)
    with pytest.raises(BackendUnavailable):
        await storage.put("b.txt", chunks(b"01234", b"56789"))
    assert await storage.stat("b.txt") is None
    for number in range(10):
        await storage.put(f"c/{number}", b"x")
    storage.cut("list", after=after)
    listed = []
    with pytest.raises(BackendUnavailable):  # noqa: PT012
        async for stored in storage.list("c/"):
            listed.append(stored.key)
    assert len(listed) == after


async def test_what_is_no_longer_than_the_cut() -> None:
    """Where there is nothing left to cut off, nothing happens."""
    storage = FaultyStorage(MemoryStorage())
    storage.cut("put", after=10, times=None)
    storage.cut("open", after=10, times=None)
    await storage.put("a.txt", b"0123456789")
    assert await storage.read("a.txt") == b"0123456789"


async def test_which_calls() -> None:
    """By key, by number, for ever, and until it is stopped."""
    storage = FaultyStorage(MemoryStorage())
    await storage.put("a.txt", b"x")
    storage.fail("stat", key="b.txt", times=2)
    for expected in (True, True, False):
        assert await storage.stat("a.txt") is not None
        if expected:
            with pytest.raises(BackendUnavailable):
                await storage.stat("b.txt")
        else:
            assert await storage.stat("b.txt") is None
    always = storage.fail("delete", times=None)
    for _ in range(3):
        with pytest.raises(BackendUnavailable):
            await storage.delete("a.txt")
    always.stop()
    await storage.delete("a.txt")
    assert always.hits == 3


async def test_hold() -> None:
    """A call waits until it is released; others pass, and it may be cancelled meanwhile."""
    storage = FaultyStorage(MemoryStorage())
    held = storage.hold("put", key="a.txt", times=None)
    first, second = (asyncio.create_task(storage.put("a.txt", b"x", overwrite=True)) for _ in range(2))
    await held.reached()
    await storage.put("b.txt", b"x")
    first.cancel()
    await asyncio.wait({first})
    assert (first.cancelled(), second.done()) == (True, False)
    assert await storage.stat("a.txt") is None
    held.release()
    await second
    await storage.put("a.txt", b"y", overwrite=True)
    assert await storage.read("a.txt") == b"y"


def test_hold_from_another_thread() -> None:
    """Synchronous tests hold and release a storage that threads use."""
    faulty = FaultyStorage(MemoryStorage())
    with faulty.sync() as storage:
        held = faulty.hold("put")
        thread = threading.Thread(target=storage.put, args=("a.txt", b"x"))
        thread.start()
        held.wait_reached()
        assert storage.read("a.txt") is None
        held.release()
        thread.join()
        assert storage.read("a.txt") == b"x"


async def test_mistakes() -> None:
    """A plan that nothing can meet is told, and a bad key is one before and after a fault."""
    storage = FaultyStorage(MemoryStorage())
    with pytest.raises(ConfigurationError, match="'puts' is no method of a storage"):
        storage.fail("puts")
    with pytest.raises(ConfigurationError, match="'stat' cannot be cut"):
        storage.cut("stat", after=1)
    with pytest.raises(ConfigurationError, match="after= must be a whole number"):
        storage.cut("open", after=-1)
    with pytest.raises(InvalidKey):
        await storage.stat("../a")

"""The memory that all uploads of a process hold together is bounded, and none of them waits for ever."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncGenerator

import pytest

from scalekit.errors import ConfigurationError
from scalekit.storage import MiB
from scalekit.storage.budget import Account, MemoryBudget
from scalekit.storage.s3 import S3Storage
from tests.storage.helpers import SourceBroken, broken, eventually, settled, stream
from tests.storage.stand_in import S3StandIn

PART = 5 * MiB
CHUNK = 64 * 1024


@pytest.mark.parametrize("limit", [MiB, 12 * MiB, 40 * MiB])
async def test_many_uploads_share_it(stand_in: S3StandIn, limit: int) -> None:
    """1. Twelve uploads at once hold one budget, and a part beyond it, at most; all of them arrive whole.

    Also where the limit is less than one part: then they go one after the other.
    """
    memory, most = MemoryBudget(limit), 0

    async def watched(size: int) -> AsyncGenerator[bytes, None]:
        nonlocal most
        async for chunk in stream(size, chunk=CHUNK):
            most = max(most, memory.held)
            yield chunk

    async with S3Storage("media", part_size=PART, memory=memory, **stand_in.client_kwargs) as storage:
        await asyncio.gather(*(storage.put(f"{number}.bin", watched(11 * MiB)) for number in range(12)))
    assert {size for _, _, _, size in stand_in.objects.values()} == {11 * MiB}
    assert most <= limit + PART + 12 * CHUNK
    assert memory.held == 0


async def test_a_stalled_s3(stand_in: S3StandIn) -> None:
    """2. When S3 takes nothing, clients are asked for no more than the budget; what ends gives all back."""
    memory, counted = MemoryBudget(12 * MiB), list[int]()
    stand_in.stall_after = 0
    async with S3Storage("media", part_size=PART, memory=memory, **stand_in.client_kwargs) as storage:
        uploads = [
            asyncio.create_task(storage.put(f"{number}.bin", stream(50 * MiB, counted=counted)))
            for number in range(5)
        ]
        await eventually(lambda: sum(counted) > 12 * MiB)  # making the client alone may take a while
        taken = await settled(lambda: sum(counted))
        for upload in uploads:
            upload.cancel()
        await asyncio.wait(uploads)
    assert 12 * MiB < taken <= 12 * MiB + PART + 5 * CHUNK
    assert memory.held == 0


async def test_whatever_ends_gives_back(stand_in: S3StandIn) -> None:
    """3, 6. A source that fails, wherever it does, holds nothing afterwards; nor does one that succeeds."""
    memory = MemoryBudget(12 * MiB)
    async with S3Storage("media", part_size=PART, memory=memory, **stand_in.client_kwargs) as storage:
        for size in (0, MiB, 7 * MiB):
            with pytest.raises(SourceBroken):
                await storage.put("a.bin", broken(size))
            assert memory.held == 0
        await storage.put("b.bin", b"at hand")
        await storage.put("c.bin", stream(0))
        assert memory.held == 0


async def test_a_slow_client_ahead_of_others() -> None:
    """Nobody waits for ever: one goes on over the limit; when it leaves, the next one does."""
    memory = MemoryBudget(MiB)
    with Account(memory) as first:
        await first.take(MiB)  # a beginning, of which nothing is sent
        waiting, order = [], list[int]()

        async def upload(number: int) -> None:
            with Account(memory) as account:
                await account.take(MiB)
                order.append(number)
                await account.take(MiB)  # ahead, or with room: it goes on
                account.send(2 * MiB)
                await asyncio.sleep(0)
                account.give(2 * MiB)

        for number in range(3):
            waiting.append(asyncio.create_task(upload(number)))
            await asyncio.sleep(0)
        await asyncio.wait(waiting, timeout=20)
        assert order == [0, 1, 2]
    assert memory.held == 0


async def test_who_is_cancelled_while_it_waits() -> None:
    """Its place goes to the next, at whatever moment it leaves."""
    for turns in range(6):
        memory = MemoryBudget(MiB)
        with Account(memory) as holder:
            await holder.take(MiB)
            holder.send(MiB)
            first, second = (asyncio.create_task(_hold(memory)) for _ in range(2))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            holder.give(MiB)
            for _ in range(turns):
                await asyncio.sleep(0)
            first.cancel()
            async with asyncio.timeout(20):
                await second
            await asyncio.wait({first})
        assert memory.held == 0


async def _hold(memory: MemoryBudget) -> None:
    with Account(memory) as account:
        await account.take(2 * MiB)
        await account.take(1)


async def test_over_threads() -> None:
    """What one event loop gives back wakes who waits in another."""
    memory = MemoryBudget(MiB)
    with Account(memory) as here:
        await here.take(MiB)
        here.send(MiB)
        other = threading.Thread(target=lambda: asyncio.run(_hold(memory)))
        other.start()
        await eventually(lambda: memory.held == 3 * MiB)
        here.give(MiB)
        await asyncio.to_thread(other.join, 20)
        assert not other.is_alive()
    assert memory.held == 0


def test_a_limit_that_is_none() -> None:
    """A limit in the wrong unit is a mistake at start-up."""
    with pytest.raises(ConfigurationError, match="limit=64"):
        MemoryBudget(64)


def test_a_forked_process_holds_nothing() -> None:
    """1. What is being sent, and who waits, is the first process's: one forked from it is not held up by it.

    Nor by a thread of the first one that was about to count, and does not exist here.
    """
    memory = MemoryBudget(MiB)

    async def uploads() -> bool:
        with Account(memory) as account:
            await account.take(MiB)
            return memory.held == MiB

    sending = Account(memory)
    asyncio.run(sending.take(MiB))
    sending.send(MiB)
    with memory._lock:
        pid = os.fork()
        if pid == 0:  # pragma: no cover - the child
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(30)  # rather than wait for ever
            os._exit(0 if asyncio.run(uploads()) else 1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert memory.held == MiB
    sending.give(MiB)

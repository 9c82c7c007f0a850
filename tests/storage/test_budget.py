"""The memory that all uploads of a process hold together is bounded; none of them waits for ever, and no
quick one for a slow one. In every state: :mod:`tests.storage.test_budget_states`."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncGenerator
from contextlib import ExitStack

import pytest

from scalekit.errors import ConfigurationError
from scalekit.storage import MiB
from scalekit.storage._budget_line import QUICK
from scalekit.storage._source import Body
from scalekit.storage.budget import Account, MemoryBudget
from scalekit.storage.s3 import S3Storage
from tests.storage.helpers import SourceBroken, broken, eventually, settled, stream
from tests.storage.stand_in import S3StandIn

PART = 5 * MiB
CHUNK = 64 * 1024


def most_of(limit: int, *, part: int, uploads: int) -> int:
    """What a budget says that is held at most."""
    return limit + limit // 8 + 2 * part + 2 * uploads * CHUNK


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def budget(limit: int, clock: Clock) -> MemoryBudget:
    """One in which time passes by ``clock``, and who waits looks at it often."""
    memory = MemoryBudget(limit)
    memory._now, memory._look_every = clock, 0.005
    return memory


@pytest.mark.parametrize("limit", [MiB, 12 * MiB, 40 * MiB])
async def test_many_uploads_share_it(stand_in: S3StandIn, limit: int) -> None:
    """1. Twelve uploads at once hold one budget, and what is said beyond it, at most; all arrive whole.

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
    assert most <= most_of(limit, part=PART, uploads=12)
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
    assert 12 * MiB < taken <= most_of(12 * MiB, part=PART, uploads=5)
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


async def test_what_counts_once_is_in_memory_once(
    stand_in: S3StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but what is smaller than a chunk may be is joined from its chunks, which is a second copy."""
    joined, sizes = list[int](), (1000, CHUNK, CHUNK + 1, MiB, 3 * MiB)
    original = Body.join

    def counted(body: Body) -> bytes:
        joined.append(body.size)
        return original(body)

    monkeypatch.setattr(Body, "join", counted)
    async with S3Storage("media", part_size=PART, **stand_in.client_kwargs) as storage:
        for size in sizes:
            await storage.put(f"{size}.bin", stream(size, chunk=10_000))
    assert joined == [1000, CHUNK]
    assert [size for _, _, _, size in stand_in.objects.values()] == list(sizes)


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


async def test_a_quick_upload_overtakes_slow_ones() -> None:
    """Beginnings of slow uploads alone have reached the limit, and the one ahead sends nothing any more: a
    quick upload goes on all the same, part after part.
    """
    clock = Clock()
    memory = budget(8 * MiB, clock)
    with ExitStack() as held:
        slow = [held.enter_context(Account(memory)) for _ in range(20)]
        clock.now += 60
        for account in slow[:16]:
            await account.take(MiB // 2)
        waiting = [asyncio.create_task(account.take(CHUNK)) for account in slow[16:]]
        await eventually(waiting[0].done)  # it is ahead
        async with asyncio.timeout(20):
            for _ in range(3):
                await _upload(memory, chunks=32)
        assert [task.done() for task in waiting] == [True, False, False, False]
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
    assert memory.held == 0


async def test_one_that_only_looked_quick() -> None:
    """Nobody waits longer than a second for one that has just begun, and turns out to be slow."""
    clock = Clock()
    memory = budget(8 * MiB, clock)
    with Account(memory) as full, Account(memory) as ahead, Account(memory) as slow:
        await full.take(8 * MiB)
        await ahead.take(CHUNK)
        await slow.take(CHUNK)  # and nothing more, for now
        quick = asyncio.create_task(_upload(memory, chunks=32))
        await asyncio.sleep(0.05)
        assert not quick.done()
        clock.now += 1.01
        async with asyncio.timeout(20):
            await quick
        again = asyncio.create_task(slow.take(CHUNK))
        await _upload(memory, chunks=32)
        assert not again.done()  # it is known now, and waits for the one ahead
        ahead.send(CHUNK)
        ahead.give(CHUNK)
        async with asyncio.timeout(20):
            await again
    assert memory.held == 0


async def test_a_quick_one_that_keeps_being_quick_is_not_overtaken() -> None:
    """However many seconds its part takes, as long as it comes at the pace of quick ones."""
    clock = Clock()
    memory = budget(8 * MiB, clock)
    with Account(memory) as full, Account(memory) as ahead, Account(memory) as steady:
        await full.take(8 * MiB)
        await ahead.take(CHUNK)
        other = None
        async with asyncio.timeout(20):
            for _ in range(100):
                await steady.take(CHUNK)
                if other is None:
                    other = asyncio.create_task(_upload(memory, chunks=1))
                clock.now += CHUNK / QUICK
                await asyncio.sleep(0)  # the other one looks, too
                memory._look()
        assert other is not None
        assert not other.done()
        steady.send(100 * CHUNK)
        steady.give(100 * CHUNK)
        async with asyncio.timeout(20):
            await other


async def test_slow_ones_by_the_hundred() -> None:
    """1. One after the other looks quick, leaves something behind, is found out: the limit is passed by what
    is said, not by what each of them leaves; the one ahead goes on, and so does everybody when it is sent.
    """
    clock, limit = Clock(), 8 * MiB
    memory = budget(limit, clock)
    part, go_on = 3 * CHUNK, asyncio.Event()
    with ExitStack() as held:
        full = held.enter_context(Account(memory))
        await full.take(limit)
        ahead = held.enter_context(Account(memory))
        await ahead.take(CHUNK)
        waiting = list[asyncio.Task[None]]()
        for _ in range(100):
            slow = held.enter_context(Account(memory))

            async def trickle(slow: Account = slow) -> None:
                await slow.take(CHUNK)
                await slow.take(CHUNK)
                await go_on.wait()
                await slow.take(CHUNK)
                slow.send(part)
                slow.give(part)

            waiting.append(asyncio.create_task(trickle()))
            await asyncio.sleep(0.02)
            clock.now += 2
            memory._look()
        # Each of the hundred holds its first chunk, which nobody can know beforehand.
        assert memory.held <= most_of(limit, part=part, uploads=101)
        stuck = asyncio.create_task(_upload(memory, chunks=4))
        await asyncio.sleep(0.05)
        assert not stuck.done()  # the eighth is used up: now quick ones wait as well
        go_on.set()
        await ahead.take(CHUNK)
        ahead.send(2 * CHUNK)
        ahead.give(2 * CHUNK)
        async with asyncio.timeout(20):
            await asyncio.gather(stuck, *waiting)
    assert memory.held == 0


async def test_slow_ones_get_on_among_quick_ones() -> None:
    """Nobody waits for ever: however many quick ones come, who has waited longest goes ahead beside them."""
    clock = Clock()
    memory = budget(8 * MiB, clock)
    with Account(memory) as full:
        await full.take(8 * MiB)
        accounts = [Account(memory) for _ in range(10)]
        clock.now += 60
        order = list[int]()

        async def trickle(number: int) -> None:
            with accounts[number] as account:
                await account.take(1)
                order.append(number)
                account.send(1)
                account.give(1)

        slow = [asyncio.create_task(trickle(number)) for number in range(10)]
        async with asyncio.timeout(20):
            while not all(task.done() for task in slow):
                await asyncio.gather(*(_upload(memory, chunks=3) for _ in range(3)))
        assert order == list(range(10))


async def test_a_slow_client_and_quick_ones(stand_in: S3StandIn) -> None:
    """1. Through all of an upload: clients that stall in the middle of their parts have filled the budget,
    and quick ones are stored while those stall.
    """
    clock, stalled, go_on = Clock(), list[int](), asyncio.Event()
    memory = budget(40 * MiB, clock)

    async def slow() -> AsyncGenerator[bytes, None]:
        for number in range(8 * MiB // CHUNK):
            if number == 4 * MiB // CHUNK + 1:
                stalled.append(1)
                await go_on.wait()
            yield b"x" * CHUNK

    async def are_found_out() -> bool:
        clock.now += 2
        return len(stalled) == 10

    async with S3Storage("media", part_size=PART, memory=memory, **stand_in.client_kwargs) as storage:
        clients = [asyncio.create_task(storage.put(f"slow-{number}", slow())) for number in range(10)]
        await eventually(lambda: len(stalled) > 0)
        await eventually(are_found_out)
        assert memory.held > memory.limit
        clock.now += 2
        quick = [storage.put(f"quick-{number}", stream(11 * MiB, chunk=CHUNK)) for number in range(3)]
        async with asyncio.timeout(60):
            assert [stored.size for stored in await asyncio.gather(*quick)] == [11 * MiB] * 3
        assert not any(client.done() for client in clients)
        go_on.set()
        assert {stored.size for stored in await asyncio.gather(*clients)} == {8 * MiB}
    assert memory.held == 0


async def _upload(memory: MemoryBudget, *, chunks: int) -> None:
    with Account(memory) as account:
        for _ in range(chunks):
            await account.take(CHUNK)
        account.send(chunks * CHUNK)
        await asyncio.sleep(0)
        account.give(chunks * CHUNK)


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


async def test_several_loops_at_once() -> None:
    """Uploads in the event loops of several threads, and some that are cancelled, share it: all of the others
    get through, within what is said, and nothing is left.
    """
    memory, most, stored = MemoryBudget(4 * MiB), list[int](), list[int]()
    part, size = 8 * CHUNK, 20 * CHUNK

    async def upload(number: int) -> None:
        with Account(memory, most=part) as account:
            for _ in range(size // CHUNK):
                await account.take(CHUNK)
                most.append(memory.held)
                await asyncio.sleep(0)
                if account.pace.size > part:
                    account.send(part)
                    try:
                        await asyncio.sleep(0.001)
                    finally:  # whoever is cancelled here, too
                        account.give(part)
        stored.append(number)

    async def uploads() -> None:
        tasks = [asyncio.create_task(upload(number)) for number in range(30)]
        await asyncio.sleep(0.01)
        for task in tasks[::3]:
            task.cancel()
        await asyncio.wait(tasks)

    threads = [threading.Thread(target=lambda: asyncio.run(uploads())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join, 60)
    assert not any(thread.is_alive() for thread in threads)
    assert {number for number in range(30) if number % 3} <= set(stored)
    assert len([number for number in stored if number % 3]) == 4 * 20
    assert max(most) <= most_of(4 * MiB, part=part, uploads=120)
    assert memory.held == memory._promises.total == 0


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

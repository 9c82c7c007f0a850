"""Lookups of one turn of an event loop, asked for together."""

import asyncio
import dataclasses
import gc
from collections.abc import Sequence
from typing import Any

import pytest

from scalekit._steps import Steps, run, run_async
from scalekit.cache import Cache
from scalekit.cache.backend import Backend, Lookup
from scalekit.cache.entry import Found
from scalekit.cache.lookups import MOST, Lookups
from scalekit.cache.memory import MemoryBackend
from scalekit.errors import BackendUnavailable


class Recorder(MemoryBackend):
    """A distant back end that notes each question, and answers it when it is let."""

    local = False

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[str]] = []
        self.answers: asyncio.Event | None = None
        self.coroutines = False
        self.error: BaseException | None = None

    def read(self, lookups: Sequence[Lookup]) -> Steps[list[Found]]:
        self.asked.append([lookup.key for lookup in lookups])
        found = yield from super().read(lookups)
        if self.answers is not None:
            waiting = self.answers.wait()
            yield waiting if self.coroutines else asyncio.ensure_future(waiting)
        yield None  # as a synchronous step would
        if self.error is not None:
            raise self.error
        return found


read: list[int] = []


@dataclasses.dataclass(frozen=True)
class Counted:
    number: int

    def __post_init__(self) -> None:
        read.append(self.number)


def look(lookups: Lookups, entries: Recorder, *keys: str) -> "asyncio.Future[list[Found]]":
    return asyncio.gather(*(run_async(lookups.look(entries, Lookup(key, ("t",)))) for key in keys))


@pytest.mark.parametrize("coroutines", [False, True])
async def test_one_question_for_what_follows_in_a_turn(coroutines: bool) -> None:
    """The first is on its way already; all others are in the second, each key once."""
    entries, lookups = Recorder(), Lookups()
    entries.answers, entries.coroutines = asyncio.Event(), coroutines
    first = look(lookups, entries, "a", "b", "c", "b", "a")
    await asyncio.sleep(0)
    assert entries.asked == [["a"]]  # nobody waits for it
    await asyncio.sleep(0)
    assert entries.asked == [["a"], ["b", "c", "a"]]
    later = look(lookups, entries, "b", "c")  # those have left
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert entries.asked[2:] == [["b"], ["c"]]
    entries.answers.set()
    assert len({*await first, *await later}) == 1
    assert lookups._turns == {}


async def test_a_lookup_alone_takes_no_detour() -> None:
    """It is answered by the back end's own steps, in the caller's task."""
    entries, lookups = Recorder(), Lookups()
    # To run() an awaitable is an error.
    assert isinstance(run(lookups.look(entries, Lookup("a", ()))), Found)
    await asyncio.sleep(0)
    assert (entries.asked, lookups._turns) == ([["a"]], {})


async def test_who_is_cancelled_leaves() -> None:
    """The others get their answers."""
    entries, lookups = Recorder(), Lookups()
    entries.answers = asyncio.Event()
    tasks = [asyncio.ensure_future(look(lookups, entries, key)) for key in "abcb"]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.sleep(0)
    entries.answers.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(result, list) for result in results] == [True, False, True, True]


async def test_an_error_reaches_all_who_asked() -> None:
    """And nobody else: the next ones ask anew."""
    entries, lookups = Recorder(), Lookups()
    entries.answers = asyncio.Event()
    entries.answers.set()
    entries.error = BackendUnavailable("away", backend="test")
    tasks = [asyncio.ensure_future(look(lookups, entries, key)) for key in "abcb"]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results == [entries.error] * 4
    entries.error = None
    assert len(await look(lookups, entries, "a", "b")) == 2


async def test_who_is_given_up_leaves_nothing_to_log() -> None:
    """A coroutine that is closed before its end, and an error that nobody will ask for."""
    entries, lookups = Recorder(), Lookups()
    entries.answers, entries.error = asyncio.Event(), BackendUnavailable("away", backend="test")
    logged: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
    first, second = (lookups.look(entries, Lookup(key, ())) for key in ("a", "b"))
    next(first)
    next(second)
    await asyncio.sleep(0)  # the question has left
    second.close()
    entries.answers.set()
    for _ in range(20):
        await asyncio.sleep(0)
    first.close()
    entries.error = None  # its traceback holds all that we wait for
    gc.collect()
    await asyncio.sleep(0)
    assert logged == []


async def test_while_the_back_end_refuses_nobody_waits() -> None:
    """As with an open breaker: each lookup of the turn is refused without giving the loop a turn."""

    class Refusing(Recorder):
        def read(self, lookups: Sequence[Lookup]) -> Steps[list[Found]]:
            self.asked.append([lookup.key for lookup in lookups])
            raise BackendUnavailable("open", backend="test")
            yield

    entries, lookups = Refusing(), Lookups()
    for key in "abc":
        with pytest.raises(BackendUnavailable):
            next(lookups.look(entries, Lookup(key, ())))
    assert entries.asked == [["a"], ["b"], ["c"]]
    await asyncio.sleep(0)
    assert lookups._turns == {}


async def test_a_question_has_an_end() -> None:
    """Of very many lookups several are made."""
    entries, lookups = Recorder(), Lookups()
    await look(lookups, entries, *map(str, range(2 * MOST + 2)))
    assert [len(asked) for asked in entries.asked] == [1, MOST, MOST, 1]


def test_each_loop_asks_for_itself() -> None:
    """A loop that is gone leaves nothing behind."""
    entries, lookups = Recorder(), Lookups()

    async def ask() -> None:
        await look(lookups, entries, "a", "b")

    for _ in range(2):
        asyncio.run(ask())
    assert entries.asked == [["a"], ["b"]] * 2
    assert lookups._turns == {}


async def test_calls_of_several_functions_travel_together() -> None:
    """32 hits of two functions at once are two questions, and everybody gets a private copy."""
    backend: Any = Recorder()
    cache = Cache(backend)

    @cache.query(ttl=60, tags=["t"])
    async def one(number: int) -> list[int]:
        return [number]

    @cache.query(ttl=60, tags=["t", "u"])
    async def other(number: int) -> list[int]:
        return [-number]

    async def ask() -> list[list[int]]:
        return await asyncio.gather(
            *(function(number) for number in range(8) for function in (one, other) * 2)
        )

    await ask()
    backend.asked.clear()
    results = await ask()
    assert results == [[number] for n in range(8) for number in (n, -n, n, -n)]
    assert len(set(map(id, results))) == 32
    assert [len(asked) for asked in backend.asked] == [1, 16]


async def test_who_asks_for_one_key_at_once_gets_copies_of_one_reading() -> None:
    """Of a list of what cannot change: the first goes alone, the others share, and each list is its own."""
    cache = Cache(Recorder())
    read.clear()

    @cache.query(ttl=60)
    async def query() -> list[Counted]:
        return [Counted(1)]

    await query()
    read.clear()
    results = await asyncio.gather(*(query() for _ in range(32)))
    assert read == [1, 1]
    results[5].append(Counted(2))
    assert [len(result) for result in results] == [1] * 5 + [2] + [1] * 26


async def test_who_waits_for_one_run_gets_copies_of_one_reading() -> None:
    """On a cold key: however many wait, no more is read, and each list is its own."""
    cache = Cache(Recorder())
    everybody = 0

    @cache.query(ttl=60)
    async def query(callers: int) -> list[Counted]:
        while cache.stats().waits < everybody:
            await asyncio.sleep(0)
        return [Counted(callers)]

    reads = []
    for callers in (2, 32):
        read.clear()
        everybody += callers - 1
        results = await asyncio.gather(*(query(callers) for _ in range(callers)))
        reads.append(len(read))
        assert len({*map(id, results)}) == callers
    assert reads[0] == reads[1]


async def test_what_can_change_further_down_is_read_for_each() -> None:
    """Nothing that one caller changes is another one's."""
    cache = Cache(Recorder())

    @cache.query(ttl=60)
    async def query() -> list[list[int]]:
        return [[1]]

    await query()
    results = await asyncio.gather(*(query() for _ in range(8)))
    results[5][0].append(2)
    assert results == [[[1]]] * 5 + [[[1, 2]]] + [[[1]]] * 2


async def test_on_a_server(backend: Backend) -> None:
    """Whatever the back end: many lookups at once find what one by one would."""
    cache = Cache(backend)

    @cache.query(ttl=60, tags=["all", "of {number}"])
    async def query(number: int) -> int:
        return number

    async def ask() -> list[int]:
        return await asyncio.gather(*(query(number % 20) for number in range(100)))

    expected = [*range(20)] * 5
    assert await ask() == await ask() == expected
    assert cache.stats().computes == 20
    await cache.invalidate_tags("of 3")
    assert await ask() == expected
    assert cache.stats().computes == 21

"""Stale results: served at once, if the function fails, or if it is slow. Clocks are set, not waited for."""

import asyncio
import contextlib
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scalekit.cache import Cache
from scalekit.cache.apart import AT_ONCE
from scalekit.cache.memory import MemoryBackend
from scalekit.errors import BackendUnavailable, QueryTimeout

DEADLINE = 30.0


class Clock:
    """Seconds since 1970 that only a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(clock: Clock) -> Iterator[Callable[..., Cache]]:
    """Makes caches on one back end: two of them are two processes, as to results and leases."""
    backend, made = MemoryBackend(clock=clock), []

    def make(**options: Any) -> Cache:
        cache = Cache(backend, **options)
        cache._core.clock = clock
        made.append(cache)
        return cache

    yield make
    for cache in made:
        cache._core.refreshes.close("sync")


async def until(condition: Callable[[], Any]) -> None:
    """Wait for what happens in the background."""
    ends = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < ends, "it never happened"
        await asyncio.sleep(0.002)


class Down(Exception):
    """What a database raises; its message may show arguments."""


def test_a_stale_result_needs_no_thread(
    make: Callable[..., Cache], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """21. Where no thread can be started, a stale result is served, and a later call replaces it."""
    cache, runs = make(), []

    @cache.query(ttl=60, jitter=0, stale_while_revalidate=600)
    def query() -> int:
        runs.append(1)
        return len(runs)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    assert query() == 1
    clock.now += 61
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert [query(), query()] == [1, 1]
    assert (query(), cache.stats().refreshes) == (1, 1)
    cache._core.refreshes.close("sync")  # waits for it
    assert query() == 2


async def test_stale_while_revalidate(make: Callable[..., Cache], clock: Clock) -> None:
    """21. In its window a stale result is served to everybody at once, while one run replaces it."""
    cache, runs, gate = make(), 0, asyncio.Event()
    gate.set()

    @cache.query(ttl=60, jitter=0, stale_while_revalidate=30)
    async def answer() -> int:
        nonlocal runs
        runs += 1
        run = runs
        await gate.wait()
        return run

    assert await answer() == 1
    clock.now += 60
    gate.clear()
    assert await asyncio.gather(*[answer() for _ in range(50)]) == [1] * 50
    await until(lambda: runs == 2)
    assert await answer() == 1
    gate.set()
    await until(lambda: cache.stats().fills == 2)
    assert await answer() == 2
    clock.now += 59
    assert await answer() == 2  # its life began anew
    assert runs == 2
    clock.now += 31
    assert await answer() == 3  # past the window: computed first
    stats = cache.stats()
    assert (stats.stale, stats.refreshes, stats.hits, stats.misses) == (51, 1, 53, 2)


def test_stale_while_revalidate_in_threads(make: Callable[..., Cache], clock: Clock) -> None:
    """21. The same for a plain def: the refresh runs in a thread of its own."""
    cache, threads = make(), []

    @cache.query(ttl=60, jitter=0, stale_while_revalidate=30)
    def answer() -> int:
        threads.append(threading.current_thread())
        return len(threads)

    assert answer() == 1
    clock.now += 60
    assert answer() == 1
    asyncio.run(until(lambda: cache.stats().fills == 2))
    assert answer() == 2
    assert threads[0] is threading.current_thread()
    assert threads[1].daemon
    assert threads[1] is not threads[0]


async def test_an_hour_of_failures(
    make: Callable[..., Cache], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """23. A query fails for an hour: at most one attempt a throttle, in two processes together; calm logs."""
    attempts: list[float] = []
    failing = False

    def process() -> Callable[[str], Any]:
        @make().query(ttl=60, jitter=0, stale_if_error=7200, throttle=10, name="answer")
        async def answer(secret: str) -> str:
            attempts.append(clock.now)
            if failing:
                raise Down(secret)
            return "the last known"

        return answer

    one, other = process(), process()
    assert await one("hunter2") == "the last known"
    clock.now += 60
    failing, attempts[:] = True, []
    with caplog.at_level(logging.WARNING, "scalekit.cache"):
        for _ in range(1800):
            clock.now += 2
            assert await one("hunter2") == "the last known"
            assert await other("hunter2") == "the last known"
    assert 300 <= len(attempts) <= 361
    assert min(later - earlier for earlier, later in itertools.pairwise(attempts)) >= 10
    assert 300 <= len(caplog.records) <= 361
    assert "answer could not be computed anew: Down at" in caplog.text
    assert "hunter2" not in caplog.text
    failing = False
    clock.now += 10
    assert await one("hunter2") == "the last known"
    assert len(attempts) <= 362
    clock.now += 3600 + 59
    failing = True
    clock.now += 60 + 7200
    with pytest.raises(Down):
        await one("hunter2")


def test_failures_in_threads(make: Callable[..., Cache], clock: Clock) -> None:
    """23. A plain def, in its caller's thread: tried once a throttle, and the result is served."""
    cache, attempts, failing = make(), 0, False

    @cache.query(ttl=60, jitter=0, stale_if_error=600, throttle=5)
    def answer() -> int | None:
        nonlocal attempts
        attempts += 1
        if failing:
            raise Down
        return attempts

    assert answer() == 1
    failing = True
    clock.now += 60
    for _ in range(100):
        clock.now += 1
        assert answer() == 1
    assert attempts == 1 + 20
    assert (cache.stats().failures, cache.stats().stale) == (20, 100)
    failing = False
    clock.now += 5
    assert answer() == 22
    clock.now += 60 + 600
    failing = True
    with pytest.raises(Down):
        answer()


async def test_a_failure_that_the_back_end_cannot_be_told(clock: Clock) -> None:
    """23. Then this process at least keeps to the throttle."""

    class Deaf(MemoryBackend):
        deaf = False

        def fill(self, *args: Any, **options: Any) -> Any:
            if self.deaf:
                raise BackendUnavailable("away", backend="memory")
            return super().fill(*args, **options)

    backend, attempts = Deaf(clock=clock), 0
    cache = Cache(backend)
    cache._core.clock = clock

    @cache.query(ttl=60, stale_if_error=600, throttle=10)
    async def answer() -> int:
        nonlocal attempts
        attempts += 1
        if backend.deaf:
            raise Down
        return 1

    await answer()
    backend.deaf = True
    clock.now += 60
    for _ in range(3):
        assert [await answer() for _ in range(5)] == [1] * 5
        clock.now += 10
    assert attempts == 4


async def test_many_failures_are_told_once(
    make: Callable[..., Cache], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """23. However many keys of a function fail, that is logged once a throttle, and counted."""
    cache, failing = make(), False

    @cache.query(ttl=60, stale_if_error=600)
    async def answer(number: int) -> int:
        if failing:
            raise Down
        return number

    for number in range(20):
        await answer(number)
    failing = True
    clock.now += 60
    with caplog.at_level(logging.WARNING, "scalekit.cache"):
        assert [await answer(number) for number in range(20)] == list(range(20))
        assert len(caplog.records) == 1
        clock.now += 1
        await asyncio.gather(*[answer(number) for number in range(20)])
        assert len(caplog.records) == 2
    assert (cache.stats().failures, cache.stats().stale) == (40, 40)


@pytest.mark.parametrize("fails", [False, True])
async def test_what_another_process_tries_is_waited_for(
    fails: bool, make: Callable[..., Cache], clock: Clock
) -> None:
    """23. While another process asks the function, it may succeed; if it fails, nobody tries again."""
    runs, gate = 0, asyncio.Event()
    gate.set()

    def process() -> Callable[[], Any]:
        @make().query(ttl=60, jitter=0, stale_if_error=600, name="answer")
        async def answer() -> int:
            nonlocal runs
            runs += 1
            run = runs
            await gate.wait()
            if run == 2 and fails:
                raise Down
            return run

        return answer

    one, other = process(), process()
    assert await one() == 1
    clock.now += 60
    gate.clear()
    first = asyncio.create_task(one())
    await until(lambda: runs == 2)
    others = [asyncio.create_task(other()) for _ in range(3)]
    await asyncio.sleep(0.03)
    assert not any(task.done() for task in others)
    gate.set()
    assert await asyncio.gather(first, *others) == [1 if fails else 2] * 4
    assert runs == 2


async def test_invalidated_is_not_stale(make: Callable[..., Cache], clock: Clock) -> None:
    """6, 23. What was invalidated is never served, though the query fails: stale is about age."""
    cache, failing = make(), False

    @cache.query(ttl=60, tags=["shop"], stale_while_revalidate=600, stale_if_error=600)
    async def answer() -> int:
        if failing:
            raise Down
        return 1

    assert await answer() == 1
    failing = True
    await cache.invalidate_tags("shop")
    with pytest.raises(Down):
        await answer()
    clock.now += 61
    with pytest.raises(Down):
        await answer()


async def test_a_soft_timeout(make: Callable[..., Cache], clock: Clock) -> None:
    """22. With a stale result at hand a slow query is waited for so long, and finishes in the background."""
    cache, runs, gate = make(), 0, asyncio.Event()
    gate.set()

    @cache.query(ttl=60, jitter=0, stale_if_error=600, soft_timeout=0.01)
    async def answer() -> int:
        nonlocal runs
        runs += 1
        run = runs
        await gate.wait()
        return run

    assert await answer() == 1
    clock.now += 60
    gate.clear()
    assert await asyncio.gather(*[answer() for _ in range(20)]) == [1] * 20
    assert cache.stats().stale == 20
    await until(lambda: runs == 2)
    gate.set()
    await until(lambda: cache.stats().fills == 2)
    assert await answer() == 2
    assert runs == 2


async def test_a_query_that_is_done_in_time(make: Callable[..., Cache], clock: Clock) -> None:
    """22. Who waits for less than the time-outs gets the new result, though there is a stale one."""
    cache, runs = make(), 0

    @cache.query(ttl=60, stale_if_error=600, soft_timeout=DEADLINE, hard_timeout=2 * DEADLINE)
    async def answer() -> int:
        nonlocal runs
        runs += 1
        return runs

    assert await answer() == 1
    clock.now += 60
    assert await answer() == 2
    assert cache.stats().stale == 0


def test_a_soft_timeout_in_threads(make: Callable[..., Cache], clock: Clock) -> None:
    """22. The same for a plain def."""
    cache, runs, gate = make(), 0, threading.Event()
    gate.set()

    @cache.query(ttl=60, jitter=0, stale_if_error=600, soft_timeout=0.01)
    def answer() -> int:
        nonlocal runs
        runs += 1
        run = runs
        assert gate.wait(DEADLINE)
        return run

    assert answer() == 1
    clock.now += 60
    gate.clear()
    while runs < 2:  # one that nobody waits for any more when its thread has a turn is not begun
        assert answer() == 1
    assert [answer() for _ in range(3)] == [1] * 3
    assert runs == 2
    gate.set()
    asyncio.run(until(lambda: cache.stats().fills == 2))
    assert answer() == 2


async def test_a_hard_timeout(make: Callable[..., Cache]) -> None:
    """22. Without a stale result a hard time-out raises, for all who wait; the run is cancelled."""
    cache, runs, cancelled = make(), 0, 0

    @cache.query(ttl=60, hard_timeout=0.5)
    async def answer() -> int:
        nonlocal runs, cancelled
        runs += 1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled += 1
            raise
        return runs

    results = await asyncio.gather(*[answer() for _ in range(100)], return_exceptions=True)
    assert {type(result) for result in results} == {QueryTimeout}
    assert "took longer than hard_timeout=0.5 seconds" in str(results[0])
    assert (runs, cancelled) == (1, 1)


async def test_a_hard_timeout_counts_without_the_cache(make: Callable[..., Cache]) -> None:
    """22. Where the cache is neither read nor written, the time of the call is limited all the same."""
    cache = make()

    @cache.query(ttl=60, hard_timeout=0.01)
    async def answer() -> int:
        await asyncio.sleep(60)
        return 1

    with cache.disabled(), pytest.raises(QueryTimeout):
        await answer()


async def test_a_cache_of_a_tests_own_has_not_failed(make: Callable[..., Cache], clock: Clock) -> None:
    """23. Inside `isolated()` nothing is let cool that has failed outside, and the reverse."""
    cache, attempts = make(), 0

    @cache.query(ttl=0.01, stale_if_error=600, throttle=3600)
    async def answer() -> int:
        nonlocal attempts
        attempts += 1
        if attempts > 1:
            raise Down
        return 1

    await answer()
    clock.now += 1
    assert [await answer() for _ in range(3)] == [1] * 3
    assert attempts == 2
    with cache.isolated(MemoryBackend(clock=clock)):
        attempts = 0
        await answer()
        clock.now += 1
        assert [await answer() for _ in range(3)] == [1] * 3
        assert attempts == 2


def test_a_hard_timeout_in_threads(make: Callable[..., Cache]) -> None:
    """22. A def cannot be cancelled: its callers go, one run goes on, and what it returns is stored."""
    cache, runs, gate = make(), 0, threading.Event()

    @cache.query(ttl=60, hard_timeout=0.02)
    def answer() -> int:
        nonlocal runs
        runs += 1
        assert gate.wait(DEADLINE)
        return runs

    while not runs:  # one that nobody waits for any more when its thread has a turn is not begun
        with pytest.raises(QueryTimeout):
            answer()
    for _ in range(3):
        with pytest.raises(QueryTimeout):
            answer()
    assert runs == 1
    gate.set()
    asyncio.run(until(lambda: cache.stats().fills == 1))
    assert answer() == 1


def test_a_hard_timeout_where_nobody_shares(make: Callable[..., Cache]) -> None:
    """22. Of results that cannot be stored each caller's own run is limited, too, in a thread of its own.

    Those that no thread has begun when their callers go are not run.
    """
    cache, gate, begun = make(), threading.Event(), []
    gate.set()

    @cache.query(ttl=60, tags=["inner"])
    def inner() -> int:
        return 1

    @cache.query(ttl=60, hard_timeout=0.05)
    def outer() -> int:
        begun.append(1)
        assert gate.wait(DEADLINE)
        return inner()  # its tag is not ours

    while not cache.stats().discarded:
        with contextlib.suppress(QueryTimeout):  # on a busy machine
            assert outer() == 1
    gate.clear()
    begun.clear()
    for _ in range(AT_ONCE + 3):
        with pytest.raises(QueryTimeout):
            outer()
    gate.set()
    cache.close_sync()
    assert 2 <= len(begun) <= AT_ONCE


def test_a_run_that_has_to_wait_for_its_thread_is_one(make: Callable[..., Cache]) -> None:
    """22. Who asks again before the run of its first call has begun waits for that one.

    It is not begun if they all have gone by then: a database that hung leaves no queue to be worked off.
    """
    cache, runs, gate, begun = make(), 0, threading.Event(), []

    def busy() -> Any:
        begun.append(1)
        yield gate.wait(DEADLINE)

    for _ in range(AT_ONCE):
        cache._core.refreshes._places["sync"].start(busy, name="test")
    asyncio.run(until(lambda: len(begun) == AT_ONCE))

    @cache.query(ttl=60, hard_timeout=0.01)
    def answer() -> int:
        nonlocal runs
        runs += 1
        return runs

    for _ in range(3):
        with pytest.raises(QueryTimeout):
            answer()
    place: Any = cache._core.refreshes._places["sync"]
    assert len(place._waiting) == 1
    gate.set()
    cache.close_sync()
    assert (runs, place._waiting) == (0, deque())
    while not cache.stats().fills:
        with contextlib.suppress(QueryTimeout):  # on a busy machine
            assert answer() == 1
    assert runs == 1


async def test_the_functions_own_timeout_is_its_own(make: Callable[..., Cache]) -> None:
    """22. A TimeoutError that the query itself raises is not taken for ours."""

    @make().query(ttl=60, hard_timeout=60)
    async def answer() -> int:
        raise TimeoutError("the driver's")

    with pytest.raises(TimeoutError, match="the driver's") as raised:
        await answer()
    assert not isinstance(raised.value, QueryTimeout)


@pytest.mark.parametrize("options", [{}, {"soft_timeout": DEADLINE}, {"hard_timeout": DEADLINE}])
def test_a_stale_result_that_cannot_be_read_is_none(
    make: Callable[..., Cache], clock: Clock, options: dict[str, float]
) -> None:
    """24. Whatever is in its place, the caller gets the function's own error, not the decoder's."""
    cache, fails = make(), False

    @cache.query(ttl=60, stale_if_error=60, **options)  # type: ignore[arg-type]
    def number() -> int:
        if fails:
            raise ZeroDivisionError
        return 1

    number()
    values = cache._backend.own._values  # type: ignore[attr-defined]
    ((key, (ends, value)),) = values.items()
    values[key] = ends, value[:-1] + b"\xc1"
    clock.now += 61
    fails = True
    with pytest.raises(ZeroDivisionError):
        number()
    fails = False
    clock.now += 2
    assert number() == 1


async def test_a_hard_timeout_with_a_stale_result(make: Callable[..., Cache], clock: Clock) -> None:
    """22. With one at hand a hard time-out gives it, as any failure does."""
    cache, slow = make(), 0.0

    async def answer() -> int:
        await asyncio.sleep(slow)
        return 1

    quick = make().query(ttl=60, stale_if_error=600)(answer)
    limited = cache.query(ttl=60, stale_if_error=600, hard_timeout=0.05)(answer)
    assert await quick() == 1
    slow = 60
    clock.now += 60
    assert await limited() == 1
    assert cache.stats().failures == 1


async def test_another_process_is_waited_for_no_longer(make: Callable[..., Cache], clock: Clock) -> None:
    """22. Time-outs count from the call: waiting for another process's run is part of it."""
    gate = asyncio.Event()

    def process(**options: Any) -> Callable[[], Any]:
        @make().query(ttl=60, jitter=0, stale_if_error=600, name="answer", **options)
        async def answer() -> int:
            await gate.wait()
            return 1

        return answer

    slow = asyncio.create_task(process()())
    await asyncio.sleep(0)
    with pytest.raises(QueryTimeout):
        await process(hard_timeout=0.05)()
    gate.set()
    assert await slow == 1
    gate.clear()
    clock.now += 60
    slow = asyncio.create_task(process()())
    await asyncio.sleep(0)
    assert await process(soft_timeout=0.05)() == 1
    gate.set()
    assert await slow == 1


async def test_inside_another_cached_function_nothing_stale_is_used(
    make: Callable[..., Cache], clock: Clock
) -> None:
    """21. What is made of a stale result would be stored as new: inside a function it is computed."""
    cache, runs, failing = make(), 0, False

    @cache.query(ttl=60, jitter=0, stale_while_revalidate=600, throttle=3600)
    async def inner() -> int:
        nonlocal runs
        if failing:
            raise Down
        runs += 1
        return runs

    @cache.query(ttl=1)
    async def outer() -> int:
        return await inner()

    assert await outer() == 1
    clock.now += 61
    assert await outer() == 2
    failing = True
    clock.now += 61
    assert await inner() == 2
    await until(lambda: cache.stats().failures == 1)
    with pytest.raises(Down):
        await outer()  # at once: that nobody is to try is for who has something else

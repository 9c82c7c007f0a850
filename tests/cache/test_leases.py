"""Who has the lease computes, and the others wait. As to leases, two caches on a back end are two processes.

What needs real processes is in `test_processes`.
"""

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from scalekit._steps import run
from scalekit.cache import Cache, leading, runtime, waiting
from scalekit.cache.backend import Backend, Lease, Lookup
from scalekit.cache.entry import Miss, judge
from scalekit.cache.memory import MemoryBackend
from scalekit.errors import BackendTimeout, UncacheableResult
from scalekit.types import Colour
from tests.servers.waiting import wait_until

pytestmark = pytest.mark.usefixtures("long_leases")


def kind_of(backend: Backend) -> str:
    return type(backend).__name__.removesuffix("Backend").lower()


class Source:
    """A slow query: how often it was run, and what it returns."""

    def __init__(self) -> None:
        self.runs = 0
        self.running = threading.Event()
        self.go = threading.Event()
        self.error: Exception | None = None

    def answer(self) -> int:
        self.runs += 1
        self.running.set()
        assert self.go.wait(20)
        if self.error is not None:
            raise self.error
        return self.runs


def server(backend: Backend, source: Source, **options: Any) -> tuple[Cache, Callable[[], int]]:
    """A process."""
    cache = Cache(backend)
    options.setdefault("name", "answer")

    @cache.query(ttl=60, tags=["t"], **options)
    def answer() -> int:
        return source.answer()

    return cache, answer


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


def test_others_wait_for_the_holder(backend: Backend, pool: ThreadPoolExecutor) -> None:
    """1. Whoever comes while another process computes gets what that one has stored; and its own copy."""
    source = Source()
    (_, here), (cache, there) = server(backend, source), server(backend, source)
    first = pool.submit(here)
    assert source.running.wait(20)
    others = [pool.submit(there) for _ in range(4)]
    wait_until(lambda: cache.stats().waits >= 4, what="four waiters")
    source.go.set()
    assert [first.result(20), *(other.result(20) for other in others)] == [1] * 5
    assert source.runs == 1


class Renewed(MemoryBackend):
    """Others are told that a lease lasts for a moment more, and by then it has been renewed."""

    def acquire(self, *args: Any, **options: Any) -> Any:
        lease = yield from super().acquire(*args, **options)
        return replace(lease, left=0.05) if isinstance(lease, Lease) and not lease.mine else lease


def test_a_holder_that_hangs(pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """2. It renews its lease for ever, and others do not wait so long: they compute, and store nothing."""
    monkeypatch.setattr(leading, "LONGEST_WAIT", 0.1)
    backend, hanging = Renewed(), Source()
    (_, here), cache = server(backend, hanging), Cache(backend)

    @cache.query(ttl=60, tags=["t"], name="answer")
    def there() -> int:
        return 7

    first = pool.submit(here)
    assert hanging.running.wait(20)
    assert pool.submit(there).result(20) == 7
    assert (cache.stats().computes, cache.stats().fills) == (1, 0)
    hanging.go.set()
    assert first.result(20) == there() == 1


def test_a_query_that_raises(backend: Backend, pool: ThreadPoolExecutor) -> None:
    """5. All who wait with it see the error, nothing is stored, and who waits elsewhere tries for itself."""
    source = Source()
    (cache, here), (_, there) = server(backend, source), server(backend, source)
    source.error = LookupError("no such product")
    waiting = [pool.submit(here) for _ in range(3)]
    wait_until(lambda: cache.stats().waits >= 2, what="two waiters")
    elsewhere = pool.submit(there)
    source.go.set()
    for one in (*waiting, elsewhere):
        with pytest.raises(LookupError):
            one.result(20)
    source.error, runs = None, source.runs
    assert runs == 2
    assert here() == there() == 3


@pytest.mark.slow
def test_a_lease_is_renewed_while_the_query_runs(
    backend: Backend, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A query that takes several times the lease's time runs once all the same, and is stored."""
    # A renewal is due after a third of it, and may be late by the rest on a busy machine. Memcached counts in
    # seconds, and the first of them may be nearly over.
    monkeypatch.setattr(runtime, "LEASE_TTL", {"memory": 4.0, "redis": 4.0}.get(kind_of(backend), 5.0))
    monkeypatch.setattr(leading, "LEASE_TTL", runtime.LEASE_TTL)
    sources, cache = {"def": Source(), "async def": Source()}, Cache(backend)
    heres: dict[str, Callable[[], int]] = {}
    theres = {kind: server(backend, source, name=kind)[1] for kind, source in sources.items()}
    _, heres["def"] = server(backend, sources["def"], name="def")

    @cache.query(ttl=60, tags=["t"], name="async def")
    async def answer() -> int:
        return await asyncio.to_thread(sources["async def"].answer)

    heres["async def"] = lambda: asyncio.run(answer())
    firsts = [pool.submit(here) for here in heres.values()]
    for source in sources.values():
        assert source.running.wait(20)
    others = [pool.submit(there) for there in theres.values()]
    time.sleep(2 * runtime.LEASE_TTL)  # the passing of time is what is tested
    for source in sources.values():
        source.go.set()
    assert [one.result(20) for one in (*firsts, *others)] == [1] * 4
    assert [source.runs for source in sources.values()] == [1, 1]


async def test_a_holder_that_is_cancelled(backend: Backend) -> None:
    """3. Its lease is given back, not waited for: others in this process and elsewhere go on at once."""
    here, there = Cache(backend), Cache(backend)
    runs, go = 0, asyncio.Event()

    def define(cache: Cache) -> Any:
        @cache.query(ttl=60, name="answer")
        async def answer() -> int:
            nonlocal runs
            runs += 1
            await go.wait()
            return runs

        return answer

    one, two = define(here), define(there)
    leader = asyncio.create_task(one())
    while not runs:
        await asyncio.sleep(0)
    waiter, elsewhere = asyncio.create_task(one()), asyncio.create_task(two())
    while here.stats().waits < 1 or there.stats().waits < 1:
        await asyncio.sleep(0.001)
    leader.cancel()
    go.set()
    async with asyncio.timeout(runtime.LEASE_TTL / 2):
        assert await waiter == await elsewhere == 2
    with pytest.raises(asyncio.CancelledError):
        await leader
    await here.close()


async def test_a_waiter_that_is_cancelled(backend: Backend) -> None:
    """3. The others succeed, and the query is not run again."""
    cache, runs, go = Cache(backend), 0, asyncio.Event()

    @cache.query(ttl=60)
    async def answer() -> int:
        nonlocal runs
        runs += 1
        await go.wait()
        return runs

    tasks = [asyncio.create_task(answer()) for _ in range(5)]
    while cache.stats().waits < 4:
        await asyncio.sleep(0.001)
    tasks[2].cancel()
    await asyncio.sleep(0)
    go.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results.pop(2), asyncio.CancelledError)
    assert results == [1] * 4
    assert runs == 1
    await cache.close()


def test_a_holder_that_never_comes_back(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """2. Its lease ends by itself; who waits has slept for 10 ms more than that at most, and computes."""
    pauses: list[tuple[float, float]] = []
    pause, began = waiting.pause, 0.0

    def noted(waited: float, _: float, random: float) -> float:
        nonlocal began
        if not pauses:  # whoever waits has found it, however long that took
            began = time.monotonic()
            assert run(entries.renew(lease, ttl=ttl)) is not None
        left = began + ttl - time.monotonic()
        pauses.append((pause(waited, left, random), left))
        return pauses[-1][0]

    monkeypatch.setattr(waiting, "pause", noted)
    cache = Cache(backend)

    @cache.query(ttl=60, tags=["t"])
    def answer() -> int:
        return 1

    entries, lookup = backend.using("sync"), Lookup(answer.key(), ("t",))
    ttl = 2.0 if kind_of(backend) == "memcached" else 0.5  # it counts in seconds, and takes two for the least
    lease: Any = run(entries.acquire(lookup, run(entries.read([lookup]))[0], ttl=60))
    assert lease.mine
    assert answer() == 1
    assert time.monotonic() - began > ttl / 2
    assert all(seconds <= left + 0.01 for seconds, left in pauses if left > 0)
    assert cache.stats().waits == cache.stats().computes == 1
    cache.close_sync()


def test_results_that_are_not_wanted(backend: Backend) -> None:
    """25. With `cache_if=bool` an empty result is returned and not stored, and leaves no lease."""
    cache, runs = Cache(backend), 0

    @cache.query(ttl=60, cache_if=bool, tags=["t"])
    def found(number: int) -> list[int]:
        nonlocal runs
        runs += 1
        return [] if runs < 3 else [runs]

    assert [found(1), found(1), found(1), found(1)] == [[], [], [3], [3]]
    assert cache.stats().discarded == 2
    lookup = Lookup(found.key(2), ("t",))
    runs = 0
    found(2)
    (seen,) = run(backend.using("sync").read([lookup]))
    assert judge(seen, 0) == Miss()  # no lease stays behind


def test_an_uncacheable_result_leaves_no_lease(backend: Backend) -> None:
    """5. Its error is told to the caller, and the next one does not wait for the lease to end."""
    cache = Cache(backend)

    @cache.query(ttl=60)
    def wrong() -> int:
        return "text"  # type: ignore[return-value]

    for _ in range(2):
        with pytest.raises(UncacheableResult):
            wrong()
    (seen,) = run(backend.using("sync").read([Lookup(wrong.key())]))
    assert judge(seen, 0) == Miss()


def test_a_result_over_the_limit(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """20. It is passed through, counted and told once; for a while callers do not queue for the next one."""
    using = backend.using

    def limited(colour: Colour) -> Any:
        entries = using(colour)
        entries.limit = 1000
        return entries

    monkeypatch.setattr(backend, "using", limited)
    cache, running, both = Cache(backend), [], threading.Barrier(3)

    @cache.query(ttl=60, tags=["t"])
    def large(size: int) -> str:
        if running:
            both.wait(20)  # the three callers are in here together
        return "x" * size

    assert len(large(2000)) == 2000
    running.append(True)
    with ThreadPoolExecutor(3) as threads:
        assert [len(text) for text in threads.map(large, [2000] * 3)] == [2000] * 3
    assert cache.stats().oversized == 1
    assert cache.stats().fills == 0
    large.invalidate(2000)
    running.clear()
    assert len(large(2000)) == 2000
    assert cache.stats().oversized == 2
    (message,) = caplog.messages
    assert re.search(
        r"\.large returned what takes 20\d\d bytes.* given 1000 at most.* max_value_size=", message
    )
    assert large(10) == large(10) == "x" * 10
    assert cache.stats().fills == 1


class Late(MemoryBackend):
    """The next answer to a question for a lease comes when `gate` is open; it is taken before, or after."""

    local = False
    gate: asyncio.Event | None = None
    takes_first = True

    def acquire(self, *args: Any, **options: Any) -> Any:
        gate, self.gate = self.gate, None
        if gate is None:
            return (yield from super().acquire(*args, **options))
        if self.takes_first:
            yield from super().acquire(*args, **options)
            yield gate.wait()
            return None
        # Cancelled or not, what was sent arrives.
        asyncio.get_running_loop().call_later(0.02, lambda: run(super(Late, self).acquire(*args, **options)))
        yield gate.wait()
        return None


@pytest.mark.parametrize("takes_first", [True, False])
async def test_a_caller_that_is_cancelled_while_it_asks_for_the_lease(takes_first: bool) -> None:
    """3. Nobody knows yet that the lease is its own: it is given back, and nobody waits for its end."""
    backend = Late()
    cache, asks = Cache(backend), asyncio.Event()
    backend.gate, backend.takes_first = asks, takes_first

    @cache.query(ttl=60)
    async def answer() -> int:
        return 1

    caller = asyncio.create_task(answer())
    while backend.gate is not None:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    if not takes_first:
        await asyncio.sleep(0.03)  # it is on its way
    async with asyncio.timeout(runtime.LEASE_TTL / 2):
        assert await answer() == 1
    await cache.close()


class Overtaken(MemoryBackend):
    """Before the next question for a lease arrives `elsewhere` is called; its answer waits for `gate`."""

    local = False
    elsewhere: Callable[[], object] | None = None

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    def acquire(self, *args: Any, **options: Any) -> Any:
        elsewhere, self.elsewhere = self.elsewhere, None
        if elsewhere is None:
            return (yield from super().acquire(*args, **options))
        elsewhere()
        reply = yield from super().acquire(*args, **options)
        yield self.gate.wait()
        return reply


async def test_what_another_process_has_filled_is_not_for_later_calls() -> None:
    """6. It may have been dropped again before they were made, and before its reader has heard of it."""
    backend, truth = Overtaken(), 1
    here, there = Cache(backend), Cache(backend)

    @here.query(ttl=60, name="answer")
    async def answer() -> int:
        return truth

    @there.query(ttl=60, name="answer")
    def other() -> int:
        return truth

    backend.elsewhere = other
    first = asyncio.create_task(answer())
    while backend.elsewhere is not None:
        await asyncio.sleep(0)
    truth = 2
    other.invalidate()
    second = asyncio.create_task(answer())
    for _ in range(5):  # it has looked, and found nothing
        await asyncio.sleep(0)
    backend.gate.set()
    assert await first == 1
    assert await second == 2


def test_leases_are_renewed_again_after_a_thread_was_not_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """1. That is no error of the query, and neither that nor a client's bug is the end of all renewals."""
    monkeypatch.setattr(runtime, "LEASE_TTL", 0.03)
    ended: list[object] = []
    monkeypatch.setattr(threading, "excepthook", ended.append)

    class Entries(MemoryBackend):
        renewals = 0

        def renew(self, lease: Lease, *, ttl: float) -> Any:
            self.renewals += 1
            if self.renewals == 1:
                raise ZeroDivisionError
            return super().renew(lease, ttl=ttl)

    entries, threads = Entries(), runtime.SyncRuntime()
    lease = Lease("k", b"", b"", mine=True, left=1.0)

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        threads.hold(entries, lease).stop()
        threads.background(lambda: entries.ping(), name="test")
    first = threads.hold(entries, lease)
    wait_until(lambda: bool(ended), what="the end of the thread")
    second = threads.hold(entries, lease)
    wait_until(lambda: entries.renewals > 1, what="a renewal")
    first.stop()
    second.stop()


def test_a_lease_whose_answer_came_too_late(
    monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor
) -> None:
    """14. The caller goes on without it, and others do not wait for its end: it is given back."""
    backend = Late()
    cache, taken = Cache(backend), []

    def acquire(*args: Any, **options: Any) -> Any:
        yield from MemoryBackend.acquire(backend, *args, **options)
        taken.append(True)
        monkeypatch.undo()
        raise BackendTimeout("no answer in time", backend="memory")

    @cache.query(ttl=60)
    def answer() -> int:
        return 1

    monkeypatch.setattr(backend, "acquire", acquire)
    assert (answer(), taken) == (1, [True])
    assert pool.submit(answer).result(timeout=runtime.LEASE_TTL / 2) == 1

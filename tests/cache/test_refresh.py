"""Runs in the background: in a session of their own, once, and following the formula."""

import asyncio
import contextlib
import contextvars
import math
import random
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import StaticPool
from starlette.requests import Request

from scalekit._steps import run
from scalekit.cache import Cache
from scalekit.cache.afresh import afresh
from scalekit.cache.apart import AT_ONCE, Threads
from scalekit.cache.backend import Backend, Lookup
from scalekit.cache.entry import Hit, judge, pack
from scalekit.cache.memcached import MemcachedBackend
from scalekit.cache.memory import MemoryBackend
from scalekit.cache.options import Life, Patience
from scalekit.cache.redis import RedisBackend
from scalekit.errors import ConfigurationError
from tests.cache.test_processes import BACKENDS
from tests.cache.test_stale import DEADLINE, Clock, Down, until

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="none")


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    yield made
    made.dispose()


@pytest.fixture
async def async_engine() -> AsyncIterator[AsyncEngine]:
    made = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
    yield made
    await made.dispose()


def clocked(clock: Clock, **options: Any) -> Cache:
    cache = Cache(MemoryBackend(clock=clock), **options)
    cache._core.clock = clock
    return cache


class Noted(Session):
    """Says what was done to it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, close_resets_only=False)  # closed, it refuses to be used
        self.said: list[str] = []

    def commit(self) -> None:
        super().commit()
        self.said.append("commit")

    def close(self) -> None:
        super().close()
        self.said.append("close")


async def test_a_fresh_session(async_engine: AsyncEngine) -> None:
    """21. It is run anew in a session from the factory, never in its caller's, which is closed by then."""
    sessions = async_sessionmaker(async_engine, sync_session_class=Noted)
    clock, used = Clock(), []
    cache = clocked(clock, session=sessions)

    @cache.query(ttl=60, stale_while_revalidate=600)
    async def answer(session: AsyncSession, *, other: int = 1) -> int:
        used.append(session)
        return (await session.scalar(text("SELECT 42"))) or 0

    for _ in range(2):
        async with sessions() as callers:
            assert await answer(callers, other=2) == 42
        clock.now += 60
    await until(lambda: len(used) == 2 and used[1].sync_session.said == ["commit", "close"])
    assert cache.stats().fills == 2
    assert used[1].sync_session is not used[0].sync_session
    assert used[1].sync_session is not callers.sync_session
    assert used[0].sync_session.said == ["close"]


def test_a_fresh_session_in_a_thread(engine: Engine) -> None:
    """21. The same for a plain def; a factory of the query's own comes first, and may be a generator."""
    clock, used, left = Clock(), [], threading.Event()

    def connections() -> Iterator[Connection]:
        with engine.connect() as connection:
            yield connection
        left.set()

    cache = clocked(clock, session=pytest.fail)

    @cache.query(ttl=60, stale_while_revalidate=600, session=connections)
    def answer(connection: Connection | None = None) -> int:
        assert connection is not None
        used.append(connection)
        return connection.scalar(text("SELECT 42")) or 0

    for _ in range(2):
        with engine.connect() as callers:
            assert answer(callers) == 42
        clock.now += 60
    assert left.wait(DEADLINE)
    assert len(used) == 2
    assert used[1] is not callers
    assert used[1].closed


async def test_a_commit_that_fails_is_told(
    async_engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """21. The result is stored by then. The session is closed, and the failure is logged."""
    clock, closed = Clock(), []

    class Failing(AsyncSession):
        async def commit(self) -> None:
            raise Down("hunter2")

        async def close(self) -> None:
            await super().close()
            closed.append(self)

    cache = clocked(clock, session=async_sessionmaker(async_engine, class_=Failing))

    @cache.query(ttl=60, stale_while_revalidate=600)
    async def answer(session: AsyncSession) -> int:
        return 1

    async with AsyncSession(async_engine) as callers:
        await answer(callers)
        clock.now += 60
        await answer(callers)
    await until(lambda: caplog.records)
    assert "Down at" in caplog.text
    assert "hunter2" not in caplog.text
    assert (len(closed), cache.stats().fills) == (1, 2)


class Pending(Session):
    pending = False

    @property
    def new(self) -> Any:
        return [object()] if self.pending else super().new


def test_what_the_caller_does_meanwhile_does_not_matter(engine: Engine) -> None:
    """21. The caller goes on with its session and changes something: that is not what the run has seen."""
    clock, changed = Clock(), threading.Event()
    cache = clocked(clock, session=sessionmaker(engine, class_=Pending))

    @cache.query(ttl=60, stale_while_revalidate=600)
    def answer(session: Session) -> int:
        if session is not callers:
            assert changed.wait(DEADLINE)
        return 1

    with Pending(engine) as callers:
        assert answer(callers) == 1
        clock.now += 60
        assert answer(callers) == 1
        callers.pending = True
        changed.set()
        asyncio.run(until(lambda: cache.stats().fills == 2))


def test_a_failed_run_in_a_thread_is_not_committed(engine: Engine) -> None:
    """21. The same for a plain def."""
    clock, used = Clock(), []
    cache = clocked(clock, session=sessionmaker(engine, class_=Noted))

    @cache.query(ttl=60, stale_while_revalidate=600)
    def answer(session: Session) -> int:
        used.append(session)
        if len(used) == 2:
            raise Down
        return 1

    with Session(engine) as callers:
        answer(callers)
        clock.now += 60
        assert answer(callers) == 1
    asyncio.run(until(lambda: len(used) == 2 and used[1].said == ["close"]))  # type: ignore[attr-defined]


async def test_a_failed_run_is_not_committed(async_engine: AsyncEngine) -> None:
    """21. What a run in the background changed before it failed is rolled back; its session is closed."""
    sessions = async_sessionmaker(async_engine, sync_session_class=Noted)
    clock, used = Clock(), []
    cache = clocked(clock, session=sessions)

    @cache.query(ttl=60, stale_while_revalidate=600)
    async def answer(session: AsyncSession) -> int:
        used.append(session.sync_session)
        if len(used) == 2:
            raise Down
        return 1

    async with sessions() as callers:
        await answer(callers)
        clock.now += 60
        assert await answer(callers) == 1
    await until(lambda: len(used) == 2 and used[1].said == ["close"])
    assert cache.stats().failures == 1


async def test_nothing_of_the_request_is_left(clock_cache: tuple[Clock, Cache]) -> None:
    """21. The background has a context of its own, in both colours: what a request has set is not there."""
    clock, cache = clock_cache
    seen: list[str] = []

    @cache.query(ttl=60, stale_while_revalidate=600)
    async def answer() -> int:
        seen.append(request_id.get())
        return 1

    @cache.query(ttl=60, stale_while_revalidate=600)
    def plain() -> int:
        seen.append(request_id.get())
        if len(seen) > 2:
            request_id.set("left behind")
        return 1

    request_id.set("mine")
    for round in (1, 2, 3):
        await answer()
        plain()
        await until(lambda: cache.stats().fills == 2 * round)  # noqa: B023
        clock.now += 60
    assert seen == ["mine", "mine", "none", "none", "none", "none"]


@pytest.fixture
def clock_cache() -> tuple[Clock, Cache]:
    clock = Clock()
    return clock, clocked(clock)


async def test_a_context_around_a_function_without_a_session(clock_cache: tuple[Clock, Cache]) -> None:
    """21. `session=` of a query is entered around each run, as an application's context has to be."""
    clock, cache = clock_cache
    inside: list[str] = []

    @contextlib.contextmanager
    def context() -> Iterator[None]:
        inside.append("in")
        yield
        inside.append("out")

    @cache.query(ttl=60, stale_while_revalidate=600, session=context)
    async def answer() -> int:
        inside.append("run")
        return 1

    await answer()
    clock.now += 60
    await answer()
    await until(lambda: inside == ["run", "in", "run", "out"])


def test_early_refreshes_end_to_end(
    monkeypatch: pytest.MonkeyPatch, clock_cache: tuple[Clock, Cache]
) -> None:
    """21. Of 400 reads ln(2) * delta before the end half refresh, within 5 sigma; all are served at once."""
    clock, cache = clock_cache
    backend, dice, runs = cache._backend, random.Random(3), 0
    monkeypatch.setattr("scalekit.cache._core.dice", dice.random)
    monkeypatch.setattr(
        "scalekit.cache.leading.pack", lambda versions, **rest: pack(versions, **{**rest, "delta": 2000})
    )

    @cache.query(ttl=60, early_refresh=1.0)
    def answer() -> int:
        nonlocal runs
        runs += 1
        return runs

    answer()
    for _ in range(400):
        [found] = run(backend.using("sync").read([Lookup(answer.key())]))
        hit = judge(found, 0)
        assert isinstance(hit, Hit)
        clock.now = hit.soft_end / 1000 - math.log(2) * 2
        before, begun = runs, cache.stats().refreshes
        assert answer() == before
        if cache.stats().refreshes > begun:
            asyncio.run(until(lambda: cache.stats().fills == runs == before + 1))  # noqa: B023
    refreshed = runs - 1
    assert abs(refreshed - 200) < 5 * 10
    assert cache.stats().refreshes == refreshed


def test_an_early_refresh_reaches_past_the_first_tier(
    monkeypatch: pytest.MonkeyPatch, redis_url: str, prefix: str
) -> None:
    """21. The first tier serves until the early zone, and there each read asks the back end."""
    filler, cache = (
        Cache(RedisBackend.from_url(redis_url, prefix=prefix), local_entries=10, local_ttl=600, channel=False)
        for _ in range(2)
    )
    monkeypatch.setattr(
        "scalekit.cache.leading.pack", lambda versions, **rest: pack(versions, **{**rest, "delta": delta})
    )
    monkeypatch.setattr("scalekit.cache._core.dice", lambda: 0.0)  # no read refreshes

    def answer(number: int) -> int:
        return number

    fill, read = (each.query(ttl=60, jitter=0, early_refresh=1.0)(answer) for each in (filler, cache))
    for delta in (2_000, 20_000):
        fill(delta)
        for _ in range(3):
            read(delta)
    # Of the second one all its life is early zone.
    assert (cache.stats().local_hits, cache.stats().hits) == (2, 4)
    for each in (filler, cache):
        each.close_sync()


REFRESHER = """
    import asyncio, sys, time
    from scalekit.cache import Cache
    {imports}

    cache, runs = Cache({backend}), 0

    @cache.query(ttl=600, stale_while_revalidate=600, name="answer")
    async def answer(number: int) -> str:
        global runs
        runs += 1
        await asyncio.sleep(0.1)
        return "new"

    async def main():
        await cache.invalidate_tags("another")  # connected
        print("ready", flush=True)
        await asyncio.sleep(float(sys.stdin.readline()) - time.time())
        while set(await asyncio.gather(*[answer(number) for number in [*range({keys})] * 2])) != {{"new"}}:
            pass
        print(runs)
        await cache.close()

    asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", BACKENDS)
def test_exactly_one_refresh_in_two_processes(kind: str, request: pytest.FixtureRequest, prefix: str) -> None:
    """21. Many read a hundred stale results in two processes at once: each is computed anew exactly once."""
    url = request.getfixturevalue(f"{kind}_server").url
    imports, made = BACKENDS[kind]
    backend = RedisBackend if kind == "redis" else MemcachedBackend
    cache = Cache(backend.from_url(url, prefix=prefix))

    @cache.query(ttl=0.001, stale_while_revalidate=600, name="answer")
    def answer(number: int) -> str:
        return "old"

    for number in range(100):
        answer(number)
    script = textwrap.dedent(REFRESHER).format(imports=imports, backend=made, keys=100)
    command = [sys.executable, "-c", script, url, prefix]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        begin = time.time() + 0.1
        for child in children:
            assert child.stdin is not None
            print(begin, file=child.stdin, flush=True)
        assert sum(int(child.communicate(timeout=30)[0]) for child in children) == 100
    finally:
        for child in children:
            child.kill()
            child.communicate()
    cache.close_sync()


class Gated(MemoryBackend):
    """The next lease is asked for when the gate opens."""

    gates: tuple[asyncio.Event, ...] = ()

    def acquire(self, *args: Any, **options: Any) -> Any:
        gates, self.gates = self.gates, ()
        for gate in gates:
            yield gate.wait()
        return (yield from super().acquire(*args, **options))


async def test_what_was_replaced_meanwhile_is_not_computed_again() -> None:
    """21. Who saw the stale result, and gets the lease when another has replaced it, gives it back."""
    clock, gate, runs = Clock(), asyncio.Event(), 0
    backend = Gated(clock=clock)

    def process() -> Any:
        cache = Cache(backend)
        cache._core.clock = clock

        @cache.query(ttl=60, jitter=0, stale_while_revalidate=600, name="answer")
        async def answer() -> int:
            nonlocal runs
            runs += 1
            return runs

        return cache, answer

    (one, ask_one), (other, ask_other) = process(), process()
    await ask_one()
    clock.now += 60
    backend.gates = (gate,)
    assert await ask_one() == 1
    await until(lambda: not backend.gates)
    assert await ask_other() == 1
    await until(lambda: other.stats().fills == 1)
    gate.set()
    await until(lambda: not one._core.refreshes._places["async"]._tasks)
    assert runs == 2
    assert await ask_one() == 2
    [found] = run(backend.read([Lookup(ask_one.key())]))
    assert found.value is not None
    assert found.value[:1] == b"E"


def test_one_attempt_a_throttle_on_each_back_end(backend: Backend) -> None:
    """23. What has failed in one process is left alone in the others; what is dropped is never served."""
    attempts, failing = 0, False

    def process() -> Any:
        @Cache(backend).query(ttl=0.001, stale_if_error=600, throttle=60, name="answer", tags=["shop"])
        def answer() -> int:
            nonlocal attempts
            attempts += 1
            if failing:
                raise Down
            return attempts

        return answer

    processes = [process() for _ in range(3)]
    assert processes[0]() == 1
    failing = True
    time.sleep(0.002)  # its ttl
    assert [each() for _ in range(5) for each in processes] == [1] * 15
    assert attempts == 2
    Cache(backend).invalidate_tags_sync("shop")
    for each in processes:
        with pytest.raises(Down):
            each()


def needs(function: Any, cache: Cache | None = None, **options: Any) -> Any:
    options = options or {"stale_while_revalidate": 5}
    return (cache or Cache(MemoryBackend())).query(ttl=60, **options)(function)


async def with_session(session: AsyncSession, number: int) -> int: ...
async def with_two(session: AsyncSession, archive: "AsyncSession | None") -> int: ...
async def with_request(request: Request) -> int: ...
async def with_engine(engine: AsyncEngine) -> int: ...
def plain(session: Session) -> int: ...
async def coroutine() -> Any: ...
async def generator() -> AsyncIterator[Any]:
    yield


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        (
            with_session,
            {"early_refresh": 1},
            "takes a session .session., and with early_refresh .*session=, such as",
        ),
        (with_session, {"stale_if_error": 9, "soft_timeout": 1}, "and with soft_timeout"),
        (plain, {"hard_timeout": 1}, "and with hard_timeout"),
        (with_two, {}, "several sessions .archive, session."),
        (with_request, {}, "request=...\\): a Request cannot be made .*take from it what is needed"),
        (
            with_session,
            {"session": coroutine, "early_refresh": 1},
            "coroutine function; end it with `yield session`",
        ),
        (
            with_session,
            {"session": 3, "early_refresh": 1},
            "must be a function that makes a session, not a int",
        ),
        (with_session, {"session": sessionmaker(), "early_refresh": 1}, "wants an asynchronous session="),
        (plain, {"session": async_sessionmaker(), "early_refresh": 1}, "wants a synchronous session="),
        (plain, {"session": generator, "early_refresh": 1}, "wants a synchronous session="),
        (with_engine, {"soft_timeout": 1}, "give stale_if_error="),
    ],
)
def test_what_cannot_be_made_is_told_when_defined(function: Any, options: dict[str, Any], words: str) -> None:
    """21, 22. A function that could not be run in the background is refused when it is decorated."""
    with pytest.raises(ConfigurationError, match=words):
        needs(function, **options)


def test_what_can_be_made_is_not_refused() -> None:
    """21, 22. Without such options, or with what is the application's, nothing is asked for."""
    needs(with_session, stale_if_error=5)
    needs(with_request, stale_if_error=5)
    needs(with_session, hard_timeout=5)
    needs(with_engine)
    needs(with_session, Cache(MemoryBackend(), session=async_sessionmaker()))


def test_what_no_annotation_says_is_told_at_the_first_call(engine: Engine) -> None:
    """21. A session or a request that no annotation shows is found at the first call, in `self` too."""

    def untold(session=None, number=1) -> int:  # type: ignore[no-untyped-def]
        return number

    class Repository:
        def __init__(self, session: Session) -> None:
            self.session = session

        def count(self, number: int) -> int:
            return number

    with Session(engine) as session:
        cached = needs(untold)
        assert cached() == 1
        with pytest.raises(ConfigurationError, match=r"takes a session .session."):
            cached(session)
        assert needs(untold, session=sessionmaker(engine), early_refresh=1)(session) == 1
        with pytest.raises(ConfigurationError, match="a Request cannot be made"):
            cached(Request({"type": "http"}))
        counted = needs(Repository.count, ignore=["self"], stale_while_revalidate=5)
        with pytest.raises(ConfigurationError, match=r"self.session is a Session that may be closed"):
            counted(Repository(session), 1)


def test_a_cache_that_is_switched_off_uses_the_callers_session(engine: Engine) -> None:
    """22. A `def` with a hard time-out runs apart, but not if the cache is off or its session has changes."""
    cache, used = Cache(MemoryBackend(), session=sessionmaker(engine)), []

    @cache.query(ttl=60, hard_timeout=DEADLINE)
    def answer(session: Session) -> int:
        used.append(session)
        return 1

    with Pending(engine) as callers:
        with cache.disabled():
            answer(callers)
        callers.pending = True
        answer(callers)
        assert used == [callers, callers]
        callers.pending = False
        answer(callers)
        assert used[2] is not callers


async def test_closing_ends_what_is_under_way(async_engine: AsyncEngine) -> None:
    """21. `close()` cancels runs in the background and waits until their sessions are closed."""
    sessions = async_sessionmaker(async_engine, sync_session_class=Noted)
    clock, used = Clock(), []
    cache = clocked(clock, session=sessions)

    @cache.query(ttl=60, stale_while_revalidate=600)
    async def answer(session: AsyncSession) -> int:
        used.append(session.sync_session)
        if len(used) == 2:
            await asyncio.sleep(60)
        return 1

    async with sessions() as callers:
        await answer(callers)
        clock.now += 60
        await answer(callers)
        await until(lambda: len(used) == 2)
        await cache.close()
        assert used[1].said == ["close"]
        assert await answer(callers) == 1  # and the next one may go on


def test_closing_waits_for_threads(clock_cache: tuple[Clock, Cache]) -> None:
    """21. A thread cannot be cancelled: `close_sync()` waits for it."""
    clock, cache = clock_cache
    begun, gate, ended = threading.Event(), threading.Event(), []

    @cache.query(ttl=60, stale_while_revalidate=600)
    def answer() -> int:
        if begun.is_set():
            assert gate.wait(DEADLINE)
            ended.append(1)
        begun.set()
        return 1

    answer()
    clock.now += 60
    answer()
    threading.Timer(0.02, gate.set).start()
    cache.close_sync()
    assert ended == [1]


def test_threads_are_few() -> None:
    """21. While all threads are busy what is optional is refused; what somebody waits for has its turn."""
    threads, gate, done = Threads(), threading.Event(), []

    def steps() -> Any:
        yield gate.wait(DEADLINE)
        done.append(1)

    assert all(threads.start(steps, name="test", optional=True) for _ in range(AT_ONCE))
    assert not threads.start(steps, name="test", optional=True)
    assert threads.start(steps, name="test")
    gate.set()
    asyncio.run(until(lambda: len(done) == AT_ONCE + 1))
    threads.close(within=DEADLINE)
    assert threads._threads == threads._idle == AT_ONCE


def test_threads_that_wait_for_others_take_nobodys_turn(clock_cache: tuple[Clock, Cache]) -> None:
    """22. As many functions as there are threads, and each calls another one: none waits for a thread."""
    _, cache = clock_cache
    together, behind = threading.Barrier(AT_ONCE + 1), threading.Event()

    @cache.query(ttl=60, hard_timeout=DEADLINE)
    def inner(number: int) -> int:
        return number

    @cache.query(ttl=60, hard_timeout=3 * DEADLINE)
    def outer(number: int) -> int:
        if number < AT_ONCE:
            together.wait(DEADLINE)
            assert behind.wait(DEADLINE)
        return inner(number)

    with ThreadPoolExecutor(2 * AT_ONCE) as pool:
        results = [pool.submit(outer, number) for number in range(AT_ONCE)]
        together.wait(DEADLINE)
        results += [pool.submit(outer, AT_ONCE + number) for number in range(AT_ONCE)]
        threads = cast("Threads", cache._core.refreshes._places["sync"])
        asyncio.run(until(lambda: len(threads._waiting) == AT_ONCE))
        behind.set()
        assert [result.result() for result in results] == list(range(2 * AT_ONCE))
    assert threads._threads <= AT_ONCE


async def test_refreshes_leave_connections_to_requests(clock_cache: tuple[Clock, Cache]) -> None:
    """21. However many results are stale, eight at most are computed at a time; then come the next ones."""
    clock, cache = clock_cache
    gate, under_way, most = asyncio.Event(), 0, 0
    gate.set()

    @cache.query(ttl=60, stale_while_revalidate=600)
    async def answer(number: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await gate.wait()
        under_way -= 1
        return number

    for number in range(20):
        await answer(number)
    gate.clear()
    clock.now += 60
    assert await asyncio.gather(*[answer(number) for number in range(20)]) == list(range(20))
    await until(lambda: under_way == AT_ONCE)
    assert cache.stats().refreshes == most == AT_ONCE
    gate.set()
    while cache.stats().fills < 40:
        await asyncio.gather(*[answer(number) for number in range(20)])
        await asyncio.sleep(0)
    assert (most, cache.stats().refreshes) == (AT_ONCE, 20)


def test_a_second_run_has_a_second_session(engine: Engine) -> None:
    """21. What is run once more, where the primary is away, has another session; both are closed."""
    made, used = sessionmaker(engine, class_=Noted), []

    def answer(session: Session) -> int:
        used.append(session)
        return 1

    life = Life(60, early_refresh=1)
    how = afresh(answer, name="answer", colour="sync", life=life, patience=Patience(), default=made)
    assert how is not None
    opened = how.open({"session": None})
    assert (opened.run(), opened.run()) == (1, 1)
    assert opened.own == used
    assert used[0] is not used[1]
    opened.close()
    assert [session.said for session in used] == [["commit", "close"]] * 2  # type: ignore[attr-defined]


async def test_a_refused_refresh_is_tried_again(
    clock_cache: tuple[Clock, Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """21. A refresh for which there was no thread leaves nothing behind: the next read begins one."""
    clock, cache = clock_cache

    @cache.query(ttl=60, stale_while_revalidate=600)
    def answer() -> int:
        return 1

    answer()
    clock.now += 60
    with monkeypatch.context() as patch:
        patch.setattr("scalekit.cache.apart.AT_ONCE", 0)
        assert answer() == 1
    assert cache.stats().refreshes == 0
    answer()
    await until(lambda: cache.stats().fills == 2)


async def test_a_refresh_that_is_cancelled_before_it_begins(clock_cache: tuple[Clock, Cache]) -> None:
    """21. `close()` in the same turn of the loop: nobody waits for ever for what was to be computed."""
    clock, cache = clock_cache

    @cache.query(ttl=60, stale_while_revalidate=600)
    async def answer() -> int:
        return 1

    await answer()
    clock.now += 60
    await answer()
    await cache._core.refreshes.close("async")
    clock.now += 600
    async with asyncio.timeout(DEADLINE):
        assert await answer() == 1


def test_a_thread_that_ends_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """21. What ends a thread, as `sys.exit()` in a function does, takes nobody's turn away."""
    threads, done, ends = Threads(), threading.Event(), []
    monkeypatch.setattr(threading, "excepthook", ends.append)

    def leaves() -> Any:
        yield None
        raise SystemExit

    def steps() -> Any:
        yield done.set()

    for _ in range(2 * AT_ONCE):
        assert threads.start(leaves, name="test")
    assert threads.start(steps, name="test")
    assert done.wait(DEADLINE)
    asyncio.run(until(lambda: len(ends) == 2 * AT_ONCE))


def test_a_function_that_exits_apart_exits_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """23. As without a cache; it is not run again and again, as if a caller had been cancelled."""
    clock, ends, runs = Clock(), [], 0
    monkeypatch.setattr(threading, "excepthook", ends.append)
    cache = clocked(clock)

    @cache.query(ttl=60, stale_while_revalidate=1, stale_if_error=600)
    def answer() -> int:
        nonlocal runs
        runs += 1
        if runs == 2:
            raise SystemExit
        return runs

    assert answer() == 1
    clock.now += 120
    with pytest.raises(SystemExit):
        answer()
    asyncio.run(until(lambda: len(ends) == 1))
    assert (runs, answer()) == (2, 3)

"""A cached function: computed once, its own object for everybody, and gone when told."""

import asyncio
import dataclasses
import functools
import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from scalekit._steps import run
from scalekit.cache import Cache
from scalekit.cache.asgi import ResponseMiddleware
from scalekit.cache.backend import Backend
from scalekit.cache.memory import MemoryBackend
from scalekit.errors import ConfigurationError, UncacheableArgument, UncacheableResult, WrongColour


@dataclasses.dataclass
class Row:
    id: int
    names: list[str]


async def test_a_second_call_does_not_run_the_function(backend: Backend) -> None:
    """The first call computes; others with the same arguments get the result from the cache."""
    cache, calls = Cache(backend), []

    @cache.query(ttl=60)
    async def rows(category: str, limit: int = 2) -> list[Row]:
        calls.append(category)
        return [Row(number, [category]) for number in range(limit)]

    expected = [Row(0, ["a"]), Row(1, ["a"])]
    assert await rows("a") == await rows(category="a") == await rows("a", limit=2) == expected
    assert await rows("b") != expected
    assert calls == ["a", "b"]
    assert (cache.stats().computes, cache.stats().hits, cache.stats().misses, cache.stats().fills) == (
        2,
        2,
        2,
        2,
    )
    assert cache.stats().hit_rate == 0.5


def test_synchronous_functions(backend: Backend) -> None:
    """A plain def is called plainly, and invalidated plainly."""
    cache, calls = Cache(backend), []

    @cache.query(ttl=timedelta(minutes=1))
    def double(number: int) -> int:
        calls.append(number)
        return number * 2

    assert [double(1), double(1), double(number=1), double(2)] == [2, 2, 2, 4]
    double.invalidate(1)
    assert double(1) == 2
    assert calls == [1, 2, 1]
    assert double.__name__ == "double"


async def test_callers_share_no_object(backend: Backend) -> None:
    """24. What one caller changes nobody else sees: neither those who computed or waited, nor later ones."""
    cache = Cache(backend, local_entries=10, channel=False)

    @cache.query(ttl=60)
    async def rows() -> list[Row]:
        await asyncio.sleep(0)
        return [Row(1, ["a"])]

    results = await asyncio.gather(*(rows() for _ in range(5)))
    results += [await rows(), await rows()]
    for result in results:
        result[0].names.append("mine")
        result.append(Row(2, []))
    assert all(result == [Row(1, ["a", "mine"]), Row(2, [])] for result in results)
    assert await rows() == [Row(1, ["a"])]


async def test_none_and_empty_results_are_cached(backend: Backend) -> None:
    """25. They are answers too."""
    cache, calls = Cache(backend), []

    @cache.query(ttl=60)
    async def nothing(kind: str) -> list[int] | None:
        calls.append(kind)
        return None if kind == "none" else []

    assert [await nothing("none"), await nothing("none"), await nothing("empty"), await nothing("empty")] == [
        None,
        None,
        [],
        [],
    ]
    assert calls == ["none", "empty"]


async def test_a_cold_key_is_computed_once(backend: Backend) -> None:
    """1. Five hundred callers at the same time: one runs the function, the others wait for it."""
    cache, calls = Cache(backend), 0

    @cache.query(ttl=60, reads=["product"])
    async def slow(key: int) -> int:
        nonlocal calls
        calls += 1
        async with asyncio.timeout(60):
            while cache.stats().waits < 499:  # who comes later would find the result
                await asyncio.sleep(0.001)
        return key

    assert await asyncio.gather(*(slow(1) for _ in range(500))) == [1] * 500
    assert calls == 1
    assert cache.stats().waits == 499


def test_a_cold_key_is_computed_once_by_threads(backend: Backend) -> None:
    """1. The same for threads."""
    cache, calls = Cache(backend), []
    start = threading.Barrier(20)
    computing = threading.Event()

    @cache.query(ttl=60, reads=["product"])
    def slow(key: int) -> int:
        calls.append(key)
        computing.wait(0.2)  # long enough for all to arrive; a shorter time would only test less
        return key

    def call(_: int) -> int:
        start.wait()
        return slow(1)

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(call, range(20))) == [1] * 20
    assert calls == [1]


async def test_a_cancelled_waiter_cancels_nobody(backend: Backend) -> None:
    """3. Those who wait for a computation may leave; it goes on, and is not run again."""
    cache, calls = Cache(backend), 0
    started, release = asyncio.Event(), asyncio.Event()

    @cache.query(ttl=60)
    async def slow() -> int:
        nonlocal calls
        calls += 1
        started.set()
        await release.wait()
        return 7

    leader = asyncio.create_task(slow())
    await started.wait()
    waiters = [asyncio.create_task(slow()) for _ in range(10)]
    while cache.stats().waits < 10:
        await asyncio.sleep(0)
    for waiter in waiters[::2]:
        waiter.cancel()
    release.set()
    outcomes = await asyncio.gather(leader, *waiters, return_exceptions=True)
    assert outcomes[0] == 7
    assert outcomes[2::2] == [7] * 5
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[1::2])
    assert calls == 1


async def test_a_cancelled_leader_hands_over(backend: Backend) -> None:
    """3. The one who computes is cancelled: one of those who wait computes, with its own arguments."""
    cache = Cache(backend)
    computing: list[Any] = []
    started, release = asyncio.Event(), asyncio.Event()

    @cache.query(ttl=60, ignore=("who",))
    async def slow(who: str) -> int:
        computing.append(who)
        started.set()
        await release.wait()
        return 7

    leader = asyncio.create_task(slow("leader"))
    await started.wait()
    waiters = [asyncio.create_task(slow(f"waiter {number}")) for number in range(3)]
    while cache.stats().waits < 3:
        await asyncio.sleep(0)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    release.set()
    assert await asyncio.gather(*waiters) == [7, 7, 7]
    first, second = computing
    assert first == "leader"
    assert second.startswith("waiter ")


async def test_an_exception_reaches_all_and_is_not_cached(backend: Backend) -> None:
    """5. Everyone who waited sees it; the next call tries again."""
    cache, calls = Cache(backend), 0

    @cache.query(ttl=60)
    async def fails() -> int:
        nonlocal calls
        calls += 1
        async with asyncio.timeout(60):
            while cache.stats().waits < 9:  # who comes later would try again
                await asyncio.sleep(0.001)
        if calls == 1:
            raise LookupError("no such thing")
        return calls

    outcomes = await asyncio.gather(*(fails() for _ in range(10)), return_exceptions=True)
    assert all(isinstance(outcome, LookupError) for outcome in outcomes)
    assert calls == 1
    assert await fails() == 2


async def test_a_function_may_call_itself(backend: Backend) -> None:
    """With other arguments that is cached too; with the same ones it computes: it cannot wait for itself."""
    cache = Cache(backend)
    depth = 0

    @cache.query(ttl=60)
    async def factorial(number: int) -> int:
        return number * await factorial(number - 1) if number else 1

    @cache.query(ttl=60)
    async def again() -> int:
        nonlocal depth
        depth += 1
        return await again() + 1 if depth == 1 else 0

    assert await factorial(5) == 120
    assert await again() == 1
    assert cache.stats().computes == 6 + 2


async def test_invalidate(backend: Backend) -> None:
    """27. By the arguments that make the key; other results stay."""
    cache, calls = Cache(backend, local_entries=10, channel=False), []

    @cache.query(ttl=60)
    async def top(category: str) -> int:
        calls.append(category)
        return len(calls)

    await asyncio.gather(top("books"), top("films"))
    await top.invalidate(category="books")
    await top.invalidate("books")  # twice is once
    assert await top("books") == 3
    assert await top("films") == 2


async def test_tags(backend: Backend) -> None:
    """Dropping a tag drops every result that carries it, and no other."""
    cache, calls = Cache(backend, local_entries=10, channel=False), []

    @cache.query(ttl=60, reads=["product"], tags=["front"])
    async def one(number: int) -> int:
        calls.append("one")
        return len(calls)

    @cache.query(ttl=60, reads=["product"])
    async def two() -> int:
        calls.append("two")
        return len(calls)

    async def run() -> list[int]:
        return [await one(1), await one(2), await two()]

    assert await run() == await run() == [1, 2, 3]
    await cache.invalidate_tags("front")
    assert await run() == await run() == [4, 5, 3]
    await cache.invalidate_tags("product", "front")
    assert await run() == await run() == [6, 7, 8]
    await cache.invalidate_tags("something else")
    assert await run() == [6, 7, 8]


def test_tags_for_synchronous_code(backend: Backend) -> None:
    """The same by plain calls."""
    cache, calls = Cache(backend), []

    @cache.query(ttl=60, tags=["front"])
    def one() -> int:
        calls.append(1)
        return len(calls)

    assert [one(), one()] == [1, 1]
    cache.invalidate_tags_sync("front")
    assert one() == 2
    with pytest.raises(ConfigurationError, match=r"invalidate_tags_sync\(\).*clear\(\)"):
        cache.invalidate_tags_sync()


@pytest.mark.parametrize("by", ["key", "tag"])
async def test_a_fill_after_an_invalidation_is_never_visible(backend: Backend, by: str) -> None:
    """6. What began to compute before is returned to its caller, and served to nobody who comes after."""
    cache = Cache(backend, local_entries=10, channel=False)
    source = 1
    read, release = asyncio.Event(), asyncio.Event()

    @cache.query(ttl=60, tags=["t"])
    async def query() -> int:
        value = source
        read.set()
        await release.wait()
        return value

    old = asyncio.create_task(query())
    await read.wait()
    source = 2
    await (query.invalidate() if by == "key" else cache.invalidate_tags("t"))
    fresh = asyncio.create_task(query())  # begun after: it must not wait for the old computation
    while cache.stats().computes < 2:
        await asyncio.sleep(0)
    release.set()
    assert (await old, await fresh, await query()) == (1, 2, 2)
    assert cache.stats().computes == 2
    assert cache.stats().discarded == 1


async def test_an_entry_ends_after_its_ttl() -> None:
    """It is served up to its ttl, and not from then on."""
    now = 0.0
    cache, calls = Cache(MemoryBackend(clock=lambda: now)), 0
    cache._core.clock = lambda: now

    @cache.query(ttl=1.5, jitter=0)
    async def query() -> int:
        nonlocal calls
        calls += 1
        return calls

    assert await query() == 1
    now = 1.49
    assert await query() == 1
    now = 1.5
    assert await query() == 2


@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_uncacheable_arguments_and_results(backend: Backend, kind: str) -> None:
    """19, 24. They are errors on the first call, whatever is in the cache."""
    cache = Cache(backend)

    async def run(function: Callable[..., Any], argument: object) -> Any:
        outcome = function(argument)
        return await outcome if kind == "async def" else outcome

    async def asynchronous(value: Any) -> int:
        return "text"  # type: ignore[return-value]

    def synchronous(value: Any) -> int:
        return "text"  # type: ignore[return-value]

    function: Any = cache.query(ttl=60, name=kind)(asynchronous if kind == "async def" else synchronous)
    with pytest.raises(UncacheableArgument, match=r"value=..."):
        await run(function, object())
    for _ in range(2):
        with pytest.raises(UncacheableResult, match=r"not what .* is annotated to return"):
            await run(function, 1)


async def awaited(result: Any) -> bool:
    return True


class Awaited:
    async def __call__(self, result: Any) -> bool:
        return True


def test_options_are_checked_at_start_up() -> None:
    """Each mistake is an error where the function is defined, and says which."""
    cache = Cache(MemoryBackend())

    def plain() -> int:
        return 1

    def rows():  # type: ignore[no-untyped-def]
        yield 1

    async def application(scope: Any, receive: Any, send: Any) -> None: ...

    for mistake, message in [
        (lambda: cache.query(ttl=0), "ttl"),
        (lambda: cache.query(ttl=float("inf")), "ttl"),
        (lambda: cache.query(ttl="60"), "ttl='60' must be seconds as a number"),
        (
            lambda: cache.query(ttl=1, reads=[object()]),
            "^reads= takes mapped classes, Tables .*, not <object",
        ),
        (lambda: cache.query(ttl=1, reads="product"), r"reads= must be a list, not str; .* reads=\[...\]$"),
        (lambda: cache.query(ttl=1, reads=dict), r"reads= must be a list, not the class dict; put"),
        (
            lambda: cache.query(ttl=1, tags="exchange rates"),
            r"tags= must be a list, not str; .* tags=\[...\]$",
        ),
        (lambda: cache.query(ttl=1, tags=[1]), "^tags= takes mapped classes, Tables .*, not 1$"),
        (lambda: cache.query(ttl=1, ignore="session")(plain), r"ignore= must be a list, not str"),
        (lambda: cache.query(ttl=1, reads=[""]), "^reads= has an empty name"),
        (lambda: cache.query(plain), r"write @cache\.query\(ttl=60\)"),
        (lambda: asyncio.run(cache.invalidate_tags(1)), "^invalidate_tags takes mapped classes"),
        (
            lambda: asyncio.run(cache.invalidate_tags(["a"])),
            r"^invalidate_tags takes .*, not \['a'\]; .* one by one$",
        ),
        (lambda: cache.invalidate_tags_sync(None), "^invalidate_tags_sync takes .*, not None$"),
        (lambda: Cache("redis://:s3cret@host"), r"backend= must be a back end, such as .*, not str$"),
        (lambda: Cache(MemoryBackend), "not the class MemoryBackend"),
        (lambda: cache.query(ttl=1, tags=map(str, range(33))), "33 tags"),
        (lambda: cache.query(ttl=1, ignore=("x",))(plain), "no such parameter"),
        (lambda: cache.query(ttl=1)(rows), "generator"),
        (lambda: cache.query(ttl=1)(object()), "wraps a function"),  # type: ignore[arg-type]
        (lambda: Cache(MemoryBackend(), local_entries=-1), "local_entries= must be .* at least 0, not -1; "),
        (
            lambda: Cache(MemoryBackend(), local_entries="s3cret"),
            "^local_entries= must be .*, not str; 0 keeps",
        ),  # type: ignore[arg-type]
        (lambda: Cache(MemoryBackend(), local_bytes=True), "^local_bytes= must be a whole number"),
        (lambda: MemoryBackend(max_entries=1.5), "^max_entries= must be a whole .*, not float"),  # type: ignore[arg-type]
        (lambda: cache.query(ttl=10**400), "^ttl=1000.* must be a finite number"),
        (lambda: cache.query(ttl=1, early_refresh=10**400), "^early_refresh=1000.* must be finite"),
        (lambda: cache.query(ttl=1, hard_timeout=1e300), r"^hard_timeout=1e\+300 is over .* None waits"),
        (
            lambda: cache.query(ttl=1, cache_if=True),
            "^cache_if= must be a function of the result.*, not bool",
        ),  # type: ignore[arg-type]
        (lambda: cache.query(ttl=1, name=plain), "^name= must be .* text, not function"),  # type: ignore[arg-type]
        (lambda: cache.batch(ttl=1, name=""), "^name= must be .*, not an empty one"),
        (lambda: cache.response(ttl=1, max_size="1 MB"), "^max_size= must be .* at least 1, not str"),  # type: ignore[arg-type]
        (
            lambda: cache.response(ttl=1, vary=[b"accept"]),
            "^vary= must be a list of names, as text, not bytes",
        ),  # type: ignore[list-item]
        (lambda: cache.query(ttl=1, cache_if=awaited), "cache_if= must be a plain function"),  # type: ignore[arg-type]
        (lambda: cache.query(ttl=1, cache_if=Awaited()), "cache_if= must be a plain function"),  # type: ignore[arg-type]
        (lambda: cache.query(ttl=1, cache_if=True), "cache_if= must be a function"),  # type: ignore[arg-type]
        (lambda: cache.on(None), "^hook must be a function of a name and a number, such as .*, not None"),  # type: ignore[arg-type]
        (lambda: ResponseMiddleware(application, cache=None, ttl=1, paths=["/"]), "^cache= must be a Cache"),
        (lambda: Cache(MemoryBackend(), local_ttl=-1), "local_ttl"),
        (lambda: MemoryBackend(max_entries=0), "max_entries"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            mistake()


def test_two_functions_of_one_name() -> None:
    """They would read each other's results, so it is an error at start-up; a reloaded module is none."""
    cache = Cache(MemoryBackend())

    def make(number: int) -> Any:
        @cache.query(ttl=60)
        def closure() -> int:
            return number

        return closure

    first = make(1)
    for _ in range(2):
        # Results outlive their function: the second one would be given those of the first.
        with pytest.raises(
            ConfigurationError, match=r"two cached functions .*closure; give .* pass number as"
        ):
            make(2)
        first = first and first() == 1 and None
        gc.collect()

    def reload_class() -> Any:
        class Reloaded:
            @cache.query(ttl=60)
            def method(self) -> str:
                return super().__str__()[:0] + "Reloaded"

        return Reloaded()

    assert reload_class().method() == reload_class().method() == "Reloaded"

    def reload() -> Any:
        @cache.query(ttl=60)
        def again() -> int:
            return 1

        return again

    kept = reload()
    assert reload()() == kept() == 1


async def test_memory_keeps_the_most_recent_entries() -> None:
    """At most max_entries; the least recently used go first."""
    cache, calls = Cache(MemoryBackend(max_entries=3)), []

    @cache.query(ttl=60)
    async def query(number: int) -> int:
        calls.append(number)
        return number

    for number in (1, 2, 3, 1, 4, 1, 3, 4):
        await query(number)
    assert calls == [1, 2, 3, 4]
    await query(2)
    assert calls == [1, 2, 3, 4, 2]


async def test_memory_forgets_tags_too() -> None:
    """12. A tag for each of a million ids does not stay for ever; what is being committed does."""
    backend = MemoryBackend(max_entries=10)
    cache, calls = Cache(backend), []

    @cache.query(ttl=60, tags=["one:{number}"])
    async def query(number: int) -> int:
        calls.append(number)
        return number

    run(backend.mark(["one:1"], b"a writer", ttl=60))
    for number in range(1000):
        await query(number)
    assert len(backend._records) <= 100
    await query(1)
    await query(1)
    assert calls[1000:] == [1, 1]
    assert await query(999) == 999
    assert len(calls) == 1002


async def test_a_slow_query_that_another_server_has_overtaken(backend: Backend) -> None:
    """6, 8. What it was computing when its tag was dropped elsewhere is not served from memory, either.

    Without a channel, which would tell of it. It has the lease still, so what it returns is stored: under a
    version that the tag no longer has.
    """
    here, there = (Cache(backend, local_entries=10, channel=False) for _ in range(2))
    now, source = 0.0, 1
    here._core.local.clock = lambda: now

    @here.query(ttl=60, tags=["t"])
    async def query() -> int:
        nonlocal now, source
        value = source
        if value == 1:
            source, now = 2, now + 5
            await there.invalidate_tags("t")
            now += 5
        return value

    assert [await query(), await query(), await query()] == [1, 2, 2]
    await here.close()
    await there.close()


def _plainly(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


def test_a_plain_wrapper_around_an_async_def() -> None:
    """Its result is a coroutine, which nobody can cache: the error says whose, and what to write."""
    cache = Cache(MemoryBackend())

    @cache.query(ttl=60)
    @_plainly
    async def one() -> int:
        return 1

    @cache.batch(ttl=60, over="ids")
    @_plainly
    async def many(ids: list[int]) -> dict[int, int]:
        return {}

    words = r"{}, a plain def, wants a synchronous result, .*write that wrapper as an async def"
    with pytest.raises(WrongColour, match=words.format("one")):
        one()
    with pytest.raises(WrongColour, match=words.format("many")):
        many([1])
    limited: Any = cache.query(ttl=60, hard_timeout=5, name="limited")(_plainly(awaited))
    with pytest.raises(WrongColour, match=words.format("limited")):
        limited(1)


def test_an_invalidation_that_lacks_an_argument() -> None:
    """It says what may be left out, whatever the signature is."""
    cache = Cache(MemoryBackend())

    @cache.query(ttl=60)
    def f(db, number: int = 1) -> int:  # type: ignore[no-untyped-def]
        return number

    with pytest.raises(
        TypeError, match=r"f: missing .*'db'; what does not enter the key is annotated as a s"
    ):
        f.invalidate()

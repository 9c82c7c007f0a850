"""The code that is generated for each cached function: hits in this process, keys, and tags of arguments."""

import asyncio
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import inspect
import time
import traceback
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from sqlalchemy.pool import NullPool
from starlette.requests import Request

from scalekit.cache import Cache
from scalekit.cache.calls import Calls
from scalekit.cache.functions import decorated
from scalekit.cache.keys import Keys
from scalekit.cache.memory import MemoryBackend
from scalekit.cache.templates import Templates
from scalekit.errors import ConfigurationError, UncacheableArgument


class Elsewhere(MemoryBackend):
    """As if it were another server's, so that a process tier is of use in front of it."""

    local = False


def make() -> Cache:
    return Cache(Elsewhere(), local_entries=1000, local_ttl=100)


class Plain(enum.Enum):
    ONE = 1


class Number(enum.IntEnum):
    ONE = 1


class Text(enum.StrEnum):
    ONE = "1"


class Lax(enum.Enum):
    """An enum that takes its members for one."""

    ONE = 1
    TWO = 2

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lax)

    def __hash__(self) -> int:
        return 1


@dataclasses.dataclass(frozen=True)
class Point:
    x: int


SCALARS: list[Any] = [
    1,
    True,
    1.0,
    "1",
    b"1",
    None,
    0,
    False,
    0.0,
    -0.0,
    "",
    b"",
    2**64,
    -(2**63) - 1,
    "\ud800",
    decimal.Decimal("1.0"),
    decimal.Decimal("1.00"),
    Plain.ONE,
    Number.ONE,
    Text.ONE,
    Lax.ONE,
    Lax.TWO,
    uuid.UUID(int=1),
    str(uuid.UUID(int=1)),
    dt.date(2024, 1, 1),
    dt.datetime(2024, 1, 1),
    dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
    dt.datetime(2024, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))),  # the same moment
    (1,),
    (True,),
    [1],
    Point(1),
]


@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_values_are_told_apart(kind: str) -> None:
    """18. One result for each of them, twice, and the second time from this process or the back end."""
    cache, runs = make(), 0
    ask: Callable[[Any], Any]
    if kind == "def":

        @cache.query(ttl=60)
        def query(value: Any) -> int:
            nonlocal runs
            runs += 1
            return runs

        ask = query
    else:

        @cache.query(ttl=60)
        async def aquery(value: Any) -> int:
            nonlocal runs
            runs += 1
            return runs

        ask = aquery
    results = []
    for _ in range(2):
        for value in SCALARS:
            result = ask(value)
            results.append(await result if kind == "async def" else result)
    assert results == [*range(1, len(SCALARS) + 1)] * 2
    stats = cache.stats()
    assert (stats.computes, stats.local_hits, stats.hits) == (len(SCALARS), len(SCALARS), 0)


class LikeAString(str):
    """Equal to a str, and not one."""

    __slots__ = ()


def test_a_subclass_finds_nothing_of_its_base() -> None:
    """19. What a subclass adds may matter, and it has no stable key: an error, after a hit of its base."""
    cache = make()

    @cache.query(ttl=60)
    def query(value: str) -> str:
        return value

    query("a")
    assert query("a") == "a"
    for value in (LikeAString("a"), object()):
        with pytest.raises(UncacheableArgument, match=r"query\(value=...\)"):
            query(value)  # type: ignore[arg-type]


def written_differently(function: Any) -> list[Any]:
    return [
        function(1, 2, d=4),
        function(1, b=2, d=4),
        function(1, 2, 3, d=4, e=None),
        function(1, e=None, d=4, c=3, b=2),
    ]


def test_one_call_written_differently() -> None:
    """18. By place, by name, with defaults spelled out: one entry in this process, and one key."""
    cache, seen = make(), []

    @cache.query(ttl=60)
    def query(a: int, /, b: int, c: int = 3, *, d: int, e: str | None = None) -> int:
        seen.append((a, b, c, d, e))
        return len(seen)

    assert written_differently(query) == [1] * 4
    assert len(set(written_differently(query.key))) == 1
    assert seen == [(1, 2, 3, 4, None)]
    assert cache.stats().local_hits == 3
    query.invalidate(1, 2, d=4)
    assert query(1, 2, d=4) == 2


def test_it_is_called_as_python_would() -> None:
    """27. Its signature, name and mistakes are the function's own; so are parameters of the oddest names."""
    cache = make()

    def original(a: int, /, b: int = 2, *, _type: int = 0, _entry: int = 0, __find: int = 0) -> int:
        """Documented."""
        return a + b + _type + _entry + __find

    query = cache.query(ttl=60)(original)
    assert inspect.signature(query) == inspect.signature(original)
    assert (query.__name__, query.__doc__, query.__wrapped__) == ("original", "Documented.", original)
    assert not inspect.iscoroutinefunction(query)
    assert [query(1, _type=1, _entry=2, __find=3) for _ in range(2)] == [9, 9]
    for wrong in (lambda: query(), lambda: query(1, 2, 3), lambda: query(a=1), lambda: query(1, c=1)):  # type: ignore[call-arg, misc]
        with pytest.raises(TypeError, match=r"original\(\)"):
            wrong()

    async def other() -> int:
        return 1

    assert inspect.iscoroutinefunction(cache.query(ttl=60)(other))
    assert asyncio.iscoroutinefunction(cache.query(ttl=60, name="again")(other))


def test_a_traceback_shows_the_generated_lines() -> None:
    """Whoever follows an error through it sees what ran."""
    cache = make()

    @cache.query(ttl=60)
    def fails(number: int) -> int:
        raise LookupError(number)

    with pytest.raises(LookupError) as caught:
        fails(1)
    shown = "".join(traceback.format_exception(caught.value))
    assert "_get(_of_values(number))" in shown


def test_variable_arguments() -> None:
    """18. *args and **kwargs take part, and have their hits in this process too."""
    cache, runs = make(), []

    @cache.query(ttl=60)
    def query(*args: int, **kwargs: int) -> int:
        runs.append((args, kwargs))
        return len(runs)

    assert [query(1, 2, x=1), query(1, 2, x=1), query(2, 1, x=1), query(1, 2, y=1)] == [1, 1, 2, 3]
    assert cache.stats().local_hits == 1


def test_a_function_that_something_else_wraps() -> None:
    """It is called exactly as the caller wrote: what is around it may look at how."""
    cache, seen = make(), []

    def around(function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            seen.append((args, kwargs))
            return function(*args, **kwargs)

        return inner

    @cache.query(ttl=60)
    @around
    def query(a: int, session: Session | None = None) -> int:
        return a

    assert [query(1), query(a=1), query(2)] == [1, 1, 2]
    assert seen == [((1,), {}), ((2,), {})]


class Base(DeclarativeBase): ...


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


def test_a_session_with_changes_gets_no_hit() -> None:
    """11. Pending, deleted or modified objects in a caller's session: this process's cache is passed by."""
    cache, runs = make(), []

    @cache.query(ttl=60)
    def query(session: Session | None, a: int = 1) -> int:
        runs.append(a)
        return len(runs)

    with Session() as session:
        assert [query(session), query(None), query(session)] == [1, 1, 1]
        session.add(Product(id=1, name="a"))
        assert (query(session), query(None)) == (2, 1)
    assert cache.stats().bypasses == 1


async def test_an_async_session_with_changes_gets_no_hit() -> None:
    """11. The same for the asynchronous ones."""
    cache, runs = make(), []

    @cache.query(ttl=60)
    async def query(session: AsyncSession, a: int = 1) -> int:
        runs.append(a)
        return len(runs)

    async with AsyncSession() as session:
        assert [await query(session), await query(session)] == [1, 1]
        session.add(Product(id=1, name="a"))
        assert await query(session) == 2
        session.expunge_all()
        assert await query(session) == 1


@pytest.mark.parametrize(
    "argument", [1, 1.5]
)  # one that the generated code looks for, and one that it does not
def test_a_transaction_with_changes_gets_no_hit(argument: float, tmp_path: Path) -> None:
    """11. Of a watched session that is no argument; another thread is served all the while."""
    cache, runs = make(), []
    engine = create_engine(f"sqlite:///{tmp_path}/db", poolclass=NullPool)
    Base.metadata.create_all(engine)
    maker = sessionmaker(engine)
    cache.watch(maker)

    @cache.query(ttl=60)
    def query(argument: float) -> int:
        runs.append(argument)
        return len(runs)

    assert [query(argument), query(argument)] == [1, 1]
    with maker() as session, ThreadPoolExecutor(1) as pool:
        session.execute(insert(Product).values(id=1, name="a"))
        assert query(argument) == 2
        assert pool.submit(query, argument).result() == 1
        session.rollback()
        assert query(argument) == 1
    assert cache.stats().bypasses == 1


@pytest.mark.parametrize("argument", [1, 1.5])
def test_inside_a_cached_function_nothing_is_served_from_this_process(argument: float) -> None:
    """6. What the outer one stores is not made of what others may have invalidated since."""
    cache = make()

    @cache.query(ttl=60)
    def inner(argument: float) -> int:
        return 1

    @cache.query(ttl=60)
    def outer() -> int:
        return inner(argument)

    inner(argument)
    outer()
    assert (cache.stats().local_hits, cache.stats().hits) == (0, 1)


@pytest.mark.parametrize("argument", [1, 1.5])
def test_nothing_is_served_after_its_time_or_past_the_horizon(argument: float) -> None:
    """16. Then the back end is asked."""
    cache = make()

    @cache.query(ttl=60)
    def query(argument: float) -> int:
        return 1

    local = cache._core.local
    query(argument)
    (entry,) = local._entries.values()
    query(argument)
    assert (cache.stats().local_hits, cache.stats().hits, entry.seen) == (1, 0, True)
    local.horizon = time.monotonic()
    query(argument)
    assert (cache.stats().local_hits, cache.stats().hits) == (1, 1)
    local.horizon = float("inf")
    (entry,) = local._entries.values()
    entry.ends = time.monotonic()
    query(argument)
    assert (cache.stats().local_hits, cache.stats().hits) == (1, 2)


def test_two_functions_share_nothing() -> None:
    """Not with the same arguments either."""
    cache = make()

    @cache.query(ttl=60)
    def one(number: int) -> int:
        return number

    @cache.query(ttl=60)
    def other(number: int) -> int:
        return -number

    assert [one(1), other(1), one(1), other(1)] == [1, -1, 1, -1]


def test_self_outside_of_a_class_is_data() -> None:
    """19. Only a method has an instance to leave out."""
    cache = make()

    @cache.query(ttl=60)
    def query(self: str) -> str:
        return self

    assert [query("a"), query("b")] == ["a", "b"]


def test_none_in_a_question_may_stand_for_the_session() -> None:
    """27. What a question means depends on the signature alone, as where it is not generated."""
    cache = make()

    @cache.query(ttl=60)
    def query(session: Session | None, a: Any = 1) -> int:
        return 1

    assert query.key() == query.key(None) == query.key(None, 1) == query.key(a=1) != query.key(a=None)


def test_data_where_a_session_may_be_counts() -> None:
    """19. A parameter that by its annotation takes a request is not trusted blindly."""
    cache = make()

    @cache.query(ttl=60)
    def query(request: Request, a: int) -> str:
        return request if isinstance(request, str) else "request"

    request = Request({"type": "http", "headers": []})
    for _ in range(2):
        assert query(request, 1) == "request"
        assert query("data", 1) == "data"  # type: ignore[arg-type]
        assert query("other", 1) == "other"  # type: ignore[arg-type]


def test_while_a_transaction_has_changes_the_core_decides() -> None:
    """11. The quick look is not taken; who has no part in it is served from this process all the same."""
    cache = make()

    @cache.query(ttl=60)
    def query() -> int:
        return 1

    query()
    cache._core.dirty = 1
    assert query() == 1
    assert cache.stats().local_hits == 1


def test_without_a_tier_nothing_is_looked_for() -> None:
    """One instruction less on each call."""
    cache = Cache(MemoryBackend())

    @cache.query(ttl=60)
    def query(a: int) -> int:
        return a

    query(1)
    assert "_find" not in query.__code__.co_names  # type: ignore[attr-defined]
    assert cache.stats().hits == 0
    query(1)
    assert cache.stats().hits == 1


def test_tags_from_arguments() -> None:
    """27. A name in braces is a parameter that enters the key, defaults included."""
    cache, runs = make(), []

    @cache.query(ttl=60, tags=["product:{id}", "in {language} {{all}}", "product"])
    def product(session: Session | None, id: int, language: str = "en") -> int:
        runs.append(id)
        return len(runs)

    assert [product(None, 1), product(None, 2), product(None, 1, "fr")] == [1, 2, 3]
    cache.invalidate_tags_sync(f"product:{1}")
    assert [product(None, 2), product(None, 1), product(None, 1, "fr")] == [2, 4, 5]
    cache.invalidate_tags_sync("in fr {all}")
    assert [product(None, 2), product(None, 1), product(None, 1, "fr")] == [2, 4, 6]
    cache.invalidate_tags_sync("product")
    assert [product(None, 2), product(None, 1)] == [7, 8]


def test_tags_are_checked_when_decorated() -> None:
    """A name that is no parameter, or does not enter the key, and what cannot be read."""
    cache = make()

    def query(session: Session, id: Any, log: Any = None) -> int:
        return 1

    for tag in (
        "p:{nope}",
        "p:{session}",
        "p:{log}",
        "p:{id.x}",
        "p:{id[0]}",
        "p:{id!r}",
        "p:{id:>3}",
        "p:{",
        "{}",
    ):
        with pytest.raises(ConfigurationError, match="tags= of"):
            cache.query(ttl=60, tags=[tag], ignore=["log"])(query)
    tagged = cache.query(ttl=60, tags=["p:{id}"])(query)
    with pytest.raises(UncacheableArgument, match="in a tag"):
        tagged(Session(), [1])


values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=3)
    | st.binary(max_size=3)
    | st.uuids()
    | st.dates()
    | st.sampled_from([*Plain, *Number, *Text, *Lax])
    | st.decimals(allow_nan=False, places=1)
    | st.tuples(st.integers(0, 2))
)


def function(a: Any, b: Any = None, *, c: Any = 1) -> int:
    return 1


KEYS = Keys(function, name="f", fingerprint="")
CALLS = Calls(decorated(function), core=make()._core, keys=KEYS, templates=Templates((), keys=KEYS))
CALLS.compile(int)


def exact(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(exact, value))
    return type(value), value.name if isinstance(value, enum.Enum) else repr(value)


@given(st.tuples(values, values, values), st.tuples(values, values, values), st.data())
def test_the_quick_keys_and_the_spelled_ones_agree(one: Any, other: Any, data: Any) -> None:
    """18, 20. Same call, same key: by generated code, by the spelled path and by this tier's tuple alike."""
    # Mostly different: so sometimes one value of three is the same.
    other = tuple(data.draw(st.sampled_from(pair)) for pair in zip(one, other, strict=True))
    same = exact(one) == exact(other)
    made = [CALLS.of_values(*values) for values in (one, other)]
    assert (made[0].key == made[1].key) == same
    assert (made[0].local == made[1].local) == same
    for values, call in zip((one, other), made, strict=True):
        a, b, c = values
        assert call.key == KEYS.key({"a": a, "b": b, "c": c})[0] == CALLS.key(a, b, c=c)
        assert len(call.key) <= 150
        assert call.key.isascii()
        assert call.key.isprintable()

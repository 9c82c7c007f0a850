"""Results of every kind, through a cache: what is stored, what other code makes of it."""

import asyncio
import dataclasses
import enum
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import pydantic
import pytest
from sqlalchemy import Row, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from scalekit._steps import run_async
from scalekit.cache import Cache
from scalekit.cache.backend import Backend, Lookup
from scalekit.cache.entry import Hit, judge
from scalekit.cache.memory import MemoryBackend
from scalekit.errors import UncacheableResult


class Base(DeclarativeBase): ...


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[Decimal]


class Model(pydantic.BaseModel):
    price: Decimal


@pytest.fixture
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Product(id=1, price=Decimal("1.10")))
        session.commit()
        yield session
    engine.dispose()


def returning(cache: Cache, annotation: Any, find: Callable[[], Any], **options: Any) -> Callable[[], Any]:
    """A cached function called "answer" that returns what ``find`` does."""

    def answer() -> Any:
        return find()

    answer.__annotations__ = {"return": annotation}
    return cache.query(ttl=60, name="answer", **options)(answer)


def test_another_process_reads_what_one_has_stored(backend: Backend, session: Session) -> None:
    """24. Rows, models, scalars and what no annotation says the type of, from the back end, as they were."""
    statement = select(Product.id, Product.price)
    for annotation, find in [
        (Sequence[Row[tuple[int, Decimal]]], lambda: session.execute(statement).all()),
        (list[Model], lambda: [Model(price=Decimal("1.10"))]),
        (Decimal | None, lambda: session.scalar(select(Product.price))),
        (Any, lambda: {"prices": (Decimal("1.10"), {1})}),
    ]:
        one, other = Cache(backend), Cache(backend)
        first, second = returning(one, annotation, find), returning(other, annotation, find)
        assert first() == second() == find()
        assert repr(second()) == repr(find())
        assert (one.stats().computes, other.stats().computes, other.stats().hits) == (1, 0, 2)


class Old(enum.Enum):
    OPEN = 1
    CLOSED = 2


class New(enum.Enum):
    OPEN = 2
    CLOSED = 1


New.__qualname__ = Old.__qualname__


def test_a_changed_type_is_a_miss(backend: Backend) -> None:
    """24. Another version of the code never sees the old one's results, nor an error; both run together."""
    fields: list[list[Any]] = [[("a", int)], [("a", str)], [("a", int), ("b", int, 1)]]
    made = [dataclasses.make_dataclass("Made", kinds, namespace={"__module__": "app"}) for kinds in fields]
    versions = [
        (made[0], made[0](1)),
        (made[1], made[1]("1")),
        (made[2], made[2](1)),
        (list[made[0]], [made[0](1)]),
        (Old, Old.OPEN),
        (New, New.OPEN),
    ]
    functions = [returning(Cache(backend), kind, lambda value=value: value) for kind, value in versions]
    for _ in range(2):
        assert [function() for function in functions] == [value for _, value in versions]


@pytest.mark.parametrize("kind", ["async def", "def"])
@pytest.mark.parametrize(
    ("cache_if", "stored"),
    [(None, [None, [], [1]]), (bool, [[1]]), (lambda result: result is not None, [[], [1]])],
)
def test_which_results_are_stored(backend: Backend, kind: str, cache_if: Any, stored: list[Any]) -> None:
    """25. None and empty results are, unless a condition says otherwise: then they are returned alone."""
    cache, runs = Cache(backend), []

    def answer(result: list[int] | None) -> list[int] | None:
        runs.append(result)
        return result

    if kind == "def":
        ask: Any = cache.query(ttl=60, cache_if=cache_if)(answer)
    else:

        @cache.query(ttl=60, cache_if=cache_if)
        async def answer_async(result: list[int] | None) -> list[int] | None:
            return answer(result)

        def ask(result: Any) -> Any:
            return asyncio.run(answer_async(result))

    for result in (None, [], [1]):
        runs.clear()
        assert ask(result) == ask(result) == result
        assert len(runs) == (1 if result in stored else 2)


class Opaque:
    """What only pickle can write."""

    def __init__(self, number: int) -> None:
        self.number = number


def test_what_a_class_refuses_is_a_miss() -> None:
    """24. Whatever it raises: yesterday's result does not pass today's check, and is computed anew."""
    least = 0

    @dataclasses.dataclass
    class Amount:
        cents: int

        def __post_init__(self) -> None:
            if self.cents < least:
                raise LookupError("too little")

    cache = Cache(MemoryBackend())

    def amount() -> Any:
        return Amount(least)

    amount.__annotations__["return"] = Amount
    amount = cache.query(ttl=60)(amount)
    assert amount() == Amount(0)
    least = 5
    assert amount() == amount() == Amount(5)
    assert cache.stats().computes == 2


def test_what_holds_itself_is_refused() -> None:
    """24. With what can be cached instead, and not by an overflow."""
    cache, endless = Cache(MemoryBackend()), list[Any]()
    endless.append(endless)

    @cache.query(ttl=60)
    def result() -> Any:
        return endless

    with pytest.raises(UncacheableResult, match="a list result cannot be cached"):
        result()


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_tags_of_text_that_no_encoding_has(backend: Backend, colour: str) -> None:
    """6. Half of a surrogate pair, as JSON may hold one: its tag is dropped as any other, and nothing is owed
    that can never be told."""
    cache, odd = Cache(backend), "\ud800 ü"

    @cache.query(ttl=60, tags=["name:{name}"])
    def length(name: str) -> int:
        return len(name)

    @cache.query(ttl=60, tags=["name:{name}"])
    async def again(name: str) -> int:
        return len(name)

    async def use() -> list[int]:
        found = [await again(odd), await again(odd)]
        await cache.invalidate_tags(f"name:{odd}")
        found.append(await again(odd))
        await cache.close()
        return found

    if colour == "async":
        assert asyncio.run(use()) == [3, 3, 3]
    else:
        assert [length(odd), length(odd)] == [3, 3]
        cache.invalidate_tags_sync(f"name:{odd}")
        assert [length(odd), length(odd)] == [3, 3]
        assert cache.stats().hits == 2
    assert (cache.stats().computes, cache.stats().errors) == (2, 0)


def test_a_pickled_result_of_another_key_is_a_miss(backend: Backend) -> None:
    """24. With a key of the ring it is read; what none of them has signed is computed anew."""
    old, new = "old secret of 16 bytes", "new secret of 16 bytes"
    runs: list[int] = []

    def find() -> Opaque:
        runs.append(1)
        return Opaque(len(runs))

    def ask(*ring: str) -> Any:
        return returning(Cache(backend), Opaque, find, pickle_key=ring)().number

    assert [ask(old), ask(old, new), ask(old)] == [1, 1, 1]
    assert [ask(new), ask(old, new), ask(new)] == [2, 2, 2]
    assert ask(old) == 3


async def test_what_is_stored_together_ends_apart(backend: Backend) -> None:
    """25. By default, at random in the last tenth of the ttl; each id of a batch, too."""
    cache, numbers = Cache(backend), list(range(30))

    @cache.query(ttl=1_000)
    async def one(number: int) -> int:
        return number

    @cache.batch(ttl=1_000)
    async def many(ids: list[int]) -> dict[int, int]:
        return {id: id for id in ids}

    for number in numbers:
        await one(number)
    await many(numbers)
    for keys in (map(one.key, numbers), map(many.key, numbers)):
        found = await run_async(backend.using("async").read([Lookup(key) for key in keys]))
        hits = [hit for hit in (judge(each, 0) for each in found) if isinstance(hit, Hit)]
        lives = sorted(hit.soft_end - hit.made for hit in hits)
        assert len(lives) == len(numbers)
        assert 900_000 <= lives[0] < lives[-1] - 20_000
        assert lives[-1] <= 1_000_000 + 30_000  # and what it took to store them
    await cache.close()

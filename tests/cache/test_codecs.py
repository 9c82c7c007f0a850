"""Results come back as they were, or are refused."""

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import math
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from scalekit.cache.codecs import Codec, is_immutable
from scalekit.errors import ConfigurationError, UncacheableResult


class Kind(enum.Enum):
    A = "a"


class Count(enum.IntEnum):
    ONE = 1


class Word(enum.StrEnum):
    A = "a"


@dataclasses.dataclass(frozen=True)
class Row:
    id: int
    price: decimal.Decimal
    at: dt.datetime
    kind: Kind


@dataclasses.dataclass
class Changeable:
    names: list[str]


@dataclasses.dataclass
class Loose:
    value: Any


@dataclasses.dataclass(frozen=True)
class SubRow(Row):
    extra: int = 0


class Struct(msgspec.Struct, frozen=True):
    id: uuid.UUID
    data: bytes
    tags: frozenset[str]


class Named(NamedTuple):
    x: int
    y: str


class Typed(TypedDict):
    x: int


@dataclasses.dataclass(frozen=True)
class Tree:
    below: "tuple[Tree, ...]"


class Base(DeclarativeBase): ...


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)


ROW = Row(1, decimal.Decimal("1.10"), dt.datetime(2024, 1, 1, 12), Kind.A)


def codec(returns: Any) -> Codec:
    def function() -> None: ...

    function.__annotations__ = {} if returns is ... else {"return": returns}
    return Codec(function, name="f")


@pytest.mark.parametrize(
    ("returns", "value"),
    [
        (int, 1),
        (None, None),
        (int | None, None),
        (str, ""),
        (bytes, b"\x00\xff"),
        (float, math.nan),
        (float, math.inf),
        (list[Row], [ROW, ROW]),
        (Struct, Struct(uuid.UUID(int=5), b"x", frozenset({"a"}))),
        (list[Changeable], [Changeable(["a"])]),
        (tuple[int, str], (1, "x")),
        (tuple[int, ...], (1, 2)),
        (Named, Named(1, "x")),
        (list[Named], [Named(1, "x")]),
        (dict[int, list[Typed]], {1: [{"x": 1}]}),
        (dict[str, Row], {"b": ROW, "a": ROW}),
        (set[int], {3, 1, 2}),
        (dt.datetime, dt.datetime(2024, 1, 1, tzinfo=dt.UTC)),
        (dt.date, dt.date(2024, 1, 1)),
        (dt.timedelta, dt.timedelta(days=-1, microseconds=1)),
        (Kind, Kind.A),
        (Word, Word.A),
        (Annotated[list[int], "documented"], [1]),
        (Literal["a", "b"], "b"),
        (Tree, Tree((Tree(()), Tree(())))),
        (..., {"a": [1, 2.5, None, True, "x", b"y"]}),
        (Any, [1]),
        (list, [1, "a"]),
    ],
)
def test_what_comes_back_is_what_went_in(returns: Any, value: Any) -> None:
    """By value and by type, all the way down."""
    made = codec(returns)
    back = made.decode(made.encode(value))
    assert back == value or value != value
    assert type(back) is type(value)
    assert repr(back) == repr(value) or isinstance(value, set)


def test_an_aware_datetime_comes_back_in_utc() -> None:
    """The same moment; the one thing that may look different, and it does so on a miss too."""
    made = codec(dt.datetime)
    moment = dt.datetime(2024, 1, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    back = made.decode(made.encode(moment))
    assert back == moment
    assert back.tzinfo is dt.UTC


@pytest.mark.parametrize(
    ("returns", "value"),
    [
        (int, "1"),
        (int, True),
        (float, 1),
        (list[float], [1]),
        (list[int], (1,)),
        (list[str], [Word.A]),
        (str, Word.A),
        (list[Row], [SubRow(1, decimal.Decimal(1), dt.datetime(2024, 1, 1), Kind.A, 5)]),
        (list[Row], [{"id": 1}]),
        (int, 2**70),
        (..., dt.datetime(2024, 1, 1)),
        (..., decimal.Decimal(1)),
        (..., {1, 2}),
        (..., ROW),
        (dict[str, Any], {"a": decimal.Decimal(1)}),
        (..., {"a": Word.A}),
        (..., {"a": Count.ONE}),
        (..., [{"a": Word.A}]),
        (..., {Word.A: 1}),
        (..., {"a": collections.OrderedDict(a=1)}),
        (..., {"a": collections.defaultdict(int, a=1)}),
        (..., {"a": bytearray(b"x")}),
        (..., {"a": type("List", (list,), {})([1])}),
        (..., {"a": type("Dict", (dict,), {})(a=1)}),
        (set[str], {Word.A}),
        (frozenset[tuple[str, ...]], frozenset({(Word.A,)})),
        (Changeable, Changeable([Word.A])),
        (Loose, Loose({"a": (1, 2)})),
        (Any, object()),
        (object, object()),
        (Any, Product(id=1)),
    ],
)
def test_what_would_change_is_refused(returns: Any, value: Any) -> None:
    """At once, on the first call, with the function and the cure; never silently on the second."""
    with pytest.raises(UncacheableResult, match=r"^f: .*(return plain data|annotated)"):
        codec(returns).encode(value)


def test_live_orm_objects_are_refused_when_the_function_is_defined() -> None:
    """They belong to a session; the message says what to return instead."""
    for returns in (Product, list[Product], dict[str, Product | None]):
        with pytest.raises(ConfigurationError, match=r"Product objects.*return a dataclass"):
            codec(returns)


def test_an_annotation_that_cannot_be_resolved() -> None:
    """Reading back needs the class itself; a name for the type checker alone is an error at start-up."""
    with pytest.raises(ConfigurationError, match="return annotation cannot be resolved"):
        codec("Nowhere")


@pytest.mark.parametrize(
    "returns",
    [
        int,
        str,
        None,
        Row,
        Struct,
        Named,
        tuple[Row, ...],
        frozenset[int],
        Row | None,
        Literal["a"],
        Kind,
        Tree,
    ],
)
def test_immutable(returns: Any) -> None:
    """One object may be handed to all callers."""
    assert is_immutable(returns)


@dataclasses.dataclass(frozen=True)
class FrozenShell:
    inside: list[int]


@pytest.mark.parametrize(
    "returns",
    [list[int], dict[str, int], Changeable, FrozenShell, tuple[list[int], ...], Typed, Any, tuple[Any, ...]],
)
def test_not_immutable(returns: Any) -> None:
    """Something in it can be changed, or may be."""
    assert not is_immutable(returns)


def test_the_fingerprint_follows_the_shape() -> None:
    """A field more, or of another type, makes other keys: old entries are not read with the new class."""

    def make(fields: list[tuple[str, Any]]) -> Any:
        return dataclasses.make_dataclass("Made", fields)

    shapes: list[Any] = [
        make([("a", int)]),
        make([("a", str)]),
        make([("a", int), ("b", int)]),
        list[make([("a", int)])],  # type: ignore[misc]
        int,
        int | None,
    ]
    prints = [codec(shape).fingerprint for shape in shapes]
    assert len(set(prints)) == len(prints)
    assert codec(make([("a", int)])).fingerprint == prints[0]


def test_unreadable_bytes_are_an_error_that_the_cache_knows() -> None:
    """Another type's payload never becomes a result."""
    reader: Callable[[bytes], Any] = codec(list[Row]).decode
    for payload in (codec(int).encode(1), b"", b"\xc1"):
        with pytest.raises(msgspec.MsgspecError):
            reader(payload)


@pytest.mark.parametrize("result", [(1, 2), Row, Changeable(["a"]), 1 + 2j])
def test_a_refusal_tells_of_a_missing_annotation(result: Any) -> None:
    """What would be kept with a return annotation is refused without one, with that reason and only then."""

    def bare():  # type: ignore[no-untyped-def]
        return result

    def annotated() -> int:
        return result  # type: ignore[no-any-return]

    with pytest.raises(
        UncacheableResult, match="; it has no return annotation, so it is read back as plain data; "
    ):
        Codec(bare, name="f").encode(result)
    with pytest.raises(UncacheableResult) as caught:
        Codec(annotated, name="f").encode(result)
    assert "no return annotation" not in str(caught.value)

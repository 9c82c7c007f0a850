"""Results come back as they were, or are refused."""

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import math
import typing
import uuid
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict, TypeVar

import attrs
import msgspec
import pydantic
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from scalekit.cache.codecs import UNREADABLE, Codec, codec_for
from scalekit.cache.immutability import copier, is_immutable
from scalekit.errors import ConfigurationError, UncacheableResult

T = TypeVar("T")


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


@attrs.frozen
class Attrs:
    id: int
    prices: list[decimal.Decimal]


@dataclasses.dataclass
class LooseTree:
    value: Any
    below: "list[LooseTree]"


class LooseStruct(msgspec.Struct, array_like=True, tag=True):
    value: Any
    day: dt.date


class LooseNamed(NamedTuple):
    x: int
    value: Any


class LooseTyped(TypedDict):
    x: Any
    y: NotRequired[Any]


@dataclasses.dataclass
class Generic(typing.Generic[T]):
    items: list[T]
    more: Any


UserId = typing.NewType("UserId", int)

# What no annotation says the type of.
OPEN = {
    "price": decimal.Decimal("1.10"),
    "zero": decimal.Decimal("-0.00"),
    "id": uuid.UUID(int=5),
    "at": [dt.datetime(2024, 1, 1, 12), dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.date(2024, 1, 1)],
    "times": (
        dt.time(1, 2, 3, 4),
        dt.time(1, tzinfo=dt.timezone(dt.timedelta(hours=1))),
        dt.timedelta(-1, 2, 3),
    ),
    "sets": [{1, 2}, frozenset({"a"}), ((), (1, (dt.date(1, 1, 1),)))],
    "keys": {uuid.UUID(int=1): 1, (1, "a"): {dt.date(2024, 1, 1): decimal.Decimal(1)}},
    1: None,
}
ROW = Row(1, decimal.Decimal("1.10"), dt.datetime(2024, 1, 1, 12), Kind.A)


def codec(returns: Any) -> Codec:
    def function() -> None: ...

    function.__annotations__ = {} if returns is ... else {"return": returns}
    return codec_for(function, name="f")


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
        (Sequence[int], [1]),
        (Attrs, Attrs(1, [decimal.Decimal(2)])),
        (Attrs | None, None),
        (UserId, 7),
        (..., OPEN),
        (object, OPEN),
        (dict[str, Any], {"a": OPEN}),
        (dict[uuid.UUID, Any], {uuid.UUID(int=1): OPEN}),
        (list[Any] | None, [OPEN]),
        (list[object], [OPEN, decimal.Decimal("1.10")]),
        (dict, OPEN),
        (tuple[Any, ...], (1, OPEN)),
        (tuple[int, Any], (1, OPEN)),
        (set, {decimal.Decimal("1.0"), (1, 2)}),
        (Loose, Loose(OPEN)),
        (list[LooseStruct], [LooseStruct(OPEN, dt.date(2024, 1, 1))]),
        (LooseNamed, LooseNamed(1, OPEN)),
        (LooseTyped, {"x": OPEN}),
        (LooseTyped, {"x": OPEN, "y": decimal.Decimal(1)}),
        (Generic[list[decimal.Decimal]], Generic([[decimal.Decimal("1.0")]], OPEN)),
        (LooseTree, LooseTree(OPEN, [LooseTree({1, 2}, [])])),
    ],
)
def test_what_comes_back_is_what_went_in(returns: Any, value: Any) -> None:
    """24. By value and by type, all the way down."""
    made = codec(returns)
    back = made.decode(made.encode(value))
    assert back == value or value != value
    assert type(back) is type(value)
    assert repr(back) == repr(value) or isinstance(value, set)


def test_numbers_that_equal_nothing() -> None:
    """They come back, too, signalling ones without an error."""
    for returns in (..., list[decimal.Decimal]):
        made, value = codec(returns), [decimal.Decimal("NaN"), decimal.Decimal("sNaN")]
        assert repr(made.decode(made.encode(value))) == repr(value)


def test_an_aware_datetime_comes_back_in_utc() -> None:
    """The same moment; the one thing that may look different, and it does so on a miss too."""
    moment = dt.datetime(2024, 1, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    for made in (codec(dt.datetime), codec(...)):
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
        (..., ROW),
        (..., [decimal.Decimal(1), {"a": Word.A}]),
        (..., type("Money", (decimal.Decimal,), {})(1)),
        (dict[str, Any], {"a": ROW}),
        (list[decimal.Decimal], [1]),
        (tuple[Any, int], (1, 2, 3)),
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
        (Any, object()),
        (object, object()),
    ],
)
def test_what_would_change_is_refused(returns: Any, value: Any) -> None:
    """24. At once, on the first call, with the function and the cure; never silently on the second."""
    with pytest.raises(UncacheableResult, match=r"^f: .*(return plain data|annotated)"):
        codec(returns).encode(value)


@dataclasses.dataclass
class Page:
    products: list[Product]


def test_live_orm_classes_are_refused_when_the_function_is_defined() -> None:
    """24. They belong to a session; the message says what to return instead. Deep inside, too."""
    for returns in (
        Product,
        list[Product],
        dict[str, Product | None],
        list[Page],
        Sequence[sa.Row[Any] | Product],
    ):
        with pytest.raises(ConfigurationError, match=r"Product objects.*return a dataclass"):
            codec(returns)


@pytest.mark.parametrize("returns", [..., Any, list[Any], dict[str, Any], Loose])
def test_live_orm_objects_are_refused_when_they_come(returns: Any) -> None:
    """24. An annotation that says nothing of them does not hide them; the message has the cure."""
    product = Product(id=1)
    for result in (product, [1, (product,)], {"a": {"b": product}}, Loose([product])):
        with pytest.raises(
            UncacheableResult, match=r"^f: a \w+ result .* Product objects.*select the columns.*rows"
        ):
            codec(returns).encode(result)


def test_an_annotation_that_cannot_be_resolved() -> None:
    """Reading back needs the class itself; a name for the type checker alone is an error at start-up."""
    with pytest.raises(ConfigurationError, match="return annotation cannot be resolved"):
        codec("Nowhere")


@attrs.frozen
class FrozenAttrs:
    id: int


class FrozenModel(pydantic.BaseModel, frozen=True):
    id: int


class WithPrivate(pydantic.BaseModel, frozen=True):
    id: int
    _seen: int = 0


class WithExtra(pydantic.BaseModel, frozen=True, extra="allow"):
    id: int


class Model(pydantic.BaseModel):
    id: int


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
        FrozenAttrs,
        FrozenModel,
        UserId,
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
    [
        list[int],
        dict[str, int],
        Changeable,
        FrozenShell,
        tuple[list[int], ...],
        Typed,
        Any,
        tuple[Any, ...],
        Attrs,
        attrs.make_class("Mutable", {"a": attrs.field(type=int)}),
        Model,
        WithPrivate,
        WithExtra,
        Sequence[int],
        sa.Row[tuple[int]],
    ],
)
def test_not_immutable(returns: Any) -> None:
    """Something in it can be changed, or may be."""
    assert not is_immutable(returns)


@pytest.mark.parametrize(
    ("returns", "value"),
    [
        (list[int], [1]),
        (Annotated[list[Row], "rows"], [ROW]),
        (dict[str, int], {"a": 1}),
        (set[str], {"a"}),
        (Sequence[tuple[int, ...]], [(1,)]),
        (list[int] | None, [1]),
    ],
)
def test_a_container_of_what_cannot_change_is_copied(returns: Any, value: Any) -> None:
    """A private one shares what is in it."""
    copy = copier(returns)
    assert copy is not None
    assert copy(value) == value
    assert copy(value) is not value
    assert next(iter(copy(value))) is next(iter(value))


def test_what_cannot_change_is_its_own_copy() -> None:
    """Also where a union might have been a list."""
    one, optional = copier(Row), copier(list[Row] | None)
    assert one is not None
    assert one(ROW) is ROW
    assert optional is not None
    assert optional(None) is None


@pytest.mark.parametrize(
    "returns",
    [
        list,
        list[Any],
        list[list[int]],
        dict[str, list[int]],
        list[int] | Changeable,
        list[Changeable],
        Changeable,
        tuple[list[int], ...],
        Typed,
        Any,
    ],
)
def test_what_can_change_further_down_is_not_copied(returns: Any) -> None:
    """A private one takes decoding."""
    assert copier(returns) is None


def test_one_reader_serves_all_functions_of_one_return_type() -> None:
    """Speed. A decoder is made once a type, and goes with the last function that needs it."""
    one, again, other = codec(list[Row]), codec(list[Row]), codec(list[Row] | None)
    assert one.decode == again.decode != other.decode
    assert codec(Annotated[int, []]).decode(b"\x01") == 1  # what has no hash is not shared


def test_a_slice_of_a_buffer_is_read() -> None:
    """What stands before the payload in an entry need not be cut off first."""
    made = codec(Struct)
    value = Struct(uuid.UUID(int=5), b"x", frozenset({"a"}))
    entry = b"head" + made.encode(value)
    assert made.decode(memoryview(entry)[4:]) == value


def test_bytes_that_nobody_here_has_written() -> None:
    """24. They are an error that the cache knows, whatever is wrong with them."""
    reader = codec(...).decode
    ext = msgspec.msgpack.Ext
    for code, data in [
        (1, b"x"),
        (2, b"short"),
        (3, b"\xff"),
        (6, b"\x01"),
        (7, b"\x01"),
        (8, b"\x91\x90"),
        (10, b"\x91\x01"),
        (99, b""),
    ]:
        with pytest.raises(UNREADABLE):
            reader(msgspec.msgpack.encode([ext(code, data)]))


def test_unreadable_bytes_are_an_error_that_the_cache_knows() -> None:
    """24. Another type's payload never becomes a result."""
    reader: Callable[[bytes], Any] = codec(list[Row]).decode
    for payload in (codec(int).encode(1), b"", b"\xc1"):
        with pytest.raises(msgspec.MsgspecError):
            reader(payload)


@pytest.mark.parametrize("result", [ROW, Row, Changeable(["a"]), 1 + 2j])
def test_a_refusal_tells_of_a_missing_annotation(result: Any) -> None:
    """What would be kept with a return annotation is refused without one, with that reason and only then."""

    def bare():  # type: ignore[no-untyped-def]
        return result

    def annotated() -> int:
        return result  # type: ignore[no-any-return]

    with pytest.raises(
        UncacheableResult, match="; it has no return annotation, so it is read back as plain data; "
    ):
        codec_for(bare, name="f").encode(result)
    with pytest.raises(UncacheableResult) as caught:
        codec_for(annotated, name="f").encode(result)
    assert "no return annotation" not in str(caught.value)

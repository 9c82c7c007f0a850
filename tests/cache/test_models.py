"""pydantic models come back as models."""

import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
import pydantic
import pytest
import sqlmodel

from scalekit.cache.codecs import UNREADABLE, Codec, codec_for
from scalekit.errors import ConfigurationError, UncacheableResult

T = TypeVar("T")


class Kind(enum.Enum):
    A = "a"


class Owner(pydantic.BaseModel):
    name: str
    since: dt.date = dt.date(2024, 1, 1)


class Product(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    id: int
    price: decimal.Decimal = pydantic.Field(alias="Price", gt=0)
    kind: Kind = Kind.A
    at: dt.datetime | None = None
    codes: frozenset[uuid.UUID] = frozenset()
    owner: Owner | None = None
    _seen: int = pydantic.PrivateAttr(default=0)

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def text(self) -> str:
        return f"{self.id}"


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]


class Loose(pydantic.BaseModel):
    item: Any


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"
    lives: int


class Made(pydantic.BaseModel):
    id: uuid.UUID = pydantic.Field(default_factory=uuid.uuid4)
    name: str = "x"


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra="forbid", frozen=True)
    at: dt.datetime
    price: decimal.Decimal


class Hashing(pydantic.BaseModel):
    password: str

    @pydantic.field_validator("password")
    @classmethod
    def hashed(cls, value: str) -> str:
        return f"#{value}"


@dataclasses.dataclass
class Shell:
    products: list[Product]
    total: int


class Struct(msgspec.Struct):
    product: Product


class Row(sqlmodel.SQLModel):
    id: int
    name: str | None = None


class Table(sqlmodel.SQLModel, table=True):
    id: int = sqlmodel.Field(primary_key=True)


ONE = Product(id=1, Price=decimal.Decimal("1.10"), extra=5)  # type: ignore[call-arg]
FULL = Product(
    id=2,
    Price=decimal.Decimal("2"),
    kind=Kind.A,
    at=dt.datetime(2024, 1, 1, 12),
    codes=frozenset({uuid.UUID(int=1)}),
    owner=Owner(name="o"),
)


def codec(returns: Any) -> Codec:
    def function() -> None: ...

    function.__annotations__ = {"return": returns}
    return codec_for(function, name="f")


@pytest.mark.parametrize(
    ("returns", "value"),
    [
        (Product, ONE),
        (list[Product], [ONE, FULL]),
        (dict[str, Product], {"b": FULL, "a": ONE}),
        (dict[int, list[Product | None]], {1: [ONE, None]}),
        (Product | None, None),
        (tuple[Product, ...], (ONE, FULL)),
        (Page[Product], Page[Product](items=[ONE])),
        (list[Page[int]], [Page[int](items=[1])]),
        (Annotated[Cat | Dog, pydantic.Field(discriminator="kind")], Dog(lives=1)),
        (list[Cat | Dog], [Dog(lives=1), Cat(kind="cat", lives=9)]),
        (pydantic.RootModel[list[int]], pydantic.RootModel[list[int]]([1])),
        (Shell, Shell([ONE], 1)),
        (Strict, Strict(at=dt.datetime(2024, 1, 1), price=decimal.Decimal("1.0"))),
        (Row, Row(id=1)),
        (list[Made], [Made(), Made(name="y")]),
    ],
)
def test_models_come_back_as_they_were(returns: Any, value: Any) -> None:
    """24. By class and value, with extra fields, aliases, what was set; in lists, dicts and dataclasses."""
    made = codec(returns)
    back = made.decode(memoryview(b"head" + made.encode(value))[4:])
    assert back == value
    assert type(back) is type(value)
    assert back is not value or value is None
    assert repr(back) == repr(value)


def test_what_was_not_set_stays_unset() -> None:
    """24. A response with ``exclude_unset`` is the same; a default that is made anew is kept, and set."""
    made = codec(list[Product])
    assert made.decode(made.encode([ONE]))[0].model_fields_set == ONE.model_fields_set
    fresh, other = codec(Made), Made()
    back = fresh.decode(fresh.encode(other))
    assert back.id == other.id
    assert back.model_fields_set == {"id", "name"}


class Sub(Owner):
    more: int = 0


def seen() -> Product:
    product = ONE.model_copy()
    product._seen = 5
    return product


@pytest.mark.parametrize(
    ("returns", "value"),
    [
        (Product, {"id": 1, "Price": 2}),
        (list[Owner], [Sub(name="s")]),
        (Product, ONE.model_copy(update={"price": 1.5})),
        (Product, ONE.model_copy(update={"price": decimal.Decimal(-1)})),
        (Product, seen()),
        (Hashing, Hashing(password="x")),
        (list[Product], (ONE,)),
        (Loose, Loose(item=decimal.Decimal(1))),
        (Any, ONE),
        (list, [ONE]),
        (Product, None),
    ],
)
def test_what_a_model_would_change_is_refused(returns: Any, value: Any) -> None:
    """24. A validator that changes, a private attribute, a value that no field takes: on the first call."""
    with pytest.raises(UncacheableResult, match=r"^f: a \w+ result cannot be cached"):
        codec(returns).encode(value)


def test_types_that_pydantic_cannot_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """24. They are refused when the function is defined; so is a model that is a table of SQLModel."""
    with pytest.raises(ConfigurationError, match=r"^f: its return type cannot be read back"):
        codec(Struct | Product)
    with pytest.raises(ConfigurationError, match=r"Table objects.*select the columns"):
        codec(list[Table])
    monkeypatch.setattr(pydantic, "VERSION", "2.10.6")
    with pytest.raises(ConfigurationError, match=r"pydantic is 2\.10\.6; pip install 'pydantic>=2\.11'"):
        codec(tuple[Product, int])


def test_bytes_of_another_model() -> None:
    """24. They are an error that the cache knows."""
    for payload in (b"", b"\xff", b"[]", b'{"id": "x"}', codec(Owner).encode(Owner(name="o"))):
        with pytest.raises(UNREADABLE):
            codec(Product).decode(payload)

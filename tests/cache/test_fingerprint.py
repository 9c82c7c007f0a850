"""A changed return type is a miss; the same type has one fingerprint everywhere."""

import dataclasses
import enum
import subprocess
import sys
import typing
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict

import attrs
import msgspec
import pydantic
import pytest
from sqlalchemy import Row

from scalekit.cache.fingerprint import describe

# Types with everything that has an address or a hash in it, made anew in each process.
_TYPES = """
import dataclasses, datetime, decimal, enum, typing, uuid
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypedDict
import attrs, msgspec, pydantic
from sqlalchemy import Row, RowMapping
from scalekit.cache.fingerprint import describe

def note(): ...
class Opt: ...
T = typing.TypeVar("T")
class Kind(enum.Enum):
    A = frozenset({"x", "y", "z"})
    B = Opt()
class Flags(enum.Flag):
    ON = 1
    OFF = 2
@dataclasses.dataclass
class Page(typing.Generic[T]):
    items: list[T]
    made: Annotated[datetime.datetime, Opt()] = dataclasses.field(default_factory=datetime.datetime.now)
class Struct(msgspec.Struct, omit_defaults=True, tag=True):
    a: Kind = Kind.A
    b: object = Opt()
    c: frozenset[str] = frozenset({"x", "y", "z"})
    d: list[int] = msgspec.field(default_factory=list)
class Model(pydantic.BaseModel):
    a: Annotated[int, Opt(), note] = pydantic.Field(default=1, gt=0)
    b: Callable[[int], str] | None = None
    c: uuid.UUID = pydantic.Field(default_factory=uuid.uuid4)
    d: Literal[Flags.ON, "x", 1] = 1
@attrs.define
class Attrs:
    a: "Attrs | None" = attrs.field(validator=note, default=None)
class Plain:
    a: Annotated[int, Opt()]
    b: "Unknown"
    c: Opt | None
for made in (
    Annotated[int, note], list[Annotated[int, Opt()]], Kind, Flags, Page[Model], Struct, Model, Attrs, Plain,
    Sequence[Row[tuple[int, str]]], RowMapping, Row, typing.Sequence[Any], dict[str, Plain | None],
):
    print(describe(made))
"""


def test_it_is_the_same_on_every_server_and_hash_seed() -> None:
    """24. No memory address and no order of a set gets into it: a restart is not cold, servers share."""
    found = [
        subprocess.run(
            [sys.executable, "-c", _TYPES],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for seed in ("1", "2")
    ]
    assert found[0] == found[1]
    assert " at 0x" not in found[0]
    lines = found[0].splitlines()
    assert len(lines) == len(set(lines)) == 14


def _enum(**members: Any) -> Any:
    return enum.Enum("K", members, module="app", qualname="K")


def _dataclass(*fields: Any) -> Any:
    return dataclasses.make_dataclass("Made", fields, namespace={"__module__": "app"})


def _struct(*fields: Any, **config: Any) -> Any:
    return msgspec.defstruct("Made", fields, module="app", **config)


def _model(**fields: Any) -> Any:
    return pydantic.create_model("Made", __module__="app", **fields)


def _attrs(**fields: Any) -> Any:
    return attrs.make_class("Made", {name: attrs.field(type=kind) for name, kind in fields.items()})


def _plain(**annotations: Any) -> Any:
    return type("Made", (), {"__annotations__": annotations, "__module__": "app"})


def _tuple(**fields: Any) -> Any:
    return NamedTuple("Made", list(fields.items()))  # type: ignore[misc]


def _typed(**fields: Any) -> Any:
    return TypedDict("Made", fields)  # type: ignore[misc]


def _loop(kind: Any) -> Any:
    made = _dataclass(("value", kind))
    made.__annotations__["below"] = list[made]
    return dataclasses.dataclass(made)


MAKERS = [
    (
        lambda: _enum(OPEN=1, CLOSED=2),
        lambda: _enum(OPEN=2, CLOSED=1),
        lambda: _enum(OPEN="1", CLOSED="2"),
        lambda: list[_enum(OPEN=1, CLOSED=2)],  # type: ignore[misc]
    ),
    (
        lambda: _dataclass(("a", int)),
        lambda: _dataclass(("a", str)),
        lambda: _dataclass(("a", int), ("b", int)),
        lambda: list[_dataclass(("a", int))],  # type: ignore[misc]
        lambda: _dataclass(("a", _enum(A=1))),
        lambda: _dataclass(("a", _enum(A=2))),
        lambda: _loop(int),
        lambda: _loop(str),
    ),
    (
        lambda: _struct(("a", int), ("b", int)),
        lambda: _struct(("b", int), ("a", int)),
        lambda: _struct(("a", int), ("b", int), array_like=True),
        lambda: _struct(("a", int), ("b", int), rename={"a": "b", "b": "a"}),
        lambda: _struct(("a", int), ("b", int), tag="t"),
        lambda: _struct(("a", int, 1), ("b", int, 2), omit_defaults=True),
        lambda: _struct(("a", int, 1), ("b", int, 3), omit_defaults=True),
        lambda: _struct(
            ("a", int, 1), ("b", list[int], msgspec.field(default_factory=list)), omit_defaults=True
        ),
    ),
    (
        lambda: _model(a=(int, ...)),
        lambda: _model(a=(str, ...)),
        lambda: _model(a=(int, 1)),
        lambda: _model(a=(int, 2)),
        lambda: _model(a=(list[int], pydantic.Field(default_factory=list))),
        lambda: _model(a=(int, ...), b=(int, ...)),
    ),
    (lambda: _attrs(a=int), lambda: _attrs(a=str), lambda: _attrs(b=int)),
    (lambda: _plain(a=int), lambda: _plain(a=str), lambda: _plain(a="Unknown")),
    (lambda: _tuple(a=int, b=str), lambda: _tuple(b=str, a=int), lambda: _tuple(a=str, b=int)),
    (lambda: _typed(a=int), lambda: _typed(a=str), lambda: _typed(a=_enum(A=1))),
    (
        lambda: Literal[1],
        lambda: Literal["1"],
        lambda: Literal[True],
        lambda: int,
        lambda: int | None,
        lambda: Any,
        lambda: tuple[int, ...],
        lambda: tuple[int, int],
        lambda: typing.Callable[[int], str],
        lambda: typing.Callable[[str], int],
    ),
]


@pytest.mark.parametrize("makers", MAKERS)
def test_it_follows_the_shape(makers: Any) -> None:
    """24. What is read otherwise has another one: fields, layout, an enum's values, defaults that count."""
    prints = [describe(make()) for make in makers]
    assert len(set(prints)) == len(prints)
    assert [describe(make()) for make in makers] == prints


def test_it_does_not_follow_what_changes_nothing() -> None:
    """Notes, two spellings of one type, and defaults that are always written: no needless miss."""
    one = _dataclass(("a", int, 1))
    other = _dataclass(("a", Annotated[int, "documented"], 2))
    assert describe(one) == describe(other)
    plain = [_struct(("a", int, default)) for default in (1, 2)]
    assert describe(plain[0]) == describe(plain[1])
    assert describe(Row[tuple[int]]).endswith("sqlalchemy.engine.row.Row[builtins.tuple[builtins.int]]")
    assert describe(typing.Optional[int]) == describe(int | None)  # noqa: UP045
    assert describe(NewType("UserId", int)) == describe(int)
    assert describe(typing.List[int]) == describe(list[int])  # noqa: UP006

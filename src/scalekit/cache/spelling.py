"""Values as bytes that no other value has, the same on every server.

Rules:

* Every value is written with its type and its length, so that no two nestings read alike:
  ``("x:b:y", "z")`` and ``("x", "y:b:z")`` differ. Sets and dicts are written in a sorted order.
* Types are told apart: ``1``, ``1.0``, ``True``, ``"1"`` and ``b"1"`` are five values; so are a list and a
  tuple. Subclasses are not taken for their base: they may carry more than it shows. So a dataclass is one
  that is decorated itself, and a named tuple or pydantic model one that has no further attributes.
* A record is written with the names of its fields: in an older release, which another server still runs, they
  may stand in another order.
* Nothing depends on ``hash()``, ``id()`` or ``repr()`` of an object: they differ between servers.
"""

import dataclasses
import datetime
import decimal
import enum
import pathlib
import struct
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

_MAX_DEPTH = 32


class Unspeakable(TypeError):
    """A value without a stable spelling. The message is the name of its type."""


def _text(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")


def _zone(value: datetime.datetime | datetime.time) -> bytes:
    # Two zones may agree now and differ in summer, so the name counts, not the offset alone.
    cls = type(value.tzinfo)
    shows_its_address = cls.__repr__ is object.__repr__ and cls.__str__ is object.__str__
    if shows_its_address or getattr(value.tzinfo, "key", "") is None:  # a ZoneInfo made from a file
        raise Unspeakable(f"{cls.__module__}.{cls.__qualname__}")
    return _text(f"{value.isoformat()}|{value.fold}|{value.tzinfo}")


SCALARS: dict[type, tuple[bytes, Callable[[Any], bytes]]] = {
    type(None): (b"N", lambda value: b""),
    bool: (b"B", lambda value: b"1" if value else b"0"),
    int: (b"i", lambda value: b"%x" % value),  # Python limits the digits of %d
    float: (b"f", lambda value: struct.pack(">d", value)),
    complex: (b"c", lambda value: struct.pack(">dd", value.real, value.imag)),
    str: (b"s", _text),
    bytes: (b"b", lambda value: value),
    bytearray: (b"a", bytes),
    decimal.Decimal: (b"D", lambda value: str(value).encode()),
    uuid.UUID: (b"u", lambda value: value.bytes),
    datetime.datetime: (b"t", _zone),
    datetime.date: (b"d", lambda value: value.isoformat().encode()),
    datetime.time: (b"m", _zone),
    datetime.timedelta: (
        b"e",
        lambda value: b"%d,%d,%d" % (value.days, value.seconds, value.microseconds),
    ),
    pathlib.PurePosixPath: (b"p", lambda value: _text(str(value))),
    pathlib.PosixPath: (b"p", lambda value: _text(str(value))),
}


def spell(value: Any) -> bytes:
    """``value`` as bytes that no other value has.

    Raises:
        Unspeakable: something in it has no stable spelling.
    """
    pieces: list[bytes] = []
    _spell(value, pieces.append, 0)
    return b"".join(pieces)


def _spell(value: Any, add: Callable[[bytes], None], depth: int) -> None:
    cls = type(value)
    scalar = SCALARS.get(cls)
    if scalar is not None:
        tag, write = scalar
        data = write(value)
        add(b"%c%d:" % (tag, len(data)))
        add(data)
    elif depth > _MAX_DEPTH:
        raise Unspeakable(f"value nested more than {_MAX_DEPTH} deep")
    elif cls is tuple or cls is list:
        add(b"%c%d:" % (b"T" if cls is tuple else b"L", len(value)))
        for item in value:
            _spell(item, add, depth + 1)
    elif cls is dict:
        _sorted(b"M", [_pair(item, depth) for item in value.items()], add)
    elif cls is set or cls is frozenset:
        _sorted(b"S" if cls is set else b"F", [_joined(item, depth) for item in value], add)
    elif isinstance(value, enum.Enum):
        _named(b"E", cls, [_joined(value.name if value.name is not None else value.value, depth)], add)
    else:
        _spell_record(value, cls, add, depth)


def _spell_record(value: Any, cls: type, add: Callable[[bytes], None], depth: int) -> None:
    """Values with named fields: their class and what the fields hold."""
    if "__dataclass_fields__" in vars(cls):
        names: Iterable[str] = [field.name for field in dataclasses.fields(cls)]
    elif _is_plain_model(value, cls):
        names = vars(cls)["__pydantic_fields__"]
    elif isinstance(value, msgspec.Struct):
        names = value.__struct_fields__
    elif isinstance(value, tuple) and hasattr(cls, "_fields") and not getattr(value, "__dict__", None):
        names = cls._fields
    else:
        raise Unspeakable(f"{cls.__module__}.{cls.__qualname__}")
    if hasattr(cls, "__mapper__"):
        # What an ORM object holds changes when it is refreshed or expires.
        raise Unspeakable(f"{cls.__module__}.{cls.__qualname__}")
    names = tuple(names)
    _named(b"R", cls, [_joined(getattr(value, name), depth) for name in names], add, ",".join(names))


def _is_plain_model(value: Any, cls: type) -> bool:
    """Whether it is pydantic's, and its fields are all that it holds."""
    return "__pydantic_fields__" in vars(cls) and not (
        getattr(value, "__pydantic_extra__", None) or getattr(value, "__pydantic_private__", None)
    )


def _joined(value: Any, depth: int) -> bytes:
    pieces: list[bytes] = []
    _spell(value, pieces.append, depth + 1)
    return b"".join(pieces)


def _pair(item: tuple[Any, Any], depth: int) -> bytes:
    return _joined(item[0], depth) + _joined(item[1], depth)


def _sorted(tag: bytes, items: list[bytes], add: Callable[[bytes], None]) -> None:
    add(b"%c%d:" % (tag, len(items)))
    for item in sorted(items):
        add(item)


def _named(tag: bytes, cls: type, items: list[bytes], add: Callable[[bytes], None], fields: str = "") -> None:
    name = _text(f"{cls.__module__}.{cls.__qualname__}({fields})")
    add(b"%c%d:%b%d:" % (tag, len(name), name, len(items)))
    for item in items:
        add(item)

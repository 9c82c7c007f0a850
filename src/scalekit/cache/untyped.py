"""Values that no annotation says the type of: what they are is written beside them.

Rules:

* Plain data (text, numbers, bytes, lists, dicts) are written as they are.
* What msgpack has no type for is an extension with a code of its own: ``Decimal``, ``UUID``, dates, times,
  tuples, sets, and dicts with such keys. The codes say scalars and collections, never a class by its name:
  reading runs no code that the bytes have chosen.
* Where an annotation holds ``Any`` somewhere inside, only what is there is written so.
"""

import copy
import datetime
import decimal
import typing
import uuid
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from scalekit.cache.annotations import field_names, fields_of, is_record, is_union, unwrapped, within

Buffer: TypeAlias = bytes | bytearray | memoryview
"""What results are read from."""

_Ext = msgspec.msgpack.Ext
encode = msgspec.msgpack.Encoder(uuid_format="bytes").encode

_PLAIN_KEYS = frozenset({str, int, float, bool, bytes, type(None)})


def _text(data: memoryview) -> str:
    return bytes(data).decode()


def _timedelta(data: memoryview) -> datetime.timedelta:
    return datetime.timedelta(*_plain(data))


_SCALARS: dict[type, tuple[int, Callable[[Any], bytes], Callable[[memoryview], Any]]] = {
    decimal.Decimal: (1, lambda value: str(value).encode(), lambda data: decimal.Decimal(_text(data))),
    uuid.UUID: (2, lambda value: value.bytes, lambda data: uuid.UUID(bytes=bytes(data))),
    datetime.datetime: (
        3,
        lambda value: value.isoformat().encode(),
        lambda data: datetime.datetime.fromisoformat(_text(data)),
    ),
    datetime.date: (
        4,
        lambda value: value.isoformat().encode(),
        lambda data: datetime.date.fromisoformat(_text(data)),
    ),
    datetime.time: (
        5,
        lambda value: value.isoformat().encode(),
        lambda data: datetime.time.fromisoformat(_text(data)),
    ),
    datetime.timedelta: (
        6,
        lambda value: encode([value.days, value.seconds, value.microseconds]),
        _timedelta,
    ),
}
_COLLECTIONS: dict[type, tuple[int, Callable[[Any], Any]]] = {
    tuple: (7, tuple),
    set: (8, set),
    frozenset: (9, frozenset),
}
_PAIRS = 10  # a dict

_READERS: dict[int, Callable[[memoryview], Any]] = {code: read for code, _, read in _SCALARS.values()}


def read_extension(code: int, data: memoryview) -> Any:
    """msgspec's ``ext_hook``.

    Raises:
        msgspec.DecodeError: nothing here has written this.
    """
    try:
        reader = _READERS.get(code)
        if reader is not None:
            return reader(data)
        for known, make in _COLLECTIONS.values():
            if code == known:
                return make(_plain(data))
        if code == _PAIRS:
            return dict(_plain(data))
    except (ArithmeticError, TypeError, ValueError) as error:
        raise msgspec.DecodeError(f"extension {code}: {error}") from None
    raise msgspec.DecodeError(f"an extension with the code {code}")


def read_custom(cls: Any, value: Any) -> Any:
    """msgspec's ``dec_hook``: ``object`` is anything, and no other class is read so."""
    if cls is object:
        return value
    raise TypeError(f"{cls.__name__} cannot be read back")


_plain = msgspec.msgpack.Decoder(ext_hook=read_extension).decode


def spelled_out(value: Any) -> Any:
    """``value`` with extensions in it for what msgpack has no type for."""
    cls = type(value)
    scalar = _SCALARS.get(cls)
    if scalar is not None:
        if cls is datetime.datetime and value.tzinfo is not None:
            return value  # a moment: msgpack has a type for it
        return _Ext(scalar[0], scalar[1](value))
    if cls is list:
        return [spelled_out(item) for item in value]
    if cls in _COLLECTIONS:
        return _Ext(_COLLECTIONS[cls][0], encode([spelled_out(item) for item in value]))
    if cls is dict:
        if {type(key) for key in value} <= _PLAIN_KEYS:
            return {key: spelled_out(item) for key, item in value.items()}
        return _Ext(_PAIRS, encode([[spelled_out(key), spelled_out(item)] for key, item in value.items()]))
    return value


def is_untyped(annotation: Any) -> bool:
    """Whether it allows anything."""
    return annotation is Any or annotation is object


def holds_untyped(annotation: Any) -> bool:
    """Whether there is something in it that no annotation says the type of."""
    return any(is_untyped(part) or part in (list, dict, tuple, set, frozenset) for part in within(annotation))


def prepared(value: Any, annotation: Any) -> Any:
    """``value`` as msgspec is to write it: what no annotation says the type of is spelled out."""
    annotation = unwrapped(annotation)
    if is_untyped(annotation):
        return spelled_out(value)
    if is_union(annotation):
        for part in typing.get_args(annotation):
            if is_untyped(part) or isinstance(value, _class_of(part)):
                return prepared(value, part)
        return value
    cls = typing.get_origin(annotation) or annotation
    if not isinstance(value, _class_of(annotation)) or not isinstance(cls, type):
        return value
    if is_record(cls):
        return _prepared_record(value, cls)
    arguments = typing.get_args(annotation) or (Any, Any)
    if isinstance(value, dict):
        return {key: prepared(item, arguments[1]) for key, item in value.items()}
    if isinstance(value, tuple) and len(arguments) == len(value) and arguments[-1] is not Ellipsis:
        return tuple(prepared(item, part) for item, part in zip(value, arguments, strict=True))
    if isinstance(value, list | tuple | set | frozenset):
        return [prepared(item, arguments[0]) for item in value]
    return value


def _class_of(annotation: Any) -> type:
    annotation = unwrapped(annotation)
    cls = typing.get_origin(annotation) or annotation
    if typing.is_typeddict(cls):
        return dict
    return cls if isinstance(cls, type) else object


def _prepared_record(value: Any, cls: type) -> Any:
    hints = fields_of(cls)
    if isinstance(value, dict):
        return {name: prepared(item, hints.get(name)) for name, item in value.items()}
    if isinstance(value, msgspec.Struct):
        # A copy: how a struct is laid out, msgspec knows best.
        made = copy.copy(value)
        for name in value.__struct_fields__:
            msgspec.structs.force_setattr(made, name, prepared(getattr(value, name), hints.get(name)))
        return made
    if isinstance(value, tuple):
        names = cls._fields  # type: ignore[attr-defined]
        return tuple(prepared(item, hints.get(name)) for name, item in zip(names, value, strict=True))
    return {name: prepared(getattr(value, name), hints.get(name)) for name in field_names(cls)}

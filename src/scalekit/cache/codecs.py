"""Results as bytes and back.

Rules:

* The return annotation says how a result is read back. Without one it must be plain data.
* What comes back must be what went in: it is read back once before it is stored, and compared. So a list
  stays a list, a ``Decimal`` a ``Decimal``; what would change is refused with ``UncacheableResult``.
  One exception: an aware datetime comes back as the same moment in UTC.
* Everybody gets what was read back, the caller who ran the function too: a hit and a miss look alike, and
  nobody holds an object that another caller could change.
* No pickle: reading a cache entry never runs code that it names.
"""

import contextlib
import dataclasses
import datetime
import decimal
import enum
import functools
import types
import typing
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from scalekit.errors import ConfigurationError, UncacheableResult

_CURE = "return plain data, a dataclass, a NamedTuple, a TypedDict or a msgspec.Struct, and annotate it"
_encode = msgspec.msgpack.Encoder().encode

# Errors by which msgspec says that it cannot write or read a value.
UNREADABLE = (msgspec.MsgspecError, ValueError)
_UNWRITABLE = (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError)

_FROZEN = frozenset(
    {
        type(None),
        bool,
        int,
        float,
        str,
        bytes,
        decimal.Decimal,
        uuid.UUID,
        datetime.datetime,
        datetime.date,
        datetime.time,
        datetime.timedelta,
    }
)


class Codec:
    """Encodes and decodes the results of one function.

    Args:
        function: whose return annotation is used.
        name: the function's name, for messages.

    Raises:
        ConfigurationError: the annotation cannot be resolved, or can never be read back.
    """

    def __init__(self, function: Callable[..., Any], *, name: str) -> None:
        self._name = name
        self._annotated = "return" in getattr(function, "__annotations__", {})
        self._type = _returned(function, name)
        orm = _orm_class(self._type)
        if orm is not None:
            raise ConfigurationError(
                f"{name} returns {orm.__name__} objects, which belong to a database session and cannot be "
                "cached; select the columns and return a dataclass or a NamedTuple"
            )
        try:
            self._decode = msgspec.msgpack.Decoder(self._type).decode
        except TypeError as error:
            raise ConfigurationError(
                f"{name}: its return type cannot be read back ({error}); {_CURE}"
            ) from None
        self.immutable = is_immutable(self._type)
        """Whether one decoded object may be handed to many callers."""
        self.fingerprint = _describe(self._type, ())
        """What the return type looks like; it goes into the keys, so that a change of it is a miss."""

    def encode(self, result: Any) -> bytes:
        """``result`` as bytes.

        Raises:
            UncacheableResult: it cannot be written, or would come back as something else.
        """
        try:
            payload = _encode(result)
        except _UNWRITABLE as error:
            raise self._refusal(result, str(error)) from None
        try:
            back = self._decode(payload)
        except UNREADABLE as error:
            raise self._refusal(
                result, f"it is not what {self._name} is annotated to return: {error}"
            ) from None
        if not _same(result, back):
            raise self._refusal(result, "it would come back as another type or value")
        return payload

    def decode(self, payload: bytes | memoryview) -> Any:
        """What :meth:`encode` was given.

        Raises:
            msgspec.MsgspecError: the bytes are of another type, as after a change of the annotation.
        """
        return self._decode(payload)

    def _refusal(self, result: Any, reason: str) -> UncacheableResult:
        if not self._annotated:
            reason += "; it has no return annotation, so it is read back as plain data"
        return UncacheableResult(
            f"{self._name}: a {type(result).__name__} result cannot be cached, {reason}; {_CURE}"
        )


def _returned(function: Callable[..., Any], name: str) -> Any:
    """The return annotation, resolved; the other ones may be for the type checker alone."""
    raw = getattr(function, "__annotations__", {}).get("return", Any)
    holder = types.SimpleNamespace(__annotations__={"return": raw})
    try:
        return typing.get_type_hints(holder, function.__globals__, include_extras=True)["return"]
    except NameError as error:
        raise ConfigurationError(
            f"{name}: its return annotation cannot be resolved ({error}); import what it names, and "
            "not under TYPE_CHECKING"
        ) from None


def _describe(annotation: Any, above: tuple[Any, ...]) -> str:
    """A type and its fields in words that are the same on every server."""
    name = getattr(annotation, "__qualname__", None)
    text = f"{annotation.__module__}.{name}" if name is not None else str(typing.get_origin(annotation))
    if annotation in above:
        return text
    above += (annotation,)
    parts = [
        _describe(part, above)
        if isinstance(part, type) or typing.get_origin(part) is not None
        else repr(part)
        for part in typing.get_args(annotation)
    ]
    if isinstance(annotation, type) and annotation.__module__ != "builtins":
        with contextlib.suppress(NameError, TypeError):
            hints = typing.get_type_hints(annotation)
            parts += [f"{field}:{_describe(hint, above)}" for field, hint in hints.items()]
    return f"{text}[{','.join(parts)}]"


def _same(one: Any, other: Any) -> bool:
    """Whether ``other`` is ``one`` again, with the same types all the way down."""
    cls = type(one)
    if cls is not type(other):  # equality takes a StrEnum for its text, and 1 for 1.0 and True
        return False
    if cls in _FROZEN:
        return bool(one == other) or (one != one and other != other)  # NaN
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):  # the order is kept
        return (
            len(one) == len(other)
            and all(map(_same, one, other))
            and all(map(_same, one.values(), other.values()))
        )
    if isinstance(one, set | frozenset):
        counterparts = {item: item for item in other}
        return one == other and all(_same(item, counterparts[item]) for item in one)
    names = _field_names(cls)  # type: ignore[arg-type]  # classes are hashable
    if names:
        return all([_same(getattr(one, name), getattr(other, name)) for name in names])
    return bool(one == other) and _encode(one) == _encode(other)


@functools.lru_cache(maxsize=1024)
def _field_names(cls: Any) -> tuple[str, ...]:
    if dataclasses.is_dataclass(cls):
        return tuple(field.name for field in dataclasses.fields(cls))
    return tuple(getattr(cls, "__struct_fields__", ()))


def _parts(annotation: Any) -> list[Any]:
    """The types an annotation is made of, itself first."""
    found = [annotation]
    for part in typing.get_args(annotation):
        found += _parts(part)
    return found


def _orm_class(annotation: Any) -> type | None:
    """A class in ``annotation`` that is mapped by SQLAlchemy."""
    for part in _parts(annotation):
        if isinstance(part, type) and hasattr(part, "__mapper__"):
            return part
    return None


def is_immutable(annotation: Any) -> bool:
    """Whether no value of this type can be changed, however deep one looks."""
    return _immutable(annotation, frozenset())


def _immutable(annotation: Any, above: frozenset[Any]) -> bool:
    if annotation in _FROZEN or annotation is None:
        return True
    if annotation in above:  # a recursive type is as immutable as the rest of it
        return True
    above |= {annotation}
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return True
    if origin is typing.Annotated:
        return _immutable(arguments[0], above)
    if origin in (typing.Union, types.UnionType):
        return all(_immutable(part, above) for part in arguments)
    if origin in (tuple, frozenset):
        return all(part is Ellipsis or _immutable(part, above) for part in arguments)
    if not isinstance(annotation, type):
        return False
    if issubclass(annotation, enum.Enum):
        return True
    if issubclass(annotation, msgspec.Struct):
        frozen = annotation.__struct_config__.frozen
    elif dataclasses.is_dataclass(annotation):
        frozen = annotation.__dataclass_params__.frozen  # type: ignore[attr-defined]
    else:
        frozen = issubclass(annotation, tuple) and hasattr(annotation, "_fields")
    if not frozen:
        return False
    try:
        hints = typing.get_type_hints(annotation)
    except NameError:
        return False
    return all(_immutable(part, above) for part in hints.values())

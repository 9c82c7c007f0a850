"""Session values as bytes and back.

The format is MessagePack. What MessagePack has no type for travels in numbered extensions, so that every
value comes back as the type it had. Rules:

* Exact types only. A subclass (an enum, a named tuple, a default dict) would come back as something else,
  so it is refused rather than changed.
* One value has one encoding: sets are sorted. Equal bytes therefore mean that nothing changed.
* Reading builds plain data. No stored byte chooses what code runs.
"""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeAlias
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from msgspec.msgpack import Ext

from scalekit.errors import SessionValueError

_Scalars: TypeAlias = frozenset[type]
_SCALARS: _Scalars = frozenset({str, int, float, bool, type(None), bytes})
# MessagePack has 64 bits for an integer; where one is larger, every integer is looked at.
_SCALARS_BUT_INT = _SCALARS - {int}

IMMUTABLE: frozenset[type] = _SCALARS | {
    dt.datetime,
    dt.date,
    dt.time,
    dt.timedelta,
    UUID,
    Decimal,
}
"""Types whose values cannot change after they were handed out."""

# The numbers are part of the stored format: never give one a new meaning.
_TUPLE, _SET, _FROZENSET, _DATETIME, _DATE, _TIME, _TIMEDELTA, _UUID, _DECIMAL, _INTEGER, _MARKUP = range(
    1, 12
)

_encode = msgspec.msgpack.Encoder().encode


class _Refused(Exception):
    """Why a value cannot be stored."""


def encode(key: str, value: Any) -> bytes:
    """``value`` as bytes; ``key`` is for the message.

    Raises:
        SessionValueError: the value, or something in it, would not come back as it is.
    """
    try:
        return _pack(value)
    except _Refused as refused:
        raise SessionValueError(key=key, reason=str(refused)) from None
    except RecursionError:
        raise SessionValueError(key=key, reason="it is nested too deep, or contains itself") from None
    except UnicodeEncodeError:
        raise SessionValueError(key=key, reason="a string in it has a lone surrogate") from None
    except OverflowError:
        reason = "a dict in it has an integer of more than 64 bits as a key; use a str"
        raise SessionValueError(key=key, reason=reason) from None


def decode(key: str, data: bytes) -> Any:
    """The value that :func:`encode` made ``data`` from.

    Raises:
        SessionValueError: these bytes were written by something else.
    """
    try:
        return _decode(data)
    # What msgspec and the constructors of the extensions raise for bytes they cannot read.
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError, ImportError) as error:
        reason = f"its stored bytes are not readable ({type(error).__name__}); set it anew, or delete it"
        raise SessionValueError(key=key, reason=reason) from error


def _pack(value: Any) -> bytes:
    try:
        if type(value) in _SCALARS:
            return _encode(value)
        return _encode(_wire(value, _SCALARS))
    except OverflowError:
        return _encode(_wire(value, _SCALARS_BUT_INT))


def _wire(value: Any, scalars: _Scalars) -> Any:
    """``value`` in terms that msgspec encodes without loss."""
    kind = type(value)
    if kind in scalars:
        return value
    convert = _WRITERS.get(kind)
    if convert is None and (kind.__module__, kind.__qualname__) == ("markupsafe", "Markup"):
        return Ext(_MARKUP, value.encode())
    if convert is None:
        raise _Refused(
            f"{kind.__module__}.{kind.__qualname__} is no plain data; store a str, number, bytes, date, "
            "UUID, Decimal, list, tuple, set or dict (exactly, not a subclass)"
        )
    return convert(value, scalars)


def _list(value: list[Any], scalars: _Scalars) -> list[Any]:
    if scalars.issuperset(map(type, value)):
        return value
    return [_wire(item, scalars) for item in value]


def _dict(value: dict[Any, Any], scalars: _Scalars) -> dict[Any, Any]:
    if not _SCALARS.issuperset(map(type, value)):
        raise _Refused("a dict in it has a key that is neither str, int, float, bool, bytes nor None")
    if scalars.issuperset(map(type, value.values())):
        return value
    return {name: _wire(item, scalars) for name, item in value.items()}


def _int(value: int, scalars: _Scalars) -> int | Ext:
    if -(2**63) <= value < 2**64:
        return value
    return Ext(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _tuple(value: tuple[Any, ...], scalars: _Scalars) -> Ext:
    return Ext(_TUPLE, _encode([_wire(item, scalars) for item in value]))


def _sorted(items: Any, scalars: _Scalars) -> bytes:
    return _encode([msgspec.Raw(item) for item in sorted(_encode(_wire(item, scalars)) for item in items)])


def _zone(zone: dt.tzinfo | None) -> int | str | None:
    """A time zone: ``None``, microseconds east of UTC, or an IANA name."""
    if zone is None:
        return None
    if type(zone) is dt.timezone:
        return zone.utcoffset(None) // dt.timedelta(microseconds=1)
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key
    raise _Refused(f"a time zone of type {type(zone).__qualname__}; use datetime.timezone or zoneinfo")


def _moment(value: dt.datetime | dt.time) -> bytes:
    # isoformat() has no room for the fold, nor for the name of the zone.
    return _encode([value.replace(tzinfo=None).isoformat(), value.fold, _zone(value.tzinfo)])


def _read_zone(zone: int | str | None) -> dt.tzinfo | None:
    if isinstance(zone, int):
        return dt.timezone(dt.timedelta(microseconds=zone))
    return ZoneInfo(zone) if zone is not None else None


def _read_datetime(data: bytes) -> dt.datetime:
    text, fold, zone = _decode(data)
    return dt.datetime.fromisoformat(text).replace(fold=fold, tzinfo=_read_zone(zone))


def _read_markup(data: bytes) -> Any:
    from markupsafe import Markup  # known here by its name only: it comes with Jinja, for those who use that

    return Markup(data.decode())  # noqa: S704  only what was Markup is stored as such


def _read_time(data: bytes) -> dt.time:
    text, fold, zone = _decode(data)
    return dt.time.fromisoformat(text).replace(fold=fold, tzinfo=_read_zone(zone))


_WRITERS: dict[type, Callable[[Any, _Scalars], Any]] = {
    list: _list,
    dict: _dict,
    int: _int,
    tuple: _tuple,
    set: lambda value, scalars: Ext(_SET, _sorted(value, scalars)),
    frozenset: lambda value, scalars: Ext(_FROZENSET, _sorted(value, scalars)),
    dt.datetime: lambda value, _: Ext(_DATETIME, _moment(value)),
    dt.date: lambda value, _: Ext(_DATE, value.isoformat().encode()),
    dt.time: lambda value, _: Ext(_TIME, _moment(value)),
    dt.timedelta: lambda value, _: Ext(_TIMEDELTA, _encode([value.days, value.seconds, value.microseconds])),
    UUID: lambda value, _: Ext(_UUID, value.bytes),
    Decimal: lambda value, _: Ext(_DECIMAL, str(value).encode()),
}

_READERS: dict[int, Callable[[bytes], Any]] = {
    _TUPLE: lambda data: tuple(_decode(data)),
    _SET: lambda data: set(_decode(data)),
    _FROZENSET: lambda data: frozenset(_decode(data)),
    _DATETIME: _read_datetime,
    _DATE: lambda data: dt.date.fromisoformat(data.decode()),
    _TIME: _read_time,
    _TIMEDELTA: lambda data: dt.timedelta(*_decode(data)),
    _UUID: lambda data: UUID(bytes=data),
    _DECIMAL: lambda data: Decimal(data.decode()),
    _MARKUP: _read_markup,
    _INTEGER: lambda data: int.from_bytes(data, "big", signed=True),
}


def _read_extension(code: int, data: memoryview) -> Any:
    return _READERS[code](bytes(data))


_decode: Callable[[bytes], Any] = msgspec.msgpack.Decoder(ext_hook=_read_extension).decode

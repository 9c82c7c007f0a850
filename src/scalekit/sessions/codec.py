"""Session values as bytes and back.

The format is MessagePack. What MessagePack has no type for travels in numbered extensions, so that every
value comes back as the type it had. Rules:

* Exact types only. A subclass (a named tuple, a default dict) would come back as something else, so it is
  refused rather than changed.
* One value has one encoding: sets are sorted. Equal bytes therefore mean that nothing changed.
* Reading builds plain data, and instances of the classes that the application has named (see
  :mod:`scalekit.sessions.classes`). No stored byte chooses what code runs.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeAlias, cast
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from msgspec.msgpack import Ext

from scalekit._options import check_items
from scalekit.errors import ConfigurationError, SessionValueError
from scalekit.sessions._sealed import CURE, MARK
from scalekit.sessions.classes import Refused, Shape, kind_of, shape_of

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
_TUPLE, _SET, _FROZENSET, _DATETIME, _DATE, _TIME, _TIMEDELTA, _UUID, _DECIMAL, _INTEGER, _MARKUP, _OBJECT = (
    range(1, 13)
)
_SAFE_STRING = 13
# These are known by their names, as they come with what the application uses, or not.
_NAMED = {("markupsafe", "Markup"): _MARKUP, ("django.utils.safestring", "SafeString"): _SAFE_STRING}

Types: TypeAlias = Iterable[type] | Mapping[str, type]
"""Classes whose instances can be stored, under their own names or under those that are given."""

# What msgspec, and what makes the instances, raise for bytes that they cannot read.
_UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    ImportError,
)

_encode = msgspec.msgpack.Encoder().encode
_CURE = "set it anew, or delete it"


class Codec:
    """Encodes and decodes the values of one application.

    Args:
        types: the classes, beside the built-in types, of which there may be instances.
        option: what ``types`` is called where the application gives it, for messages.

    Raises:
        ConfigurationError: a class that cannot be stored, or a name that two classes have.
    """

    def __init__(self, types: Types = (), *, option: str = "types=") -> None:
        self._option = option
        self._shapes = {name: shape_of(cls) for name, cls in _named(types, option).items()}
        self._names = {shape.cls: name for name, shape in self._shapes.items()}
        self.plain = not self._names
        """Whether there are the built-in types only."""
        self.immutable = IMMUTABLE.union(cls for cls in self._names if kind_of(cls) == "enum")
        """Types whose values cannot change after they were handed out."""
        self._frozen = {shape.cls: shape for shape in self._shapes.values() if shape.frozen}
        self._writers = _WRITERS | dict.fromkeys(self._names, Codec._object)
        self._decode = msgspec.msgpack.Decoder(ext_hook=self._read_extension).decode

    def encode(self, key: str, value: Any) -> bytes:
        """``value`` as bytes; ``key`` is for the message.

        Raises:
            SessionValueError: the value, or something in it, would not come back as it is.
        """
        try:
            return self._pack(value)
        except Refused as refused:
            raise SessionValueError(key=key, reason=str(refused)) from None
        except RecursionError:
            reason = "it is nested too deep, or contains itself"
            raise SessionValueError(key=key, reason=reason) from None
        except UnicodeEncodeError:
            raise SessionValueError(key=key, reason="a string in it has a lone surrogate") from None
        except OverflowError:
            reason = "a dict in it has an integer of more than 64 bits as a key; use a str"
            raise SessionValueError(key=key, reason=reason) from None

    def decode(self, key: str, data: bytes) -> Any:
        """The value that :meth:`encode` made ``data`` from.

        Raises:
            SessionValueError: these bytes were written by something else, or a class has changed meanwhile.
        """
        try:
            return self._decode(data)
        except Refused as refused:
            reason = f"{refused}; or {_CURE}"
            raise SessionValueError(key=key, reason=reason, action="read") from None
        except _UNREADABLE as error:
            reason = f"its stored bytes are not readable ({type(error).__name__}); {_CURE}"
            if data[:1] == MARK:  # written while this request was under way, or a load had refused it
                reason = f"it is encrypted; {CURE}"
            raise SessionValueError(key=key, reason=reason, action="read") from error

    def constant(self, value: Any) -> bool:
        """Whether ``value`` cannot have changed since it was handed out."""
        kind = type(value)
        if kind in self.immutable:
            return True
        shape = self._frozen.get(kind)
        try:
            return shape is not None and all(map(self.constant, shape.take(value)[0].values()))
        except Refused:
            return False

    def same(self, key: str, data: bytes, stored: bytes) -> bool:
        """Whether a value that is ``data`` now is the one that was ``stored``.

        The bytes differ without a change if a class has gained a field, or a name, since it was stored.
        """
        return data == stored or (not self.plain and self.encode(key, self.decode(key, stored)) == data)

    def _pack(self, value: Any) -> bytes:
        try:
            if type(value) in _SCALARS:
                return _encode(value)
            return _encode(self._wire(value, _SCALARS))
        except OverflowError:
            return _encode(self._wire(value, _SCALARS_BUT_INT))

    def _wire(self, value: Any, scalars: _Scalars) -> Any:
        """``value`` in terms that msgspec encodes without loss."""
        kind = type(value)
        if kind in scalars:
            return value
        convert = self._writers.get(kind)
        if convert is None:
            code = _NAMED.get((kind.__module__, kind.__qualname__))
            if code is None:
                raise Refused(_refusal(value, self._option))
            return Ext(code, value.encode())
        return convert(self, value, scalars)

    def _list(self, value: list[Any], scalars: _Scalars) -> list[Any]:
        if scalars.issuperset(map(type, value)):
            return value
        return [self._wire(item, scalars) for item in value]

    def _dict(self, value: dict[Any, Any], scalars: _Scalars) -> dict[Any, Any]:
        if not _SCALARS.issuperset(map(type, value)):
            raise Refused("a dict in it has a key that is neither str, int, float, bool, bytes nor None")
        if scalars.issuperset(map(type, value.values())):
            return value
        return {name: self._wire(item, scalars) for name, item in value.items()}

    def _tuple(self, value: tuple[Any, ...], scalars: _Scalars) -> Ext:
        return Ext(_TUPLE, _encode([self._wire(item, scalars) for item in value]))

    def _set(self, value: set[Any], scalars: _Scalars) -> Ext:
        return Ext(_SET, self._sorted(value, scalars))

    def _frozenset(self, value: frozenset[Any], scalars: _Scalars) -> Ext:
        return Ext(_FROZENSET, self._sorted(value, scalars))

    def _sorted(self, items: Iterable[Any], scalars: _Scalars) -> bytes:
        encoded = sorted(_encode(self._wire(item, scalars)) for item in items)
        return _encode([msgspec.Raw(item) for item in encoded])

    def _object(self, value: Any, scalars: _Scalars) -> Ext:
        name = self._names[type(value)]
        return Ext(_OBJECT, _encode([name, *self._list([*self._shapes[name].take(value)], scalars)]))

    def _read_extension(self, code: int, data: memoryview) -> Any:
        if code == _OBJECT:
            name, *state = self._decode(data)
            return self._shape(name).make(*state)
        if code in _NESTED:
            return _NESTED[code](self._decode(data))
        return _READERS[code](bytes(data))

    def _shape(self, name: str) -> Shape:
        try:
            return self._shapes[name]
        except KeyError:
            raise Refused(
                f"it holds a class named {name!r:.60}, which {self._option} does not have; add it, or say "
                f"what it is called now: {self._option}{{{name!r:.60}: ...}}"
            ) from None


def _named(types: Types, option: str) -> dict[str, type]:
    """The classes by the names that they are stored under."""
    named: dict[str, type] = {}
    if isinstance(types, Mapping):
        named.update(cast(Mapping[str, type], types))
    else:
        for cls in check_items(types, option=option):
            _check_class(cls, option)
            if cls.__qualname__ in named:
                raise ConfigurationError(
                    f"{option} has {cls.__qualname__} twice; give names that tell them apart, which are "
                    f"stored with them: {option}{{{cls.__qualname__!r}: ..., ...}}"
                )
            named[cls.__qualname__] = cls
    for name, cls in named.items():
        if type(name) is not str or not name:
            raise ConfigurationError(f"{option} has the name {name!r:.60}; names of classes are strings")
        _check_class(cls, option)
    return named


def _check_class(cls: Any, option: str) -> None:
    if not isinstance(cls, type):
        raise ConfigurationError(f"{option} takes classes, not {cls!r:.80}")
    if cls in _SCALARS or cls in _WRITERS:
        raise ConfigurationError(
            f"{option} has {cls.__qualname__}, which can be stored without; leave it out"
        )


def _refusal(value: Any, option: str) -> str:
    if isinstance(value, type):
        name = value.__qualname__
        return f"{value.__module__}.{name} is a class; store an instance, {name}(...)"
    kind: type = type(value)
    if kind_of(kind) is not None:
        name = kind.__qualname__
        where = "name it where the sessions are set up"
        return f"{kind.__module__}.{name} is not known here; {where}: {option}[{name}]"
    return (
        f"{kind.__module__}.{kind.__qualname__} is no plain data; store a str, number, bytes, date, UUID, "
        "Decimal, list, tuple, set or dict (exactly, not a subclass), or a class of your own that "
        f"{option}[...] names"
    )


def _int(_: Codec, value: int, scalars: _Scalars) -> int | Ext:
    if -(2**63) <= value < 2**64:
        return value
    return Ext(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _zone(zone: dt.tzinfo | None) -> int | str | None:
    """A time zone: ``None``, microseconds east of UTC, or an IANA name."""
    if zone is None:
        return None
    if type(zone) is dt.timezone:
        return zone.utcoffset(None) // dt.timedelta(microseconds=1)
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key
    raise Refused(f"a time zone of type {type(zone).__qualname__}; use datetime.timezone or zoneinfo")


def _moment(value: dt.datetime | dt.time) -> bytes:
    # isoformat() has no room for the fold, nor for the name of the zone.
    return _encode([value.replace(tzinfo=None).isoformat(), value.fold, _zone(value.tzinfo)])


def _read_zone(zone: int | str | None) -> dt.tzinfo | None:
    if isinstance(zone, int):
        return dt.timezone(dt.timedelta(microseconds=zone))
    return ZoneInfo(zone) if zone is not None else None


def _read_datetime(parts: list[Any]) -> dt.datetime:
    text, fold, zone = parts
    return dt.datetime.fromisoformat(text).replace(fold=fold, tzinfo=_read_zone(zone))


def _read_time(parts: list[Any]) -> dt.time:
    text, fold, zone = parts
    return dt.time.fromisoformat(text).replace(fold=fold, tzinfo=_read_zone(zone))


def _read_markup(data: bytes) -> Any:
    from markupsafe import Markup

    return Markup(data.decode())  # noqa: S704  only what was Markup is stored as such


def _read_safe_string(data: bytes) -> Any:
    from django.utils.safestring import SafeString  # type: ignore[import-untyped]

    return SafeString(data.decode())


_WRITERS: dict[type, Callable[[Codec, Any, _Scalars], Any]] = {
    list: Codec._list,
    dict: Codec._dict,
    int: _int,
    tuple: Codec._tuple,
    set: Codec._set,
    frozenset: Codec._frozenset,
    dt.datetime: lambda _, value, __: Ext(_DATETIME, _moment(value)),
    dt.date: lambda _, value, __: Ext(_DATE, value.isoformat().encode()),
    dt.time: lambda _, value, __: Ext(_TIME, _moment(value)),
    dt.timedelta: lambda _, value, __: Ext(
        _TIMEDELTA, _encode([value.days, value.seconds, value.microseconds])
    ),
    UUID: lambda _, value, __: Ext(_UUID, value.bytes),
    Decimal: lambda _, value, __: Ext(_DECIMAL, str(value).encode()),
}

# What these make of their content, decoded already.
_NESTED: dict[int, Callable[[Any], Any]] = {
    _TUPLE: tuple,
    _SET: set,
    _FROZENSET: frozenset,
    _DATETIME: _read_datetime,
    _TIME: _read_time,
    _TIMEDELTA: lambda parts: dt.timedelta(*parts),
}

_READERS: dict[int, Callable[[bytes], Any]] = {
    _DATE: lambda data: dt.date.fromisoformat(data.decode()),
    _UUID: lambda data: UUID(bytes=data),
    _DECIMAL: lambda data: Decimal(data.decode()),
    _MARKUP: _read_markup,
    _SAFE_STRING: _read_safe_string,
    _INTEGER: lambda data: int.from_bytes(data, "big", signed=True),
}

PLAIN = Codec()
"""The built-in types only."""

encode, decode = PLAIN.encode, PLAIN.decode

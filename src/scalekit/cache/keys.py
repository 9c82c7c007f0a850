"""Cache keys: the same call has one key, and different calls have different ones.

Rules:

* Arguments are bound to the function's signature first: ``f(1)``, ``f(a=1)`` and ``f(1, b=default)`` are
  one call.
* Types are told apart: ``1``, ``1.0``, ``True``, ``"1"`` and ``b"1"`` are five values; so are a list and a
  tuple.
* Every value is written with its type and its length, so that no two nestings read alike:
  ``("x:b:y", "z")`` and ``("x", "y:b:z")`` differ. Sets and dicts are written in a sorted order.
* Nothing depends on ``hash()``, ``id()`` or ``repr()`` of an object: they differ between servers.
* What belongs to the caller and not to the question (a database session or connection, a request, a
  response) is left out. Anything else that has no stable spelling is an error that names the parameter.
"""

import dataclasses
import datetime
import decimal
import enum
import inspect
import pathlib
import re
import struct
import typing
import uuid
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any

import msgspec

from scalekit.errors import ConfigurationError, UncacheableArgument

_MAX_DEPTH = 32
_READABLE = 100  # characters of the function's name that a key shows; all of it is in the digest

# By the package and the class name, anywhere among the bases: nothing is imported to recognise them.
_CALLERS_OWN = {
    ("sqlalchemy", "Session"),
    ("sqlalchemy", "AsyncSession"),
    ("sqlalchemy", "scoped_session"),
    ("sqlalchemy", "async_scoped_session"),
    ("sqlalchemy", "Connection"),
    ("sqlalchemy", "AsyncConnection"),
    ("sqlalchemy", "Engine"),
    ("sqlalchemy", "AsyncEngine"),
    ("starlette", "HTTPConnection"),
    ("starlette", "Response"),
    ("starlette", "BackgroundTask"),
    ("werkzeug", "Request"),
    ("werkzeug", "Response"),
    ("django", "HttpRequest"),
    ("django", "HttpResponseBase"),
}
_callers_own: dict[type, bool] = {}


def is_callers_own(cls: type) -> bool:
    """Whether values of ``cls`` belong to one caller (a session, a request): they never enter a key."""
    known = _callers_own.get(cls)
    if known is None:
        known = any(
            (base.__module__.partition(".")[0], base.__name__) in _CALLERS_OWN for base in cls.__mro__
        )
        _callers_own[cls] = known
    return known


class _Unkeyable(Exception):
    """Carries the type that has no stable spelling."""


def _text(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")


def _zone(value: datetime.datetime | datetime.time) -> bytes:
    # Two zones may agree now and differ in summer, so the name counts, not the offset alone.
    return _text(f"{value.isoformat()}|{value.fold}|{value.tzinfo}")


# Exact types only: a subclass may carry more than its base shows.
_SCALARS: dict[type, tuple[bytes, Callable[[Any], bytes]]] = {
    type(None): (b"N", lambda value: b""),
    bool: (b"B", lambda value: b"1" if value else b"0"),
    int: (b"i", lambda value: b"%d" % value),
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
        TypeError: something in it has no stable spelling; the message is the type's name.
    """
    pieces: list[bytes] = []
    try:
        _spell(value, pieces.append, 0)
    except _Unkeyable as unkeyable:
        raise TypeError(str(unkeyable)) from None
    return b"".join(pieces)


def _spell(value: Any, add: Callable[[bytes], None], depth: int) -> None:
    cls = type(value)
    scalar = _SCALARS.get(cls)
    if scalar is not None:
        tag, write = scalar
        data = write(value)
        add(b"%c%d:" % (tag, len(data)))
        add(data)
    elif depth > _MAX_DEPTH:
        raise _Unkeyable(f"value nested more than {_MAX_DEPTH} deep")
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
    if dataclasses.is_dataclass(cls):
        names: Iterable[str] = [field.name for field in dataclasses.fields(cls)]
    elif isinstance(value, msgspec.Struct):
        names = value.__struct_fields__
    elif isinstance(value, tuple) and hasattr(cls, "_fields"):
        names = cls._fields
    else:
        raise _Unkeyable(f"{cls.__module__}.{cls.__qualname__}")
    if hasattr(cls, "__mapper__"):
        # What an ORM object holds changes when it is refreshed or expires.
        raise _Unkeyable(f"{cls.__module__}.{cls.__qualname__}")
    _named(b"R", cls, [_joined(getattr(value, name), depth) for name in names], add)


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


def _named(tag: bytes, cls: type, items: list[bytes], add: Callable[[bytes], None]) -> None:
    name = _text(f"{cls.__module__}.{cls.__qualname__}")
    add(b"%c%d:%b%d:" % (tag, len(name), name, len(items)))
    for item in items:
        add(item)


class Keys:
    """Makes the keys of one function.

    Args:
        function: whose signature arguments are bound to.
        name: the function's identity, the same on every server.
        ignore: parameters that never enter the key.
        fingerprint: of the return type; another one makes other keys.

    Raises:
        ConfigurationError: ``ignore`` names no parameter.
    """

    def __init__(
        self, function: Callable[..., Any], *, name: str, ignore: Iterable[str] = (), fingerprint: str = ""
    ) -> None:
        self._signature = inspect.signature(function)
        parameters = self._signature.parameters
        self._ignored = frozenset(ignore)
        unknown = self._ignored - parameters.keys()
        if unknown:
            raise ConfigurationError(f"ignore={sorted(unknown)!r}: {name} has no such parameter")
        self.name = name
        readable = "".join(
            char if char.isascii() and (char.isalnum() or char in "._") else "-" for char in name
        )
        self._start = f"{readable[:_READABLE]}:"
        self._seed = spell((name, fingerprint))
        # Parameters known to hold what belongs to the caller, so that an invalidation can do without them.
        hints = _hints(function)
        self._left_out = {name for name in parameters if _says_callers_own(hints.get(name))}
        kinds = [parameter.kind for parameter in parameters.values()]
        self._simple = not {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}.intersection(
            kinds
        )
        self._names = tuple(parameters)
        self._positional = len(kinds) - kinds.count(inspect.Parameter.KEYWORD_ONLY)
        self._by_keyword = {
            name for name, value in parameters.items() if value.kind is not inspect.Parameter.POSITIONAL_ONLY
        }
        self._defaults = {
            name: value.default
            for name, value in parameters.items()
            if value.default is not inspect.Parameter.empty
        }

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name, defaults applied.

        Raises:
            TypeError: the function cannot be called so; the message is Python's own.
        """
        if self._simple and len(args) <= self._positional:
            arguments = dict(zip(self._names, args, strict=False))
            taken = 0
            for name in self._names[len(args) :]:
                if name in kwargs and name in self._by_keyword:
                    arguments[name] = kwargs[name]
                    taken += 1
                elif name in self._defaults:
                    arguments[name] = self._defaults[name]
                else:
                    break
            else:
                if taken == len(kwargs):
                    return arguments
        # Anything unusual, and every mistake.
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)

    def bind_question(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """As :meth:`bind`, but what does not enter the key may be missing.

        Raises:
            TypeError: an argument that enters the key is missing, or the function has no such parameter.
        """
        if any(is_callers_own(type(value)) for value in args):
            return self.bind(args, kwargs)  # spelled out as in a call
        missing = (self._ignored | self._left_out) - kwargs.keys()
        asked = [value for name, value in self._signature.parameters.items() if name not in missing]
        try:
            bound = self._signature.replace(parameters=asked).bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(
                f"{self.name}: {error}; what does not enter the key is named in ignore=(...)"
            ) from None
        bound.apply_defaults()
        return dict(bound.arguments)

    def key(self, arguments: dict[str, Any]) -> tuple[str, list[Any]]:
        """The key of a call, and the values that were left out because they belong to the caller.

        The key is printable ASCII, of at most 141 characters.

        Raises:
            UncacheableArgument: names the parameter.
        """
        digest = blake2b(self._seed, digest_size=20)
        left_out: list[Any] = []
        for name, value in arguments.items():
            if type(value) not in _SCALARS and is_callers_own(type(value)):
                self._left_out.add(name)
                left_out.append(value)
            elif name not in self._ignored:
                pieces = [_text(name), b"="]
                try:
                    _spell(value, pieces.append, 0)
                except _Unkeyable as unkeyable:
                    raise UncacheableArgument(
                        function=self.name, parameter=name, type_name=str(unkeyable)
                    ) from None
                digest.update(b"".join(pieces))
        return self._start + digest.hexdigest(), left_out


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Annotations, resolved if they can be; names imported for the type checker alone stay strings."""
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        return dict(getattr(function, "__annotations__", {}))


def _says_callers_own(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return not {name for _, name in _CALLERS_OWN}.isdisjoint(re.findall(r"\w+", annotation))
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return is_callers_own(annotation)
    return any(_says_callers_own(part) for part in typing.get_args(annotation))

"""SQLAlchemy's rows as bytes and back.

Rules:

* A row comes back as a ``Row``: equal, with its attributes, its ``_mapping`` and its hash. Columns are found
  by their names; a ``Column`` object finds one in a row of the database alone.
* Rows of one list are a table: the names once, then what each column holds, then the values. A column of one
  type is read as that type by msgspec itself, others as values that say what they are. So the annotation's
  types need not be exact; they are asked only for what a column's values do not say: an enum, a dataclass.
* A row that holds an object of the ORM is refused.
"""

import datetime
import decimal
import functools
import typing
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from scalekit.cache.annotations import is_row, is_union, unwrapped, within
from scalekit.cache.untyped import Buffer, encode, prepared, read_custom, read_extension, spelled_out
from scalekit.errors import ConfigurationError, MissingExtra

try:
    from sqlalchemy.engine import Row, RowMapping
    from sqlalchemy.engine.result import SimpleResultMetaData
except ImportError:
    raise MissingExtra("sqlalchemy", needed_by="scalekit.cache with SQLAlchemy") from None

_LISTS = (list, Sequence, Collection, Iterable)
_LETTERS: dict[type, str] = {
    int: "i",
    float: "f",
    str: "s",
    bool: "?",
    bytes: "b",
    decimal.Decimal: "D",
    uuid.UUID: "u",
    datetime.datetime: "t",
    datetime.date: "d",
    datetime.time: "m",
    datetime.timedelta: "e",
}


def _nullable(annotation: Any) -> Any:
    return typing.Union[annotation, None]  # noqa: UP007  # not every annotation has the operator


_ANNOTATED, _ANY = "a", "*"
_TYPES: dict[str, Any] = {letter: _nullable(cls) for cls, letter in _LETTERS.items()} | {_ANY: Any}
_SPEAKING = frozenset({*_LETTERS, list, dict, tuple, set, frozenset})  # types that their values tell

_row: Any = Row  # its constructor is not in the type stubs of both versions
_TABLE = tuple[tuple[str, ...], str, msgspec.Raw]  # names, a letter for each column, the rows


class _Shape(NamedTuple):
    """How what an annotation allows is written: msgspec's type for it, and the way there and back."""

    wire: Any
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def has_rows(annotation: Any) -> bool:
    """Whether there is one in it."""
    return any(map(is_row, within(annotation)))


class Rows:
    """Reads and writes a return type with rows in it.

    Raises:
        ConfigurationError: they are where they cannot be read back, such as in a dataclass.
    """

    def __init__(self, annotation: Any, *, name: str) -> None:
        shape = _shape(annotation, name)
        self._write, self._read = shape.write, shape.read
        self._decode = msgspec.msgpack.Decoder(
            shape.wire, dec_hook=read_custom, ext_hook=read_extension
        ).decode

    def write(self, result: Any) -> Iterator[bytes]:
        yield encode(self._write(result))

    def read(self, payload: Buffer) -> Any:
        return self._read(self._decode(payload))


def _shape(annotation: Any, name: str) -> _Shape:
    annotation = unwrapped(annotation)
    if is_row(annotation):
        one = _Table(annotation)
        return _Shape(_TABLE, lambda row: one.write([row]), lambda wire: one.read(wire)[0])
    if not has_rows(annotation):
        return _Shape(annotation, lambda value: prepared(value, annotation), lambda value: value)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in _LISTS and is_row(unwrapped(arguments[0])):
        many = _Table(unwrapped(arguments[0]))
        return _Shape(_TABLE, many.write, many.read)
    inner = [_shape(part, name) for part in arguments if part not in (Ellipsis, None, type(None))]
    if origin in _LISTS:
        return _all_of(inner[0], list[inner[0].wire])  # type: ignore[misc]
    if origin is tuple and Ellipsis in arguments:
        return _all_of(inner[0], tuple[inner[0].wire, ...], make=tuple)  # type: ignore[misc]
    if origin is tuple:
        return _each_of(inner)
    if origin in (dict, Mapping):
        return _values_of(inner[1], dict[arguments[0], inner[1].wire])  # type: ignore[misc, valid-type]
    if is_union(annotation) and len(inner) == 1:
        return _or_none(inner[0])
    raise ConfigurationError(
        f"{name}: rows in a {getattr(origin or annotation, '__qualname__', annotation)} cannot be read back; "
        "return them in a list, a tuple or a dict"
    )


def _all_of(item: _Shape, wire: Any, *, make: Callable[[Any], Any] = list) -> _Shape:
    return _Shape(
        wire,
        lambda values: make(item.write(value) for value in values),
        lambda values: make(item.read(value) for value in values),
    )


def _each_of(items: list[_Shape]) -> _Shape:
    return _Shape(
        tuple[tuple(item.wire for item in items)],  # type: ignore[misc]
        lambda values: tuple(item.write(value) for item, value in zip(items, values, strict=True)),
        lambda values: tuple(item.read(value) for item, value in zip(items, values, strict=True)),
    )


def _values_of(item: _Shape, wire: Any) -> _Shape:
    return _Shape(
        wire,
        lambda values: {key: item.write(value) for key, value in dict.items(values)},
        lambda values: {key: item.read(value) for key, value in values.items()},
    )


def _or_none(item: _Shape) -> _Shape:
    return _Shape(
        _nullable(item.wire),
        lambda value: None if value is None else item.write(value),
        lambda value: None if value is None else item.read(value),
    )


class _Table:
    """Rows of one list, or a single one."""

    def __init__(self, annotation: Any) -> None:
        cls = typing.get_origin(annotation) or annotation
        self._class: Any = RowMapping if issubclass(cls, RowMapping) else Row
        declared = typing.get_args(annotation)
        if len(declared) == 1 and typing.get_origin(declared[0]) is tuple:  # as SQLAlchemy 2.0 has it
            declared = typing.get_args(declared[0])
        self._declared = () if Ellipsis in declared or self._class is RowMapping else declared
        self._decoders: dict[str, Callable[[Any], list[tuple[Any, ...]]]] = {}

    def write(self, rows: Any) -> tuple[tuple[str, ...], str, list[tuple[Any, ...]]]:
        if not isinstance(rows, list) or not all(isinstance(row, self._class) for row in rows):
            raise TypeError(f"it is no list of {self._class.__name__} objects")
        if self._class is RowMapping:
            names, values = [tuple(row) for row in rows], [tuple(row.values()) for row in rows]
        else:
            names, values = [row._fields for row in rows], [tuple(row) for row in rows]
        if not rows:
            return (), "", []
        if set(names) != {names[0]}:
            raise TypeError("its rows have different columns")
        columns = list(zip(*values, strict=True))
        letters = "".join(self._letter(number, column) for number, column in enumerate(columns))
        written = [
            self._written(number, letter, column)
            for number, (letter, column) in enumerate(zip(letters, columns, strict=True))
        ]
        return names[0], letters, list(zip(*written, strict=True))

    def read(self, wire: Any) -> list[Any]:
        names, letters, data = wire
        decode = self._decoders.get(letters)
        if decode is None:
            decode = self._decoders[letters] = self._decoder(letters)
        meta = _meta(names)
        keys = meta._key_to_index
        if len(names) != len(letters):
            raise msgspec.ValidationError("a table whose columns have no names")
        rows: list[Any] = [_row(meta, None, keys, values) for values in decode(data)]
        return [row._mapping for row in rows] if self._class is RowMapping else rows

    def _letter(self, number: int, column: tuple[Any, ...]) -> str:
        kinds = {type(value) for value in column} - {type(None)}
        if len(kinds) == 1 and (letter := _LETTERS.get(next(iter(kinds)))):
            return letter
        return _ANY if kinds <= _SPEAKING or number >= len(self._declared) else _ANNOTATED

    def _written(self, number: int, letter: str, column: tuple[Any, ...]) -> tuple[Any, ...]:
        if letter == _ANY:
            return tuple(map(spelled_out, column))
        if letter == _ANNOTATED:
            return tuple(prepared(value, self._declared[number]) for value in column)
        return column

    def _decoder(self, letters: str) -> Callable[[Any], list[tuple[Any, ...]]]:
        try:
            types = tuple(
                _nullable(self._declared[number]) if letter == _ANNOTATED else _TYPES[letter]
                for number, letter in enumerate(letters)
            )
            wire = list[tuple[types]]  # type: ignore[valid-type]
            return msgspec.msgpack.Decoder(wire, dec_hook=read_custom, ext_hook=read_extension).decode
        except LookupError:
            raise msgspec.ValidationError("a table of other columns") from None
        except TypeError as error:  # an annotation that msgspec cannot read
            raise msgspec.ValidationError(str(error)) from None


@functools.lru_cache(maxsize=1024)
def _meta(names: tuple[str, ...]) -> SimpleResultMetaData:
    return SimpleResultMetaData(names)

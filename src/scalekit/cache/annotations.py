"""Return annotations: resolved, and taken apart."""

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from scalekit.errors import ConfigurationError


def returned(function: Callable[..., Any], *, name: str) -> Any:
    """The return annotation, resolved; the other ones may be for the type checker alone.

    Raises:
        ConfigurationError: it names what cannot be found.
    """
    raw = getattr(function, "__annotations__", {}).get("return", Any)
    holder = types.SimpleNamespace(__annotations__={"return": raw})
    try:
        return typing.get_type_hints(holder, function.__globals__, include_extras=True)["return"]
    except NameError as error:
        raise ConfigurationError(
            f"{name}: its return annotation cannot be resolved ({error}); import what it names, and "
            "not under TYPE_CHECKING"
        ) from None


_AROUND = (typing.Annotated, typing.Required, typing.NotRequired, getattr(typing, "ReadOnly", None))


def unwrapped(annotation: Any) -> Any:
    """The type in ``Annotated``, ``NewType``, ``type X = ...``, ``Required`` and their like."""
    while True:
        if (origin := typing.get_origin(annotation)) is not None and origin in _AROUND:
            annotation = typing.get_args(annotation)[0]
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation


def is_union(annotation: Any) -> bool:
    """Whether it is ``A | B``, in either spelling."""
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def is_model(cls: Any) -> bool:
    """Whether it is a pydantic model. pydantic's own dataclasses are dataclasses like others."""
    return isinstance(cls, type) and hasattr(cls, "__pydantic_fields__") and hasattr(cls, "model_fields_set")


def is_mapped(cls: Any) -> bool:
    """Whether it is a class that an ORM maps: its objects live in a session."""
    return isinstance(cls, type) and hasattr(cls, "__mapper__")


def why_not(mapped: type) -> str:
    """Why objects of such a class are refused, and what to return."""
    return (
        f"{mapped.__name__} objects, which belong to a database session; select the columns and return a "
        "dataclass, a NamedTuple or rows"
    )


def is_row(annotation: Any) -> bool:
    """Whether it is SQLAlchemy's ``Row`` or ``RowMapping``, with or without types; nothing is imported."""
    cls = typing.get_origin(annotation) or annotation
    names = getattr(cls, "__module__", None), getattr(cls, "__name__", None)
    return names in (("sqlalchemy.engine.row", "Row"), ("sqlalchemy.engine.row", "RowMapping"))


def is_record(cls: Any) -> bool:
    """Whether it is a class whose fields say what is in it."""
    if not isinstance(cls, type):
        return False
    return (
        dataclasses.is_dataclass(cls)
        or issubclass(cls, msgspec.Struct)
        or hasattr(cls, "__attrs_attrs__")
        or typing.is_typeddict(cls)
        or (issubclass(cls, tuple) and hasattr(cls, "_fields"))
        or is_model(cls)
    )


@functools.lru_cache(maxsize=1024)
def field_names(cls: Any) -> tuple[str, ...]:
    """The attributes that hold what a record is made of; none for tuples and dicts, and for other classes."""
    if is_model(cls):
        return (*cls.__pydantic_fields__, "__pydantic_extra__", "__pydantic_private__")
    if dataclasses.is_dataclass(cls):
        return tuple(field.name for field in dataclasses.fields(cls))
    if hasattr(cls, "__attrs_attrs__"):
        return tuple(field.name for field in cls.__attrs_attrs__)
    return tuple(getattr(cls, "__struct_fields__", ()))


def fields_of(cls: Any) -> dict[str, Any]:
    """The annotations of a class, resolved if they can be."""
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except (NameError, TypeError, AttributeError):
        found: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            found.update(inspect.get_annotations(base))
        return found


def within(annotation: Any) -> Iterator[Any]:
    """Every type that ``annotation`` is made of, itself first, those of fields too; each of them once."""
    seen: list[Any] = []
    rest = [annotation]
    while rest:
        part = unwrapped(rest.pop())
        if part in seen:
            continue
        seen.append(part)
        yield part
        if typing.get_origin(part) is typing.Literal:
            continue
        rest += [argument for argument in typing.get_args(part) if argument is not Ellipsis]
        cls = typing.get_origin(part) or part
        if is_record(cls):
            rest += fields_of(cls).values()

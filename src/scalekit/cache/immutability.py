"""Whether one decoded object may be handed to many callers, or what each of them gets a copy of."""

import collections.abc
import copy
import dataclasses
import datetime
import decimal
import enum
import typing
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from scalekit.cache.annotations import fields_of, is_model, is_union, unwrapped

SCALARS = frozenset(
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

_CONTAINERS = frozenset(
    {list, dict, set, collections.abc.Sequence, collections.abc.Mapping, collections.abc.Set}
)


def copier(annotation: Any) -> Callable[[Any], Any] | None:
    """What makes a private object of a decoded one, where only the outermost container can change.

    ``None``: more can, so a private object takes decoding.
    """
    if is_immutable(annotation):
        return _itself
    annotation = unwrapped(annotation)
    parts = typing.get_args(annotation) if is_union(annotation) else (annotation,)
    return copy.copy if all(map(_is_shallow, parts)) else None


def _itself(value: Any) -> Any:
    return value


def _is_shallow(annotation: Any) -> bool:
    annotation = unwrapped(annotation)
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) in _CONTAINERS and arguments:
        return all(map(is_immutable, arguments))
    return is_immutable(annotation)


def is_immutable(annotation: Any) -> bool:
    """Whether no value of this type can be changed, however deep one looks."""
    return _immutable(annotation, ())


def _immutable(annotation: Any, above: tuple[Any, ...]) -> bool:
    annotation = unwrapped(annotation)
    if annotation is None or (isinstance(annotation, type) and annotation in SCALARS):
        return True
    if annotation in above:  # a recursive type is as immutable as the rest of it
        return True
    above = (*above, annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return True
    if is_union(annotation):
        return all(_immutable(part, above) for part in arguments)
    if origin in (tuple, frozenset):
        return all(part is Ellipsis or _immutable(part, above) for part in arguments)
    if not isinstance(annotation, type):
        return False
    if issubclass(annotation, enum.Enum):
        return True
    return _is_frozen(annotation) and all(_immutable(part, above) for part in fields_of(annotation).values())


def _is_frozen(cls: Any) -> bool:
    if issubclass(cls, msgspec.Struct):
        return bool(cls.__struct_config__.frozen)
    if is_model(cls):
        # Private attributes can be set in a frozen model, and extra values are of any type.
        config = cls.model_config
        return bool(
            config.get("frozen") and config.get("extra") != "allow" and not cls.__private_attributes__
        )
    if dataclasses.is_dataclass(cls):
        return bool(getattr(cls, "__dataclass_params__").frozen)  # noqa: B009  # typeshed hides it
    if hasattr(cls, "__attrs_attrs__"):
        # attrs says it in a class attribute since 25.4; before, by this name.
        return bool(getattr(cls.__setattr__, "__name__", "") == "_frozen_setattrs")
    return issubclass(cls, tuple) and hasattr(cls, "_fields")

"""A return type in words: the fingerprint that makes a changed type a miss.

Rules:

* The words are the same on every server and for every hash seed. Nothing in them is an address: what a
  ``repr`` would show of an object is never used.
* What decides how bytes are read is in them: fields with their names and types, an enum's members *with
  their values*, how a struct is laid out, and the default values of what may be left out of the bytes.
* What does not is not: the notes in ``Annotated``, the name of a ``NewType``, other default values.
"""

import enum
import inspect
import types
import typing
from typing import Any

import msgspec

from scalekit.cache.annotations import fields_of, is_model, is_record, is_union, unwrapped
from scalekit.cache.spelling import Unspeakable, spell

_FORMAT = "2"  # of what the codecs write; another one drops what is in the back ends


def describe(annotation: Any) -> str:
    """``annotation`` and all that it is made of, in words."""
    return f"{_FORMAT}:{_describe(annotation, ())}"


def _describe(annotation: Any, above: tuple[Any, ...]) -> str:
    annotation = unwrapped(annotation)
    if annotation is None or annotation is type(None):
        return "None"
    if annotation is Any or annotation is object:
        return "Any"
    if annotation is Ellipsis:
        return "..."
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, list | tuple):  # the parameters of a Callable
        return ",".join(_describe(part, above) for part in annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return f"Literal[{','.join(map(_value, arguments))}]"
    if origin is not None:
        name = "Union" if is_union(annotation) else _describe(origin, above)
        return f"{name}[{','.join(_describe(part, above) for part in arguments)}]"
    name = _name(annotation)
    if not isinstance(annotation, type) or annotation.__module__ == "builtins" or annotation in above:
        return name
    parts = _parts(annotation, (*above, annotation))
    return f"{name}({','.join(parts)})" if parts else name


def _name(annotation: Any) -> str:
    for attribute in ("__qualname__", "__forward_arg__", "__name__", "_name"):
        name = getattr(annotation, attribute, None)
        if isinstance(name, str):
            return f"{annotation.__module__}.{name}"
    return _name(type(annotation))


def _parts(cls: type, above: tuple[Any, ...]) -> list[str]:
    if issubclass(cls, enum.Enum):
        return [f"{name}={_value(member.value)}" for name, member in cls.__members__.items()]
    if issubclass(cls, msgspec.Struct):
        return _of_struct(cls, above)
    if is_model(cls):
        return _of_model(cls, above)
    if is_record(cls):
        return [f"{name}:{_describe(hint, above)}" for name, hint in fields_of(cls).items()]
    # Any other class is read back by pickle alone, if at all: its annotations as they stand.
    names = {name: hint for base in reversed(_own_bases(cls)) for name, hint in _raw(base).items()}
    return [f"{name}:{_describe(hint, above)}" for name, hint in names.items()]


def _own_bases(cls: type) -> list[type]:
    # What others bring along, such as Generic, says nothing of what is in an object.
    package = cls.__module__.partition(".")[0]
    return [base for base in cls.__mro__ if base.__module__.partition(".")[0] == package]


def _raw(cls: type) -> dict[str, Any]:
    return {
        name: hint if isinstance(hint, type | str | types.GenericAlias) else _name(hint)
        for name, hint in inspect.get_annotations(cls).items()
    }


def _of_struct(cls: type[msgspec.Struct], above: tuple[Any, ...]) -> list[str]:
    config, hints = cls.__struct_config__, fields_of(cls)
    parts = [f"array={config.array_like}", f"tag={config.tag_field}={_value(config.tag)}"]
    for field in msgspec.structs.fields(cls):
        words = f"{field.name}>{field.encode_name}:{_describe(hints.get(field.name), above)}"
        if config.omit_defaults:  # left out of the bytes: what is read then is the default of now
            words += f"={_default(field.default, field.default_factory, missing=msgspec.NODEFAULT)}"
        parts.append(words)
    return parts


def _of_model(cls: Any, above: tuple[Any, ...]) -> list[str]:
    # What was not set is left out of the bytes, so the defaults count.
    return [
        f"{name}:{_describe(field.annotation, above)}"
        f"={'!' if field.is_required() else _default(field.default, field.default_factory, missing=...)}"
        for name, field in cls.__pydantic_fields__.items()
    ]


def _default(value: Any, factory: Any, *, missing: Any) -> str:
    if factory is not None and factory is not missing:
        return f"{_name(factory)}()"
    return "!" if value is missing else _value(value)


def _value(value: Any) -> str:
    try:
        return spell(value).decode("ascii", "backslashreplace")
    except Unspeakable:
        return _name(type(value))

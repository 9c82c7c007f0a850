"""Whether a value is what an annotation says. Nothing is converted.

The rules are those of a type checker: a subclass fits its base, an int fits ``float``. The fields of
dataclasses, attrs classes and structs are looked at, too; pydantic has its own rules for its models, and has
applied them. What ``Annotated`` adds is for others to read.
"""

import collections.abc as abc
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from scalekit.sessions.classes import field_names

Check: TypeAlias = Callable[[Any], bool]

_MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)
_COLLECTIONS = (
    *(list, set, frozenset, abc.Sequence, abc.MutableSequence, abc.Set, abc.MutableSet),
    *(abc.Collection, abc.Iterable),
)


def check_for(annotation: Any) -> Check:
    """A check of values against ``annotation``.

    Raises:
        TypeError: nothing can be told of a value by such an annotation.
        NameError: a class in it names another that is not there.
    """
    return _Checks().of(annotation)


class _Checks:
    """The checks of one annotation, each made once: a class may have fields of its own kind."""

    def __init__(self) -> None:
        self._fields: dict[type, dict[str, Check]] = {}
        self._aliases: dict[Any, Check] = {}

    def of(self, annotation: Any) -> Check:
        if annotation in (Any, object, typing.Final):
            return lambda value: True
        if annotation is None:
            return lambda value: value is None
        if annotation is float:
            return lambda value: isinstance(value, float | int)
        if isinstance(annotation, typing.NewType):
            return self.of(annotation.__supertype__)
        if type(annotation).__name__ == "TypeAliasType":  # typing has it since 3.12
            return self._alias(annotation)
        if isinstance(annotation, typing.TypeVar):
            bound = annotation.__constraints__ or (annotation.__bound__ or Any,)
            return self._any(bound)
        if isinstance(annotation, type):
            return self._class(annotation)
        return self._form(annotation, typing.get_origin(annotation), typing.get_args(annotation))

    def _form(self, annotation: Any, origin: Any, args: tuple[Any, ...]) -> Check:
        if origin in (typing.Union, types.UnionType):
            return self._any(args)
        if origin is typing.Literal:
            return lambda value: any(type(value) is type(choice) and value == choice for choice in args)
        if origin in (typing.Annotated, typing.Final, typing.Required, typing.NotRequired):
            return self.of(args[0])
        if origin is tuple:
            return self._tuple(args)
        if isinstance(origin, type) and not args:
            return self._class(origin)
        if origin in _MAPPINGS:
            key, item = map(self.of, args)
            return lambda value: (
                isinstance(value, origin) and all(map(key, value)) and all(map(item, value.values()))
            )
        if origin in _COLLECTIONS:
            (item,) = map(self.of, args)
            return lambda value: isinstance(value, origin) and all(map(item, value))
        if isinstance(origin, type) and field_names(origin):
            return self._class(origin)
        raise TypeError(f"a value of a session cannot be told to be {spelled(annotation)}")

    def _any(self, annotations: Iterable[Any]) -> Check:
        checks = [self.of(annotation) for annotation in annotations]
        return lambda value: any(check(value) for check in checks)

    def _tuple(self, args: tuple[Any, ...]) -> Check:
        if args[1:] == (...,):
            item = self.of(args[0])
            return lambda value: isinstance(value, tuple) and all(map(item, value))
        checks = [self.of(arg) for arg in args]
        return lambda value: (
            isinstance(value, tuple)
            and len(value) == len(checks)
            and all(check(item) for check, item in zip(checks, value, strict=True))
        )

    def _class(self, cls: Any) -> Check:
        if typing.is_typeddict(cls):
            return self._typed_dict(cls)
        if getattr(cls, "_is_protocol", False) or cls in (type, Callable):
            raise TypeError(f"a value of a session cannot be told to be {spelled(cls)}")
        fields = self._of_fields(cls)
        return lambda value: (
            isinstance(value, cls) and all(check(getattr(value, name)) for name, check in fields.items())
        )

    def _of_fields(self, cls: type) -> dict[str, Check]:
        if cls not in self._fields:
            fields = self._fields[cls] = {}
            names = field_names(cls)
            hints = typing.get_type_hints(cls, include_extras=True) if names else {}
            fields.update({name: self.of(hints[name]) for name in names if name in hints})
        return self._fields[cls]

    def _alias(self, alias: Any) -> Check:
        if alias not in self._aliases:
            self._aliases[alias] = lambda value: made(value)  # for where it names itself
            made = self._aliases[alias] = self.of(alias.__value__)
        return self._aliases[alias]

    def _typed_dict(self, cls: Any) -> Check:
        hints = typing.get_type_hints(cls, include_extras=True)
        required: frozenset[str] = cls.__required_keys__
        checks = {name: self.of(hint) for name, hint in hints.items()}
        return lambda value: (
            isinstance(value, dict)
            and required <= value.keys() <= checks.keys()
            and all(checks[name](item) for name, item in value.items())
        )


def spelled(annotation: Any) -> str:
    """An annotation as it stands in the code."""
    if isinstance(annotation, type):
        return annotation.__qualname__
    return repr(annotation).replace("typing.", "")


def found(value: Any) -> str:
    """What a value is that does not fit: its type, and the field of it that is to blame, if it is one."""
    cls = type(value)
    names = field_names(cls)
    hints = typing.get_type_hints(cls, include_extras=True) if names else {}
    for name in names:
        part = getattr(value, name)
        if name in hints and not check_for(hints[name])(part):
            return f"{cls.__qualname__} whose {name} is of type {type(part).__qualname__}"
    return cls.__qualname__

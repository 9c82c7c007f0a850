"""The classes of an application that its sessions may hold: how an instance is taken apart and made again.

Rules:

* What is stored is the state of an instance, field by field. It comes back as that state: neither the
  constructor nor a validator of the class runs, so that what was valid when it was stored is not changed.
  (A ``msgspec.Struct`` has no other way in than its constructor, so its ``__post_init__`` runs, as it does
  whenever msgspec reads one.)
* Nothing is guessed. A field that the class has no longer is an error; so is one that it has gained, unless
  it has a default.
* State beside the fields would be lost: it is refused, but for what a ``cached_property`` can make again.
"""

import dataclasses
import functools
import operator
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import Enum, Flag
from typing import Any, NamedTuple

import msgspec

from scalekit.errors import ConfigurationError

_State = dict[str, Any]
_Default = Callable[[Any], Any]
"""Makes the value of a field that was not stored, for the instance that has the fields before it."""


class Refused(Exception):
    """Why a value cannot be stored, or read."""


class Shape(NamedTuple):
    """How instances of a class are stored.

    Attributes:
        take: the state of an instance, as plain containers of values.
        make: an instance from its state; raises ``Refused``, or ``TypeError`` for what is no state.
        frozen: whether the fields of an instance always are what they were.
    """

    cls: type
    take: Callable[[Any], tuple[Any, ...]]
    make: Callable[..., Any]
    frozen: bool


def shape_of(cls: type) -> Shape:
    """How instances of ``cls`` are stored.

    Raises:
        ConfigurationError: there is no way that keeps them as they are.
    """
    kind = kind_of(cls)
    if kind is None:
        raise ConfigurationError(
            f"types=[{cls.__qualname__}]: it is no dataclass (a subclass of one is none by itself), attrs "
            "class, msgspec.Struct, model of pydantic 2 or Enum; store its parts, which are plain data"
        )
    shape = _KINDS[kind](cls)
    if not issubclass(cls, Enum | msgspec.Struct):
        try:
            object.__new__(cls)
        except TypeError as error:  # abstract, or made of a built-in type whose content is no field
            raise ConfigurationError(
                f"types=[{cls.__qualname__}]: no instance can be made: {error}"
            ) from None
    return shape


def kind_of(cls: type) -> str | None:
    """Which of the kinds that can be stored ``cls`` is; ``None`` if it is none of them."""
    # Only who has imported pydantic can have a model of it.
    pydantic = sys.modules.get("pydantic.main")
    if issubclass(cls, Enum):
        return "enum"
    if issubclass(cls, msgspec.Struct):
        return "struct"
    if pydantic is not None and issubclass(cls, pydantic.BaseModel):
        return "pydantic"
    if "__attrs_attrs__" in cls.__dict__:
        return "attrs"
    # A subclass that is no dataclass itself has its fields by inheritance, and others beside them.
    return "dataclass" if "__dataclass_fields__" in cls.__dict__ else None


def field_names(cls: type) -> tuple[str, ...]:
    """The fields of a dataclass, attrs class or struct."""
    kind = kind_of(cls)
    if kind == "struct":
        return cls.__struct_fields__  # type: ignore[attr-defined, no-any-return]
    if kind == "attrs":
        return tuple(field.name for field in cls.__attrs_attrs__)  # type: ignore[attr-defined]
    return tuple(field.name for field in dataclasses.fields(cls)) if kind == "dataclass" else ()


def _enum(cls: Any) -> Shape:
    # By name: a value may be anything, and that of auto() means another member when one is inserted.
    def take(member: Any) -> tuple[str]:
        if cls.__members__.get(member.name) is not member:
            raise Refused(f"{member!r} is no member of {cls.__qualname__} with a name")
        return (member.name,)

    def make(name: str) -> Any:
        if name not in cls.__members__:
            raise Refused(f"{cls.__qualname__} has no member {name!r} (any more, or yet); add it as an alias")
        return cls.__members__[name]

    return _flag(cls, make) if issubclass(cls, Flag) else Shape(cls, take, make, frozen=True)


def _flag(cls: Any, member: Callable[[str], Any]) -> Shape:
    def take(flags: Any) -> tuple[list[str]]:
        names = [flag.name for flag in flags]
        if make(names) != flags:
            raise Refused(f"{flags!r} has a bit that {cls.__qualname__} has no name for")
        return (names,)

    def make(names: list[str]) -> Any:
        return functools.reduce(operator.or_, map(member, names), cls(0))

    return Shape(cls, take, make, frozen=True)


def _struct(cls: Any) -> Shape:
    names, defaults = cls.__struct_fields__, cls.__struct_defaults__
    optional = {
        name: default
        for name, default in zip(reversed(names), reversed(defaults), strict=False)
        if default is not msgspec.NODEFAULT
    }
    check = _checker(cls, names, optional)

    def make(state: _State) -> Any:
        check(state)
        return cls(**state)

    return Shape(cls, _taker(cls, names), make, frozen=cls.__struct_config__.frozen)


def _attrs(cls: Any) -> Shape:
    import attrs  # its own classes have it

    defaults: dict[str, _Default] = {}
    for field in cls.__attrs_attrs__:
        default = field.default
        if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
            make = default.factory
            defaults[field.name] = make if default.takes_self else _ignoring(make)
        elif default is not attrs.NOTHING:
            defaults[field.name] = functools.partial(_first, default)
    props = getattr(cls, "__attrs_props__", None)  # since attrs 25.4; without it, each is looked at
    return _by_attributes(cls, field_names(cls), defaults, frozen=props is not None and props.is_frozen)


def _dataclass(cls: Any) -> Shape:
    defaults: dict[str, _Default] = {}
    for field in dataclasses.fields(cls):
        if field.default_factory is not dataclasses.MISSING:
            defaults[field.name] = _ignoring(field.default_factory)
        elif field.default is not dataclasses.MISSING:
            defaults[field.name] = functools.partial(_first, field.default)
    return _by_attributes(cls, field_names(cls), defaults, frozen=cls.__dataclass_params__.frozen)


def _by_attributes(
    cls: type, names: tuple[str, ...], defaults: Mapping[str, _Default], *, frozen: bool
) -> Shape:
    check = _checker(cls, names, defaults)

    def make(state: _State) -> Any:
        check(state)
        instance: Any = object.__new__(cls)
        for name in names:
            value = state[name] if name in state else defaults[name](instance)
            object.__setattr__(instance, name, value)  # as frozen ones let nobody else
        return instance

    return Shape(cls, _taker(cls, names), make, frozen)


def _pydantic(cls: Any) -> Shape:
    base = sys.modules["pydantic.main"].BaseModel
    fields = cls.model_fields
    defaults = {name: field for name, field in fields.items() if not field.is_required()}
    check = _checker(cls, tuple(fields), defaults)

    def take(model: Any) -> tuple[Any, ...]:
        data = model.__dict__
        state = base.__getstate__(model)
        unset = [name for name in fields if name not in model.model_fields_set]
        rest = {
            "unset": unset,
            "extra": state["__pydantic_extra__"],
            "private": state["__pydantic_private__"],
        }
        rest = {name: value for name, value in rest.items() if value}
        if not fields.keys() <= data.keys():
            raise Refused(f"a {cls.__qualname__} in it lacks fields, as one of model_construct() can")
        values = {name: data[name] for name in fields}
        return (values, rest) if rest else (values,)

    def make(state: _State, rest: Mapping[str, Any] = {}) -> Any:
        check(state)
        unset, extra, private = (rest.get(name) for name in ("unset", "extra", "private"))
        given = state.keys() - (unset or ())
        for name in fields:
            if name not in state:
                state[name] = fields[name].get_default(call_default_factory=True, validated_data=state)
        model = cls.__new__(cls)
        base.__setstate__(
            model,
            {
                "__dict__": {name: state[name] for name in fields},
                "__pydantic_fields_set__": given | (extra or {}).keys(),
                "__pydantic_extra__": extra or ({} if cls.model_config.get("extra") == "allow" else None),
                "__pydantic_private__": private or ({} if cls.__private_attributes__ else None),
            },
        )
        return model

    config = cls.model_config
    frozen = config.get("frozen") and config.get("extra") != "allow" and not cls.__private_attributes__
    return Shape(cls, take, make, frozen=bool(frozen))


_KINDS: dict[str, Callable[[Any], Shape]] = {
    "enum": _enum,
    "struct": _struct,
    "pydantic": _pydantic,
    "attrs": _attrs,
    "dataclass": _dataclass,
}


def _taker(cls: type, names: tuple[str, ...]) -> Callable[[Any], tuple[_State]]:
    known = frozenset(names)

    def take(instance: Any) -> tuple[_State]:
        try:
            state = {name: getattr(instance, name) for name in names}
        except AttributeError as error:
            raise Refused(f"a field of {cls.__qualname__} is not set: {error}") from None
        others: Iterable[str] = getattr(instance, "__dict__", {}).keys() - known
        for name in others:
            if not isinstance(getattr(cls, name, None), functools.cached_property):
                raise Refused(f"a {cls.__qualname__} in it has an attribute {name!r} that is no field")
        return (state,)

    return take


def _checker(cls: type, names: tuple[str, ...], defaults: Mapping[str, Any]) -> Callable[[_State], None]:
    """Raises ``Refused`` for a stored state that cannot be one of the class, as it is now."""
    known = frozenset(names)

    def check(state: _State) -> None:
        if type(state) is not dict:
            raise TypeError("a state is a dict")
        if state.keys() == known:
            return
        for name in state.keys() - known:
            raise Refused(
                f"it holds a {cls.__qualname__} with a field {name!r:.60}, which the class has no longer, "
                "or not yet on this server; give it back to the class"
            )
        for name in known - state.keys() - defaults.keys():
            raise Refused(
                f"it holds a {cls.__qualname__} that was stored without its field {name!r}; "
                "give that a default"
            )

    return check


def _first(value: Any, _: Any) -> Any:
    return value


def _ignoring(make: Callable[[], Any]) -> _Default:
    return lambda _: make()

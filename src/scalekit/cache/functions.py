"""What was decorated: a function or what a class makes of one, and the role of each of its parameters.

Rules:

* *key*: the parameter's value is a part of the question. *caller*: by its annotation it takes what belongs to
  one caller (a session, a request) and nothing else. *ignored*: named in ``ignore``. *self*: the instance or
  the class that a method is called on.
* ``self`` and ``cls`` are no part of the question, so all instances share results, unless ``identity`` says
  what of them is.
* A plain function is a method if it was defined in a class and its first parameter is called ``self`` or
  ``cls``: under ``@staticmethod`` the first parameter is data, and nothing else tells them apart yet.
"""

import inspect
import logging
import re
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

from scalekit.errors import ConfigurationError, WrongColour

log = logging.getLogger("scalekit.cache")

Role = Literal["key", "caller", "ignored", "self"]
Kind = Literal["function", "method", "classmethod", "staticmethod", "property"]

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
_REQUESTS = {
    ("starlette", "HTTPConnection"),
    ("werkzeug", "Request"),
    ("django", "HttpRequest"),
}
_callers_own: dict[type, bool] = {}


def is_callers_own(cls: type) -> bool:
    """Whether values of ``cls`` belong to one caller (a session, a request): they never enter a key."""
    known = _callers_own.get(cls)
    if known is None:
        known = _callers_own[cls] = _is_one_of(cls, _CALLERS_OWN)
    return known


def is_request(cls: type) -> bool:
    """Whether values of ``cls`` are a visitor's requests."""
    return _is_one_of(cls, _REQUESTS)


def _is_one_of(cls: type, known: set[tuple[str, str]]) -> bool:
    return any((base.__module__.partition(".")[0], base.__name__) in known for base in cls.__mro__)


class Parameter(NamedTuple):
    """One parameter of a cached function."""

    name: str
    role: Role
    kind: Any
    """As ``inspect.Parameter.kind``."""
    default: Any
    """``inspect.Parameter.empty`` without one."""


class Decorated(NamedTuple):
    """A function, and what stood around it when it was decorated."""

    function: Callable[..., Any]
    kind: Kind
    around: Any
    """The classmethod, staticmethod or property object, or the function itself."""

    @property
    def takes_self(self) -> bool:
        return self.kind in ("method", "classmethod", "property")

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)


def decorated(thing: Any) -> Decorated:
    """What ``thing`` is.

    Raises:
        ConfigurationError: results of it cannot be cached.
    """
    if isinstance(thing, staticmethod | classmethod):
        kind: Kind = "staticmethod" if isinstance(thing, staticmethod) else "classmethod"
        function: Any = thing.__func__
    elif isinstance(thing, property):
        kind, function = "property", thing.fget
    else:
        kind, function = "function", thing
    if isinstance(thing, type) or not isinstance(function, types.FunctionType):
        raise ConfigurationError(
            f"cache.query wraps a function, a method, a classmethod, a staticmethod or a property, "
            f"not a {type(function if function is not None else thing).__name__}"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(f"{function.__qualname__} is a generator; return a list")
    first = next(iter(inspect.signature(function).parameters), None)
    if kind in ("classmethod", "property") and first is None:
        raise ConfigurationError(f"{function.__qualname__} is a {kind} that takes no argument")
    if kind == "function" and first in ("self", "cls") and _is_in_a_class(function):
        kind = "method"
    return Decorated(function, kind, thing)


def refuse_coroutine(result: Any, *, name: str) -> None:
    """Say of a plain function that it returned a coroutine: another decorator hides an ``async def``.

    Raises:
        WrongColour: it did.
    """
    if inspect.iscoroutine(result):
        result.close()
        raise WrongColour(
            found="async",
            wanted="sync",
            what=f"{name}, a plain def,",
            kind="result",
            cure="it wraps an async def: write that wrapper as an async def, which awaits it, or put the "
            "cache's decorator under it",
        )


def parameters_of(
    function: Callable[..., Any], *, name: str, ignore: Iterable[str], takes_self: bool
) -> tuple[Parameter, ...]:
    """The parameters of ``function``, each with its role.

    Raises:
        ConfigurationError: ``ignore`` names none of them.
    """
    found = inspect.signature(function).parameters
    ignored = frozenset(ignore)
    unknown = ignored - found.keys()
    if unknown:
        raise ConfigurationError(f"ignore={sorted(unknown)!r}: {name} has no such parameter")
    hints = hints_of(function)

    def role(place: int, name: str) -> Role:
        if takes_self and place == 0:
            return "self"
        if name in ignored:
            return "ignored"
        return "caller" if says_callers_own(hints.get(name)) else "key"

    parameters = tuple(
        Parameter(name, role(place, name), value.kind, value.default)
        for place, (name, value) in enumerate(found.items())
    )
    for parameter in parameters:
        if parameter.role == "caller" and says_request(hints[parameter.name]):
            tell_request(name, parameter.name)
    return parameters


def tell_request(name: str, parameter: str) -> None:
    """Say that all visitors share what is computed with one visitor's request."""
    log.warning(
        "%s takes a request, %s, which is no part of the key: what it computes for one visitor is served to "
        "all who call it with the same other arguments. Give it what it needs of the request instead, such "
        "as a user's id; cache pages with @cache.response; if nothing depends on the request: ignore=[%r]",
        name,
        parameter,
        parameter,
    )


def _is_in_a_class(function: types.FunctionType) -> bool:
    holder = function.__qualname__.rpartition(".")[0]
    return bool(holder) and not holder.endswith("<locals>")


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Annotations, resolved if they can be; names imported for the type checker alone stay strings."""
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        return dict(getattr(function, "__annotations__", {}))


def says_request(annotation: Any) -> bool:
    """Whether an annotation that :func:`says_callers_own` names a request."""
    if isinstance(annotation, str):
        return not {"Request", *(name for _, name in _REQUESTS)}.isdisjoint(re.findall(r"\w+", annotation))
    cls = typing.get_origin(annotation) or annotation
    parts = typing.get_args(annotation)
    return (isinstance(cls, type) and is_request(cls)) or any(map(says_request, parts))


def says_callers_own(annotation: Any) -> bool:
    """Whether an annotation names what belongs to one caller, and nothing else."""
    if isinstance(annotation, str):
        return not {name for _, name in _CALLERS_OWN}.isdisjoint(re.findall(r"\w+", annotation))
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        # One that may also be data has to be given, or the question would not say which.
        return all(part is type(None) or says_callers_own(part) for part in typing.get_args(annotation))
    if origin is typing.Annotated:
        return says_callers_own(typing.get_args(annotation)[0])
    cls = annotation if origin is None else origin
    return isinstance(cls, type) and is_callers_own(cls)

"""What an application is made of: its middlewares in order, and the objects that matter."""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any, cast

from scalekit.errors import ConfigurationError
from scalekit.ops.doctor import django, stack
from scalekit.ops.doctor.findings import masked
from scalekit.ops.doctor.load import Loaded, kind, takes
from scalekit.ops.doctor.walk import is_a, kinds, layers, walk

_FUNCTIONS = (FunctionType, MethodType, partial)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """An application, taken apart.

    Args:
        name: how it was asked for.
        layers: its middlewares, the outermost first, the application itself last.
        things: every object that it, its module, or what was named besides leads to, with the way to each.
        used: the functions that the application itself leads to.
        django: whether Django is inside.
    """

    name: str
    layers: tuple[stack.Layer, ...]
    things: tuple[tuple[str, Any], ...]
    used: tuple[FunctionType, ...]
    django: bool

    def of(self, *names: str) -> list[tuple[str, Any]]:
        """The objects of these classes, each with where it was found."""
        return [(self.where(way), thing) for way, thing in self.things if is_a(thing, *names)]

    def where(self, way: str) -> str:
        """A way, for people, who need not know what is private."""
        shown = ".".join(part for part in way.split(".") if not part.startswith("_"))
        return f"{self.name}, {shown}" if shown else self.name

    def calls(self, *names: str) -> bool:
        """Whether a function that is used names one of these."""
        return any(not set(names).isdisjoint(one.__code__.co_names) for one in self.used)


def take_apart(app: Loaded, also: Iterable[Loaded] = ()) -> Parts:
    """The parts of an application, and of what was named besides.

    Raises:
        ConfigurationError: it is no application, or its middlewares cannot be made.
    """
    if not callable(app.thing) or isinstance(app.thing, type | ModuleType):
        raise ConfigurationError(
            f"{app.name} is no application but {kind(app.thing)}; --factory calls what returns one"
        )
    if _needs_nothing(app.thing):
        # Else it would be an application in which nothing is found.
        raise ConfigurationError(
            f"{app.name} takes no request; is it what returns the application? Add --factory"
        )
    if _takes_something_else(app.thing):
        raise ConfigurationError(
            f"{app.name} is no application: those of ASGI take (scope, receive, send), those of WSGI "
            "(environ, start_response); if it returns one, name a function without arguments that calls it, "
            "with --factory"
        )
    try:
        found = layers(app.thing)
    # Whatever a middleware of the application's raises when it is made.
    except Exception as error:
        reason = masked(f"{type(error).__name__}: {error}")
        raise ConfigurationError(f"{app.name} cannot be built: {reason:.500}") from error
    own = [(type(layer).__name__, layer) for layer in found]
    order = [stack.Layer(type(layer).__name__, kinds(layer)) for layer in found]
    inside = any(map(django.is_django, found))
    if inside:
        own += django.roots()
        order += django.layers()
    used = tuple(thing for _, thing in walk(own) if type(thing) is FunctionType)
    named = [pair for one in (app, *also) for pair in _globals(one)]
    given = [(one.name, one.thing) for one in also]
    return Parts(
        name=app.name,
        layers=tuple(order),
        things=tuple(walk([*given, *named, *own])),
        used=used,
        django=inside,
    )


def _globals(loaded: Loaded) -> list[tuple[str, object]]:
    return [
        (name, value)
        for name, value in vars(loaded.module).items()
        if not name.startswith("__") and value is not loaded.thing
    ]


def _takes_something_else(thing: object) -> bool:
    """Whether it is a function that neither an ASGI nor a WSGI server could call."""
    return type(thing) in _FUNCTIONS and takes(thing, 2) is False and takes(thing, 3) is False


def _needs_nothing(thing: object) -> bool:
    """Whether it is a function that is called without anything, as none is that answers requests."""
    if type(thing) not in _FUNCTIONS:
        return False
    parameters = inspect.signature(cast("FunctionType", thing), follow_wrapped=False).parameters.values()
    return all(one.default is not one.empty or one.kind is one.VAR_KEYWORD for one in parameters)

"""Cached methods, classmethods and properties: ``obj.m(1)``, ``obj.m.invalidate(1)``.

A cached function itself is a real function, which frameworks look at. What it can do besides has to know the
instance that it was taken from, and a method of Python's passes that on only when it is called. So a class
holds one of these instead:

>>> class Shop:
...     @cache.query(ttl=60)
...     async def top(self, category: str) -> list[Row]: ...
>>> await shop.top("books")
>>> await shop.top.refresh("books")
"""

import inspect
import sys
from collections.abc import Callable
from functools import partial, update_wrapper
from types import MethodType
from typing import Any

from scalekit.cache.functions import Decorated
from scalekit.errors import ConfigurationError

VERBS = ("invalidate", "key", "refresh", "bypass")


# A partial: it calls the function without a detour, and `inspect` looks through it.
class Bound(partial[Any]):
    __slots__ = ()

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self.func.__doc__

    def invalidate(self, *args: Any, **kwargs: Any) -> Any:
        return self.func.invalidate(*self.args, *args, **kwargs)  # type: ignore[attr-defined]

    def key(self, *args: Any, **kwargs: Any) -> Any:
        return self.func.key(*self.args, *args, **kwargs)  # type: ignore[attr-defined]

    def refresh(self, *args: Any, **kwargs: Any) -> Any:
        return self.func.refresh(*self.args, *args, **kwargs)  # type: ignore[attr-defined]

    def bypass(self, *args: Any, **kwargs: Any) -> Any:
        return self.func.bypass(*self.args, *args, **kwargs)  # type: ignore[attr-defined]

    @property
    def __self__(self) -> Any:
        return self.args[0]

    @property
    def __func__(self) -> Any:
        return self.func

    @property
    def __wrapped__(self) -> Any:
        return MethodType(self.func.__wrapped__, self.args[0])  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:  # its name, module, documentation
        return getattr(self.func, name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bound):
            return NotImplemented
        return self.func is other.func and self.args[0] is other.args[0]

    def __hash__(self) -> int:
        return hash((self.func, id(self.args[0])))


class CachedMethod:
    """A cached function in a class.

    Args:
        of_class: it is called on the class, however it is reached.
    """

    def __init__(self, function: Any, *, of_class: bool) -> None:
        update_wrapper(self, function)  # the verbs too; these take the instance first
        self.__wrapped__ = function.__wrapped__
        self.function = function
        self._of_class = of_class
        if not of_class and next(iter(inspect.signature(function).parameters)) == "cls":
            for verb in VERBS:
                setattr(self, verb, _classless(function, verb))
        if sys.version_info >= (3, 12) and inspect.iscoroutinefunction(function):
            inspect.markcoroutinefunction(self)  # under @classmethod Python looks at this object

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if self._of_class:
            return Bound(self.function, type(instance) if owner is None else owner)
        return self.function if instance is None else Bound(self.function, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def _classless(function: Any, verb: str) -> Callable[..., Any]:
    """Under ``@classmethod`` Python 3.13 gives the class to calls alone."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise ConfigurationError(
            f"{function.__qualname__}.{verb}(): Python hides the class from it; "
            "write @cache.query(...) above @classmethod"
        )

    return refuse


class CachedProperty(property):
    """A cached property. What it can do besides takes the instance: ``Shop.total.invalidate(shop)``."""

    def __init__(self, function: Any, around: property) -> None:
        super().__init__(function, around.fset, around.fdel)
        self.__doc__ = around.__doc__
        self.__wrapped__ = around
        for verb in VERBS:
            setattr(self, verb, getattr(function, verb))


def in_place_of(decorated: Decorated, function: Any) -> Any:
    """What stands where ``decorated`` stood, now that ``function`` is its cached twin."""
    if decorated.kind == "staticmethod":
        return staticmethod(function)
    if decorated.kind == "property":
        return CachedProperty(function, decorated.around)
    if decorated.takes_self:
        return CachedMethod(function, of_class=decorated.kind == "classmethod")
    return function

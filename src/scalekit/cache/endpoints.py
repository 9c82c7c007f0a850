"""``@cache.response``: a cached page, in front of the function that makes it.

It stands where the function stands, so all that a framework does before still happens for each request:
dependencies are resolved, guards may refuse. Only the function and the making of the response are left out
(see :mod:`scalekit.cache.pages`).

* What the function is given is told by its parameters' names. The ``self`` that a method of a view class is
  called on is not.
* A call outside of a request runs the function, as without a cache.
"""

import inspect
import sys
from collections.abc import Callable, Coroutine
from functools import partial, update_wrapper
from types import FunctionType
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from scalekit._steps import run, run_async
from scalekit.cache.functions import decorated
from scalekit.cache.pages import Exchange, Pages
from scalekit.cache.response import Rules
from scalekit.errors import ConfigurationError
from scalekit.types import Colour

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_NO_REQUEST = "it was made outside of a request"


class AsyncPage(Protocol[P, T_co]):
    """An ``async def`` whose pages are kept."""

    __name__: str
    __wrapped__: Callable[..., Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T_co]: ...

    async def invalidate(self, *paths: str) -> None:
        """Drop all variants of these pages, on every server. Paths are as in the address bar.

        Raises:
            BackendError: the back end could not be told.
            ConfigurationError: one is no path: a URL, one with a query, a list.
            TypeError: there is none.
        """


class SyncPage(Protocol[P, T_co]):
    """A ``def`` whose pages are kept."""

    __name__: str
    __wrapped__: Callable[..., Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co: ...

    def invalidate(self, *paths: str) -> None:
        """Drop all variants of these pages, on every server; see :meth:`AsyncPage.invalidate`."""


class ResponseDecorator:
    """What ``Cache.response`` returns."""

    def __init__(self, cache: Any, *, rules: Rules, name: str | None, options: dict[str, Any]) -> None:
        self._cache, self._rules, self._name, self._options = cache, rules, name, options

    def pages(self, name: str, colour: Colour) -> Pages:
        """The pages of what is called ``name``, unless the user has called it something else."""
        options = dict(self._options)
        return Pages(self._cache, name=self._name or name, colour=colour, rules=self._rules, options=options)

    @overload
    def __call__(  # type: ignore[overload-overlap]  # the first that fits is meant
        self, function: Callable[P, Coroutine[Any, Any, T]]
    ) -> AsyncPage[P, T]: ...

    @overload
    def __call__(self, function: Callable[P, T]) -> SyncPage[P, T]: ...

    def __call__(self, function: Callable[..., Any]) -> Any:
        if not isinstance(function, FunctionType):
            raise ConfigurationError(
                f"cache.response wraps a function, not a {type(function).__name__}: put it under the "
                "route's decorator"
            )
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError(f"{function.__qualname__} is a generator; what is streamed is not kept")
        unknown = set(self._rules.ignore) - inspect.signature(function).parameters.keys()
        if unknown:
            raise ConfigurationError(
                f"ignore={sorted(unknown)!r}: {function.__qualname__} has no such parameter"
            )
        colour: Colour = "async" if inspect.iscoroutinefunction(function) else "sync"
        pages = self.pages(f"{function.__module__}.{function.__qualname__}", colour)
        find = _Finder(function, colour)
        wrap = _wrap_async if colour == "async" else _wrap_sync
        cached = wrap(function, pages, find.exchange, _Given(function))
        update_wrapper(cached, function)
        find.sign(cached)
        return cached


class _Given:
    """What a function is called with, by name: frameworks give nearly all of it so."""

    def __init__(self, function: FunctionType) -> None:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(function).parameters
        self._names = [name for name, value in parameters.items() if value.kind in kinds]
        # By keyword it is what a dependency has made, with the visitor in it perhaps.
        self._first = 1 if decorated(function).takes_self else 0

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
        names = [*self._names, *(f"argument {place}" for place in range(len(self._names), len(args)))]
        return [*zip(names[self._first :], args[self._first :], strict=False), *kwargs.items()]


def _wrap_async(function: Callable[..., Any], pages: Pages, find: Callable[..., Any], given: _Given) -> Any:
    async def cached(*args: Any, **kwargs: Any) -> Any:
        exchange = find(args, kwargs)
        if exchange is None:
            pages.tell("a call", _NO_REQUEST)
            return await function(*args, **kwargs)
        call = partial(function, *args, **kwargs)
        return await run_async(pages.serve(exchange, call, given=given(args, kwargs)))

    async def invalidate(*paths: str) -> None:
        await pages._cache.invalidate_tags(*pages.tags(paths))

    cached.invalidate = invalidate  # type: ignore[attr-defined]
    return cached


def _wrap_sync(function: Callable[..., Any], pages: Pages, find: Callable[..., Any], given: _Given) -> Any:
    def cached(*args: Any, **kwargs: Any) -> Any:
        exchange = find(args, kwargs)
        if exchange is None:
            pages.tell("a call", _NO_REQUEST)
            return function(*args, **kwargs)
        call = partial(function, *args, **kwargs)
        return run(pages.serve(exchange, call, given=given(args, kwargs)))

    def invalidate(*paths: str) -> None:
        pages._cache.invalidate_tags_sync(*pages.tags(paths))

    cached.invalidate = invalidate  # type: ignore[attr-defined]
    return cached


class _Finder:
    """Finds the request that a call belongs to: one of Starlette among its arguments, or Flask's."""

    def __init__(self, function: FunctionType, colour: Colour) -> None:
        self._function = function
        self._colour: Colour = colour
        self._endpoint: Any = None

    def sign(self, cached: Any) -> None:
        """Have FastAPI give the wrapper what it needs. Who has FastAPI has imported it by now."""
        endpoint = self._starlette()
        if endpoint is not None:
            endpoint.sign(cached)

    def exchange(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Exchange | None:
        """``None``: there is none. Takes out of ``kwargs`` what the function has not asked for."""
        endpoint = self._starlette()
        if endpoint is not None:
            found: Exchange | None = endpoint.exchange(args, kwargs)
            if found is not None:
                return found
        if "flask" in sys.modules:
            from scalekit.cache.flask import exchange

            return exchange()
        return None

    def _starlette(self) -> Any:
        # Where there is none, this does not import it either; a route may be defined before it is.
        if self._endpoint is None and "starlette.requests" in sys.modules:
            from scalekit.cache.starlette import Endpoint

            self._endpoint = Endpoint(self._function, self._colour)
        return self._endpoint

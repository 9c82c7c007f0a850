"""A cached function: called like the one it wraps, with what a cached one can do besides."""

from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from scalekit._steps import Steps, run, run_async
from scalekit.cache._core import Core
from scalekit.cache.calls import Calls
from scalekit.cache.functions import Decorated
from scalekit.cache.keys import Keys
from scalekit.cache.methods import in_place_of
from scalekit.cache.query import Call, Query
from scalekit.cache.templates import Templates
from scalekit.errors import BackendError

P = ParamSpec("P")
Q = ParamSpec("Q")
S = TypeVar("S")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
C_co = TypeVar("C_co", covariant=True)


class AsyncCached(Protocol[P, T_co]):
    """A cached ``async def``. In a class it binds as a method does."""

    __name__: str
    __wrapped__: Callable[..., Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T_co]: ...

    @overload
    def __get__(self, instance: None, owner: type, /) -> "AsyncCached[P, T_co]": ...

    @overload
    def __get__(
        self: "AsyncCached[Concatenate[S, Q], T]", instance: S, owner: type | None = None, /
    ) -> "AsyncCached[Q, T]": ...

    async def invalidate(self, *args: Any, **kwargs: Any) -> None:
        """Drop the result for these arguments, on every server.

        A session or a request, and what ``ignore`` names, may be left out: ``invalidate(category="books")``.

        Raises:
            BackendError: the back end could not be told.
            TypeError: an argument that enters the key is missing.
        """

    def key(self, *args: Any, **kwargs: Any) -> str:
        """The key for these arguments, without the back end's prefix."""
        ...

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T_co]:
        """Run the function now and store what it returns in place of what is there."""
        ...

    def bypass(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T_co]:
        """Run the function without the cache: nothing is read from it, and nothing stored."""
        ...


class SyncCached(Protocol[P, T_co]):
    """A cached ``def``. As :class:`AsyncCached`, with plain calls."""

    __name__: str
    __wrapped__: Callable[..., Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co: ...

    @overload
    def __get__(self, instance: None, owner: type, /) -> "SyncCached[P, T_co]": ...

    @overload
    def __get__(
        self: "SyncCached[Concatenate[S, Q], T]", instance: S, owner: type | None = None, /
    ) -> "SyncCached[Q, T]": ...

    def invalidate(self, *args: Any, **kwargs: Any) -> None:
        """Drop the result for these arguments, on every server; see :meth:`AsyncCached.invalidate`."""

    def key(self, *args: Any, **kwargs: Any) -> str:
        """The key for these arguments, without the back end's prefix."""
        ...

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> T_co:
        """Run the function now and store what it returns in place of what is there."""
        ...

    def bypass(self, *args: P.args, **kwargs: P.kwargs) -> T_co:
        """Run the function without the cache: nothing is read from it, and nothing stored."""
        ...


class InClass(Protocol[C_co]):
    """A cached classmethod, as a class has it.

    A type checker may take a function for one whose first parameter may be anything, so it can be called.
    """

    __name__: str
    __wrapped__: Callable[..., Any]
    invalidate: Callable[..., Any]
    key: Callable[..., str]
    refresh: Callable[..., Any]
    bypass: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

    def __get__(self, instance: Any, owner: type | None = None, /) -> C_co: ...


def wrap(
    decorated: Decorated, *, core: Core, query: Query, keys: Keys, templates: Templates
) -> tuple[Any, Any]:
    """The cached twin of a function, and what stands in its place in a class.

    The first is a real function: frameworks look at its signature, and at whether it is a coroutine function.
    """
    calls = Calls(
        decorated,
        core=core,
        keys=keys,
        templates=templates,
        keeps_arguments=query.afresh is not None,
    )
    make = _async if decorated.is_async else _sync
    fetch, get, verbs = make(decorated.function, calls, core, query)
    cached: Any = calls.compile(get) or fetch
    update_wrapper(cached, decorated.function)
    for verb in verbs:
        setattr(cached, verb.__name__, verb)
    cached.key = calls.key
    return cached, in_place_of(decorated, cached)


def _refreshed(core: Core, query: Query, call: Call) -> Steps[Any]:
    """What ``call`` gives by a run of the function that has not begun yet."""
    # If the back end cannot be told, it is not believed either until it has been.
    with suppress(BackendError):
        yield from core.invalidation.drop(query.via, keys={call.key}, tags=set())
    return (yield from core.fetch(query, call))


def _async(function: Any, calls: Calls, core: Core, query: Query) -> Any:
    async def fetch(*args: Any, **kwargs: Any) -> Any:
        return await get(calls.of(args, kwargs))

    async def get(call: Call) -> Any:
        entry = calls.kept(call)
        if entry is None:
            return await run_async(core.fetch(query, call))
        core.counter.local_hit()
        return entry.value if entry.decode is None else entry.decode(entry.value)

    async def invalidate(*args: Any, **kwargs: Any) -> None:
        await run_async(core.invalidation.drop(query.via, keys={calls.to_drop(*args, **kwargs)}, tags=set()))

    async def refresh(*args: Any, **kwargs: Any) -> Any:
        return await run_async(_refreshed(core, query, calls.of(args, kwargs)))

    async def bypass(*args: Any, **kwargs: Any) -> Any:
        core.count("bypasses")
        return await function(*args, **kwargs)

    return fetch, get, (invalidate, refresh, bypass)


def _sync(function: Any, calls: Calls, core: Core, query: Query) -> Any:
    def fetch(*args: Any, **kwargs: Any) -> Any:
        return get(calls.of(args, kwargs))

    def get(call: Call) -> Any:
        entry = calls.kept(call)
        if entry is None:
            return run(core.fetch(query, call))
        core.counter.local_hit()
        return entry.value if entry.decode is None else entry.decode(entry.value)

    def invalidate(*args: Any, **kwargs: Any) -> None:
        run(core.invalidation.drop(query.via, keys={calls.to_drop(*args, **kwargs)}, tags=set()))

    def refresh(*args: Any, **kwargs: Any) -> Any:
        return run(_refreshed(core, query, calls.of(args, kwargs)))

    def bypass(*args: Any, **kwargs: Any) -> Any:
        core.count("bypasses")
        return function(*args, **kwargs)

    return fetch, get, (invalidate, refresh, bypass)

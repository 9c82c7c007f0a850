"""A cached function: called like the one it wraps, with what a cached one can do besides."""

from collections.abc import Callable, Coroutine
from functools import update_wrapper
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from scalekit._steps import run, run_async
from scalekit.cache._core import Call, Core, Query
from scalekit.cache.keys import Keys

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class AsyncCached(Protocol[P, T_co]):
    """A cached ``async def``."""

    __name__: str
    __wrapped__: Callable[..., Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T_co]: ...

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


class SyncCached(Protocol[P, T_co]):
    """A cached ``def``. As :class:`AsyncCached`, with plain calls."""

    __name__: str
    __wrapped__: Callable[..., Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co: ...

    def invalidate(self, *args: Any, **kwargs: Any) -> None:
        """Drop the result for these arguments, on every server; see :meth:`AsyncCached.invalidate`."""

    def key(self, *args: Any, **kwargs: Any) -> str:
        """The key for these arguments, without the back end's prefix."""
        ...


def _question(keys: Keys) -> Callable[..., str]:
    def key(*args: Any, **kwargs: Any) -> str:
        return keys.key(keys.bind_question(args, kwargs))[0]

    return key


def _call(keys: Keys, tags: tuple[str, ...], function: Callable[..., Any], args: Any, kwargs: Any) -> Call:
    arguments = keys.bind(args, kwargs)
    key, left_out = keys.key(arguments)
    return Call(
        key=key,
        local=key,
        tags=tags,
        run=lambda: function(*args, **kwargs),
        left_out=left_out,
        arguments=arguments,
    )


def wrap_async(
    function: Callable[P, Coroutine[Any, Any, T]],
    *,
    core: Core,
    query: Query,
    keys: Keys,
    tags: tuple[str, ...],
) -> AsyncCached[P, T]:
    async def cached(*args: P.args, **kwargs: P.kwargs) -> T:
        result: T = await run_async(core.fetch(query, _call(keys, tags, function, args, kwargs)))
        return result

    key = _question(keys)

    async def invalidate(*args: Any, **kwargs: Any) -> None:
        await run_async(core.invalidation.drop(query.via, keys={key(*args, **kwargs)}, tags=set()))

    return cast("AsyncCached[P, T]", _dress(cached, function, invalidate, key))


def wrap_sync(
    function: Callable[P, T], *, core: Core, query: Query, keys: Keys, tags: tuple[str, ...]
) -> SyncCached[P, T]:
    def cached(*args: P.args, **kwargs: P.kwargs) -> T:
        result: T = run(core.fetch(query, _call(keys, tags, function, args, kwargs)))
        return result

    key = _question(keys)

    def invalidate(*args: Any, **kwargs: Any) -> None:
        run(core.invalidation.drop(query.via, keys={key(*args, **kwargs)}, tags=set()))

    return cast("SyncCached[P, T]", _dress(cached, function, invalidate, key))


def _dress(cached: Any, function: Callable[..., Any], invalidate: Any, key: Any) -> Any:
    # A real function: frameworks look at its signature, and at whether it is a coroutine function.
    update_wrapper(cached, function)
    cached.invalidate, cached.key = invalidate, key
    return cached

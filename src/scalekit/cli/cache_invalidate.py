"""Drop results on every server: all that read a TABLE or carry a TAG, those of some calls, or everything.

A TABLE is called as in the database, with its schema if the model has one: products, or shop.products. For
--call the application is imported, under the name that its servers import it by:

--call 'shop.products:top_products(category="books")'

It is for data that were changed behind the application's back; what the application commits drops what it
changes. It is done when it returns, and doing it twice does no harm.
"""

import argparse
import inspect
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from scalekit.cli._caches import add_cache, colour_of, find_cache
from scalekit.cli._call import Call, parse_call
from scalekit.cli._objects import load_object, refuse_factory
from scalekit.cli._redis_url import PATIENCE
from scalekit.cli._stop import drive
from scalekit.cli._values import counted
from scalekit.errors import BackendError, ConfigurationError, ScalekitError

if TYPE_CHECKING:
    from collections.abc import Callable

    from scalekit._steps import Steps
    from scalekit.cache import Cache
    from scalekit.cli._terminal import Terminal
    from scalekit.types import Colour

SUMMARY = "drop results on every server"

T = TypeVar("T")

_PAUSE = 0.25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tags", nargs="*", metavar="TABLE|TAG", help="what has changed")
    parser.add_argument(
        "--call",
        action="append",
        default=[],
        metavar="CALL",
        help="the result of this call of a cached function; may be given again",
    )
    parser.add_argument(
        "--everything", action="store_true", help="all results: the next calls all run their functions"
    )
    add_cache(parser)


def run(arguments: argparse.Namespace, terminal: "Terminal") -> int:
    given = bool(arguments.tags) + bool(arguments.call) + arguments.everything
    if given != 1:
        what = "what? Give" if given == 0 else "only one of these at a time: give"
        raise ConfigurationError(f"{what} tables and tags, or --call CALL, or --everything")
    if arguments.call:
        _drop_calls(arguments)
        what = counted(len(arguments.call), "result")
        facts: dict[str, Any] = {"calls": arguments.call}
    elif arguments.everything:
        _drop(arguments)
        what, facts = "everything", {"everything": True}
    else:
        unknown = _drop(arguments)
        for tag in unknown:
            terminal.problem(f"nothing that is cached reads {tag}; is it called so?")
        what, facts = ", ".join(arguments.tags), {"tags": arguments.tags, "unknown": unknown}
    terminal.record({"done": True} | facts)
    terminal.say(f"dropped: {what}")
    return 0


def _drop(arguments: argparse.Namespace) -> list[str]:
    """Drop tags, or everything; returns the tags that the back end has nothing of."""
    cache = find_cache(arguments)
    colour = colour_of(cache)
    if colour == "sync":
        drop, clear, close = cache.invalidate_tags_sync, cache.clear_sync, cache.close_sync
    else:
        drop, clear, close = cache.invalidate_tags, cache.clear, cache.close  # type: ignore[assignment]

    def steps() -> "Steps[list[str]]":
        unknown: list[str] = []
        try:
            if arguments.everything:
                yield from _patiently(lambda: _asked(clear), colour)
            else:
                unknown = yield from _patiently(lambda: _unknown(cache, arguments.tags, colour), colour)
                yield from _patiently(lambda: _asked(lambda: drop(*arguments.tags)), colour)
        finally:
            yield close()
        return unknown

    return drive(steps(), colour)


def _unknown(cache: "Cache", names: list[str], colour: "Colour") -> "Steps[list[str]]":
    from scalekit.cache.backend import Lookup
    from scalekit.cache.tags import tags_of

    tags = tags_of(*names, where="cache invalidate")
    (found,) = yield from cache.backend.using(colour).read([Lookup("asked:by-hand", tags)])
    return [tag for tag, record in zip(tags, found.tags[1:], strict=True) if record is None]


def _drop_calls(arguments: argparse.Namespace) -> None:
    if (arguments.cache, arguments.redis, arguments.prefix) != (None, None, None):
        raise ConfigurationError(
            "the function of a --call knows its cache; leave out --cache, --redis and --prefix"
        )
    refuse_factory(arguments, without="--cache")
    calls = [parse_call(text) for text in arguments.call]
    functions = [
        load_object(
            call.target,
            arguments,
            wanted="cached function",
            fits=_is_cached,
            option="--call",
            factories=False,
        )
        for call in calls
    ]
    for call, function in zip(calls, functions, strict=True):
        colour: Colour = "async" if inspect.iscoroutinefunction(function.__wrapped__) else "sync"
        try:
            drive(_patiently(partial(_drop_call, function, call), colour), colour)
        except ScalekitError:
            raise
        except TypeError as error:
            raise ConfigurationError(f"{call.target} is not called so: {error}") from None


def _drop_call(function: Any, call: Call) -> "Steps[None]":
    yield function.invalidate(*call.args, **call.kwargs)


def _patiently(ask: "Callable[[], Steps[T]]", colour: "Colour") -> "Steps[T]":
    """Ask, and again for a while if that fails: an application's time-outs are those of its requests."""
    deadline = time.monotonic() + PATIENCE
    first: BackendError | None = None  # a later one may say no more than that the circuit breaker is open
    while True:
        try:
            return (yield from ask())
        except BackendError as error:
            first = first or error
            if time.monotonic() > deadline:
                raise first from None
        yield _pause(colour)


def _asked(method: "Callable[[], Any]") -> "Steps[None]":
    yield method()


def _pause(colour: "Colour") -> Any:
    if colour == "sync":
        return time.sleep(_PAUSE)
    import asyncio

    return asyncio.sleep(_PAUSE)


def _is_cached(thing: Any) -> bool:
    return callable(getattr(thing, "invalidate", None)) and callable(getattr(thing, "key", None))

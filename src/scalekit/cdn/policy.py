"""Which dynamic responses a CDN may keep, for how long, and under which tags.

Nothing is kept that nobody has opted in: a :class:`CachePolicy` says it of one endpoint, as its decorator, or
of paths, in the middleware. And in doubt nothing is: one visitor's page in another's browser is the worst
that a cache can do. Rules:

* **Private, whatever the application says**: a response with ``Set-Cookie``, one whose ``Vary`` names
  ``Cookie`` or ``Authorization``, one to a request with ``Authorization``, and one for which the session was
  looked at. That holds for all responses, opted in or not. ``Cache-Control`` says ``private`` then, and all
  that speaks to shared caches alone goes: ``s-maxage``, ``CDN-Cache-Control`` and its like.
* **Private as well**, of those that are opted in: what answers a request with a cookie that is not in
  ``ignore_cookies``, or one whose query spells a parameter of ``query`` as no browser would. What reads a
  cookie past the session is not seen.
* GET and HEAD are opted in; the statuses 200, 206, 301, 304, 308, 404 and 410. Of others nobody is to keep
  anything, if the application does not say otherwise: they get ``no-store``.
* What the application says stays, and of two lifetimes the shorter holds (see ``_directives``). Where it says
  ``private``, ``no-store`` or ``no-cache``, ``Expires`` without a lifetime, ``Pragma: no-cache`` or
  ``Vary: *``, it has opted out of this one response, and nothing is added.
* What is not opted in is left as it is; with ``others="private"`` it gets ``private, no-store``, unless it
  has a ``Cache-Control`` of its own.
* A response with more tags than the CDN keeps could not be purged, and is private.
* What is said of stale responses goes where the CDN reads it: into ``CDN-Cache-Control`` if there is one,
  else into ``Cache-Control``, where browsers read it too.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, isroutine, signature
from typing import Any, NamedTuple, TypeVar, cast

from scalekit._durations import Duration, seconds
from scalekit._http import is_field_name
from scalekit._options import check_items, check_text
from scalekit.cdn import _exchange
from scalekit.cdn._cache_tags import check_templates, places, spelled
from scalekit.cdn._directives import Stale, stale
from scalekit.errors import ConfigurationError

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

_LONGEST = 2**31  # RFC 9111, 1.2.2
_PERSONAL = ("*", "authorization", "cookie")


class Lifetimes(NamedTuple):
    """Those of a policy, in seconds."""

    browser: int
    shared: int | None
    cdn: int | None
    stale: Stale


@dataclass(frozen=True, kw_only=True)
class CachePolicy:
    """For how long who may keep a response. Checked when built; also a decorator of endpoints.

    Durations are seconds or ``timedelta``, in whole seconds.

    Args:
        max_age: for browsers, which nobody can call back. Default 0: they ask each time.
        shared_max_age: for shared caches, as ``s-maxage``; ``None``: as ``max_age``.
        cdn_max_age: for the CDN, as ``CDN-Cache-Control``, which other caches do not read; ``None``: as
            ``shared_max_age``, without a header of its own.
        stale_while_revalidate: how long after that it may still be answered with, while it is fetched anew.
        stale_if_error: the same, while the origin does not answer, or with 500, 502, 503 or 504.
        tags: by which it is purged. What stands in braces is a parameter of the endpoint, or a place in the
            path: ``["products", "product:{sku}"]``.
        vary: request headers that the page depends on; they are added to ``Vary``.
        drop_vary: headers that are taken out of ``Vary``, because the page does not depend on them.
        ignore_cookies: names of cookies that do not change the page; ``*`` stands for any characters.
        query: parameters that the page depends on; others are not shown to the application, and they come
            sorted. ``None`` (default): the query stays as it is. For paths of the middleware only.
        query_redirect: send the visitor to the address with the query in that form, by a 308.

    Raises:
        ConfigurationError: nobody may keep anything, or a name or a tag is none.
    """

    max_age: Duration = 0
    shared_max_age: Duration | None = None
    cdn_max_age: Duration | None = None
    stale_while_revalidate: Duration = 0
    stale_if_error: Duration = 0
    tags: Iterable[str] = ()
    vary: Iterable[str] = ()
    drop_vary: Iterable[str] = ()
    ignore_cookies: Iterable[str] = ()
    query: Iterable[str] | None = None
    query_redirect: bool = False
    _lifetimes: Lifetimes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found: list[int | None] = []
        for name in ("max_age", "shared_max_age", "cdn_max_age", "stale_while_revalidate", "stale_if_error"):
            given = getattr(self, name)
            found.append(None if given is None else min(int(seconds(given, name=name)), _LONGEST))
            self._set(name, found[-1])
        browser, shared, cdn, while_revalidate, if_error = found
        if not (browser or shared or cdn):
            raise ConfigurationError(
                "a CachePolicy without max_age=, shared_max_age= or cdn_max_age= lets nobody keep anything; "
                "give one of a second or more, or no policy"
            )
        self._set("tags", check_templates(self.tags, option="tags="))
        for name in ("vary", "drop_vary"):
            self._set(name, _header_names(getattr(self, name), option=f"{name}="))
        if {"accept-encoding", *self.vary} & set(self.drop_vary):
            raise ConfigurationError("drop_vary= names Accept-Encoding or what is in vary=, which is needed")
        for name in ("ignore_cookies", "query"):
            given = getattr(self, name)
            if given is not None:
                self._set(name, _texts(given, option=f"{name}="))
        if self.query_redirect and self.query is None:
            raise ConfigurationError("query_redirect=True needs query=, the parameters that are left")
        said = stale(while_revalidate=while_revalidate or 0, if_error=if_error or 0)
        self._set("_lifetimes", Lifetimes(browser or 0, shared, cdn, said))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def __call__(self, endpoint: Endpoint) -> Endpoint:
        """Opt an endpoint in. It stands right above the function, *under* the route's decorator: the other
        way round the framework has taken the bare function already, and nothing is opted in.

        Where the endpoint, or what guards it, raises, nothing is opted in.

        Raises:
            ConfigurationError: it is no function, or a generator, a tag names no parameter of it, or there is
                ``query=``.
        """
        if not isroutine(endpoint):
            raise ConfigurationError(
                f"a CachePolicy decorates functions, not a {type(endpoint).__name__}; put it right above the "
                "function, or the method of a class, and the route's decorator above it"
            )
        if isgeneratorfunction(endpoint) or isasyncgenfunction(endpoint):
            raise ConfigurationError(
                f"{endpoint.__qualname__} is a generator: it runs when its headers have left, and may "
                "read the session then, or fail; if it does not, give this policy to the middleware, "
                "policies={'/path': ...}"
            )
        if self.query is not None:
            raise ConfigurationError(
                "query= comes too late in a decorator: the application has seen the query by then; give this "
                "policy to the middleware, policies={'/path': ...}"
            )
        known = signature(endpoint)
        unknown = set[str]().union(*map(places, self.tags)) - set(known.parameters)
        if unknown:
            raise ConfigurationError(
                f"tags={list(self.tags)!r}: {endpoint.__qualname__}() has no parameter "
                f"{', '.join(sorted(unknown))}; it has {', '.join(known.parameters) or 'none'}"
            )

        def opt_in(args: Any, kwargs: Any) -> None:
            given = known.bind_partial(*args, **kwargs)
            given.apply_defaults()
            _exchange.opt_in(self, given.arguments)

        @wraps(endpoint)
        async def asynchronous(*args: Any, **kwargs: Any) -> Any:
            result = await endpoint(*args, **kwargs)
            opt_in(args, kwargs)
            return result

        @wraps(endpoint)
        def synchronous(*args: Any, **kwargs: Any) -> Any:
            result = endpoint(*args, **kwargs)
            opt_in(args, kwargs)
            return result

        return cast(Endpoint, asynchronous if iscoroutinefunction(endpoint) else synchronous)


def add_tags(*tags: str) -> None:
    """Add tags to the response of the current request, for what only the endpoint knows.

    What a tag cannot hold, such as spaces, is percent-encoded, as it is in what fills a template. Outside of
    a request, and of the middleware, it does nothing.

    Raises:
        ConfigurationError: one is no text, or empty.
    """
    for tag in tags:
        check_text(tag, option="tags", wanted="texts, such as 'product:7'")
    _exchange.add_tags([spelled(tag) for tag in tags])


def _texts(values: Iterable[str], *, option: str) -> tuple[str, ...]:
    found = check_items(values, option=option)
    for value in found:
        if not isinstance(value, str) or not value:
            raise ConfigurationError(f"{option}: {value!r:.60} is no name")
    return found


def _header_names(names: Iterable[str], *, option: str) -> tuple[str, ...]:
    found = tuple(name.lower() for name in _texts(names, option=option))
    for name in found:
        if not is_field_name(name) or name in _PERSONAL:
            raise ConfigurationError(
                f"{option}: {name!r} is no name of a header, or one that makes the page one visitor's"
            )
    return found

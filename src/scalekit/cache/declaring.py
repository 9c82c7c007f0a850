"""How functions are declared to be cached: ``cache.query``, ``cache.batch``, ``cache.response``, and options.

What is said is checked as it is said, before there is a function.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, TypeVar

from scalekit._durations import Duration, seconds
from scalekit._options import check_function, check_items, check_text
from scalekit.cache._core import Core, Via
from scalekit.cache.afresh import Factory
from scalekit.cache.backend import MAX_TAGS
from scalekit.cache.batch import BatchDecorator
from scalekit.cache.decorating import QueryDecorator
from scalekit.cache.definitions import Definitions
from scalekit.cache.endpoints import ResponseDecorator
from scalekit.cache.functions import Decorated
from scalekit.cache.options import Life, Patience
from scalekit.cache.response import rules
from scalekit.cache.tags import tags_of
from scalekit.errors import ConfigurationError
from scalekit.types import SecretKey

P = ParamSpec("P")
T = TypeVar("T")


def _with_parentheses(method: Callable[P, T]) -> Callable[P, T]:
    """Of ``@cache.query`` without them Python says that it counts two arguments."""

    @wraps(method)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        if len(args) > 1:
            name = method.__name__
            raise ConfigurationError(f"cache.{name} takes its options by name: write @cache.{name}(ttl=60)")
        return method(*args, **kwargs)

    return checked


class CacheDecorators(ABC):
    """A :class:`scalekit.cache.Cache` as those see it who write functions, and as the decorators do."""

    _core: Core
    _definitions: Definitions
    _session: Factory | None

    @abstractmethod
    def _via_for(self, this: Decorated, name: str) -> Via:
        """The way to the back end of a function called ``name``."""

    @_with_parentheses
    def query(
        self,
        *,
        ttl: Duration,
        reads: Iterable[object] = (),
        tags: Iterable[str] = (),
        ignore: Iterable[str] = (),
        name: str | None = None,
        identity: Callable[[Any], Any] | None = None,
        jitter: float = 0.1,
        early_refresh: float = 0.0,
        stale_while_revalidate: Duration = 0.0,
        stale_if_error: Duration = 0.0,
        soft_timeout: Duration | None = None,
        hard_timeout: Duration | None = None,
        throttle: Duration = 1.0,
        session: Factory | None = None,
        cache_if: Callable[[Any], bool] | None = None,
        pickle_key: SecretKey | None = None,
    ) -> QueryDecorator:
        """Cache what a function returns, a ``def`` or an ``async def``.

        Its return annotation says how a result is read back. Sessions, connections, requests and responses
        among its arguments do not enter the key. A function that takes a request is warned of in the log,
        unless ``ignore`` names it: its results are for all visitors.

        Args:
            ttl: seconds that a result is served at most.
            reads: what the function reads: mapped classes, tables, or names of tables. A commit that changes
                one of them, in a session that :meth:`watch` knows, drops the results.
            tags: more names to drop them by, with :meth:`invalidate_tags`. ``"product:{id}"`` is another one
                for each value of the parameter ``id``.
            ignore: parameters that do not change the result; they are left out of the key.
            name: the function's identity in the keys; default its module and qualified name.
            identity: of a method: what of ``self`` (or ``cls``) enters the key, as in
                ``identity=lambda self: self.tenant``. Without it all instances share results.
            jitter: the part of ``ttl``, 0 to 0.5, by which it is shortened at random for each result.
            early_refresh: how eagerly a result is computed anew in the background before it ends (XFetch's
                beta): 1 is the usual eagerness, 0 (default) never does.
            stale_while_revalidate: seconds after its end for which a result is served at once, while it is
                computed anew in the background.
            stale_if_error: seconds after its end for which a result is served if the function fails, or takes
                longer than ``soft_timeout``.
            soft_timeout: seconds that a caller waits if such a result is at hand. The function goes on in the
                background.
            hard_timeout: seconds that a caller waits at all. Then :class:`~scalekit.errors.QueryTimeout`, or
                what ``stale_if_error`` lets it have. An ``async def`` is cancelled; a ``def`` goes on in its
                thread, and what it returns is stored.
            throttle: seconds between two attempts while the function fails and a result is served instead.
            session: what makes a session for runs in the background, which never use a caller's; default the
                cache's own. It is entered around each of them: for a function that takes no session it may be
                ``app.app_context``.
            cache_if: which results are stored, by the result: ``bool`` stores none that is empty, and without
                it ``None`` and empty lists are results like any other.
            pickle_key: one secret or several (the last one signs, all are accepted): results are pickled and
                signed. For what nothing else can write; without it nothing is ever unpickled.

        Raises:
            ConfigurationError: an option is wrong, the return annotation cannot be used, or another function
                of this cache has the same name. One that is defined again, in a module that was reloaded or a
                cell of a notebook, takes the place of the former.
            WrongColour: an ``async def`` with a synchronous client, or the reverse.

        Calls raise :class:`~scalekit.errors.UncacheableArgument` for an argument that has no stable key, and
        :class:`~scalekit.errors.UncacheableResult` for a result that would not come back as it was.
        """
        _check_called(name, cache_if)
        all_tags = _all_tags(reads, tags)
        life = Life(
            ttl,
            jitter=jitter,
            stale_while_revalidate=stale_while_revalidate,
            stale_if_error=stale_if_error,
            early_refresh=early_refresh,
        )
        patience = Patience(soft_timeout=soft_timeout, hard_timeout=hard_timeout, throttle=throttle)
        ignored = check_items(ignore, option="ignore=")
        return QueryDecorator(
            self,
            life=life,
            patience=patience,
            tags=all_tags,
            ignore=ignored,
            name=name,
            identity=identity,
            cache_if=cache_if,
            session=session,
            pickle_key=pickle_key,
        )

    @_with_parentheses
    def batch(
        self,
        *,
        ttl: Duration,
        reads: Iterable[object] = (),
        tags: Iterable[str] = (),
        over: str | None = None,
        ignore: Iterable[str] = (),
        name: str | None = None,
        identity: Callable[[Any], Any] | None = None,
        jitter: float = 0.1,
        cache_if: Callable[[Any], bool] | None = None,
        pickle_key: SecretKey | None = None,
    ) -> BatchDecorator:
        """Cache what a function returns for many ids, each by itself.

        The function takes a list of ids, besides a session or whatever else, and returns a dict of results by
        id. A call asks the back end once for all ids, and the function once for those it does not have. Ids
        that another process or task is computing are waited for. An id that is not in the function's dict is
        not in the result either, and is remembered as absent.

        Args:
            over: the parameter that takes the ids; by default the only one that is annotated as a list, a
                tuple, a set or another series.
            tags: as for :meth:`query`. ``"product:{id}"`` is another one for each id.
            cache_if: as for :meth:`query`; ``None`` stands for what is absent.

        The other options and the errors are as for :meth:`query`. There is none for runs in the background or
        time-outs. Counts are by id.
        """
        _check_called(name, cache_if)
        return BatchDecorator(
            self,
            life=Life(ttl, jitter=jitter),
            tags=_all_tags(reads, tags),
            ignore=check_items(ignore, option="ignore="),
            over=over,
            name=name,
            identity=identity,
            cache_if=cache_if,
            pickle_key=pickle_key,
        )

    @_with_parentheses
    def response(
        self,
        *,
        ttl: Duration,
        reads: Iterable[object] = (),
        tags: Iterable[str] = (),
        vary: Iterable[str] = (),
        ignore_cookies: Iterable[str] = (),
        ignore: Iterable[str] = (),
        max_age: Duration = 0,
        max_size: int = 1_048_576,
        name: str | None = None,
    ) -> ResponseDecorator:
        """Cache the page that an endpoint of FastAPI or Starlette, or a view of Flask, makes.

        For pages that are the same for everybody. What is not is not kept, and is returned as it is: requests
        with ``Authorization`` or cookies, responses that set a cookie or are private, runs that read the
        session (all rules: :mod:`scalekit.cache.response`). Put it under the route's decorator.

        Args:
            ttl: seconds that a page is kept at most.
            reads: as of :meth:`query`.
            tags: as of :meth:`query`.
            vary: request headers that the page depends on, such as ``"accept-language"``.
            ignore_cookies: cookies that do not change the page; ``"_ga*"`` stands for all that begin so.
            ignore: parameters of the function that do not change the page, such as a service object. All else
                that it is given enters the key, as the user of a dependency does.
            max_age: seconds that browsers and proxies may keep the page without asking. 0 (default) has them
                ask each time, and get a 304: nobody can recall what they keep.
            max_size: bytes of the largest body that is kept, 1 MiB by default.
            name: the endpoint's identity in the keys; default its module and qualified name.

        Returns:
            A decorator. What it makes has a method ``invalidate("/path", ...)`` besides, which drops all
            variants of these pages.

        Raises:
            ConfigurationError: an option is wrong.
        """
        _check_called(name)
        return ResponseDecorator(
            self,
            rules=rules(
                vary=check_items(vary, option="vary="),
                ignore_cookies=check_items(ignore_cookies, option="ignore_cookies="),
                ignore=check_items(ignore, option="ignore="),
                max_age=seconds(max_age, name="max_age"),
                max_size=max_size,
            ),
            name=name,
            options={"ttl": ttl, "reads": check_items(reads, option="reads="), "tags": tags},
        )


def _check_called(name: object, cache_if: object = None) -> None:
    if name is not None:
        check_text(name, option="name=", wanted="the function's name in the keys, as text")
    if cache_if is not None:
        check_function(cache_if, option="cache_if=", wanted="a function of the result, such as bool")
        if iscoroutinefunction(cache_if) or iscoroutinefunction(getattr(cache_if, "__call__", None)):  # noqa: B004
            raise ConfigurationError(
                "cache_if= must be a plain function of the result, no async def: a coroutine is always true"
            )


def _all_tags(reads: Iterable[object], tags: Iterable[str]) -> tuple[str, ...]:
    tables = tags_of(*check_items(reads, option="reads="), where="reads=")
    names = tags_of(*check_items(tags, option="tags="), where="tags=")
    found = tuple(sorted({*tables, *names}))
    if len(found) > MAX_TAGS:
        raise ConfigurationError(f"{len(found)} tags; a result has at most {MAX_TAGS}")
    return found

"""The pages of one function, in a cache: what is looked up, run, and kept of it.

Rules about what is kept: :mod:`scalekit.cache.response`.

* Pages go through a cached function like any other: leases, tags and commits work as they do there.
* What is not kept goes to the one caller whose request made it, never to those who wait for it: each of them
  runs the function for itself. So it is with an error, if it may be one visitor's.
* What the function is given enters the key: it may be one visitor's. Sessions and requests do not, nor what
  is named in ``ignore``. What has no stable spelling cannot, and then nothing is kept.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, unquote_to_bytes

from scalekit._options import check_items
from scalekit._steps import Steps, run, run_async
from scalekit.cache.functions import is_callers_own
from scalekit.cache.response import Kept, Rules, answer, is_whole, keep, objection, refusal, variant
from scalekit.cache.spelling import Unspeakable, spell
from scalekit.errors import ConfigurationError
from scalekit.types import Colour, Headers

_log = logging.getLogger("scalekit.cache")
_NOT_RUN = object()


class Parts(NamedTuple):
    """What a response is made of."""

    status: int
    headers: Headers
    body: bytes


class Exchange(Protocol):
    """One request, whatever framework brought it."""

    method: str
    origin: str
    """Scheme and host."""
    path: str
    """As the visitor sees it, with what the application is mounted at."""
    target: str
    """What tells pages of one path apart: how it was spelled, and what the application is asked for, where
    something has rewritten it."""
    query: str
    headers: Headers
    """The request's."""
    given: Headers
    """Of the response, set before the function is called: they belong to this request."""

    def is_personal(self) -> bool:
        """Whether the response depends on this visitor: the session was looked at."""
        ...

    def parts(self, result: Any, /) -> Any:
        """:class:`Parts` of what the function returned, or why there is no body at hand; a value or an
        awaitable of it.
        """

    def make(self, parts: Parts) -> Any:
        """A response that the framework takes."""


class _Visit:
    """One run of the function, if it comes to that."""

    def __init__(self, exchange: Exchange, call: Callable[[], Any], pages: "Pages") -> None:
        self.exchange, self._call, self._pages = exchange, call, pages
        self.result: Any = _NOT_RUN
        self.error: Exception | None = None

    def steps(self) -> Steps[Kept | None]:
        try:
            self.result = yield self._call()
        except Exception as error:
            self._pages.tell(self.exchange.path, f"it raised {type(error).__name__}")
            # An HTTP error may have headers, and others a response. Else nobody is told more than they could
            # have been told themselves.
            if not (self.exchange.is_personal() or _has_a_response(error)):
                raise
            self.error = error
            return None
        parts: Parts | str = yield self.exchange.parts(self.result)
        rules = self._pages.rules
        why: str | None = "the session was read" if self.exchange.is_personal() else None
        if isinstance(parts, str):
            why = why or parts
        elif not is_whole(parts.headers, parts.body):
            why = why or "its body is not as long as its Content-Length"
        else:
            why = why or refusal(parts.status, parts.headers, rules, size=len(parts.body))
            if why is None:
                return keep(parts.status, parts.headers, parts.body, rules, now=time.time())
        self._pages.tell(self.exchange.path, why)
        return None


class Pages:
    """The pages of one function in a cache: ``lookup`` is cached, and asked with what tells pages apart."""

    def __init__(
        self, cache: Any, *, name: str, colour: Colour, rules: Rules, options: dict[str, Any]
    ) -> None:
        self.name, self.rules, self.colour = name, rules, colour
        self.count: Callable[[str], None] = cache._core.count
        self._cache = cache
        self._told: set[str] = set()
        # One tag for a page: all of its hosts, queries and variants.
        tags = check_items(options.pop("tags"), option="tags=")
        decorator = cache.query(
            **options,
            tags=(*tags, "page:{place}"),
            name=f"{name} (page)",
            ignore=("visit",),
            cache_if=_is_kept,
        )
        decorator.refuses_again = True  # what is one visitor's today will be so tomorrow
        self._lookup: Any = decorator(_lookup_async if colour == "async" else _lookup_sync)

    def serve(
        self, exchange: Exchange, call: Callable[[], Any], *, given: Sequence[tuple[str, Any]] = ()
    ) -> Steps[Any]:
        """The response to a request; ``call`` runs the function with what it is ``given``."""
        why = self._objection(exchange)
        asked = ""
        if why is None and given:
            try:
                asked = self._asked(given)
            except Unspeakable as unspeakable:
                why = str(unspeakable)
                self._warn(why)
        if why is not None:
            self.passes(exchange.path, why)
            return (yield call())
        visit = _Visit(exchange, call, self)
        kept = yield self._lookup(
            self.place(exchange.path),
            exchange.method,
            exchange.origin,
            exchange.target,
            exchange.query,
            asked,
            variant(exchange.headers, self.rules),
            visit,
        )
        if kept is not None:
            return exchange.make(Parts(*answer(kept, exchange.headers, now=time.time())))
        self.count("passes")
        if visit.error is not None:
            raise visit.error
        if visit.result is not _NOT_RUN:
            return visit.result
        # Somebody else's run, and what it made was theirs.
        return (yield call())

    def _objection(self, exchange: Exchange) -> str | None:
        """Why the page is not for everybody, if that is known before it is made."""
        why = objection(exchange.method, exchange.headers, self.rules)
        if why is None and exchange.is_personal():
            why = "the session was read"
        return why or refusal(200, exchange.given, self.rules)

    def _asked(self, given: Iterable[tuple[str, Any]]) -> str:
        """What the function is given, as a part of the key.

        Raises:
            Unspeakable: something in it has no stable spelling; the message says what.
        """
        digest = blake2b(digest_size=16)
        for name, value in given:
            if name not in self.rules.ignore and not is_callers_own(type(value)):
                try:
                    digest.update(spell((name, value)))
                except Unspeakable as unspeakable:
                    raise Unspeakable(
                        f"it is given {name}, a {unspeakable}, which cannot enter a key"
                    ) from None
        return digest.hexdigest()

    def _warn(self, why: str) -> None:
        """Say once what keeps all of its pages out of the cache."""
        if why not in self._told:
            self._told.add(why)
            _log.warning(
                "%s: none of its pages is kept: %s; if they do not depend on it, name it in "
                "cache.response(ignore=[...])",
                self.name,
                why,
            )

    def passes(self, path: str, why: str) -> None:
        """A request goes by the cache."""
        self.count("passes")
        self.tell(path, why)

    def tell(self, path: str, why: str) -> None:
        """Say why a page is not kept, to whoever asks for that."""
        _log.debug("%s: the response to %s is not kept: %s", self.name, path, why)

    def place(self, path: str) -> str:
        path = quote(unquote_to_bytes(path))  # however it is spelled
        return blake2b(f"{self.name}\0{path}".encode(), digest_size=16).hexdigest()

    def tags(self, paths: tuple[str, ...]) -> list[str]:
        """What drops the pages of these paths.

        Raises:
            ConfigurationError: one is no path, so that it would drop nothing.
            TypeError: there is none.
        """
        if not paths:
            raise TypeError(
                f"{self.name}: invalidate() wants the paths of pages, such as invalidate('/about'); give all "
                "of them a tag, such as tags=['front'], to drop them together: cache.invalidate_tags('front')"
            )
        return [f"page:{self.place(_checked(path))}" for path in paths]


def _checked(path: Any) -> str:
    if not isinstance(path, str):
        raise ConfigurationError(f"invalidate({path!r:.60}): give paths one by one, as in invalidate(*paths)")
    if not path.startswith("/"):
        raise ConfigurationError(
            f"invalidate({path!r:.120}): a path begins with '/', without scheme and host, such as '/about'; "
            "the pages of all hosts are dropped together"
        )
    if "?" in path or "#" in path:
        raise ConfigurationError(
            f"invalidate({path!r:.120}): a path ends before the '?' or '#'; the pages of all queries are "
            f"dropped together: invalidate({re.split('[?#]', path)[0]!r:.120})"
        )
    return path


def _is_kept(kept: Kept | None) -> bool:
    return kept is not None


def _has_a_response(error: Exception) -> bool:
    return bool(getattr(error, "headers", None)) or any(
        is_callers_own(type(value)) for value in (*error.args, *vars(error).values())
    )


async def _lookup_async(
    place: str, method: str, origin: str, target: str, query: str, asked: str, variant: str, visit: Any
) -> Kept | None:
    kept: Kept | None = await run_async(visit.steps())
    return kept


def _lookup_sync(
    place: str, method: str, origin: str, target: str, query: str, asked: str, variant: str, visit: Any
) -> Kept | None:
    kept: Kept | None = run(visit.steps())
    return kept

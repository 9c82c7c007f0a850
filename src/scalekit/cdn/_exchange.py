"""One request and its response, as the rules of :mod:`scalekit.cdn.policy` see them. No I/O.

The middleware makes an exchange and lays it where a decorated endpoint finds it, in whatever thread or task
of the request that runs: what is kept in the context is the same object everywhere.
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scalekit._http import get, make_private, replace
from scalekit.cdn import _personal
from scalekit.cdn._cache_tags import fill
from scalekit.cdn._directives import forbidding, has_lifetime, stricter, targeted
from scalekit.types import Headers

if TYPE_CHECKING:
    from scalekit.cdn.policy import CachePolicy

_log = logging.getLogger("scalekit.cdn")
_current: ContextVar["Exchange | None"] = ContextVar("scalekit.cdn.exchange", default=None)
_told: set[str] = set()

_STATUSES = frozenset({200, 206, 301, 304, 308, 404, 410})
# What an application says about caches, itself.
_SPEAKING = frozenset({b"cache-control", b"expires", b"pragma"})
_SPACED = frozenset({b"surrogate-key", b"xkey"})  # Fastly and Varnish; others take commas


@dataclass(frozen=True, kw_only=True)
class Wire:
    """What the CDN reads, and how much of it."""

    cdn_headers: tuple[bytes, ...]
    tag_headers: tuple[bytes, ...]
    max_tags: int
    others: str


class Exchange:
    """One request.

    Args:
        wire: what the CDN reads.
        method, path, headers: of the request.

    ``doubt`` is why nobody is to keep the response though it is opted in, where the request gives a reason.
    """

    __slots__ = ("_opted", "_tags", "doubt", "headers", "method", "path", "wire")

    def __init__(self, wire: Wire, method: str, path: str, headers: Headers) -> None:
        self.wire, self.method, self.path, self.headers = wire, method, path, headers
        self._opted: list[tuple[CachePolicy, Mapping[str, Any]]] = []
        self._tags: list[str] = []
        self.doubt: str | None = None

    def opt_in(self, policy: "CachePolicy", values: Mapping[str, Any]) -> None:
        self._opted.append((policy, values))

    def add_tags(self, tags: Iterable[str]) -> None:
        self._tags += tags

    def enter(self) -> "Token[Exchange | None]":
        """From now on, and until :func:`leave`, the endpoint that runs finds this exchange."""
        return _current.set(self)

    def respond(self, status: int, headers: Headers, *, session: object) -> None:
        """Edit the headers of the response, in place; they are final but for this."""
        policies = [policy for policy, _ in self._opted] if self.method in ("GET", "HEAD") else []
        tags = self._all_tags(headers) if policies else []
        why = _personal.reason(self.headers, headers, session=session)
        if why is None and policies:
            why = self.doubt or _personal.cookie(self.headers, [policy.ignore_cookies for policy in policies])
        if why is None and len(tags) > self.wire.max_tags:
            why = f"it has {len(tags)} tags, more than max_tags={self.wire.max_tags}"
        if why is not None:
            make_private(headers)
            if policies:
                _log.debug("%.200r is private: %s", self.path, why)
        elif not policies:
            if self.wire.others == "private" and get(headers, b"cache-control") is None:
                headers.append((b"cache-control", b"private, no-store"))
        elif status not in _STATUSES:
            if not any(name.lower() in _SPEAKING for name, _ in headers):
                headers.append((b"cache-control", b"no-store"))
        elif (out := _opted_out(headers)) is not None:
            _log.debug("%.200r is left as it is: %s", self.path, out)
        else:
            for policy in policies:
                self._apply(policy, headers)
            for name in self.wire.tag_headers if tags else ():
                replace(headers, name, (b" " if name in _SPACED else b",").join(tags))

    def _all_tags(self, headers: Headers) -> list[bytes]:
        """Those of the application's own first; each once."""
        own = b" ".join(get(headers, name) or b"" for name in self.wire.tag_headers).replace(b",", b" ")
        filled = [fill(template, values) for policy, values in self._opted for template in policy.tags]
        return list(dict.fromkeys([*own.split(), *(tag.encode("ascii") for tag in [*filled, *self._tags])]))

    def _apply(self, policy: "CachePolicy", headers: Headers) -> None:
        said = get(headers, b"cache-control")
        browser, shared, cdn, stale = policy._lifetimes
        names = self.wire.cdn_headers
        if cdn is None:
            # Where the CDN has a header of its own that is what it reads, whoever gave it that.
            names = tuple(name for name in names if get(headers, name) is not None)
            cdn = browser if shared is None else shared
        if names:
            for name in names:
                made = targeted(get(headers, name), general=said, cdn=cdn, stale=stale)
                if made is not None:
                    replace(headers, name, made)
            stale = ()  # browsers read the general header, too, and are to ask when they are told to
        made = stricter(said, browser=browser, shared=shared, stale=stale)
        replace(headers, b"cache-control", made)
        if policy.vary or policy.drop_vary:
            _vary(headers, add=list(policy.vary), drop=set(policy.drop_vary))


def _opted_out(headers: Headers) -> str | None:
    """Why the application does not want this one response to be kept."""
    said = get(headers, b"cache-control")
    if (found := forbidding(said)) is not None:
        return f"its Cache-Control says {found}"
    if b"*" in (get(headers, b"vary") or b""):
        return "its Vary is *"
    if not has_lifetime(said):
        if b"no-cache" in (get(headers, b"pragma") or b"").lower():
            return "its Pragma says no-cache"
        if get(headers, b"expires") is not None:
            return "it has Expires, and no max-age"
    return None


def _vary(headers: Headers, *, add: Collection[str], drop: Collection[str]) -> None:
    present = get(headers, b"vary")
    before = [part.strip() for part in (present or b"").split(b",") if part.strip()]
    fields = {field.lower(): field for field in [name.encode() for name in add][::-1] + before[::-1]}
    kept = [field for name, field in reversed(fields.items()) if name.decode("latin-1") not in drop]
    if kept != before:
        replace(headers, b"vary", b", ".join(kept))
        if not kept:
            del headers[-1]


leave = _current.reset


def opt_in(policy: "CachePolicy", values: Mapping[str, Any]) -> None:
    """The endpoint of the current request has run, and is opted in."""
    exchange = _current.get()
    if exchange is not None:
        exchange.opt_in(policy, values)
    elif "missing" not in _told:
        _told.add("missing")
        _log.warning(
            "an endpoint with a CachePolicy runs without PolicyMiddleware of scalekit.cdn.asgi or "
            "scalekit.cdn.wsgi around the application, which would send what it says"
        )


def add_tags(tags: Iterable[str]) -> None:
    """Add to the response of the current request."""
    exchange = _current.get()
    if exchange is not None:
        exchange.add_tags(tags)

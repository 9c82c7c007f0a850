"""Where a request starts: on the primary, or on the replicas. Pure."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Literal, NamedTuple, TypeAlias

from scalekit._options import check_items
from scalekit.errors import ConfigurationError

Start: TypeAlias = Literal["reads", "writes"]
"""``"reads"``: may read from replicas from the start. ``"writes"``: starts on the primary."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that change nothing (RFC 9110, 9.2.1), and so may read from a replica."""

# What a route may name: IANA's registry without those of versioned folders, and two that are in use.
_METHODS = SAFE_METHODS | {
    "ACL", "BIND", "CONNECT", "COPY", "DELETE", "LINK", "LOCK", "MERGE", "MKCALENDAR", "MKCOL", "MOVE",
    "PATCH", "POST", "PROPFIND", "PROPPATCH", "PURGE", "PUT", "QUERY", "REBIND", "REPORT", "SEARCH", "UNBIND",
    "UNLINK", "UNLOCK",
}  # fmt: skip

_PLACEHOLDER = re.compile(r"(?<=/)\{\w+(:(?!path\})\w+)?\}(?=/|$)")  # FastAPI's, of one segment
_CURE = (
    "write '/path', 'POST /path', '/orders/{id}' or '/below/*', the path as the application knows it and one "
    "space after the method"
)


class _Pattern(NamedTuple):
    """A route that stands for several paths.

    Args:
        method: its method, or nothing.
        text: with which they all begin.
        rest: what comes after that; ``None`` for whatever there is.
        writes: whether they start on the primary.
        length: longer ones go before.
    """

    method: str
    text: str
    rest: re.Pattern[str] | None
    writes: bool
    length: int


class Starts:
    """Tells requests that may write from those that read.

    Args:
        safe_methods: methods of requests that read.
        routes: exceptions: ``"/path"`` or ``"METHOD /path"``, a ``{name}`` standing for one segment, and a
            trailing ``*`` for whatever follows. What fits without those counts, or else the longest; one with
            a method before one without.

    Raises:
        ConfigurationError: a route that is none, or another word than ``"reads"`` and ``"writes"``.
    """

    def __init__(self, safe_methods: Iterable[str], routes: Mapping[str, Start]) -> None:
        self._safe = frozenset(check_items(safe_methods, option="safe_methods="))
        if not isinstance(routes, Mapping):
            raise ConfigurationError(
                f"routes= must be a mapping, such as {{'POST /search': 'reads'}}, not {type(routes).__name__}"
            )
        self._exact: dict[tuple[str, str], bool] = {}
        patterns: dict[tuple[str, str], _Pattern] = {}
        for route, start in routes.items():
            if start not in ("reads", "writes"):
                raise ConfigurationError(f"routes= says {start!r} of {route!r}; use 'reads' or 'writes'")
            method, path = self._parsed(route)
            if path.endswith("*") or "{" in path:
                patterns[method, path] = _pattern(method, path, writes=start == "writes")
            else:
                self._exact[method, path] = start == "writes"
        # The longest first, and of two as long the one that names a method.
        self._patterns = sorted(patterns.values(), key=lambda one: (-one.length, not one.method))

    def _parsed(self, route: object) -> tuple[str, str]:
        if not isinstance(route, str):
            raise ConfigurationError(f"routes= has a {type(route).__name__} as a route; {_CURE}")
        method, space, path = route.rpartition(" ")
        plain = _PLACEHOLDER.sub("", path)
        if (
            not path.startswith("/")
            or "*" in path[:-1]
            or set(plain) & {*"{}<>"}
            or bool(method) != bool(space)
            or method.strip() != method
        ):
            raise ConfigurationError(f"routes= has {route!r}; {_CURE}")
        if method and method.upper() not in _METHODS | self._safe:
            close = get_close_matches(method.upper(), _METHODS, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ConfigurationError(f"routes= has {route!r}, and {method} is no HTTP method{hint}")
        return method.upper(), path

    def on_primary(self, method: str, path: str) -> bool:
        """Whether a request starts on the primary."""
        for key in ((method, path), ("", path)) if self._exact else ():
            if key in self._exact:
                return self._exact[key]
        for wanted, text, rest, writes, _ in self._patterns:
            if (
                wanted in ("", method)
                and path.startswith(text)
                and (rest is None or rest.fullmatch(path, len(text)))
            ):
                return writes
        return method not in self._safe


def _pattern(method: str, path: str, *, writes: bool) -> _Pattern:
    text = path.removesuffix("*")
    first = _PLACEHOLDER.search(text)
    if first is None:
        return _Pattern(method, text, None, writes, len(text))
    plain = _PLACEHOLDER.sub("*", text)
    start = first.start()
    rest = re.escape(plain[start:]).replace(r"\*", "[^/]+") + (".*" if path.endswith("*") else "")
    return _Pattern(method, text[:start], re.compile(rest, re.DOTALL), writes, len(plain))

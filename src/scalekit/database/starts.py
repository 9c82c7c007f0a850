"""Where a request starts: on the primary, or on the replicas. Pure."""

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

from scalekit._options import check_items
from scalekit.errors import ConfigurationError

Start: TypeAlias = Literal["reads", "writes"]
"""``"reads"``: may read from replicas from the start. ``"writes"``: starts on the primary."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that change nothing (RFC 9110, 9.2.1), and so may read from a replica."""


class Starts:
    """Tells requests that may write from those that read.

    Args:
        safe_methods: methods of requests that read.
        routes: exceptions: ``"/path"`` or ``"METHOD /path"``, a trailing ``*`` standing for whatever follows.
            The longest that fits counts, one with a method before one without.

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
        prefixes: dict[tuple[str, str], bool] = {}
        for route, start in routes.items():
            if start not in ("reads", "writes"):
                raise ConfigurationError(f"routes= says {start!r} of {route!r}; use 'reads' or 'writes'")
            method, space, path = route.rpartition(" ")
            if not path.startswith("/") or "*" in path[:-1] or bool(method) != bool(space):
                raise ConfigurationError(
                    f"routes= has {route!r}; write '/path', 'POST /path' or '/below/*', the path as the "
                    "application knows it"
                )
            found = prefixes if path.endswith("*") else self._exact
            found[method.upper(), path.removesuffix("*")] = start == "writes"
        # The longest first, and of two as long the one that names a method.
        order = sorted(prefixes, key=lambda key: (-len(key[1]), not key[0]))
        self._prefixes = [(*key, prefixes[key]) for key in order]

    def on_primary(self, method: str, path: str) -> bool:
        """Whether a request starts on the primary."""
        for key in ((method, path), ("", path)) if self._exact else ():
            if key in self._exact:
                return self._exact[key]
        for wanted, prefix, writes in self._prefixes:
            if wanted in ("", method) and path.startswith(prefix):
                return writes
        return method not in self._safe

"""``Cache-Control`` and its targeted kin (RFC 9111, 5.2; RFC 9213): read, and made stricter. Pure.

Rules:

* What the application says stays. Of two lifetimes the shorter one holds; one that is no number is 0.
* Browsers go by ``max-age``; shared caches by ``s-maxage``, else by ``max-age``; a CDN by the header that is
  meant for it, else as a shared cache. So what the application says to one of them, it says to those that
  would go by it.
* ``stale-while-revalidate`` and ``stale-if-error`` (RFC 5861) are not added where the application says
  ``must-revalidate`` or ``proxy-revalidate``.
"""

import re
from functools import lru_cache
from typing import TypeAlias

Directives: TypeAlias = dict[str, str | None]
"""By their names in lower case, in their order; ``None`` where there is no value."""

Stale: TypeAlias = tuple[tuple[str, int], ...]
"""How many seconds a stale response may serve, by the directive's name."""

# Each of these says that no shared cache is to answer with the response by itself.
_FORBIDDING = ("no-store", "private", "no-cache")
_PART = re.compile(r"""\s*([^\s=,;"]+)\s*(?:=\s*("(?:[^"\\]|\\.)*"|[^,]*))?[^,]*(?:,|$)""")
_REVALIDATE = ("must-revalidate", "proxy-revalidate")
_STALE = ("stale-while-revalidate", "stale-if-error")


def parse(value: bytes | None) -> Directives:
    """The first of each name, as caches take it."""
    found: Directives = {}
    for name, argument in _PART.findall("" if value is None else value.decode("latin-1")):
        found.setdefault(name.lower(), argument.strip() or None)
    return found


def write(directives: Directives) -> bytes:
    """As they are written, in a dictionary of structured fields too (RFC 8941, 3.2)."""
    parts = (name if value is None else f"{name}={value}" for name, value in directives.items())
    return ", ".join(parts).encode("latin-1")


def lifetime(directives: Directives, *names: str) -> int | None:
    """Seconds by the first of ``names`` that is there."""
    for name in names:
        if name in directives:
            text = (directives[name] or "").strip('"')
            return min(int(text), 2**31) if text.isascii() and text.isdigit() and len(text) < 20 else 0
    return None


# An application says the same few things all the time.
@lru_cache(maxsize=1024)
def forbidding(said: bytes | None) -> str | None:
    """The directive by which ``Cache-Control`` forbids it, if there is one."""
    directives = parse(said)
    return next((name for name in _FORBIDDING if name in directives), None)


@lru_cache(maxsize=1024)
def has_lifetime(said: bytes | None) -> bool:
    """Whether ``Cache-Control`` says how long, so that ``Expires`` says nothing."""
    return lifetime(parse(said), "max-age", "s-maxage") is not None


@lru_cache(maxsize=1024)
def stricter(value: bytes | None, *, browser: int, shared: int | None, stale: Stale) -> bytes:
    """``Cache-Control`` with the lifetimes of a policy, where they are shorter or alone.

    Args:
        value: what the application says.
        browser: seconds for browsers, and for shared caches if ``shared`` is ``None``.
        stale: what is said of stale responses.
    """
    said = parse(value)
    own, own_shared = lifetime(said, "max-age"), lifetime(said, "s-maxage", "max-age")
    max_age = browser if own is None else min(own, browser)
    s_maxage = browser if shared is None else shared
    s_maxage = s_maxage if own_shared is None else min(own_shared, s_maxage)
    made: Directives = {"public": None, "max-age": str(max_age)}
    if s_maxage != max_age:
        made["s-maxage"] = str(s_maxage)
    rest = {name: value for name, value in said.items() if name not in ("public", "max-age", "s-maxage")}
    return write(made | _stale(rest, stale))


@lru_cache(maxsize=1024)
def targeted(value: bytes | None, *, general: bytes | None, cdn: int, stale: Stale) -> bytes | None:
    """A header for CDNs alone: ``cdn`` seconds, or fewer if it, or the general one, says fewer.

    ``None``: it stays, as it forbids what the general one does not.
    """
    if value is not None and forbidding(value) is not None:
        return None
    said, others = parse(value), parse(general)
    own = lifetime(others, "s-maxage", "max-age") if value is None else lifetime(said, "max-age")
    made: Directives = {"max-age": str(cdn if own is None else min(own, cdn))}
    rest = {name: argument for name, argument in said.items() if name != "max-age"}
    # It overrides the general header, with what that forbids.
    rest |= {name: None for name in _REVALIDATE if name in others}
    return write(made | _stale(rest, stale))


def _stale(said: Directives, stale: Stale) -> Directives:
    if any(name in said for name in _REVALIDATE):
        return said
    found = dict(said)
    for name, seconds in stale:
        own = lifetime(said, name)
        found[name] = str(seconds if own is None else min(own, seconds))
    return found


def stale(*, while_revalidate: int, if_error: int) -> Stale:
    """What a policy says of stale responses; 0 says nothing."""
    found = zip(_STALE, (while_revalidate, if_error), strict=True)
    return tuple((name, seconds) for name, seconds in found if seconds)

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
from typing import TypeAlias

Directives: TypeAlias = dict[str, str | None]
"""By their names in lower case, in their order; ``None`` where there is no value."""

FORBIDDING = ("no-store", "private", "no-cache")
"""Each of these says that no shared cache is to answer with the response by itself."""

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


def stricter(said: Directives, *, browser: int, shared: int | None, stale: Directives) -> Directives:
    """``said`` with the lifetimes of a policy, where they are shorter or alone.

    Args:
        browser: seconds for browsers, and for shared caches if ``shared`` is ``None``.
        stale: how long a stale response may serve, by the directive's name.
    """
    own, own_shared = lifetime(said, "max-age"), lifetime(said, "s-maxage", "max-age")
    max_age = browser if own is None else min(own, browser)
    s_maxage = browser if shared is None else shared
    s_maxage = s_maxage if own_shared is None else min(own_shared, s_maxage)
    made: Directives = {"public": None, "max-age": str(max_age)}
    if s_maxage != max_age:
        made["s-maxage"] = str(s_maxage)
    rest = {name: value for name, value in said.items() if name not in ("public", "max-age", "s-maxage")}
    return made | _stale(rest, stale)


def targeted(said: Directives | None, *, general: Directives, cdn: int, stale: Directives) -> Directives:
    """A header for CDNs alone: ``cdn`` seconds, or fewer if ``said`` in it, or in ``general``, is fewer."""
    own = lifetime(general, "s-maxage", "max-age") if said is None else lifetime(said, "max-age")
    made: Directives = {"max-age": str(cdn if own is None else min(own, cdn))}
    rest = {name: value for name, value in (said or {}).items() if name != "max-age"}
    # It overrides the general header, with what that forbids.
    rest |= {name: None for name in _REVALIDATE if name in general}
    return made | _stale(rest, stale)


def _stale(said: Directives, stale: Directives) -> Directives:
    if any(name in said for name in _REVALIDATE):
        return said
    found = dict(said)
    for name, value in stale.items():
        own = lifetime(said, name)
        found[name] = value if own is None else str(min(own, int(value or 0)))
    return found


def stale(*, while_revalidate: int, if_error: int) -> Directives:
    """What a policy says of stale responses; 0 says nothing."""
    seconds = dict(zip(_STALE, (while_revalidate, if_error), strict=True))
    return {name: str(value) for name, value in seconds.items() if value}

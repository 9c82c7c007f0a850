"""The basket, kept in the session.

One key of the session per product, ``cart:monstera``: sessions merge key by key, so that two tabs that add
two plants at the same moment, on two servers, both keep theirs.
"""

from collections.abc import MutableMapping
from typing import Any, TypeAlias

Session: TypeAlias = MutableMapping[str, Any]

_PREFIX = "cart:"
_MOST = 99
_REMEMBERED = 12


def contents(session: Session) -> dict[str, int]:
    """Slug to quantity."""
    return {key.removeprefix(_PREFIX): session[key] for key in session if key.startswith(_PREFIX)}


def count(session: Session) -> int:
    return sum(contents(session).values())


def put(session: Session, slug: str, quantity: int) -> None:
    """Have so many of it; none takes it out."""
    if quantity > 0:
        session[_PREFIX + slug] = min(quantity, _MOST)
    else:
        session.pop(_PREFIX + slug, None)


def empty(session: Session) -> None:
    for key in [key for key in session if key.startswith(_PREFIX)]:
        del session[key]


def is_first(session: Session, once: str) -> bool:
    """Whether the form with this token has not been seen yet; remembers that it has."""
    seen: list[str] = session.get("seen", [])
    if once in seen:
        return False
    session["seen"] = [*seen, once][-_REMEMBERED:]
    return True

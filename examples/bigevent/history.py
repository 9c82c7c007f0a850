"""What visitors did and what they were told: all that the checkers know.

A visitor does one thing after the other, so the events of one user are in order. An outcome is

* ``done``: acknowledged, or answered;
* ``unclear``: no answer, or one that says that something broke: it may have happened or not, now or later;
* ``anonymous``: the shop did not know who was asking, and did nothing;
* ``missing``: what was asked for is not there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Outcome: TypeAlias = Literal["done", "unclear", "anonymous", "missing"]

What: TypeAlias = Literal[
    "login", "put", "cart", "checkout", "write", "read", "upload", "download", "page", "asset"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that a visitor did, with all its attempts.

    Args:
        user: who.
        what: a ``put`` puts the thing ``key`` into the cart, a ``cart`` reads it (``value``: keys),
            a ``checkout`` orders it under the token ``key`` (``value``: keys). A ``write`` makes ``key`` have
            the version ``value``, a ``read`` reads the versions of all names that begin with ``key``. An
            ``upload`` stores a photo with the checksum ``value`` under ``key``, a ``download`` reads one.
            An ``asset`` is asked for because a page named it; ``value`` is whether it was the right one.
        began: when its first attempt began, in seconds.
        ended: when its last one ended.
        outcome: of the last attempt.
        doubt: whether an attempt before the last one was unclear.
        seen: every user whose data were in the answer.
        page: when the page that named an asset was asked for.
        final: whether it was a look at the end, when nothing is broken any more.
    """

    user: str
    what: What
    began: float
    ended: float
    outcome: Outcome = "done"
    key: str = ""
    value: Any = None
    doubt: bool = False
    seen: tuple[str, ...] = ()
    page: float = 0.0
    final: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that was not answered, or answered with anything but what was asked for.

    Args:
        at: when it ended.
        cause: the status, or what became of the connection, or of the content.
        server: port of the process that nginx asked last; 0 if that is not known.
    """

    at: float
    cause: str
    server: int = 0


@dataclass(frozen=True, kw_only=True)
class Final:
    """What the primary has at the end.

    Args:
        versions: user and name to version.
        orders: token to the user and the keys of what was ordered.
        photos: key to the user whose it is.
    """

    versions: Mapping[tuple[str, str], int] = field(default_factory=dict)
    orders: Mapping[str, tuple[str, frozenset[str]]] = field(default_factory=dict)
    photos: Mapping[str, str] = field(default_factory=dict)

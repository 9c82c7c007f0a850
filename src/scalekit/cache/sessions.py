"""What the cache must know of a database session, by what it has and not by its class."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

# In the `info` of a session: the tables that its transaction has changed so far (see scalekit.cache.orm).
CHANGED = "scalekit.cache.changed"


def has_changes(values: Iterable[object]) -> bool:
    """Whether one of ``values`` is a session whose transaction has changes of its own.

    Either flushed or sent as statements, which only a watched session shows; or pending, which all do.
    What such a session reads, others may not see before COMMIT, and never after ROLLBACK.
    """
    for value in values:
        info = getattr(value, "info", None)
        if isinstance(info, dict) and info.get(CHANGED):
            return True
        if any(getattr(value, pending, None) for pending in ("new", "deleted", "dirty")):
            return True
    return False


@dataclass(frozen=True)
class Replicated:
    """Sessions that may read from a replica, which may be behind what was committed.

    ``sessions`` is their class; ``primary`` makes a context in which transactions begin on the primary.
    """

    sessions: Any
    primary: Callable[[], AbstractContextManager[Any]]

    def has_begun(self, values: Iterable[object]) -> bool:
        """Whether one of ``values`` is such a session in a transaction: where it reads is decided already."""
        for value in values:
            session: Any = getattr(value, "sync_session", value)
            ours = isinstance(self.sessions, type) and isinstance(session, self.sessions)
            if ours and session.in_transaction():
                return True
        return False


def replicated(target: object) -> Replicated | None:
    """``target`` as :class:`Replicated`, if it says that it has replicas (``is_single`` is false)."""
    primary: Any = getattr(target, "primary", None)
    if primary is not None and getattr(target, "is_single", None) is False:
        return Replicated(getattr(target, "event_target", None), primary)
    return None

"""What the cache must know of a database session, by what it has and not by its class.

A *session* here is also a connection that belongs to one. Who watches sessions (:mod:`scalekit.cache.orm`)
says whose a connection is, and what was changed on it by sessions that have ended, before its own COMMIT.
"""

import weakref
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

# In the `info` of a session: the tables that its transaction has changed so far (see scalekit.cache.orm).
CHANGED = "scalekit.cache.changed"

_owners: weakref.WeakKeyDictionary[Any, weakref.ref[Any]] = weakref.WeakKeyDictionary()
_left_behind: weakref.WeakSet[Any] = weakref.WeakSet()


def set_owner(connection: Any, session: Any) -> None:
    """``session`` has begun a transaction on ``connection``."""
    _owners[connection] = weakref.ref(session)


def owner(connection: Any) -> Any:
    """The session that runs its transaction on ``connection``, or ``None``."""
    reference = _owners.get(connection) if connection is not None else None
    return reference() if reference is not None else None


def leave_changes(connection: Any) -> None:
    """A session has joined the transaction of ``connection``, changed something and ended."""
    _left_behind.add(connection)


def forget_changes(connection: Any) -> None:
    """That transaction has ended, too."""
    _left_behind.discard(connection)


def has_changes(values: Iterable[object]) -> bool:
    """Whether one of ``values`` is a session whose transaction has changes of its own.

    Either flushed or sent as statements, which only a watched session shows; or pending, which all do.
    What such a session reads, others may not see before COMMIT, and never after ROLLBACK.
    """
    for value in values:
        session = _session(value)
        info = getattr(session, "info", None)
        if isinstance(info, dict) and info.get(CHANGED):
            return True
        if any(getattr(session, pending, None) for pending in ("new", "deleted", "dirty")):
            return True
        connection = getattr(session, "bind", None) if session is value else value
        if connection is not None and getattr(connection, "sync_connection", connection) in _left_behind:
            return True
    return False


def _session(value: Any) -> Any:
    """The session that a connection belongs to; else ``value`` as it is."""
    if hasattr(value, "dialect"):  # a connection of either colour
        return owner(getattr(value, "sync_connection", value)) or value
    return value


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
            session = _session(value)
            session = getattr(session, "sync_session", session)
            if self.is_one(session) and session.in_transaction():
                return True
        return False

    def is_one(self, session: Any) -> bool:
        return isinstance(self.sessions, type) and isinstance(session, self.sessions)


def replicated(target: object) -> Replicated | None:
    """``target`` as :class:`Replicated`, if it says that it has replicas (``is_single`` is false)."""
    primary: Any = getattr(target, "primary", None)
    if primary is not None and getattr(target, "is_single", None) is False:
        return Replicated(getattr(target, "event_target", None), primary)
    return None

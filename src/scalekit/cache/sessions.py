"""What the cache must know of a database session, by what it has and not by its class.

A *session* here is also a connection that belongs to one. Who watches sessions (:mod:`scalekit.cache.orm`)
says whose a connection is, and what was changed on it by sessions that have ended, before its own COMMIT.
"""

import math
import time
import weakref
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from scalekit.cache import versions
from scalekit.cache.dirty import is_changed, is_dirty_here, is_pending
from scalekit.cache.entry import Found
from scalekit.cache.positions import has_read_past, is_positioned, known_positions
from scalekit.cache.tags import table_tag

# In the `info` of a session: since when it may have loaded what it keeps.
LOADED = "scalekit.cache.loaded"

_owners: weakref.WeakKeyDictionary[Any, weakref.ref[Any]] = weakref.WeakKeyDictionary()


def set_owner(connection: Any, session: Any) -> None:
    """``session`` has begun a transaction on ``connection``."""
    _owners[connection] = weakref.ref(session)


def owner(connection: Any) -> Any:
    """The session that runs its transaction on ``connection``, or ``None``."""
    reference = _owners.get(connection) if connection is not None else None
    return reference() if reference is not None else None


def has_changes(values: Iterable[object]) -> bool:
    """Whether the caller has a transaction with changes: one of ``values``, or another of this task.

    Either flushed or sent as statements, which only a watched session shows; or pending, which all do.
    What such a session reads, others may not see before COMMIT, and never after ROLLBACK.
    """
    return is_dirty_here() or any(_has_changes(value) for value in values)


def _has_changes(value: object) -> bool:
    session = session_of(value)
    connection: Any = value
    if not hasattr(session, "dialect"):
        if is_pending(session):
            return True
        connection = getattr(session, "bind", None) if session is value else value
    return connection is not None and is_changed(getattr(connection, "sync_connection", connection))


def note_loading(session: Any) -> None:
    """A transaction of ``session`` begins: from now on it loads what it keeps."""
    if not len(session.identity_map):
        session.info.pop(LOADED, None)
    session.info.setdefault(LOADED, time.monotonic())


def note_attached(session: Any) -> None:
    """``session`` keeps an instance that was loaded elsewhere, nobody knows when."""
    session.info[LOADED] = -math.inf


def loaded_since(value: Any, tags: Collection[str]) -> float | None:
    """When a session has loaded the oldest instance that it keeps, at the earliest (monotonic).

    ``None``: it keeps none that a result with these ``tags`` may have in it, or nobody watches it. Tables
    say what that is; of a name nobody knows which tables it stands for, nor of a result without tags.
    """
    session = session_of(value)
    session = getattr(session, "sync_session", session)
    kept = getattr(session, "identity_map", None)
    if not kept:
        return None
    mappers = {state.mapper for state in kept.all_states() if not state.expired}
    tables = {table for mapper in mappers for table in mapper.tables}
    described = {name for table in tables for name in table.metadata.tables}
    if not tables or (
        tags and described.issuperset(tags) and not any(table_tag(one) in tags for one in tables)
    ):
        return None
    since: float | None = session.info.get(LOADED)
    return since


def session_of(value: Any) -> Any:
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

    def is_one(self, session: Any) -> bool:
        return isinstance(self.sessions, type) and isinstance(session, self.sessions)


def is_behind(values: Iterable[object], found: Found | None, replicated: Collection[Replicated]) -> bool:
    """Whether one of ``values`` is in a transaction that may not see what was committed last.

    Where it reads is decided already, so that its result could not be stored: nobody is to wait for it.

    Args:
        values: sessions and connections, among others.
        found: what the back end has.
        replicated: what sessions may read from replicas.
    """
    for value in values:
        session = session_of(value)
        session = getattr(session, "sync_session", getattr(session, "sync_connection", session))
        if is_positioned(session):
            if session.in_transaction() and not has_read_past(session, _positions(found)):
                return True
        elif any(source.is_one(session) for source in replicated) and session.in_transaction():
            return True
    return False


def _positions(found: Found | None) -> tuple[str | None, ...]:
    """Of each tag, where its last change was committed, by what the back end has."""
    if found is None:
        return (None,)
    known = [versions.parse(record) for record in found.tags]
    births = [-one.birth if one is not None else math.inf for one in known]
    return known_positions([one.position if one is not None else None for one in known], births)


def replicated(target: object) -> Replicated | None:
    """``target`` as :class:`Replicated`, if it says that it has replicas (``is_single`` is false)."""
    primary: Any = getattr(target, "primary", None)
    if primary is not None and getattr(target, "is_single", None) is False:
        return Replicated(getattr(target, "event_target", None), primary)
    return None

"""Which transactions have changes that nobody else can see: whoever has one does without the cache.

What such a caller reads, others may not see before COMMIT, and never after ROLLBACK; and what the cache has,
the caller has perhaps changed. Rules:

* A session among the arguments counts with what is pending in it, not flushed yet. So does that of a watched
  registry, such as ``scoped_session``, wherever the function gets it from.
* A watched transaction counts from its first change until it ends, for the whole task or thread that made it,
  with the tasks that this starts from then on. What is changed in a thread of a thread pool is not seen
  outside: pass the session as an argument, or watch its registry.

Nothing here imports SQLAlchemy.
"""

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any

from scalekit._forks import renew_in_children

# In the `info` of a session: the tables that its transaction has changed so far (see scalekit.cache.orm).
CHANGED = "scalekit.cache.changed"

_PENDING = ("new", "deleted", "dirty")


class Dirty:
    """One transaction here that has changes.

    Args:
        count: how many there are, of one cache.
    """

    __slots__ = ("__weakref__", "_count", "over")

    def __init__(self, count: "DirtyCount") -> None:
        self._count = count
        self.over = False
        count.add(1)
        alive = (other for other in _here.get() if (dirty := other()) is not None and not dirty.over)
        _here.set((*alive, weakref.ref(self)))

    def end(self) -> None:
        """It has ended; more than once is once."""
        if not self.over:
            self.over = True
            self._count.add(-1)

    # Of a connection that was forgotten, nobody hears the end.
    __del__ = end


class DirtyCount:
    """How many transactions of this process have changes; zero spares every hit the rest of the questions.

    Args:
        changed: is called with the number.
    """

    def __init__(self, changed: Callable[[int], None]) -> None:
        self._number, self._changed = 0, changed
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        # The same thread may come again, by __del__.
        self._lock = threading.RLock()

    def add(self, number: int) -> None:
        with self._lock:
            self._number += number
            self._changed(self._number)


_here: ContextVar[tuple[weakref.ref[Dirty], ...]] = ContextVar("scalekit.cache.dirty", default=())

# Connections whose transaction has changes, of whatever sessions.
_changed: weakref.WeakSet[Any] = weakref.WeakSet()


def is_dirty_here() -> bool:
    """Whether this task or thread has a transaction with changes."""
    for reference in _here.get():
        dirty = reference()
        if dirty is not None and not dirty.over:
            return True
    return False


def note_changes(connection: Any) -> None:
    """There are changes on ``connection`` that are not committed."""
    _changed.add(connection)


def forget_changes(connection: Any) -> None:
    """That transaction has ended."""
    _changed.discard(connection)


def is_changed(connection: Any) -> bool:
    """Whether there are changes on ``connection`` that are not committed, whoever made them."""
    return connection in _changed


def is_pending(session: Any) -> bool:
    """Whether a session has changes, sent or not."""
    info = getattr(session, "info", None)
    if isinstance(info, dict) and info.get(CHANGED):
        return True
    return any(getattr(session, pending, None) for pending in _PENDING)


def in_registries(registries: Iterable[Any]) -> bool:
    """Whether the session that one of these registries has here, if any, has changes."""
    return any(map(is_pending, in_scope(registries)))


def in_scope(registries: Iterable[Any]) -> Iterator[Any]:
    """The sessions that these registries have here; one whose scope does not exist here has none."""
    for registry in registries:
        try:
            if registry.has():
                yield registry()
        # What Flask's contexts raise where there is none, and a ContextVar.
        except (RuntimeError, LookupError):
            continue

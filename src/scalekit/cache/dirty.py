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

    __slots__ = ("__weakref__", "_count", "counted_in", "over")

    def __init__(self, count: "DirtyCount") -> None:
        self._count = count
        self.over = False
        self.counted_in = count.add(1)
        _here.set((*map(weakref.ref, _alive()), weakref.ref(self)))

    def end(self) -> None:
        """It has ended; more than once is once."""
        if not self.over:
            self.over = True
            self._count.add(-1, counted_in=self.counted_in)

    def is_in(self, count: "DirtyCount") -> bool:
        """Whether that counts it."""
        return self._count is count

    # Of a connection that was forgotten, nobody hears the end.
    __del__ = end


class DirtyCount:
    """How many transactions of this process have changes; zero spares every hit the rest of the questions.

    Args:
        changed: is called with the number.
    """

    def __init__(self, changed: Callable[[int], None]) -> None:
        self._number, self._lasting, self._changed = 0, 0, changed
        self._forks = 0
        # The same thread may come again, by __del__.
        self._lock = threading.RLock()
        renew_in_children(self)

    def forked(self) -> None:
        self._lock = threading.RLock()
        # Those of the parent's other threads never end here.
        self._forks += 1
        self._number = 0
        for dirty in _alive():
            if dirty.is_in(self):
                dirty.counted_in = self.add(1)
        self.add(0)

    def add(self, number: int, *, counted_in: int | None = None) -> int:
        """Count ``number`` more, but for what was ``counted_in`` another process. Returns which this is."""
        with self._lock:
            if counted_in in (None, self._forks):
                self._number += number
                self._changed(self._number + self._lasting)
            return self._forks

    def add_lasting(self, number: int = 1) -> None:
        """Count what is no transaction of another thread, and so lasts in a child of ``fork``."""
        with self._lock:
            self._lasting += number
            self._changed(self._number + self._lasting)


_here: ContextVar[tuple[weakref.ref[Dirty], ...]] = ContextVar("scalekit.cache.dirty", default=())

# Connections whose transaction has changes, of whatever sessions.
_changed: weakref.WeakSet[Any] = weakref.WeakSet()


def is_dirty_here() -> bool:
    """Whether this task or thread has a transaction with changes."""
    return any(True for _ in _alive())


def _alive() -> Iterator[Dirty]:
    """The transactions with changes that this task or thread has."""
    for reference in _here.get():
        dirty = reference()
        if dirty is not None and not dirty.over:
            yield dirty


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

"""Which sessions and which other cached functions a cached function uses, also those no argument shows.

A function may take its session from a global registry, as with Flask-SQLAlchemy's ``db.session``. Rules:

* A watched session notes itself wherever it sends a statement, with every cached function that is running in
  this task or thread: cached functions call cached functions.
* What was read through a session with changes of its own is not shared, even if these are gone by the end.
* What a cached function was given by another one depends on that one's tags, too. Without them among its
  own, an invalidation would reach the inner result and not the outer one: so that is not stored.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from scalekit.cache.sessions import Replicated, has_changes


class Uses:
    """What one run of a function has used."""

    def __init__(self) -> None:
        self._sessions: set[Any] = set()
        self._begun: set[Any] = set()
        self._saw_changes = False
        self.tags: set[str] = set()
        """Of the cached functions that it called."""

    def note(self, session: Any, *, reads: bool) -> None:
        self._sessions.add(session)
        if reads and has_changes([session]):
            self._saw_changes = True

    def note_begun(self, session: Any) -> None:
        self._begun.add(session)

    def are_private(self, replicated: Iterable[Replicated]) -> bool:
        """Whether it saw what others may not see, or a replica: a transaction begun before the function."""
        if self._saw_changes or has_changes(self._sessions):
            return True
        before = self._sessions - self._begun
        return any(source.is_one(session) for source in replicated for session in before)


_running: ContextVar[tuple[Uses, ...]] = ContextVar("scalekit.cache.running", default=())


@contextmanager
def noted() -> Iterator[Uses]:
    """What is used inside the block."""
    uses = Uses()
    token = _running.set((*_running.get(), uses))
    try:
        yield uses
    finally:
        _running.reset(token)


def is_inside() -> bool:
    """Whether a cached function is running in this task or thread."""
    return bool(_running.get())


def note_call(tags: Iterable[str]) -> None:
    """A cached function with these tags is called."""
    for uses in _running.get():
        uses.tags.update(tags)


def note(session: Any, *, reads: bool) -> None:
    """``session`` sends a statement."""
    for uses in _running.get():
        uses.note(session, reads=reads)


def note_begun(session: Any) -> None:
    """``session`` begins a transaction."""
    for uses in _running.get():
        uses.note_begun(session)

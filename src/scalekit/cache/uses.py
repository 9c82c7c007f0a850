"""Which sessions and which other cached functions a cached function uses, also those no argument shows.

A function may take its session from a global registry, as with Flask-SQLAlchemy's ``db.session``. Rules:

* A watched session notes itself wherever it sends a statement, with every cached function that is running in
  this task or thread: cached functions call cached functions.
* What a session had loaded before the function began counts as read when it was loaded: SQLAlchemy hands out
  the same instances again, without what was committed meanwhile.
* What was read through a session with changes of its own is not shared, even if these are gone by the end.
* What a cached function was given by another one depends on that one's tags, too. Without them among its
  own, an invalidation would reach the inner result and not the outer one: so that is not stored.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from scalekit.cache.backend import Lease
from scalekit.cache.positions import Commit, has_read_past, is_positioned, known_positions
from scalekit.cache.sessions import Replicated, has_changes, loaded_since


class Uses:
    """What one run of a function has used.

    Args:
        lease: under which its result is to be stored; ``None``: it is not.
        tags: of that result.
        last_commit: of this process, if its position is known.
    """

    def __init__(
        self, lease: Lease | None = None, tags: Iterable[str] = (), last_commit: Commit | None = None
    ) -> None:
        self.started = time.monotonic()
        self.oldest: float | None = None
        self.behind = self.on_replica = False
        self._last_commit = last_commit
        self.past = last_commit.began if last_commit is not None else None
        # Without a lease nobody knows what the result would have to include.
        self._positions = known_positions(lease.positions, lease.ages) if lease is not None else (None,)
        self._tags = frozenset(tags)
        self._sessions: set[Any] = set()
        self._begun: set[Any] = set()
        self._saw_changes = False
        self.tags: set[str] = set()
        """Of the cached functions that it called."""

    def given(self, session: Any) -> None:
        """The function has ``session`` before it sends anything over it."""
        self._note_snapshot(loaded_since(session, self._tags))

    def note(self, session: Any, *, reads: bool, snapshot: float | None) -> None:
        if session not in self._sessions:
            self._sessions.add(session)
            self.given(session)
        if reads and has_changes([session]):
            self._saw_changes = True
        self._note_snapshot(snapshot)
        # Now: by the end of the function the transaction may have moved on to the primary, or be over.
        if not has_read_past(session, (None,)):
            self.on_replica = True
            self.behind = self.behind or not has_read_past(session, self._positions)
            last = self._last_commit
            if last is not None and not has_read_past(session, (last.position,)):
                self.past = None

    def _note_snapshot(self, began: float | None) -> None:
        if began is not None and (self.oldest is None or began < self.oldest):
            self.oldest = began

    def note_begun(self, session: Any) -> None:
        self._begun.add(session)

    def are_private(self, replicated: Iterable[Replicated]) -> bool:
        """Whether it saw what others may not see, or perhaps a replica that does not say how far it is.

        Which of these it was is decided when a transaction begins: before the function, nobody asked.
        """
        if self._saw_changes or has_changes(self._sessions):
            return True
        before = self._sessions - self._begun
        return any(
            source.is_one(session) and not is_positioned(session)
            for source in replicated
            for session in before
        )


_running: ContextVar[tuple[Uses, ...]] = ContextVar("scalekit.cache.running", default=())


@contextmanager
def noted(
    lease: Lease | None = None, tags: Iterable[str] = (), last_commit: Commit | None = None
) -> Iterator[Uses]:
    """What is used inside the block, as :class:`Uses`."""
    uses = Uses(lease, tags, last_commit)
    token = _running.set((*_running.get(), uses))
    try:
        yield uses
    finally:
        _running.reset(token)


running = _running.get
"""The cached functions that are running in this task or thread."""


def note_call(tags: Iterable[str]) -> None:
    """A cached function with these tags is called."""
    for uses in _running.get():
        uses.tags.update(tags)


def note(session: Any, *, reads: bool, snapshot: float | None = None) -> None:
    """``session``, or a connection without one, sends a statement.

    Args:
        session: which.
        reads: it changes nothing.
        snapshot: when the snapshot in which it reads began, at the earliest (monotonic); ``None``: it sees
            all that is committed.
    """
    for uses in _running.get():
        uses.note(session, reads=reads, snapshot=snapshot)


def note_begun(session: Any) -> None:
    """``session`` begins a transaction."""
    for uses in _running.get():
        uses.note_begun(session)

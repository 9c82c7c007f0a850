"""How many reads the primary takes over from the replicas.

Rules:

* When replicas are out or behind, their reads come to the primary, which was never made for all of them. They
  may hold a part of its pool and no more, so that a write finds a connection at any time.
* Who finds the part in use waits in a queue, in the order of arrival, and no longer than for any pool.
* While every replica has just come back, and is cold, the primary goes on with a part of their reads, as long
  as it has places for them: nobody waits for one who could read from a replica.
* A place is given back together with the connection, however that comes to its end.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from scalekit.errors import TooManyFallbackReads

_KEY = "scalekit.database.fallback"


class _Monitor(Protocol):
    def wait(self, condition: Callable[[], bool], timeout: float) -> None: ...
    def changed(self) -> None: ...


class Turn:
    """A place among the reads on the primary, or in the queue for one."""

    __slots__ = ("_fallback", "taken")

    def __init__(self, fallback: "Fallback") -> None:
        self._fallback, self.taken = fallback, False

    def keep_with(self, info: dict[Any, Any]) -> None:
        """Give it back with the connection that ``info`` is of."""
        info[_KEY] = self

    def give_back(self) -> None:
        """Let the next one in; once is enough."""
        self._fallback._leave(self)


def give_back(info: dict[Any, Any]) -> None:
    """The connection that ``info`` is of goes back to its pool."""
    turn: Turn | None = info.pop(_KEY, None)
    if turn is not None:
        turn.give_back()


class Fallback:
    """The reads on the primary that replicas were to answer.

    Args:
        monitor: waits, in the colour of the cluster.
        limit: how many at a time; ``None`` for any number.
        reasons: for each replica why it did not take the read, for the message.
    """

    def __init__(
        self,
        monitor: Callable[[], _Monitor],
        *,
        limit: Callable[[], int | None],
        reasons: Callable[[], dict[str, str]],
    ) -> None:
        self._monitor, self._limit, self._reasons = monitor, limit, reasons
        self.reads = self.waits = self.refused = 0
        self.forked()

    def forked(self) -> None:
        """Start with none; their transactions are another process's."""
        # A forgotten connection may be given back by the garbage collector in the middle of this.
        self._lock = threading.RLock()
        self._inside: set[Turn] = set()
        self._queue: deque[Turn] = deque()

    @property
    def limit(self) -> int | None:
        """How many there may be now."""
        return self._limit()

    @property
    def in_flight(self) -> int:
        """How many there are now."""
        return len(self._inside)

    def has_room(self) -> bool:
        """Whether another one would not have to wait."""
        limit = self._limit()
        return not self._queue and (limit is None or len(self._inside) < limit)

    def enter(self, timeout: float) -> Turn:
        """A place, when there is one.

        Args:
            timeout: seconds that this may take.

        Raises:
            TooManyFallbackReads: it took longer.
        """
        turn = Turn(self)
        self.reads += 1
        with self._lock:
            self._queue.append(turn)
        try:
            if not self._try(turn):
                self.waits += 1
                self._monitor().wait(lambda: self._try(turn), timeout)
        finally:
            with self._lock:
                if not turn.taken:  # a cancellation too
                    self._queue.remove(turn)
                others = bool(self._queue)
            if others:
                self._monitor().changed()  # they may have looked while this one stood before them
        if not turn.taken:
            self.refused += 1
            raise TooManyFallbackReads(limit=self._limit() or 0, waited=timeout, reasons=self._reasons())
        return turn

    def _try(self, turn: Turn) -> bool:
        with self._lock:
            limit = self._limit()
            if not turn.taken and self._queue[0] is turn and (limit is None or len(self._inside) < limit):
                self._queue.popleft()
                self._inside.add(turn)
                turn.taken = True
            return turn.taken

    def _leave(self, turn: Turn) -> None:
        with self._lock:
            self._inside.discard(turn)
            others = bool(self._queue)
        if others:
            self._monitor().changed()

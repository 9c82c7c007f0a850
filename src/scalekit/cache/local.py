"""The first tier: results in this process's memory, served without a round trip.

Rules:

* An entry is served for ``ttl`` seconds after the back end was asked for it, no longer; the time that the
  answer took counts. So after an invalidation by *another* server this one may serve the older result for
  that long; by this one, not at all.
* That time is a part of the result's own: the back end keeps it for so much less (:meth:`Local.life`), and no
  result is served after its time to live, however late it was read.
* A result that was read from the back end before an invalidation is not kept after it: who wants to put
  one in takes a mark first, and the mark must still be the present one.
* A type that nobody can change is kept decoded and handed out as it is; any other is decoded for each caller.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from scalekit._forks import renew_in_children


class Mark(NamedTuple):
    """Where invalidation stood at a moment."""

    taken: float
    drops: int
    epochs: tuple[int, ...]


MISSING = object()


class Local:
    """See the module.

    Args:
        max_entries: the least recently used ones go when there are more; 0 keeps none.
        ttl: seconds.
        clock: seconds, for tests.
    """

    def __init__(self, *, max_entries: int, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.enabled = max_entries > 0 and ttl > 0
        self._max_entries = max_entries
        self._ttl = ttl
        self._clock = clock
        self._drops = 0  # keys dropped so far
        # How often each tag was dropped; only of those that some query has, or there could be any number.
        self._epochs: dict[str, int] = {}
        self._entries: OrderedDict[str, tuple[float, Mark, Any, Callable[[bytes], Any] | None]] = (
            OrderedDict()
        )
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        self._lock = threading.Lock()

    def get(self, key: str, tags: tuple[str, ...]) -> Any:
        """The result, or ``MISSING``."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return MISSING
            ends, mark, kept, decode = entry
            # Of the mark only the tags: the keys that were dropped are gone from here.
            if ends <= self._clock() or mark.epochs != self._epochs_of(tags):
                del self._entries[key]
                return MISSING
            self._entries.move_to_end(key)
        return kept if decode is None else decode(kept)

    def mark(self, tags: tuple[str, ...]) -> Mark:
        """Where invalidation stands. Taken before the back end is asked."""
        return Mark(self._clock(), self._drops, self._epochs_of(tags))

    def later(self, mark: Mark) -> Mark:
        """``mark`` as of now, for who knows from the back end that a result is valid still."""
        return mark._replace(taken=self._clock())

    def life(self, ttl: float) -> float:
        """Seconds of a result's ``ttl`` that it may spend here: the back end keeps it for the others."""
        return min(self._ttl, ttl / 2) if self.enabled else 0.0

    def put(
        self,
        key: str,
        tags: tuple[str, ...],
        mark: Mark,
        kept: Any,
        decode: Callable[[bytes], Any] | None,
        ttl: float,
    ) -> None:
        """Keep a result, unless something was invalidated since ``mark``.

        ``kept`` is the payload that ``decode`` reads, or without it the result itself.
        """
        if not self.enabled:
            return
        with self._lock:
            if (mark.drops, mark.epochs) != (self._drops, self._epochs_of(tags)):
                return
            self._entries[key] = (mark.taken + self.life(ttl), mark, kept, decode)
            self._entries.move_to_end(key)
            while len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)

    def drop(self, keys: set[str], tags: set[str]) -> None:
        """Forget these keys, and everything that carries one of these tags."""
        with self._lock:
            if keys:
                self._drops += 1
            for key in keys:
                self._entries.pop(key, None)
            for tag in tags:
                if tag in self._epochs:
                    self._epochs[tag] += 1

    def _epochs_of(self, tags: tuple[str, ...]) -> tuple[int, ...]:
        return tuple([self._epochs.setdefault(tag, 0) for tag in tags])

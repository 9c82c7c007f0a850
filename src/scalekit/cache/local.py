"""The first tier: results in this process's memory, served without a round trip.

Rules:

* An entry is served for ``ttl`` seconds after it came from the back end, no longer. So after an invalidation
  by *another* server this one may serve the older result for that long; by this one, not at all.
* A result that was read from the back end before an invalidation is not kept after it: who wants to put
  one in takes a mark first, and the mark must still be the present one.
* A type that nobody can change is kept decoded and handed out as it is; any other is decoded for each caller.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from scalekit._forks import renew_in_children

Mark = tuple[int, ...]

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
        self._epochs: dict[str, int] = {}  # how often each tag was dropped
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
            if ends <= self._clock() or mark[1:] != self._mark(tags)[1:]:
                del self._entries[key]
                return MISSING
            self._entries.move_to_end(key)
        return kept if decode is None else decode(kept)

    def mark(self, tags: tuple[str, ...]) -> Mark:
        """Where invalidation stands. Taken before the back end is read."""
        return self._mark(tags)

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
            if mark != self._mark(tags):
                return
            self._entries[key] = (self._clock() + min(ttl, self._ttl), mark, kept, decode)
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
                self._epochs[tag] = self._epochs.get(tag, 0) + 1

    def _mark(self, tags: tuple[str, ...]) -> Mark:
        epochs = self._epochs
        return (self._drops, *[epochs.get(tag, 0) for tag in tags])

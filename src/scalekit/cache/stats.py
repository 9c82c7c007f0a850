"""What a cache counts."""

import threading
from dataclasses import dataclass, fields

from scalekit._forks import renew_in_children


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Counts since the cache was made, in this process."""

    local_hits: int = 0
    """Calls answered from this process's memory."""
    hits: int = 0
    """Calls answered from the back end."""
    misses: int = 0
    """Calls that found nothing valid; each computed, or waited for another that did."""
    computes: int = 0
    """Times that a function was run."""
    waits: int = 0
    """Times that a miss waited for another caller's computation."""
    fills: int = 0
    """Results stored."""
    discarded: int = 0
    """Results not stored: something was invalidated meanwhile, the transaction had changes of its own, or the
    primary was away."""
    oversized: int = 0
    """Results not stored: larger than the back end takes."""
    bypasses: int = 0
    """Calls inside a transaction with changes of its own: the cache was neither read nor written."""
    invalidations: int = 0
    """Keys and tags dropped."""
    errors: int = 0
    """Operations that the back end failed; the call went on without it."""

    @property
    def hit_rate(self) -> float:
        """The part of the calls that was answered from the cache, 0 to 1; 0 before the first call."""
        calls = self.local_hits + self.hits + self.misses
        return (self.local_hits + self.hits) / calls if calls else 0.0


class Counter:
    """Adds them up; for threads."""

    def __init__(self) -> None:
        self._counts = {field.name: 0 for field in fields(Stats)}
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        self._lock = threading.Lock()

    def add(self, name: str, number: int = 1) -> None:
        with self._lock:  # += on an attribute can lose one between threads
            self._counts[name] += number

    def snapshot(self) -> Stats:
        with self._lock:
            return Stats(**self._counts)

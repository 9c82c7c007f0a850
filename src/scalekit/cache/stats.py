"""What a cache counts."""

import inspect
import itertools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TypeAlias

from scalekit._forks import renew_in_children
from scalekit._options import check_function
from scalekit.errors import ConfigurationError

_log = logging.getLogger("scalekit.cache")

Hook: TypeAlias = Callable[[str, int], object]
"""Called with a count's name, as in :class:`Stats`, and by how much it went up."""

_HOOK = "a function of a name and a number, such as lambda name, number: ..."


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
    """Results not stored: larger than the back end takes, or is to take (``max_value_size``)."""
    passes: int = 0
    """Pages that were not for everybody, and so neither looked up nor stored (see :meth:`Cache.response`)."""
    bypasses: int = 0
    """Calls inside a transaction with changes of its own: the cache was neither read nor written."""
    invalidations: int = 0
    """Keys and tags dropped."""
    bytes_read: int = 0
    """Bytes of the results, leases and marks that the back end had."""
    bytes_written: int = 0
    """Bytes of the results sent to it."""
    stale: int = 0
    """Calls answered with a result that had grown stale. Those are hits, or misses if the function was asked
    first."""
    refreshes: int = 0
    """Computations begun in the background, for a later call."""
    failures: int = 0
    """Computations that raised while a result was at hand."""
    losses: int = 0
    """Times that this process could no longer hear what other servers invalidate, and emptied its memory."""
    errors: int = 0
    """Operations that the back end failed; the call went on without it."""

    @property
    def hit_rate(self) -> float:
        """The part of the calls that was answered from the cache, 0 to 1; 0 before the first call."""
        calls = self.local_hits + self.hits + self.misses
        return (self.local_hits + self.hits) / calls if calls else 0.0


class _Hooked:
    """One hook, and whether the log has its failure."""

    def __init__(self, hook: Hook) -> None:
        self._hook, self._told = hook, False

    def tell(self, name: str, number: int) -> None:
        try:
            self._hook(name, number)
        # The application's: whatever it raises must not fail a query, nor leave a lease behind.
        except Exception:  # noqa: BLE001
            if not self._told:
                self._told = True
                _log.exception(
                    "the hook %r failed on %s; it is called on, and not logged again", self._hook, name
                )


class Counter:
    """Adds them up; for threads."""

    def __init__(self) -> None:
        self._counts = {field.name: 0 for field in fields(Stats)}
        self._hooks: tuple[_Hooked, ...] = ()
        # Counting without a lock what is counted all the time; looking counts, too.
        self.local_hit: Callable[[], int] = itertools.count().__next__
        """Adds one to ``local_hits``."""
        self._looks = 0
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        self._lock = threading.Lock()

    def add(self, name: str, number: int = 1) -> None:
        with self._lock:  # += on an attribute can lose one between threads
            self._counts[name] += number
        for hook in self._hooks:
            hook.tell(name, number)

    def on(self, hook: Hook) -> Callable[[], None]:
        """Call ``hook`` with each count from now on. Returns what takes it away.

        Raises:
            ConfigurationError: it is no function of two arguments.
        """
        check_function(hook, option="hook", wanted=_HOOK)
        try:
            inspect.signature(hook).bind("hits", 1)
        except TypeError:
            raise ConfigurationError(f"cache.on({hook!r:.120}): hook must be {_HOOK}") from None
        except ValueError:  # written in C: it shows no signature
            pass
        hooked = _Hooked(hook)
        with self._lock:
            self._hooks = (*self._hooks, hooked)

        def off() -> None:
            with self._lock:
                self._hooks = tuple(other for other in self._hooks if other is not hooked)

        return off

    def snapshot(self) -> Stats:
        with self._lock:
            # Only a tick shows how many there were.
            counts = {
                **self._counts,
                "local_hits": self._counts["local_hits"] + self.local_hit() - self._looks,
            }
            self._looks += 1
            return Stats(**counts)

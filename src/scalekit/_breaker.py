"""A circuit breaker: after a failure to reach a server, refuse at once until one probe has succeeded.

Rules:

* Closed, everything is allowed. The first failure to connect, or the first time-out, opens it.
* Open, everything is refused for ``cooldown`` seconds.
* Then one caller is let through as the probe; the others are still refused. A probe that
  never reports back (its thread died) is replaced by another one ``patience`` seconds later.
* With ``first`` the first probe is due after so many seconds, and each further one after twice as
  many, ``cooldown`` at most: where probes cost no caller anything, a hiccup is to be short.
* Any answer from the server closes it.

Shared by the threads and event loops of a process.
"""

import threading
import time
from collections.abc import Callable


class Breaker:
    """See the module. ``cooldown``, ``patience`` and ``first`` are seconds; ``clock`` counts them."""

    __slots__ = ("_clock", "_cooldown", "_first", "_lock", "_patience", "_retry_at", "_wait")

    def __init__(
        self,
        *,
        cooldown: float,
        patience: float,
        first: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cooldown = cooldown
        self._first = self._wait = cooldown if first is None else first
        self._patience = max(patience, cooldown)
        self._clock = clock
        self._lock = threading.Lock()
        self._retry_at: float | None = None

    @property
    def open(self) -> bool:
        """Whether callers are refused, but for a probe now and then."""
        return self._retry_at is not None

    def allows(self) -> bool:
        """Whether the caller may go on; true for one caller when a probe is due."""
        if not self.open:
            return True
        with self._lock:
            now = self._clock()
            if self._retry_at is None:
                return True
            if now < self._retry_at:
                return False
            # Claimed: the next one is due when this probe must have ended.
            self._retry_at = now + self._patience
            self._wait = min(self._wait * 2, self._cooldown)
            return True

    def succeeded(self) -> None:
        """The server answered."""
        if self._retry_at is not None:
            with self._lock:
                self._retry_at = None
                self._wait = self._first

    def failed(self) -> None:
        """The server could not be reached, or did not answer in time."""
        with self._lock:
            self._retry_at = self._clock() + self._wait

"""What a back end that was away still has to be told, and what it may not be believed.

Rules:

* An invalidation that did not arrive is *owed*, whoever made it: a commit, or somebody by hand. What it
  concerns is not read before it has been made up for, in this process. It is tried again in the background
  until it succeeds, so others do not serve the older result for long.
* A process may end with its debts. So whoever finds the back end again after an *outage* drops everything
  that was there before it: one new generation, made by the first who comes. An outage has lasted for
  :data:`OUTAGE` at least; one time-out, or a restart of a second, is none.
"""

import threading
import time
from collections.abc import Callable, Collection

from scalekit._forks import renew_in_children

OUTAGE = 1.0
"""Seconds from the first failure to the last, without an answer in between."""

RETRIES = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Seconds before each attempt to make up for what is owed; the last one is repeated."""

# Seconds without an attempt after which its event loop must have ended.
_PAYER_GONE = 5.0


class Debts:
    """Keys and tags that are still to be dropped. For threads and event loops together."""

    def __init__(self) -> None:
        self._keys: dict[str, object] = {}  # the object tells one debt from the next
        self._tags: dict[str, object] = {}
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        self._lock = threading.Lock()
        self._seen = float("-inf")  # when somebody last tried, in this process

    def __bool__(self) -> bool:
        return bool(self._keys or self._tags)

    def owe(self, *, keys: Collection[str] = (), tags: Collection[str] = ()) -> None:
        """Note that these are to be dropped."""
        with self._lock:
            debt = object()
            self._keys.update(dict.fromkeys(keys, debt))
            self._tags.update(dict.fromkeys(tags, debt))

    def concern(self, key: str, tags: Collection[str]) -> bool:
        """Whether what is under ``key``, with these tags, may have been invalidated."""
        return key in self._keys or any(tag in self._tags for tag in tags)

    def begin(self) -> bool:
        """Whether to try to make up for them in the background: nobody else is at it."""
        with self._lock:
            now = time.monotonic()
            if not self or now - self._seen < _PAYER_GONE:
                return False
            self._seen = now
            return True

    def go_on(self) -> bool:
        """Whether there is anything left to try; who is at it says so before each attempt."""
        with self._lock:
            self._seen = time.monotonic() if self else float("-inf")
            return bool(self)

    def copy(self) -> tuple[dict[str, object], dict[str, object]]:
        """What is owed now: keys and tags."""
        with self._lock:
            return dict(self._keys), dict(self._tags)

    def paid(self, keys: dict[str, object], tags: dict[str, object]) -> None:
        """What :meth:`copy` gave has been dropped; what was owed once more meanwhile still is."""
        with self._lock:
            for owed, paid in ((self._keys, keys), (self._tags, tags)):
                for name, debt in paid.items():
                    if owed.get(name) is debt:
                        del owed[name]


class Outage:
    """Whether the back end was away for so long that others may have failed to tell it something."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None
        self._last = 0.0

    def failed(self) -> None:
        self._last = self._clock()
        if self._since is None:
            self._since = self._last

    def answered(self) -> None:
        """It answered, and was no longer away than can be overlooked, or :meth:`since` was dealt with."""
        self._since = None

    @property
    def began(self) -> bool:
        """Whether it has failed to answer, since it last did."""
        return self._since is not None

    @property
    def seconds(self) -> float | None:
        """How long ago it began, if there was one that was not dealt with."""
        if self._since is None or self._last - self._since < OUTAGE:
            return None
        return self._clock() - self._since

"""What a back end that was away still has to be told, and what it may not be believed.

Rules:

* An invalidation that did not arrive is *owed*, whoever made it: a commit, or somebody by hand. What it
  concerns is not read before it has been made up for, in this process. It is tried again in the background
  until it succeeds, so others do not serve the older result for long.
* Of what could not be told at most :data:`MOST` names are kept; if there are more, everything is owed. The
  next attempt names all of them, and an hour without the back end must not fill the memory.
* A process may end with its debts. So whoever finds the back end again after an *outage* drops everything
  that was there before it: one new generation, made by the first who comes. An outage has lasted for
  :data:`OUTAGE` at least; one time-out, or a restart of a second, is none. Of several servers each has its
  own: while one is away the others are believed, in what they alone have a part in.
* The log says once that it fails, and once that it is back: not before it has done without a failure for
  :data:`CALM`, as it may fail now and then, and not while a part of it is away.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection
from typing import TypeAlias

from scalekit._forks import renew_in_children
from scalekit.errors import BackendError

log = logging.getLogger("scalekit.cache")

OUTAGE = 1.0
"""Seconds from the first failure to the last, without an answer in between."""

CALM = 5.0
"""Seconds without a failure after which the back end is said to be back."""

RETRIES = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Seconds before each attempt to make up for what is owed; the last one is repeated."""

MOST = 1000
"""Keys and tags that are owed by name after an attempt that failed."""

EVERYTHING = ""
"""A tag that every result carries, as no tag of anybody's is called so."""

# Seconds without an attempt after which its event loop must have ended.
_PAYER_GONE = 5.0


Owed: TypeAlias = tuple[dict[str, object], dict[str, object]]
"""Keys and tags; the objects tell one debt from the next."""


class Debts:
    """Keys and tags that are still to be dropped. For threads and event loops together."""

    def __init__(self) -> None:
        self._owed: Owed = {}, {}  # both at once: who asks takes no lock
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        self._lock = threading.Lock()
        self._seen = float("-inf")  # when somebody last tried, in this process
        self._failed = True  # an attempt has failed; in a child, those of its parent may never come to an end

    def __bool__(self) -> bool:
        return any(self._owed)

    def owe(self, *, keys: Collection[str] = (), tags: Collection[str] = ()) -> Owed:
        """Note that these are to be dropped, before that is tried. Returns them, for :meth:`paid`."""
        debt = object()
        owed = dict.fromkeys(keys, debt), dict.fromkeys(tags, debt)
        with self._lock:
            self._failed = bool(self) and self._failed
            for known, new in zip(self._owed, owed, strict=True):
                known.update(new)
        return owed

    def failed(self) -> None:
        """An attempt has failed, or was given up: what is owed is owed for a while."""
        with self._lock:
            self._failed = True
            if sum(map(len, self._owed)) > MOST:
                self._owed = {}, {EVERYTHING: object()}

    def concern(self, key: str, tags: Collection[str]) -> bool:
        """Whether what is under ``key``, with these tags, may have been invalidated."""
        keys, dropped = self._owed
        return key in keys or EVERYTHING in dropped or any(tag in dropped for tag in tags)

    def begin(self) -> bool:
        """Whether to try to make up for them in the background: that has failed, and nobody else is at it."""
        with self._lock:
            now = time.monotonic()
            if not self or not self._failed or now - self._seen < _PAYER_GONE:
                return False
            self._seen = now
            return True

    def go_on(self) -> bool:
        """Whether there is anything left to try; who is at it says so before each attempt."""
        with self._lock:
            self._seen = time.monotonic() if self else float("-inf")
            return bool(self)

    def copy(self) -> Owed:
        """What is owed now."""
        with self._lock:
            keys, tags = self._owed
            return dict(keys), dict(tags)

    def paid(self, what: Owed) -> None:
        """What :meth:`copy` or :meth:`owe` gave has been dropped; what was owed again meanwhile still is."""
        with self._lock:
            for owed, paid in zip(self._owed, what, strict=True):
                for name, debt in paid.items():
                    if owed.get(name) is debt:
                        del owed[name]


class Outage:
    """Which servers of the back end were away for so long that others may have failed to tell them something.

    Servers are called what errors call them. One that is not known to have no part in what is asked has one.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._away: dict[str, tuple[float, float]] = {}  # when each failed first and last, since its answer
        self._last = 0.0
        self._told: str | None = None  # of whom the log says that it is away
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        self._lock = threading.Lock()

    def failed(self, error: BackendError) -> None:
        self._last = now = self._clock()
        with self._lock:
            since, _ = self._away.get(error.backend, (now, now))
            self._away = {**self._away, error.backend: (since, now)}  # others may be looking through it
        if self._told is None and self._tell(error.backend):
            # The error names the back end, and has no credentials in it.
            log.warning("queries run without the cache until its back end answers: %s", error)

    def answered(self, elsewhere: Collection[str] = ()) -> None:
        """All answered but those ``elsewhere``, which had no part in what was asked. They were no longer away
        than can be overlooked, or :meth:`seconds` was dealt with."""
        with self._lock:
            self._away = {name: times for name, times in self._away.items() if name in elsewhere}
        name = self._told
        if name is not None and not self._away and self._clock() - self._last >= CALM and self._tell(None):
            log.info("%s: the cache's back end is back", name)

    def _tell(self, name: str | None) -> bool:
        """Note what the log says now; whether it said otherwise before."""
        with self._lock:
            changed = (self._told is None) is not (name is None)
            self._told = name
        return changed

    @property
    def began(self) -> bool:
        """Whether a server has failed to answer, since it last did."""
        return bool(self._away)

    @property
    def is_over(self) -> bool:
        """Whether an answer is nothing new."""
        return not self._away and self._told is None

    def seconds(self, elsewhere: Collection[str] = ()) -> float | None:
        """How long ago one began that was not dealt with, of any server but those ``elsewhere``."""
        away = self._away  # once: another thread may have its answer at any moment
        began = [
            since for name, (since, last) in away.items() if last - since >= OUTAGE and name not in elsewhere
        ]
        return self._clock() - min(began) if began else None

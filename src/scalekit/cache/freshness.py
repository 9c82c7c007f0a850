"""Whether a result that is valid still is young enough, and what to do if it is not. Pure.

Rules:

* Stale is about age alone. What was invalidated is a miss, and never gets here.
* Before its soft end a result is fresh. With ``early_refresh`` a read of it has it computed anew in the
  background with a probability that grows towards the end: XFetch (Vattani, Chierichetti, Lowenstein: Optimal
  Probabilistic Cache Stampede Prevention, VLDB 2015). It is due if ``left <= -delta * beta * ln(1 - draw)``,
  which is to say with the probability ``exp(-left / (beta * delta))`` a read, ``delta`` being how long the
  function took. The formula spreads the reads that begin one; that there is *one* is the lease's doing.
* After it, for ``stale_while_revalidate``, a result is served and computed anew in the background.
* After that, for ``stale_if_error``, the function is asked first, and a result is served only if it fails or
  is too slow.
* A function that has failed is let *cool* for ``throttle``: meanwhile nobody tries who has a result to serve,
  in any process. The entry itself says so (:data:`scalekit.cache.entry.COOLING`).

The first tier ends its entries where the early zone begins, :func:`local_end`: a hit there must not cost a
logarithm, and what it answers never reaches the formula. Nor would a moment drawn once for each entry do: one
draw for a process is what one read a process would be, and three of four such refreshes (at ``beta`` 1) would
begin too late to be done in time. So in the zone each read asks the back end, and follows the formula.
At most exp(4) = 55 of them, all servers together, before one refreshes, however many come in a second.
"""

import math
import random
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from scalekit._forks import renew_in_children
from scalekit.cache.options import Life

EARLY_ZONE = 4.0
"""How many ``beta * delta`` before its end a result leaves the first tier: 2 % of the reads refresh there."""


class _Dice:
    """0 to below 1. Of our own: an application may seed what all share, in all of its processes alike."""

    def __init__(self) -> None:
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        self._random = random.Random().random  # noqa: S311

    def __call__(self) -> float:
        return self._random()


dice = _Dice()

_KEPT = 10_000  # keys of failed functions


class Aged(Protocol):
    """What is asked of a result: see :class:`scalekit.cache.entry.Hit`."""

    @property
    def delta(self) -> int: ...
    @property
    def soft_end(self) -> int: ...
    @property
    def refreshing(self) -> bool: ...
    @property
    def cooling(self) -> bool: ...


class Plan(Enum):
    """What to do with a result."""

    SERVE = "hand it out"
    SERVE_AND_REFRESH = "hand it out, and have it computed anew in the background"
    WAIT = "compute it, or wait for who does; hand it out if that fails"
    EXPIRED = "as if it were not there; but it is, so the lease is one that replaces it"


def plan(hit: Aged, life: Life, now: int, draw: Callable[[], float]) -> Plan:
    """What to do with ``hit`` at ``now`` (milliseconds since 1970); ``draw`` gives 0 to below 1."""
    left = hit.soft_end - now
    if left > 0:
        if life.early_refresh and not hit.refreshing and _due(left, life.early_refresh * hit.delta, draw):
            return Plan.SERVE_AND_REFRESH
        return Plan.SERVE
    if -left < life.stale_while_revalidate * 1000:
        return Plan.SERVE if hit.refreshing else Plan.SERVE_AND_REFRESH
    if -left < life.stale_if_error * 1000:
        return Plan.SERVE if hit.cooling else Plan.WAIT
    return Plan.EXPIRED


def local_end(soft_end: int, delta: int, life: Life) -> int:
    """When the first tier ends what grows stale at ``soft_end`` and took ``delta``, all in milliseconds."""
    return soft_end - math.ceil(EARLY_ZONE * life.early_refresh * delta)


def _due(left: int, scale: float, draw: Callable[[], float]) -> bool:
    return left <= -scale * math.log(1.0 - draw())


class Cooling:
    """Which keys have failed of late, in this process.

    What is under the key says it to all processes. This is for the case that the back end could not be told.

    Args:
        clock: seconds, for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        self._lock = threading.Lock()

    def failed(self, key: str, throttle: float) -> None:
        """Let nobody try ``key`` again for ``throttle`` seconds."""
        now = self._clock()
        with self._lock:
            if len(self._until) >= _KEPT:
                lasting = {key: until for key, until in self._until.items() if until > now}
                # If nearly all last, to keep them would mean to count them at every failure.
                self._until = lasting if len(lasting) < _KEPT / 2 else {}
            self._until[key] = now + throttle

    def is_over(self, key: str) -> bool:
        """Whether ``key`` may be tried."""
        until = self._until.get(key)
        return until is None or until <= self._clock()

"""Whether a CDN is up, from what a probe of it has found, and when to ask next. Pure.

Rules:

* It is down after ``failures`` in a row, and up again after one success.
* Tries that fail follow each other ``timeout`` apart, however fast each fails: a restart of a moment is no
  outage. The pause before them is so long that all fit into ``interval``: what is down is known to be down
  within one interval, and what is up again within one as well.
* Pauses are shortened at random by up to a quarter, so that servers do not ask all at once.
* Until the first answer it is up. One that has never answered is down by the same rules.
* Nothing heard for a whole interval, whatever may hold up the probe, is down, too.
"""

import random


class Health:
    """The state of one CDN.

    Args:
        interval: seconds within which a change is known.
        timeout: seconds a try may take; ``failures`` of them are shorter than ``interval``.
        failures: in a row, until it is down.
        now: the time, in seconds of any clock that never goes back.
    """

    def __init__(self, *, interval: float, timeout: float, failures: int, now: float) -> None:
        self._interval, self._timeout, self._limit = interval, timeout, failures
        self._failed = 0
        self._heard = now
        self.ever = False  # whether it has answered once

    def succeeded(self, now: float) -> None:
        self._failed, self._heard, self.ever = 0, now, True

    def failed(self, now: float) -> None:
        self._failed, self._heard = self._failed + 1, now

    def is_up(self, now: float) -> bool:
        return self._failed < self._limit and now - self._heard <= self._interval

    def pause(self, took: float) -> float:
        """Seconds until the next try, after one that took ``took``."""
        if 0 < self._failed < self._limit:
            return max(self._timeout - took, 0.0)
        longest = self._interval - self._limit * self._timeout
        return longest * random.uniform(0.75, 1)  # noqa: S311 (no secret)

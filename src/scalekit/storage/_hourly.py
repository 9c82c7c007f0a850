"""What servers do now and then on behalf of all, so that nobody has to think of it.

Rules:

* Once an hour, when it is reminded; for the first time at any moment of the hour that follows the first
  reminder. So servers that are started together do not do it together, and none does it as it starts.
* It needs connections that requests have opened, see :mod:`scalekit.storage._background`. Where there are
  none it is put off until the next reminder.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from typing import Any

from scalekit.storage import _background

EVERY = 3600.0
"""Seconds."""

_log = logging.getLogger("scalekit.storage")


class Hourly:
    """Does ``work`` in the background when it is reminded, at most once an hour.

    Args:
        now: the time, in seconds.
        moment: when in its first hour, from 0 to 1.
    """

    def __init__(
        self,
        work: Callable[[], Coroutine[Any, Any, object]],
        now: Callable[[], float],
        moment: Callable[[], float] = random.random,
    ) -> None:
        self._work, self._now, self.moment = work, now, moment
        self._next: float | None = None
        self._working: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        return self._working is None or self._working.done()

    def remind(self) -> None:
        """Begin, if it is time."""
        now = self._now()
        if self._next is None:
            self._next = now + self.moment() * EVERY
        if now >= self._next and self.idle:
            self._next = now + EVERY
            self._working = _background.begin(self._do())
            self._working.add_done_callback(_log_failure)

    async def _do(self) -> None:
        try:
            await self._work()
        except _background.NothingOpen:
            self._next = self._now()


def _log_failure(working: "asyncio.Task[None]") -> None:
    error = None if working.cancelled() else working.exception()
    if error is not None:
        _log.warning("what is left of uploads was not removed, this is tried again in an hour: %r", error)

"""What servers do now and then on behalf of all, so that nobody has to think of it."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any

EVERY = 3600.0
"""Seconds."""

_log = logging.getLogger("scalekit.storage")


class Hourly:
    """Does ``work`` in the background when it is reminded, at most once an hour.

    Args:
        now: the time, in seconds.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, object]], now: Callable[[], float]) -> None:
        self._work, self._now = work, now
        self._next = -inf
        self._working: asyncio.Task[object] | None = None

    @property
    def idle(self) -> bool:
        return self._working is None or self._working.done()

    def remind(self) -> None:
        """Begin, if that was an hour ago."""
        if self._now() >= self._next and self.idle:
            self._next = self._now() + EVERY
            self._working = asyncio.create_task(self._work())
            self._working.add_done_callback(_log_failure)


def _log_failure(working: asyncio.Task[object]) -> None:
    error = None if working.cancelled() else working.exception()
    if error is not None:
        _log.warning("what is left of uploads was not removed, this is tried again in an hour: %r", error)

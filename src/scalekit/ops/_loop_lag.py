"""How late an event loop is: the time for which what is ready waits until it runs.

A timer is due fifty times a second, and how long after that it runs is the lag. It runs while there are
requests, and is not there without: no import starts it, and nothing has to stop it.
"""

import asyncio
import threading
import time
from collections.abc import Callable

TICK = 0.02
"""Seconds between two looks."""


class LoopLag:
    """The lag of whatever event loop asks. Safe to share between threads, each with a loop of its own.

    Args:
        report: is told the lag of every tick, in seconds, on the loop.
        wanted: whether to look on although nobody asked since the last tick.
    """

    def __init__(self, report: Callable[[float], None], wanted: Callable[[], bool]) -> None:
        self._report = report
        self._wanted = wanted
        self._local = threading.local()

    def late(self) -> float:
        """Seconds for which the loop has been late by now, at least. Starts the timer if there is none."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return 0.0  # Trio, of which nothing is known
        timer: _Timer | None = getattr(self._local, "timer", None)
        if timer is None or timer.loop is not loop:
            timer = self._local.timer = _Timer(loop, self._report, self._wanted)
        return timer.late()


class _Timer:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, report: Callable[[float], None], wanted: Callable[[], bool]
    ) -> None:
        self.loop = loop
        self._report = report
        self._wanted = wanted
        self._due: float | None = None
        self._asked = False

    def late(self) -> float:
        self._asked = True
        if self._due is None:
            self._schedule()
            return 0.0
        return max(0.0, time.monotonic() - self._due)

    def _schedule(self) -> None:
        # Not loop.time(), which uvloop reads once for a whole round of what is ready.
        self._due = time.monotonic() + TICK
        self.loop.call_later(TICK, self._tick)

    def _tick(self) -> None:
        assert self._due is not None
        self._report(max(0.0, time.monotonic() - self._due))
        if self._asked or self._wanted():
            self._asked = False
            self._schedule()
        else:
            self._due = None

"""A time limit that a held-up event loop does not use up.

When something blocks the loop for longer than a limit (a synchronous call in a handler, a large garbage
collection, a machine that stands still), the answer may lie in the socket, but the timers run first: with
`asyncio.timeout` every exchange in flight fails, and the breaker opens against a healthy server. Here the
limit is served in slices, each armed by the end of the one before, so a standstill uses up one slice at
most and the loop reads what has arrived before the next one ends. ``renew()`` has the limit begin again when
the slice that is running ends, so it costs an assignment and no timer.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

_SLICES = 4


class Patience:
    """``async with Patience(seconds)``: like `asyncio.timeout`, see the module. ``None`` is no limit.

    Raises:
        TimeoutError: the block took longer.
    """

    __slots__ = ("_left", "_limit", "_slice", "_timer")

    def __init__(self, seconds: float | None) -> None:
        self._slice = None if seconds is None else seconds / _SLICES
        self._left = _SLICES
        self._limit = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        self._arm()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._limit.__aexit__(kind, error, trace)

    def renew(self) -> None:
        """Begin again; a sign of life has come."""
        self._left = _SLICES + 1

    def _arm(self) -> None:
        if self._slice is not None:
            self._timer = asyncio.get_running_loop().call_later(self._slice, self._tick)

    def _tick(self) -> None:
        self._left -= 1
        if self._left:
            self._arm()
        else:
            self._limit.reschedule(asyncio.get_running_loop().time())


class Alarm:
    """The same for a limit that begins again and again: ``strike`` is called when it has passed.

    To begin again and to end cost an assignment, as the timer runs to the end of the slice, wanted or not.
    """

    __slots__ = ("_left", "_slice", "_strike", "_ticking")

    def __init__(self, seconds: float, strike: Callable[[], None]) -> None:
        self._slice = seconds / _SLICES
        self._left = 0
        self._ticking = False
        self._strike = strike

    def begin(self) -> None:
        """Begin, or begin again."""
        if self._ticking:
            self._left = _SLICES + 1  # the slice that is running may end at once
        else:
            self._left = _SLICES
            self._arm()

    def end(self) -> None:
        """Do not strike, until the next beginning."""
        self._left = 0

    def _arm(self) -> None:
        self._ticking = True
        asyncio.get_running_loop().call_later(self._slice, self._tick)

    def _tick(self) -> None:
        self._ticking = False
        if not self._left:
            return
        self._left -= 1
        if self._left:
            self._arm()
        else:
            self._strike()

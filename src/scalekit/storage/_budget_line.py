"""Who waits for memory, and how quick they are.

Rules:

* An upload is quick unless it is late by more than a second. It gets late while its client is asked for more
  and sends nothing; every chunk that comes makes up for as long as it may take at ``QUICK``, but not for what
  is still to come. So it does not help to have been quick once, and one that has just begun is quick.
* Whoever waits for others gets no later by it. With each part that is sent it begins anew.
"""

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scalekit.storage.budget import Account

QUICK = 256 * 1024
"""Bytes a second."""

GRACE = 1.0
"""Seconds by which a quick one may be late."""


class Pace:
    """How quickly the part of an upload comes that is being filled.

    Args:
        now: seconds of any clock that does not go back; its client is asked from here on.
    """

    def __init__(self, now: float) -> None:
        self.size = 0
        """Bytes of the part."""
        self._late = 0.0
        self._asked: float | None = now

    def came(self, size: int, now: float) -> None:
        """A chunk. The client is asked for no other before :meth:`ask`."""
        self.size += size
        self._late = max(0.0, self._lateness(now) - size / QUICK)
        self._asked = None

    def ask(self, now: float) -> None:
        """The client is asked for more."""
        self._asked = now

    def begin(self, sent: int, now: float) -> None:
        """So many bytes of the part are being sent: what is left belongs to the next one."""
        self.size -= sent
        self._late = 0.0
        self._asked = now

    def quick(self, now: float) -> bool:
        return self._lateness(now) <= GRACE

    def _lateness(self, now: float) -> float:
        return self._late + (0.0 if self._asked is None else now - self._asked)


class Waiter:
    """An upload that waits, in the running event loop."""

    def __init__(self, account: "Account") -> None:
        self.account = account
        self._loop = asyncio.get_running_loop()
        self.woken: asyncio.Future[None] = self._loop.create_future()

    def wake(self) -> None:
        # Whoever gives back may be in another thread.
        self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if not self.woken.done():  # whoever waited may have been cancelled
            self.woken.set_result(None)


class Line:
    """Those who wait, in the order in which they came."""

    def __init__(self) -> None:
        # Taken from the front and out of the middle, by the thousand.
        self._all = OrderedDict[Waiter, None]()
        self._quick = OrderedDict[Waiter, None]()

    def add(self, waiter: Waiter, *, quick: bool) -> None:
        self._all[waiter] = None
        if quick:  # and stays so, since nobody gets slower by waiting
            self._quick[waiter] = None

    def remove(self, waiter: Waiter) -> None:
        self._all.pop(waiter, None)
        self._quick.pop(waiter, None)

    def first(self) -> Waiter | None:
        """Who has waited longest."""
        return next(iter(self._all), None)

    def first_quick(self) -> Waiter | None:
        """Of the quick ones."""
        return next(iter(self._quick), None)

"""Who waits for memory, how quick they are, and what they are promised.

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
    """An upload that waits, in the running event loop, with a chunk of ``size`` bytes."""

    def __init__(self, account: "Account", size: int, *, quick: bool) -> None:
        self.account = account
        self.size = size
        self.quick = quick  # and stays so, since nobody gets slower by waiting
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
        self.size = 0
        """Bytes of the chunks with which they wait: 0 if there is nobody."""

    def add(self, waiter: Waiter, *, first: bool) -> None:
        self.size += waiter.size
        for line in (self._all, self._quick) if waiter.quick else (self._all,):
            line[waiter] = None
            if first:
                line.move_to_end(waiter, last=False)

    def remove(self, waiter: Waiter) -> None:
        if waiter in self._all:
            self.size -= waiter.size
        self._all.pop(waiter, None)
        self._quick.pop(waiter, None)

    def first(self) -> Waiter | None:
        """Who has waited longest."""
        return next(iter(self._all), None)

    def first_quick(self) -> Waiter | None:
        """Of the quick ones."""
        return next(iter(self._quick), None)


class Promises:
    """How many bytes each of those may still take who were let go on, without waiting for others."""

    def __init__(self) -> None:
        self._left: dict[Account, int] = {}
        self.total = 0
        """What is promised to all together."""

    def __contains__(self, account: "Account") -> bool:
        return account in self._left

    def accounts(self) -> list["Account"]:
        """Who was promised something."""
        return list(self._left)

    def give(self, account: "Account", size: int) -> None:
        self._left[account] = size
        self.total += size

    def use(self, account: "Account", size: int) -> int:
        """Take so many of the bytes that were promised to it; what is left of them."""
        if account not in self._left:
            return 0
        used = min(size, self._left[account])
        self._left[account] -= used
        self.total -= used
        return self._left[account]

    def withdraw(self, account: "Account") -> bool:
        """What it was promised is free again. Whether it was promised anything."""
        left = self._left.pop(account, None)
        self.total -= left or 0
        return left is not None

"""How much memory the uploads of this process may hold together.

Rules:

* A byte counts from when it was taken from a client until the storage has it, or nobody wants it any more.
* At the limit no client is asked for more. Who has waited longest goes on first.
* Nobody waits for ever. As long as something is being sent, it will be given back. When nothing is, because
  all that is held are beginnings of parts, the first who waits goes ahead: on over the limit, until its part
  is full and sent, however long that takes. Then the next does, so that each who waits is the first one day.
* Quick uploads do not wait for slow ones. When nothing is being sent, one more goes on over the limit: the
  first of those that are quick, see :mod:`scalekit.storage._budget_line`, and only as long as it is quick.
  One that was believed to be and is not is found out after a second or two, and then waits like all others.
* That is not to be paid for with ever more memory, since what those leave behind who were found out stays. So
  no second one goes on while all but the one ahead hold more than the limit and an eighth of it.
* Hence the limit is passed by an eighth of it, two parts, and a chunk of each upload, at most: an eighth when
  the second one is let go, the part of that one, the part of the one ahead, and the chunk with which each of
  the others began to wait. Only where slow ones have used up the eighth does a quick one wait for them.
* A forked process begins with nothing held: the uploads that it has copies of go on in the other one, so that
  nothing of theirs would ever be given back here.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from types import TracebackType
from typing import Self
from weakref import WeakSet

from scalekit.errors import ConfigurationError
from scalekit.metrics import Metric, gauge
from scalekit.storage._budget_line import GRACE, Line, Pace, Waiter

_MIB = 1024 * 1024

_BUDGETS: "WeakSet[MemoryBudget]" = WeakSet()


class MemoryBudget:
    """A limit that any number of storages share, over threads and event loops.

    When beginnings of parts alone have reached it, uploads go on over it one by one, and quick ones (256 KiB
    a second) past slow ones: it is passed by an eighth, two parts, and a chunk of each upload, at most.

    Args:
        limit: bytes, 1 MiB at least.

    Raises:
        ConfigurationError: a smaller limit.
    """

    def __init__(self, limit: int) -> None:
        if limit < _MIB:
            raise ConfigurationError(f"limit={limit}; give at least {_MIB} bytes")
        self.limit = limit
        self._now: Callable[[], float] = monotonic
        self._look_every = GRACE
        self._begin()
        _BUDGETS.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._held = 0
        self._sending = 0
        self._line = Line()
        self._ahead: Account | None = None
        """The one that may go on over the limit, until its part is sent."""
        self._quick: Account | None = None
        """And another one, as long as it is quick."""

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return self._held

    def metrics(self) -> Iterator[Metric]:
        """How full it is, see :class:`scalekit.metrics.Measured`."""
        yield gauge("scalekit_storage_budget_bytes", "Bytes that uploads hold now.", self._held)
        yield gauge("scalekit_storage_budget_limit_bytes", "Bytes that they may hold together.", self.limit)

    def _take(self, account: "Account", size: int) -> Waiter | None:
        with self._lock:
            now = self._now()
            self._held += size
            account.pace.came(size, now)
            if self._held <= self.limit or account in (self._ahead, self._quick):
                account.pace.ask(now)
                return None
            waiter = Waiter(account)
            self._line.add(waiter, quick=account.pace.quick(now))
            self._wake()
            return waiter

    def _send(self, account: "Account", size: int) -> None:
        with self._lock:
            self._sending += size
            account.pace.begin(size, self._now())
            self._withdraw(account)

    def _give(self, account: "Account", size: int, *, sent: bool) -> None:
        with self._lock:
            self._held -= size
            if sent:
                self._sending -= size
            else:
                self._withdraw(account)
            self._wake()

    def _leave(self, waiter: Waiter) -> None:
        with self._lock:
            self._line.remove(waiter)
            self._wake()

    def _look(self) -> None:
        # By those who wait, so that it needs neither a thread nor the loop of the one who goes on.
        with self._lock:
            quick = self._quick
            # While something is being sent, a client may be waiting for that, and nobody for the client.
            if quick is not None and not self._sending and not quick.pace.quick(self._now()):
                self._quick = None
                self._wake()

    def _withdraw(self, account: "Account") -> None:
        if self._ahead is account:
            self._ahead = None
        if self._quick is account:
            self._quick = None

    def _wake(self) -> None:
        while self._held <= self.limit and (waiter := self._line.first()) is not None:
            self._let_go(waiter)
        if self._sending:
            return
        if self._ahead is None and (waiter := self._line.first()) is not None:
            self._ahead = self._let_go(waiter)
        if self._quick is None and (waiter := self._line.first_quick()) is not None:
            held = self._held - (0 if self._ahead is None else self._ahead.pace.size)
            if held <= self.limit + self.limit // 8:
                self._quick = self._let_go(waiter)

    def _let_go(self, waiter: Waiter) -> "Account":
        self._line.remove(waiter)
        waiter.account.pace.ask(self._now())
        waiter.wake()
        return waiter.account


class Account:
    """What one upload holds of a budget. ``with``: whatever it still holds at the end is given back."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self.pace = Pace(budget._now())
        """Of the part that is being filled; the budget's, under its lock."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._budget._give(self, self.pace.size, sent=False)
        self.pace = Pace(self._budget._now())

    async def take(self, size: int) -> None:
        """Count a chunk that has arrived, and wait until there is room for another one."""
        waiter = self._budget._take(self, size)
        if waiter is None:
            return
        try:
            while not waiter.woken.done():
                await asyncio.wait({waiter.woken}, timeout=self._budget._look_every)
                self._budget._look()
        finally:
            self._budget._leave(waiter)

    def send(self, size: int) -> None:
        """So many of the bytes that were taken are being sent, and will be given back whatever happens."""
        self._budget._send(self, size)

    def give(self, size: int) -> None:
        """So many of those are not needed any more."""
        self._budget._give(self, size, sent=True)


def _begin_anew() -> None:
    for budget in _BUDGETS:
        budget._begin()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_begin_anew)

UPLOADS = MemoryBudget(256 * _MIB)
"""What all uploads of the process share that were given no other."""

"""How much memory the uploads of this process may hold together.

Rules:

* A byte counts from when it was taken from a client until the storage has it, or nobody wants it any more.
* At the limit no client is asked for more. Who has waited longest goes on first.
* What gets free is not spread over all who wait, a chunk each, by which none of them would get whole. Whoever
  goes on is promised what its part still needs, and the next one goes on if there is room for what that one
  needs as well. What is promised and turns out not to be needed is free again.
* A part is expected to get as large as the largest of the last 16 that were sent. One that gets larger waits
  once more, before all others, for the rest of a whole part.
* Nobody waits for ever. As long as something is being sent, it will be given back. When nothing is, because
  all that is held are beginnings of parts, the first who waits goes ahead: on over the limit, until its part
  is full and sent, however long that takes. Then the next does, so that each who waits is the first one day.
* Quick uploads do not wait for slow ones, see :mod:`scalekit.storage._budget_line`. Slow ones are promised
  nothing, and go on a chunk at a time. One that was believed to be quick and is not is found out after a
  second or two, loses what it was promised, and waits like all others.
* When nothing is being sent, quick ones go on over the limit, too: as long as all but the one ahead hold and
  are promised no more than the limit and an eighth of it; and one whatever it needs, if none is promised any.
* Hence the limit is passed by an eighth of it, two parts, and two chunks of each upload, at most: the part of
  the one ahead; the part of the one that goes on whatever it needs; and the chunk with which each of the
  others waits, after one with which its part may have begun. Only where slow ones have used up the eighth
  does a quick one wait for them.
* A forked process begins with nothing held: the uploads that it has copies of go on in the other one, so that
  nothing of theirs would ever be given back here.
"""

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic
from types import TracebackType
from typing import Self
from weakref import WeakSet

from scalekit.errors import ConfigurationError
from scalekit.metrics import Metric, gauge
from scalekit.storage._budget_line import GRACE, Line, Pace, Promises, Waiter

_MIB = 1024 * 1024
_RECENT = 16

_BUDGETS: "WeakSet[MemoryBudget]" = WeakSet()


class MemoryBudget:
    """A limit that any number of storages share, over threads and event loops.

    At the limit uploads wait, and go on as there is room for all that the part of each needs; quick ones, of
    256 KiB a second, past slow ones. It is passed by an eighth, two parts, and two chunks of each, at most.

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
        self._promises = Promises()
        self._recent = deque[int](maxlen=_RECENT)
        self._looked = 0.0
        self._ahead: Account | None = None
        """The one that may go on over the limit, until its part is sent."""

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
            left = self._promises.use(account, size)
            there_is_room = not self._line.size and self._held + self._promises.total <= self.limit
            # Of whoever was promised a part, and has it, nothing but that it is whole must be found out.
            whole = account in self._promises and account.pace.size >= account.most
            if account is self._ahead or left > 0 or there_is_room or whole:
                account.pace.ask(now)
                if whole:  # all that was promised is used
                    self._wake()
                return None
            waiter = Waiter(account, size, quick=account.pace.quick(now))
            # Who was promised something has waited for it, and needs more.
            self._line.add(waiter, first=self._promises.withdraw(account))
            self._wake()
            return waiter

    def _send(self, account: "Account", size: int) -> None:
        with self._lock:
            self._sending += size
            self._recent.append(size)
            account.sending += size
            account.pace.begin(size, self._now())
            self._withdraw(account)
            self._wake()

    def _give(self, account: "Account", size: int, *, sent: bool) -> None:
        with self._lock:
            self._held -= size
            if sent:
                self._sending -= size
                account.sending -= size
            else:
                self._withdraw(account)
            self._wake()

    def _leave(self, waiter: Waiter) -> None:
        with self._lock:
            self._line.remove(waiter)
            self._wake()

    def _look(self) -> None:
        # By those who wait, so that it needs neither a thread nor the loop of those who go on.
        with self._lock:
            now = self._now()
            if now < self._looked + self._look_every / 2:  # another one has just looked
                return
            self._looked = now
            for account in self._promises.accounts():
                # While something of it is being sent, its client may be waiting for that.
                if not account.sending and not account.pace.quick(now):
                    self._promises.withdraw(account)
            self._wake()

    def _withdraw(self, account: "Account") -> None:
        if self._ahead is account:
            self._ahead = None
        self._promises.withdraw(account)

    def _wake(self) -> None:
        while (waiter := self._line.first()) is not None:
            if self._counted() + self._needed(waiter) > self.limit:
                break
            self._let_go(waiter)
        if self._sending:
            return
        if self._ahead is None and (waiter := self._line.first()) is not None:
            self._ahead = self._go(waiter)
        most = self.limit + self.limit // 8
        while (waiter := self._line.first_quick()) is not None:
            counted = self._counted() - (0 if self._ahead is None else self._ahead.pace.size)
            alone = not self._promises.total and counted <= most
            if not alone and counted + self._needed(waiter) > most:
                break
            self._let_go(waiter)

    def _counted(self) -> int:
        return self._held - self._line.size + self._promises.total

    def _needed(self, waiter: Waiter) -> int:
        return waiter.size + self._promise(waiter)

    def _promise(self, waiter: Waiter) -> int:
        if not waiter.quick:
            return 0  # it would wait for its client, and others for it
        size, most = waiter.account.pace.size, waiter.account.most
        expected = min(most, max(self._recent, default=most))
        # And a chunk more: only by that, or by its end, an upload knows that its part is whole.
        return max(0, (expected if size < expected else most) - size) + waiter.size

    def _let_go(self, waiter: Waiter) -> None:
        if waiter.quick:
            self._promises.give(waiter.account, self._promise(waiter))
        self._go(waiter)

    def _go(self, waiter: Waiter) -> "Account":
        self._line.remove(waiter)
        waiter.account.pace.ask(self._now())
        waiter.wake()
        return waiter.account


class Account:
    """What one upload holds of a budget. ``with``: whatever it still holds at the end is given back.

    Args:
        most: bytes of its parts, or all if it has fewer; at most, and the budget's limit by default.
    """

    def __init__(self, budget: MemoryBudget, *, most: int | None = None) -> None:
        self._budget = budget
        self.most = budget.limit if most is None else most
        self.sending = 0
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

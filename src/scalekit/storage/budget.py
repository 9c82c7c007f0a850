"""How much memory the uploads of this process may hold together.

Rules:

* A byte counts from when it was taken from a client until the storage has it, or nobody wants it any more.
* At the limit no client is asked for more. Who has waited longest goes on first.
* Nobody waits for ever. As long as something is being sent, it will be given back. When nothing is, because
  all that is held are beginnings of parts, the first who waits goes on over the limit until its part is full
  and sent: so the limit is passed by one part, and a chunk of each upload, at most.
* A forked process begins with nothing held: the uploads that it has copies of go on in the other one, so that
  nothing of theirs would ever be given back here.
"""

import asyncio
import os
import threading
from collections import deque
from types import TracebackType
from typing import Self
from weakref import WeakSet

from scalekit.errors import ConfigurationError

_MIB = 1024 * 1024

_BUDGETS: "WeakSet[MemoryBudget]" = WeakSet()


class MemoryBudget:
    """A limit that any number of storages share, over threads and event loops.

    Args:
        limit: bytes, 1 MiB at least.

    Raises:
        ConfigurationError: a smaller limit.
    """

    def __init__(self, limit: int) -> None:
        if limit < _MIB:
            raise ConfigurationError(f"limit={limit}; give at least {_MIB} bytes")
        self.limit = limit
        self._begin()
        _BUDGETS.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._held = 0
        self._sending = 0
        self._waiting: deque[_Waiter] = deque()
        self._ahead: Account | None = None
        """The one that may go on over the limit, until its part is sent."""

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return self._held

    def _take(self, account: "Account", size: int) -> "_Waiter | None":
        with self._lock:
            self._held += size
            if self._held <= self.limit or self._ahead is account:
                return None
            waiter = _Waiter(account)
            self._waiting.append(waiter)
            self._wake()
            return waiter

    def _send(self, account: "Account", size: int) -> None:
        with self._lock:
            self._sending += size
            if self._ahead is account:
                self._ahead = None

    def _give(self, account: "Account", size: int, *, sent: bool) -> None:
        with self._lock:
            self._held -= size
            self._sending -= size if sent else 0
            if self._ahead is account and not sent:
                self._ahead = None
            self._wake()

    def _leave(self, waiter: "_Waiter") -> None:
        with self._lock:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            self._wake()

    def _wake(self) -> None:
        while self._waiting and self._held <= self.limit:
            self._waiting.popleft().wake()
        if self._waiting and not self._sending and self._ahead is None:
            waiter = self._waiting.popleft()
            self._ahead = waiter.account
            waiter.wake()


class _Waiter:
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


class Account:
    """What one upload holds of a budget. ``with``: whatever it still holds at the end is given back."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._filling = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._budget._give(self, self._filling, sent=False)
        self._filling = 0

    async def take(self, size: int) -> None:
        """Count a chunk that has arrived, and wait until there is room for another one."""
        self._filling += size
        waiter = self._budget._take(self, size)
        if waiter is not None:
            try:
                await waiter.woken
            finally:
                self._budget._leave(waiter)

    def send(self, size: int) -> None:
        """So many of the bytes that were taken are being sent, and will be given back whatever happens."""
        self._filling -= size
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

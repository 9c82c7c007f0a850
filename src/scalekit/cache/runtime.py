"""What a colour can do besides calling a client: pause, go on in the background, and renew leases meanwhile.

Rules:

* A lease is renewed each third of its time while its holder computes, so it can be short: a holder that died
  is noticed soon. A query that ends within the first third costs nothing.
* Work in the background is kept by reference, and told of nobody's cancellation. It ends with its event loop,
  or with the process: threads for it are daemons. A child of ``fork`` has none of its parent's.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from scalekit._forks import renew_in_children
from scalekit._steps import Steps, run, run_async
from scalekit.cache.backend import Entries, Lease, Lookup
from scalekit.cache.entry import Found
from scalekit.cache.flights import AsyncFlights, Flights, SyncFlights
from scalekit.cache.lookups import Lookups
from scalekit.errors import BackendError
from scalekit.types import Colour

LEASE_TTL = 5.0
"""Seconds that a lease lasts if its holder does not renew it, as it does while the function runs."""


class Held(Protocol):
    """A lease that is being renewed."""

    lease: Lease

    def stop(self) -> Any:
        """Renew it no more. Gives what is to be waited for until ``lease`` is the last one."""


class Runtime(Protocol):
    """One colour."""

    flights: Flights

    def look(self, entries: Entries, lookup: Lookup) -> Steps[Found]:
        """What ``entries`` has, asked for with what others ask for at this moment."""
        ...

    def pause(self, seconds: float) -> Any:
        """Wait: a value or an awaitable of it."""

    def limited(self, result: Any, within: float, error: Exception) -> Any:
        """``result``; of an awaitable one, raise ``error`` if it takes longer than ``within`` seconds."""

    def background(self, steps: Callable[[], Steps[Any]], *, name: str) -> None:
        """Drive these steps, for nobody who waits. Their errors are theirs."""

    def hold(self, entries: Entries, lease: Lease) -> Held:
        """Renew a lease until it is stopped."""
        ...


def look_alone(entries: Entries, lookup: Lookup) -> Steps[Found]:
    """What ``entries`` has for one lookup."""
    return (yield from entries.read([lookup]))[0]


def _renewed(entries: Entries, lease: Lease) -> Steps[Lease | None]:
    """The lease again; ``None`` if it is gone. A server that is away may be back in a third."""
    try:
        return (yield from entries.renew(lease, ttl=LEASE_TTL))
    except BackendError:
        return lease


class AsyncRuntime:
    """Event loops."""

    def __init__(self) -> None:
        self.flights: Flights = AsyncFlights()
        self.look = Lookups().look
        self._tasks: set[asyncio.Task[Any]] = set()

    def pause(self, seconds: float) -> Any:
        return asyncio.sleep(seconds)

    async def limited(self, result: Any, within: float, error: Exception) -> Any:
        scope = asyncio.timeout(within)
        try:
            async with scope:
                return await result
        except TimeoutError:
            if scope.expired():
                raise error from None
            raise

    def background(self, steps: Callable[[], Steps[Any]], *, name: str) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # its loop is gone, and what it waited for is being collected
            return
        task = loop.create_task(run_async(steps()), name=f"scalekit.cache: {name}")
        self._tasks.add(task)  # the loop itself would not keep it alive
        task.add_done_callback(self._tasks.discard)

    def hold(self, entries: Entries, lease: Lease) -> "Held":
        return _HeldByTask(entries, lease)


class _HeldByTask:
    def __init__(self, entries: Entries, lease: Lease) -> None:
        self._entries, self.lease = entries, lease
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(LEASE_TTL / 3, self._start)

    def _start(self) -> None:
        self._task = self._loop.create_task(self._renew(), name="scalekit.cache: renew a lease")

    async def _renew(self) -> None:
        lease = await run_async(_renewed(self._entries, self.lease))
        if lease is not None:
            self.lease = lease
            self._timer = self._loop.call_later(LEASE_TTL / 3, self._start)

    def stop(self) -> Any:
        self._timer.cancel()
        if self._task is None or self._task.done():
            return None
        # A renewal under way is let finish, or nobody would know under which token the lease is.
        self._task.add_done_callback(lambda _: self._timer.cancel())
        return asyncio.shield(self._task)


class SyncRuntime:
    """Threads."""

    def __init__(self) -> None:
        self.flights: Flights = SyncFlights()
        self._keeper = _Keeper()
        self.look = look_alone

    def pause(self, seconds: float) -> Any:
        return time.sleep(seconds)

    def limited(self, result: Any, within: float, error: Exception) -> Any:
        return result  # a thread that has it already

    def background(self, steps: Callable[[], Steps[Any]], *, name: str) -> None:
        thread = threading.Thread(target=lambda: run(steps()), name=f"scalekit.cache: {name}", daemon=True)
        with suppress(RuntimeError):  # there are too many, or the interpreter ends: nobody waits for it
            thread.start()

    def hold(self, entries: Entries, lease: Lease) -> "Held":
        return _HeldByThread(entries, lease, self._keeper)


class _HeldByThread:
    def __init__(self, entries: Entries, lease: Lease, keeper: "_Keeper") -> None:
        self._entries, self.lease, self._keeper = entries, lease, keeper
        self._lock = threading.Lock()  # held while a renewal is under way
        self._stopped = False
        self.due = time.monotonic() + LEASE_TTL / 3
        keeper.add(self)

    def renew(self) -> None:
        with self._lock:
            if self._stopped:
                return
            lease = run(_renewed(self._entries, self.lease))
            if lease is not None:
                self.lease, self.due = lease, time.monotonic() + LEASE_TTL / 3
                self._keeper.add(self)

    def stop(self) -> Any:
        self._keeper.remove(self)
        with self._lock:
            self._stopped = True


class _Keeper:
    """The thread that renews the leases of all threads: it is there while there is one to renew."""

    def __init__(self) -> None:
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        self._changed = threading.Condition()
        self._held: set[_HeldByThread] = set()
        self._thread: threading.Thread | None = None

    def add(self, held: _HeldByThread) -> None:
        with self._changed:
            self._held.add(held)
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="scalekit.cache: renew leases", daemon=True)
                with suppress(RuntimeError):  # there are too many: then a lease ends before a slow query does
                    thread.start()
                    self._thread = thread

    def remove(self, held: _HeldByThread) -> None:
        with self._changed:
            self._held.discard(held)

    def _work(self) -> None:
        try:
            self._renew_all()
        except BaseException:  # a client's, say; the next lease has another thread
            with self._changed:
                self._thread = None
            raise

    def _renew_all(self) -> None:
        idle_since: float | None = None
        while True:
            with self._changed:
                now = time.monotonic()
                due = [held for held in self._held if held.due <= now]
                self._held.difference_update(due)
                if not due:
                    if self._held:
                        idle_since = None
                        wait = min(held.due for held in self._held) - now
                    else:
                        idle_since = idle_since or now
                        if now - idle_since > LEASE_TTL:
                            self._thread = None
                            return
                        # Threads are dear: one that has come for a short query stays for the next ones.
                        wait = LEASE_TTL / 3
                    self._changed.wait(wait)
            for held in due:
                held.renew()


def runtimes() -> dict[Colour, Runtime]:
    return {"sync": SyncRuntime(), "async": AsyncRuntime()}

"""Asking the members in the background, in two colours.

Rules:

* One question at a time and member; each on its own, so that a server that hangs delays no other.
* Every question has a deadline. When it passes, the connection is cut, which makes the question fail.
* A member that fails is asked again at once over a new connection; only when that fails too it is out.
* Started with the first transaction, and again after a fork or on a new event loop; stopping leaves
  nothing behind.
"""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable

from sqlalchemy.util import await_only

from scalekit._steps import Steps, run, run_async
from scalekit.database.fleet import Fleet
from scalekit.database.members import Member
from scalekit.database.topology import Report

_log = logging.getLogger("scalekit.database")

# An answer that has arrived gets this long to be noticed by a process that was busy with something else.
_GRACE = 0.05


def ask(fleet: Fleet, member: Member) -> Steps[None]:
    """One question to one member, and what follows from its answer."""
    asked = time.monotonic()
    before = member.health.report
    was_out = member.health.failure is not None
    outcome = yield from member.probe()
    if isinstance(outcome, Report):
        if before is not None and before.started != outcome.started:
            # Restarted: what is in the pools is dead, and would cost one request each an error. What was
            # opened since the last answer of the old process may belong to the new one already.
            member.cut_older(before.asked)
        if was_out:
            _log.warning("%s answers again", member.name)
    elif not was_out:
        _log.warning("%s is left out: %s", member.name, outcome)
    fleet.heard(member, outcome, asked=asked)
    if isinstance(outcome, str):
        # Reads that wait for it would wait for ever; they are repeated elsewhere. Writes are not cut: it
        # may only be slow, and nobody else can take them.
        member.cut_reads()
    elif member is fleet.primary:
        yield from member.drop_idle_readers()


class ThreadMonitor:
    """A daemon thread for each member, and one that watches their deadlines.

    Args:
        fleet: whom to ask, and whom to tell.
        interval: seconds between two questions to a member.
    """

    def __init__(self, fleet: Fleet, *, interval: float) -> None:
        self._fleet, self._interval = fleet, interval
        self._process: int | None = None
        self._renew()

    def _renew(self) -> None:
        self._starting = threading.Lock()
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._pokes = {member: threading.Event() for member in self._fleet.members}
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        if self._process == os.getpid():
            return
        if self._process is not None:
            # A fork: the threads did not come along, locks may be held for ever, and the connections
            # belong to the parent.
            self._fleet.forked()
            self._renew()
        with self._starting:
            if self._process == os.getpid():
                return
            self._stop.clear()
            watch = [threading.Thread(target=self._watch, args=(member,)) for member in self._fleet.members]
            self._threads = [*watch, threading.Thread(target=self._guard)]
            for thread in self._threads:
                thread.daemon = True
                thread.name = "scalekit.database"
                thread.start()
            self._process = os.getpid()

    def poke(self) -> None:
        for poke in self._pokes.values():
            poke.set()

    def wait(self, condition: Callable[[], bool], timeout: float) -> None:
        with self._changed:
            self._changed.wait_for(condition, timeout)

    def changed(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def signal_stop(self) -> None:
        """Let the threads end, without waiting for it."""
        self._stop.set()
        self.poke()

    def stop(self) -> None:
        """End the threads and their connections."""
        if self._process != os.getpid():
            return
        self.signal_stop()
        for thread in self._threads:
            thread.join()
        self._process, self._threads = None, []

    def _watch(self, member: Member) -> None:
        poke = self._pokes[member]
        while not self._stop.is_set():
            poke.clear()
            run(ask(self._fleet, member))
            poke.wait(self._interval)
        run(member.hang_up(broken=False))

    def _guard(self) -> None:
        while not self._stop.wait(min(self._interval, 0.25)):
            self._cut_late()
        for thread in self._threads[:-1]:
            while thread.is_alive():
                thread.join(_GRACE)
                self._cut_late()

    def _cut_late(self) -> None:
        late = [member for member in self._fleet.members if member.is_late()]
        if late:
            time.sleep(_GRACE)
        for member in late:
            if member.is_late():
                member.cut_probe()


class TaskMonitor:
    """A task for each member on the running event loop.

    Args:
        fleet: whom to ask, and whom to tell.
        interval: seconds between two questions to a member.
    """

    def __init__(self, fleet: Fleet, *, interval: float) -> None:
        self._fleet, self._interval = fleet, interval
        self._process: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._pokes: list[asyncio.Event] = []
        self._waiters: set[asyncio.Future[None]] = set()
        self._stopping = False

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is loop and self._process == os.getpid():
            return
        if self._process is not None and self._process != os.getpid():
            self._fleet.forked()
        elif self._loop is not None and self._loop.is_running():
            return  # on another thread's loop: what it learns is known here too
        elif self._loop is not None:
            # The loop ended without our being disposed of, and its connections with it.
            self._fleet.forked()
        self._loop, self._process, self._stopping = loop, os.getpid(), False
        self._waiters = set()
        self._pokes = [asyncio.Event() for _ in self._fleet.members]
        self._tasks = [
            loop.create_task(self._watch(member, poke), name="scalekit.database")
            for member, poke in zip(self._fleet.members, self._pokes, strict=True)
        ]

    def poke(self) -> None:
        self._in_loop(self._set_pokes)

    def wait(self, condition: Callable[[], bool], timeout: float) -> None:
        await_only(self._wait(condition, timeout))

    def changed(self) -> None:
        for waiter in list(self._waiters):
            waiter.get_loop().call_soon_threadsafe(_wake, waiter)

    def signal_stop(self) -> None:
        """Let the tasks end, without waiting for it."""
        self._stopping = True
        self.poke()

    async def stop(self) -> None:
        """End the tasks and their connections."""
        if self._process == os.getpid() and self._loop is asyncio.get_running_loop():
            self.signal_stop()
            await asyncio.gather(*self._tasks)
        self._loop, self._process, self._tasks = None, None, []

    def _set_pokes(self) -> None:
        for poke in self._pokes:
            poke.set()

    def _in_loop(self, action: Callable[[], None]) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is loop:
            action()
        else:
            loop.call_soon_threadsafe(action)

    async def _wait(self, condition: Callable[[], bool], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        loop = asyncio.get_running_loop()
        while not condition():
            waiter = loop.create_future()
            self._waiters.add(waiter)
            try:
                await asyncio.wait_for(waiter, max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                return
            finally:
                self._waiters.discard(waiter)

    async def _watch(self, member: Member, poke: asyncio.Event) -> None:
        try:
            while not self._stopping:
                poke.clear()
                await self._in_time(member, asyncio.ensure_future(run_async(ask(self._fleet, member))))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(poke.wait(), self._interval)
            await run_async(member.hang_up(broken=False))
        finally:
            # Cancelled, as when the loop ends: the connection must not outlive it.
            member.cut_probe()

    async def _in_time(self, member: Member, question: asyncio.Future[None]) -> None:
        while not question.done():
            await asyncio.wait({question}, timeout=max(_GRACE, min(self._interval, member.time_left())))
            if not question.done() and member.is_late():
                await asyncio.wait({question}, timeout=_GRACE)
                if member.is_late():
                    member.cut_probe()
        await question


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)

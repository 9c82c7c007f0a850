"""Asking the members in tasks, for asynchronous code."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable

from sqlalchemy.util import await_only

from scalekit._steps import run_async
from scalekit.database.fleet import Fleet
from scalekit.database.member import Member
from scalekit.database.probe import GRACE, ask


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
        # Those of a loop that has ended are not to be woken.
        self._waiters = {waiter for waiter in self._waiters if waiter.get_loop() is loop}
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
            await asyncio.wait({question}, timeout=max(GRACE, min(self._interval, member.time_left())))
            if not question.done() and member.is_late():
                await asyncio.wait({question}, timeout=GRACE)
                if member.is_late():
                    member.cut_probe()
        await question


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)

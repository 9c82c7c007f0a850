"""Asking the members in tasks, for asynchronous code."""

import asyncio
import contextlib
import contextvars
import inspect
import os
import time
from collections.abc import Callable, Coroutine
from typing import Any

from sqlalchemy.util import await_only

from scalekit._steps import run_async
from scalekit.database.directory import Directory
from scalekit.database.member import Member
from scalekit.database.probe import GRACE, Prober
from scalekit.database.roles import Roles


class TaskMonitor(Prober):
    """A task for each member on the running event loop, and one that asks who they are."""

    def __init__(self, roles: Roles, *, interval: float) -> None:
        super().__init__(roles, interval=interval)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watchers: dict[Member, asyncio.Task[None]] = {}
        self._pokes: dict[Member, asyncio.Event] = {}
        self._lister: asyncio.Task[None] | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._stopping = False

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is loop and self._process == os.getpid():
            return
        if self._process is not None and self._process != os.getpid():
            self._roles.forked()
        elif self._loop is not None and self._loop.is_running():
            return  # on another thread's loop: what it learns is known here too
        elif self._loop is not None:
            # The loop ended without our being disposed of, and its connections with it.
            self._roles.forked()
        self._loop, self._process, self._stopping = loop, os.getpid(), False
        # Those of a loop that has ended are not to be woken.
        self._waiters = {waiter for waiter in self._waiters if waiter.get_loop() is loop}
        self._watchers, self._pokes, self._lister = {}, {}, None
        if self._roles.directory is not None:
            self._lister = _started(loop, self._list(self._roles.directory))
        self._watch_all()

    def poke(self) -> None:
        self._in_loop(self._set_pokes)

    def members_changed(self) -> None:
        self._in_loop(self._watch_all)
        self.poke()

    def _watch_all(self) -> None:
        loop = asyncio.get_running_loop()
        for member in self._roles.members:
            if member not in self._watchers and not self._stopping:
                poke = self._pokes[member] = asyncio.Event()
                self._watchers[member] = _started(loop, self._watch(member, poke))

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
            if self._lister is not None:
                self._lister.cancel()
                await asyncio.wait({self._lister})
            await asyncio.gather(*self._watchers.values())
        self._loop, self._process, self._watchers, self._lister = None, None, {}, None

    def _set_pokes(self) -> None:
        for poke in self._pokes.values():
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
                # Not wait_for(), which on Python 3.11 loses a cancellation that comes with the news.
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await waiter
            except TimeoutError:
                return
            finally:
                self._waiters.discard(waiter)

    async def _watch(self, member: Member, poke: asyncio.Event) -> None:
        try:
            while not self._stopping and member in self._roles.members:
                poke.clear()
                await self._in_time(member, asyncio.ensure_future(run_async(self._ask(member))))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._interval):  # as in _wait()
                        await poke.wait()
            if member in self._roles.members:
                await run_async(member.probe.hang_up(broken=False))
            else:
                await run_async(member.leave())
                if not self._stopping:
                    del self._watchers[member], self._pokes[member]
        finally:
            # Cancelled, as when the loop ends: the connection must not outlive it.
            member.probe.cut()

    async def _list(self, directory: Directory) -> None:
        while not self._stopping:
            with self._listing(directory):
                # A plain function may wait for an answer, which the loop must not.
                self._roles.set_replicas(directory.read(await _called(directory)))
            await asyncio.sleep(directory.refresh)

    async def _in_time(self, member: Member, question: asyncio.Future[None]) -> None:
        while not question.done():
            await asyncio.wait({question}, timeout=max(GRACE, min(self._interval, member.probe.time_left())))
            if not question.done() and member.probe.is_late():
                await asyncio.wait({question}, timeout=GRACE)
                if member.probe.is_late():
                    member.probe.cut()
        await question


def _started(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    # Not in the context of the request that happens to be the first: it would be kept, and traced, for ever.
    return contextvars.Context().run(loop.create_task, work, name="scalekit.database")


async def _called(directory: Directory) -> Any:
    found: Any = directory.find() if directory.is_async else await asyncio.to_thread(directory.find)
    return await found if inspect.isawaitable(found) else found


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)

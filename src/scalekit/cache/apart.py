"""Work that no caller does: in tasks or threads of its own, in a context of its own.

Rules:

* The context is empty. What a request has set (a database scope, a request id) ends with the request, and
  must not be found by what outlives it.
* Tasks are kept by reference, on the loop that was running; threads are few, daemons, and end when idle.
* What one of these threads waits for has a thread of its own: they would wait for each other, where a cached
  function calls another one.
* An optional piece of work is refused while ``AT_ONCE`` are under way: who asks next will ask again. What is
  refreshed must not take all connections from those who wait for an answer.
* Whoever starts something is told when it has ended, also if it was cancelled before it began: others may
  wait for what it was to do.
* A child of ``fork`` has none of its parent's.
"""

import asyncio
import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from scalekit._forks import renew_in_children
from scalekit._steps import Steps, run, run_async
from scalekit.types import Colour

AT_ONCE = 8
"""Optional pieces of work, and threads but for those that these wait for, in one process."""

_IDLE = 10.0  # seconds
_PREFIX = "scalekit.cache: "


def _nothing() -> None:
    """Nobody waits for it."""


class Apart(Protocol):
    """One colour."""

    def start(
        self,
        steps: Callable[[], Steps[Any]],
        *,
        name: str,
        optional: bool = False,
        ended: Callable[[], object] = _nothing,
    ) -> bool:
        """Drive these steps, which raise nothing; whether that will be done. After it ``ended`` is called.

        Raises:
            RuntimeError: what is not optional can be done by nobody: there is no thread.
        """
        ...

    def close(self, *, within: float) -> Any:
        """End what is under way: nothing, or an awaitable of it."""


class Tasks:
    """Work on event loops."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        renew_in_children(self)

    def forked(self) -> None:
        self._tasks = set()

    def start(
        self,
        steps: Callable[[], Steps[Any]],
        *,
        name: str,
        optional: bool = False,
        ended: Callable[[], object] = _nothing,
    ) -> bool:
        if optional and len(self._tasks) >= AT_ONCE:
            # Of a loop that was closed without cancelling them nobody hears.
            self._tasks.difference_update([task for task in self._tasks if task.get_loop().is_closed()])
            if len(self._tasks) >= AT_ONCE:
                return False
        task = asyncio.get_running_loop().create_task(
            run_async(steps()), name=_PREFIX + name, context=contextvars.Context()
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: ended())
        return True

    async def close(self, *, within: float) -> None:
        """Cancel the tasks of this loop, and wait for them to put away their sessions, ``within`` seconds."""
        loop = asyncio.get_running_loop()
        mine = [task for task in list(self._tasks) if task.get_loop() is loop]
        for task in mine:
            task.cancel()
        if mine:
            await asyncio.wait(mine, timeout=within)


class Threads:
    """Work in threads: at most ``AT_ONCE``, the rest waits its turn."""

    def __init__(self) -> None:
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Callable[[], Steps[Any]], Callable[[], object]]] = deque()
        self._threads = self._idle = 0
        self._ours: set[int] = set()

    def start(
        self,
        steps: Callable[[], Steps[Any]],
        *,
        name: str,
        optional: bool = False,
        ended: Callable[[], object] = _nothing,
    ) -> bool:
        if not optional and threading.get_ident() in self._ours:
            self._thread(lambda: self._do(steps, ended)).start()
            return True
        with self._changed:
            must = not optional and not self._threads
            free = self._idle > len(self._waiting) or self._add(must=must)
            if optional and not free:
                return False
            self._waiting.append((steps, ended))
            self._changed.notify()
        return True

    def close(self, *, within: float) -> None:
        """Wait ``within`` seconds for what is under way: threads cannot be stopped."""
        ends = time.monotonic() + within
        with self._changed:
            while (self._waiting or self._threads > self._idle) and (left := ends - time.monotonic()) > 0:
                self._changed.wait(left)

    def _add(self, *, must: bool = False) -> bool:
        """Start another thread, if there may be one and can be; raises if there ``must`` be and cannot."""
        if self._threads >= AT_ONCE:
            return False
        try:
            self._thread(self._work).start()
        except RuntimeError:  # there are too many, or the interpreter ends
            if must:
                raise
            return False
        self._threads += 1
        return True

    def _thread(self, work: Callable[[], None]) -> threading.Thread:
        ours = self._ours

        def target() -> None:
            ours.add(me := threading.get_ident())
            try:
                work()
            finally:
                ours.discard(me)

        return threading.Thread(target=target, name=_PREFIX + "background", daemon=True)

    def _do(self, steps: Callable[[], Steps[Any]], ended: Callable[[], object]) -> None:
        try:
            contextvars.Context().run(run, steps())
        finally:
            ended()

    def _work(self) -> None:
        try:
            while (piece := self._next()) is not None:
                self._do(*piece)
        except BaseException:  # the function's, as SystemExit: this thread ends, and another takes its place
            with self._changed:
                self._threads -= 1
                if self._waiting:
                    self._add()
            raise

    def _next(self) -> tuple[Callable[[], Steps[Any]], Callable[[], object]] | None:
        with self._changed:
            self._idle += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting, _IDLE)
            self._idle -= 1
            if self._waiting:
                return self._waiting.popleft()
            self._threads -= 1
            return None


def places() -> dict[Colour, Apart]:
    return {"async": Tasks(), "sync": Threads()}

"""Work that no request waits for, such as a sweep. It must not outlive the connections that it uses.

Rules:

* It opens no connections, it uses those that requests have opened: what is closed stays closed.
* Whoever closes connections stops it first, and waits for its end: it may be in the middle of something.

Which connections it uses is found out as it does so, however many storages are around the one that has them.
"""

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any

_WORK: ContextVar["asyncio.Task[None] | None"] = ContextVar("scalekit_storage_work", default=None)


class NothingOpen(Exception):
    """Work in the background would have had to open connections."""


def begin(work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    """Begin ``work`` in the background."""

    async def working() -> None:
        _WORK.set(asyncio.current_task())
        await work

    task = asyncio.create_task(working())
    # One that is stopped before it began has to let go of what it would have done.
    task.add_done_callback(lambda _: work.close())
    return task


class Guests:
    """The work in the background that uses the connections of a storage."""

    def __init__(self) -> None:
        self._working = set[asyncio.Task[None]]()

    def enter(self, *, opened: bool) -> None:
        """Called before connections are used, by whomever.

        Raises:
            NothingOpen: they are not ``opened``, and this is work in the background.
        """
        task = _WORK.get()
        if task is None or task.done():  # what it has left running is on its own
            return
        if not opened:
            raise NothingOpen
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def stop(self) -> None:
        """End what works in the running event loop, except the caller."""
        while working := {task for task in self._working if task.get_loop() is asyncio.get_running_loop()} - {
            _WORK.get()
        }:
            for task in working:
                task.cancel()
            await asyncio.wait(working)

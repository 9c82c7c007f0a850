"""Steps that must come to an end although their caller is cancelled: commits, aborts, clean-up.

Two kinds of cancellation exist. A task's own ``cancel()`` is delivered once for each call; an anyio cancel
scope (Starlette's middleware) delivers again at every await until the scope is left. Both are held back
here for a bounded time and then go on.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import anyio

T = TypeVar("T")

CLEAN_UP_SECONDS = 10.0
"""How long a cancelled caller waits for clean-up at most."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """How a shielded step ended: with a ``value``, an ``error``, or (neither) not in time."""

    value: T | None
    error: BaseException | None
    cancelled: asyncio.CancelledError | None
    """The cancellation that arrived meanwhile and is still to be raised."""

    def raise_if_cancelled(self) -> None:
        """Raise the cancellation that was held back, if there was one."""
        if self.cancelled is not None:
            raise self.cancelled

    def unwrap(self) -> T:
        """The value; raises the cancellation that was held back, or the step's error."""
        self.raise_if_cancelled()
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]


async def settle(
    step: Coroutine[Any, Any, T] | asyncio.Future[T],
    *,
    seconds: float | None = CLEAN_UP_SECONDS,
    may_stop: Callable[[], bool] = lambda: False,
) -> Outcome[T]:
    """Run ``step`` to its end, whether or not the caller is cancelled meanwhile.

    Args:
        seconds: once cancelled, wait no longer than this, then cancel the step too; ``None``: to its end.
        may_stop: asked when a cancellation arrives; true while the step can be cancelled at no risk.
    """
    task = asyncio.ensure_future(step)
    cancelled: asyncio.CancelledError | None = None
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError as error:
        cancelled = error
        if may_stop():
            task.cancel()
        await _see_out(task, seconds)
    if task.cancelled():
        return Outcome(None, None, cancelled or asyncio.CancelledError())
    failure = task.exception()
    return Outcome(None if failure else task.result(), failure, cancelled)


async def _see_out(task: asyncio.Future[Any], seconds: float | None) -> None:
    clock = asyncio.get_running_loop().time
    deadline = None if seconds is None else clock() + seconds
    with anyio.CancelScope(shield=True):  # against the scopes; the loop is against further cancel() calls
        while not task.done():
            remaining = None if deadline is None else deadline - clock()
            if remaining is not None and remaining <= 0:
                task.cancel()
                remaining = None  # what is cancelled closes its socket at once and ends
            with suppress(asyncio.CancelledError):
                await asyncio.wait({task}, timeout=remaining)


# For each loop its own, not the default one: a mount that hangs must not stop the look-up of host names too.
# The standard library's threads end with their loop, and with the interpreter whatever becomes of the loop.
_workers: WeakKeyDictionary[asyncio.AbstractEventLoop, ThreadPoolExecutor] = WeakKeyDictionary()
_WORKERS = 40


async def in_thread(function: Callable[..., T], *args: object) -> Outcome[T]:
    """Run blocking work in a worker thread and wait for its end: a thread cannot be stopped half-way."""
    loop = asyncio.get_running_loop()
    if loop not in _workers:
        _workers[loop] = ThreadPoolExecutor(_WORKERS, thread_name_prefix="scalekit-storage-worker")
    return await settle(loop.run_in_executor(_workers[loop], function, *args), seconds=None)

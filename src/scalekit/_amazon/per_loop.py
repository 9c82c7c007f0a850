"""One asynchronous client for each event loop, made on first use."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any


class Clients:
    """Hands out the client that belongs to the running event loop.

    Args:
        given: an entered client, which its owner closes, or a context manager that yields one.
        create: makes a context manager that yields a client, where none was given.
    """

    def __init__(self, given: Any, create: Callable[[], AbstractAsyncContextManager[Any]] | None) -> None:
        self._entered = given if hasattr(given, "meta") else None
        self._create = create or (lambda: given)
        self._open: dict[asyncio.AbstractEventLoop, tuple[asyncio.Task[Any], AsyncExitStack]] = {}

    @property
    def opened(self) -> bool:
        """Whether the running event loop has one."""
        return self._entered is not None or asyncio.get_running_loop() in self._open

    async def get(self) -> Any:
        if self._entered is not None:
            return self._entered
        loop = asyncio.get_running_loop()
        if loop not in self._open:
            for other in [other for other in self._open if other.is_closed()]:
                del self._open[other]
            stack = AsyncExitStack()
            self._open[loop] = loop.create_task(stack.enter_async_context(self._create())), stack
        task = self._open[loop][0]
        try:
            # Whoever came first may be cancelled; those who wait for the same client must not be.
            return await asyncio.shield(task)
        except BaseException:
            failed = task.done() and (task.cancelled() or task.exception() is not None)
            if failed and (entry := self._open.get(loop)) is not None and entry[0] is task:
                del self._open[loop]
            raise

    async def aclose(self) -> None:
        """Close the running loop's client, unless it was given entered."""
        entry = self._open.pop(asyncio.get_running_loop(), None)
        if entry is not None:
            making, stack = entry
            await asyncio.wait({making})  # or it would be entered after this, for nobody
            await stack.aclose()

"""Bumps that are under way in this process: who reads their tags waits for them, and finds caching on again.

Only those of one's own event loop can be waited for. Elsewhere the tags are dirty for that moment: a miss
that is not stored. Nothing cancels them: ``asyncio.run()`` waits for what goes on at its end, and a mark that
stayed would keep its tags out of the cache for half a minute.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Set
from typing import Any

from scalekit._forks import renew_in_children


class _Bump(asyncio.Task[None]):
    """One that goes on to its end."""

    def cancel(self, msg: Any | None = None) -> bool:
        return False


class Bumps:
    """By tag."""

    def __init__(self) -> None:
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        self._tasks: dict[asyncio.Task[Any], Set[str]] = {}  # those of the parent are the parent's

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def start(self, tags: Set[str], bump: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have ``bump`` bump ``tags``.

        Raises:
            RuntimeError: no event loop is running.
        """
        loop = asyncio.get_running_loop()
        task = _Bump(bump(), loop=loop, name="scalekit.cache: bump")
        self._tasks[task] = tags  # which also keeps it alive
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    def wait(self, tags: Iterable[str]) -> Any:
        """An awaitable of their end, or nothing to wait for."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return None
        wanted = frozenset(tags)
        concerned = [
            task
            for task, bumped in list(self._tasks.items())
            if task.get_loop() is loop and not wanted.isdisjoint(bumped)
        ]
        return asyncio.wait(concerned) if concerned else None

    async def end(self) -> None:
        """Wait for all of this event loop's."""
        loop = asyncio.get_running_loop()
        left = [task for task in list(self._tasks) if task.get_loop() is loop]
        if left:
            await asyncio.wait(left)

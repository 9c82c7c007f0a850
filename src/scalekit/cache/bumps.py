"""Bumps that are under way in this process: who reads their tags waits for them, and finds caching on again.

Only those of one's own event loop can be waited for. Elsewhere the tags are dirty for that moment: a miss
that is not stored.
"""

import asyncio
from collections.abc import Iterable, Set
from typing import Any


class Bumps:
    """By tag."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[Any], Set[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def add(self, tags: Set[str], task: asyncio.Task[Any]) -> None:
        """``task`` bumps ``tags``."""
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

"""Another process between any two commands of this one, wherever the test wants it."""

from collections.abc import Callable, Sequence
from typing import Any


class Interrupted:
    """Synchronous commands of a Memcached or Redis of ours that go one at a time.

    Args:
        commands: what sends them.
        number: before which of them ``interrupt`` is called, once; counted from 0.
    """

    def __init__(self, commands: Any, number: int, interrupt: Callable[[], None]) -> None:
        self._commands, self._left, self._interrupt = commands, number, interrupt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._commands, name)

    def together(self, commands: Sequence[Any]) -> list[Any]:
        """Of Memcached, which are sent in one piece."""
        return [answer for one in commands for answer in self._next(self._commands.together, [one])]

    def pipeline(self, requests: Sequence[Any]) -> list[Any]:
        """Of Redis, which are sent in one piece; on a Cluster to several nodes."""
        return [answer for one in requests for answer in self._next(self._commands.pipeline, [one])]

    def execute(self, *args: Any) -> Any:
        return self._next(self._commands.execute, *args)

    def script(self, *args: Any) -> Any:
        return self._next(self._commands.script, *args)

    def _next(self, send: Callable[..., Any], *args: Any) -> Any:
        if self._left == 0:
            self._interrupt()
        self._left -= 1
        return send(*args)

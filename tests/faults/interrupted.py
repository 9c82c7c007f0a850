"""Another process between any two commands of this one, wherever the test wants it."""

from collections.abc import Callable, Sequence
from typing import Any


class Interrupted:
    """Synchronous commands of a Memcached or Redis of ours that go one at a time.

    Args:
        commands: what sends them.
        number: before which of them ``interrupt`` is called, once; counted from 0.
        backwards: what is sent in one piece is carried out from its end, as several servers may do it.
    """

    def __init__(
        self, commands: Any, number: int, interrupt: Callable[[], None], *, backwards: bool = False
    ) -> None:
        self._commands, self._left, self._interrupt = commands, number, interrupt
        self._order = -1 if backwards else 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._commands, name)

    def together(self, commands: Sequence[Any]) -> list[Any]:
        """Of Memcached, which are sent in one piece."""
        return self._each(self._commands.together, commands)

    def pipeline(self, requests: Sequence[Any]) -> list[Any]:
        """Of Redis, which are sent in one piece; on a Cluster to several nodes."""
        return self._each(self._commands.pipeline, requests)

    def execute(self, *args: Any) -> Any:
        return self._next(self._commands.execute, *args)

    def script(self, *args: Any) -> Any:
        return self._next(self._commands.script, *args)

    def _each(self, send: Callable[..., Any], parts: Sequence[Any]) -> list[Any]:
        answers = [answer for part in parts[:: self._order] for answer in self._next(send, [part])]
        return answers[:: self._order]

    def _next(self, send: Callable[..., Any], *args: Any) -> Any:
        if self._left == 0:
            self._interrupt()
        self._left -= 1
        return send(*args)

"""The lookups that are made in one turn of an event loop, asked for together.

Rules:

* The first lookup of a turn goes its own way: most are alone, and nothing is gained by making them wait.
* Those that follow in the same turn gather, and at its end one question is asked for all of them: each tag
  once, and each key once. It leaves with the first one's, where the back end's connection sends once a turn.
* Nobody joins a question that has left: an answer is never older than the call.
* Who is cancelled leaves; the others get their answers. An error of the back end reaches all who asked. While
  it refuses at once, each is refused at once.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from scalekit._steps import Steps
from scalekit.cache.backend import Entries, Lookup
from scalekit.cache.entry import Found, Shared
from scalekit.errors import BackendError

MOST = 16
"""Lookups in one question. Of more there are several, sent together: the first results are decoded while the
others arrive, and no answer keeps other commands waiting for long."""


_Asked = list["asyncio.Future[Found]"]


class Lookups:
    """Of all event loops of this process."""

    def __init__(self) -> None:
        # What gathers; an entry lasts for a turn.
        self._turns: dict[tuple[asyncio.AbstractEventLoop, Entries], dict[Lookup, _Asked]] = {}

    def look(self, entries: Entries, lookup: Lookup) -> Steps[Found]:
        """What is under the key.

        Raises:
            BackendError: the back end could not be asked.
        """
        loop = asyncio.get_running_loop()
        turn = self._turns.get((loop, entries))
        if turn is None:
            turn = self._turns[loop, entries] = {}
            # Before the question is asked, so that those who gather leave before the connection sends.
            loop.call_soon(self._end, loop, entries)
            try:
                return (yield from entries.read([lookup]))[0]
            except BackendError:
                if self._turns.get((loop, entries)) is turn:  # refused at once: so will the next ones be
                    del self._turns[loop, entries]
                raise
        future: asyncio.Future[Found] = loop.create_future()
        turn.setdefault(lookup, []).append(future)
        try:
            found: Found = yield future
        finally:
            future.cancel()  # whoever waited may have been given up
        return found

    def _end(self, loop: asyncio.AbstractEventLoop, entries: Entries) -> None:
        turn = [*self._turns.pop((loop, entries), {}).items()]
        for first in range(0, len(turn), MOST):
            _Question(entries, turn[first : first + MOST]).go_on()


class _Question:
    """Drives one ``read``. A task would do, and begin a turn later."""

    def __init__(self, entries: Entries, asked: list[tuple[Lookup, _Asked]]) -> None:
        self._asked = asked
        self._steps = entries.read([lookup for lookup, _ in asked])

    def go_on(self, done: "asyncio.Future[Any] | None" = None) -> None:
        """Take the next steps, now that ``done`` is."""
        try:
            step = next(self._steps) if done is None else self._after(done)
            while not hasattr(step, "__await__"):
                step = self._steps.send(step)
        except StopIteration as end:
            for (_, futures), found in zip(self._asked, end.value, strict=True):
                answer = found if len(futures) == 1 else Shared(*found)
                for future in futures:
                    if not future.done():  # whoever was cancelled meanwhile
                        future.set_result(answer)
        except asyncio.CancelledError:  # all tasks are being cancelled, as at the loop's end
            self._each(asyncio.Future.cancel)
        # Theirs, who asked.
        except Exception as error:  # noqa: BLE001
            self._each(partial(_fail, error=error))
        else:
            asyncio.ensure_future(step).add_done_callback(self.go_on)

    def _after(self, done: "asyncio.Future[Any]") -> Any:
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        return self._steps.send(done.result()) if error is None else self._steps.throw(error)

    def _each(self, tell: Callable[["asyncio.Future[Found]"], Any]) -> None:
        for _, futures in self._asked:
            for future in futures:
                if not future.done():
                    tell(future)


def _fail(future: "asyncio.Future[Found]", *, error: Exception) -> None:
    future.set_exception(error)

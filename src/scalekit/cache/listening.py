"""What keeps the first tier right: one listener a process and cache.

Rules:

* It is a daemon thread where the channel is synchronous: no event loop holds that up, and it
  outlives them. Else it is a task on one of the loops that use the cache; the next one that does takes over
  when that loop has ended.
* It listens while the first tier is used, and a minute longer. Who returns later goes on where it was.
* It says until when the first tier is trusted (:mod:`scalekit.cache.channel`). Whatever holds it up, that
  moment does not move meanwhile.
* A child that was forked begins with an empty tier and a listener of its own.
"""

import asyncio
import contextlib
import contextvars
import logging
import random
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from scalekit._forks import renew_in_children
from scalekit._steps import Steps, run, run_async
from scalekit.cache.channel import Channel, Cursor, Heard, Lost
from scalekit.errors import BackendError

# Seconds.
IDLE = 60.0
_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_LEAST_BLOCK, _MOST_BLOCK = 0.025, 1.0  # so many questions, and signs of life, are sent when nothing is said
_BUSY, _BREATH = 0.005, 0.001  # messages that follow so closely are gathered for so long

log = logging.getLogger("scalekit.cache")


class Ear(Protocol):
    """What is kept right: :class:`scalekit.cache.local.Local`."""

    horizon: float

    def drop(self, keys: Any, tags: Any) -> None: ...

    def flush(self) -> None:
        """Forget everything, and distrust what is put in from now on."""

    def trust(self, until: float) -> None: ...


def block_of(ttl: float) -> float:
    """Seconds that one question waits for messages."""
    return min(max(ttl / 4, _LEAST_BLOCK), _MOST_BLOCK)


class Hearing:
    """What was heard so far, and how to go on from there.

    Args:
        ear: told of everything.
        ttl: seconds that it is trusted after a moment of which all is known.
        lost: called when the channel is lost; not again before it was back.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        ear: Ear,
        *,
        ttl: float,
        lost: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ear, self._ttl, self._told, self._clock = ear, ttl, lost, clock
        self._cursor: Cursor | None = None
        self._lost = False  # and told

    def steps(
        self, channel: Channel, *, wanted: Callable[[], bool], pause: Callable[[float], Any]
    ) -> Steps[None]:
        """Listen while ``wanted()``. ``pause`` waits for seconds, in the channel's colour."""
        block, wait, last = block_of(self._ttl), _PAUSE, self._clock()
        while wanted():
            try:
                if self._cursor is None:
                    yield from self._begin(channel)
                asked = self._clock()
                heard = yield from channel.next(self._cursor, block=block)  # type: ignore[arg-type]
            except (BackendError, Lost) as error:
                if not wanted():  # the channel was closed
                    return
                self._lose(channel, error)
                # All processes have lost it at one moment, and shall not return at one.
                yield pause(wait * random.uniform(0.5, 1.0))  # noqa: S311
                wait = min(2 * wait, _LONGEST_PAUSE)
                continue
            if not wanted():  # another has taken over
                return
            wait = _PAUSE
            self._apply(heard, asked)
            if heard.messages:
                last, before = self._clock(), last
                if last - before < _BUSY:
                    yield pause(_BREATH)

    def _begin(self, channel: Channel) -> Steps[None]:
        asked = self._clock()
        cursor = yield from channel.position()
        # Now, and not before: what was kept until this moment may have been dropped by nobody knows whom.
        self._ear.flush()
        self._ear.trust(asked + self._ttl)
        self._cursor = cursor
        if self._lost:
            self._lost = False
            log.info("%s: the cache's invalidation channel is back", channel.name)

    def _apply(self, heard: Heard, asked: float) -> None:
        if any(message.everything for message in heard.messages):
            self._ear.flush()
        elif heard.messages:
            self._ear.drop(
                {key for message in heard.messages for key in message.keys},
                {tag for message in heard.messages for tag in message.tags},
            )
        self._cursor = heard.cursor
        if heard.complete:
            self._ear.trust(asked + self._ttl)

    def _lose(self, channel: Channel, error: Exception) -> None:
        self._cursor = None
        self._ear.flush()
        if not self._lost:
            self._lost = True
            self._told()
            log.warning(
                "%s: the cache's invalidation channel is lost, so this process's memory is not used: %s",
                channel.name,
                error,
            )


class _Run:
    """One thread or task."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.thread: threading.Thread | None = None
        self.task: asyncio.Task[None] | None = None


class Listener:
    """See the module.

    Args:
        ear: what is kept right.
        channel: where from.
        ttl: seconds that the ear is trusted.
        hits: how often it has answered so far.
        lost: called when the channel is lost.
        owner: when that is gone, nobody asks any more.
    """

    def __init__(
        self,
        ear: Ear,
        channel: Channel,
        *,
        ttl: float,
        hits: Callable[[], int],
        owner: object,
        lost: Callable[[], object] = lambda: None,
    ) -> None:
        self._owner = weakref.ref(owner)
        self._ear, self._channel, self._ttl, self._hits, self._lost = ear, channel, ttl, hits, lost
        self._clock = time.monotonic
        self._used = 0.0
        self._hits_before = 0  # when they were looked at last
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        self._lock = threading.Lock()
        self._run: _Run | None = None
        self._hearing = Hearing(self._ear, ttl=self._ttl, lost=self._lost)

    def use(self) -> None:
        """The ear is being used: listen, if that is not being done. To be called often."""
        self._used = now = self._clock()
        if self._run is None or now >= self._ear.horizon:
            self._see_to_it()

    def stop(self) -> Any:
        """End listening, and close the channel: a value or an awaitable of it. ``use`` begins again.

        A thread closes it by itself when its wait ends, within a second: what it waits with stays open.
        """
        stopped = self._run
        if stopped is not None:
            stopped.over.set()
            if stopped.thread is not None:
                return None
            if stopped.task is not None and stopped.task.get_loop().is_running():
                stopped.task.get_loop().call_soon_threadsafe(stopped.task.cancel)
        return self._channel.close()

    def _see_to_it(self) -> None:
        with self._lock:
            if self._run is not None and _is_alive(self._run):
                return
            self._run = started = _Run()
            if self._channel.colour == "async":
                # Not in the context of the request that happens to be the first.
                started.task = asyncio.get_running_loop().create_task(
                    self._listen_async(started), name="scalekit-cache", context=contextvars.Context()
                )
                return
            started.thread = threading.Thread(
                target=self._listen, args=(started,), name="scalekit-cache", daemon=True
            )
            with contextlib.suppress(RuntimeError):  # no thread starts while the interpreter ends
                started.thread.start()

    def _listen(self, current: _Run) -> None:
        try:
            run(
                self._hearing.steps(
                    self._channel, wanted=lambda: self._wanted(current), pause=current.over.wait
                )
            )
        finally:
            self._channel.close()  # before the next one may begin
            self._ended(current)

    async def _listen_async(self, current: _Run) -> None:
        try:
            await run_async(
                self._hearing.steps(self._channel, wanted=lambda: self._wanted(current), pause=asyncio.sleep)
            )
        finally:
            self._ended(current)

    def _wanted(self, current: _Run) -> bool:
        if self._run is not current or current.over.is_set() or self._owner() is None:
            return False
        now = self._clock()
        if now - self._used < IDLE:
            return True
        hits = self._hits()
        if hits == self._hits_before:
            return False
        self._hits_before, self._used = hits, now
        return True

    def _ended(self, current: _Run) -> None:
        with self._lock:
            if self._run is current:
                self._run = None


def _is_alive(running: _Run) -> bool:
    if running.task is not None:
        return not running.task.done() and running.task.get_loop().is_running()
    return running.thread is not None and running.thread.is_alive()

"""An event loop in a thread of its own, for synchronous code that wants an answer from asynchronous code.

Rules:

* It never keeps a program from ending: the thread is a daemon. (Nor do the workers of ``_shield.in_thread``.)
* Whoever waits for an answer does what is synchronous in it: the iterables and request bodies of callers are
  read in the callers' own threads. However slow they are, they take a thread from nobody.
* What one process started belongs to that process; see ``SyncStorage`` for forks.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Caller:
    """A thread that waits for the answer to its call, and works for it meanwhile."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    async def do(self, function: Callable[..., T], *args: object) -> T:
        """Run ``function`` in the thread that waits. To be awaited by the call it waits for."""
        answer: Future[T] = Future()

        def work() -> None:
            if answer.set_running_or_notify_cancel():
                try:
                    answer.set_result(function(*args))
                except Exception as error:  # noqa: BLE001  it goes through the call, and back to the caller
                    answer.set_exception(error)

        self._work.put(work)
        return await asyncio.wrap_future(answer)

    def wait(self, call: "Future[T]") -> T:
        """The result of ``call``. Interrupted, by control-C or a server's signal, it cancels the call."""
        call.add_done_callback(lambda _: self._work.put(None))
        try:
            while (work := self._work.get()) is not None:
                work()
        except BaseException:
            call.cancel()
            raise
        return call.result()


class _Running(NamedTuple):
    thread: threading.Thread
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event


class LoopThread:
    """Starts with the first :meth:`run`, ends with :meth:`close`, and starts again if need be."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._running: _Running | None = None

    @property
    def running(self) -> bool:
        return self._running is not None

    def run(self, call: Callable[[Caller], Awaitable[T]]) -> T:
        """What ``call`` answers. Any number of threads may wait at once."""
        caller = Caller()

        async def answer() -> T:
            return await call(caller)

        with self._lock:  # or close() could end the loop just before it gets the call
            if self._running is None:
                self._running = _start(self._name)
            future = asyncio.run_coroutine_threadsafe(answer(), self._running.loop)
        return caller.wait(future)

    def close(self) -> None:
        """End the thread once the calls that it has are answered. Twice is once."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            running.loop.call_soon_threadsafe(running.stop.set)
            running.thread.join()


def _start(name: str) -> _Running:
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        ready.set_result((loop, stop))
        await stop.wait()
        me: set[asyncio.Task[Any] | None] = {asyncio.current_task()}
        if calls := asyncio.all_tasks() - me:
            await asyncio.wait(calls)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name=name, daemon=True)
    thread.start()
    return _Running(thread, *ready.result())

"""Leaving without losing a request: what it means that a server drains.

Rules, in the order of events:

1. A drain begins: by a signal, by a file (:mod:`scalekit.ops.flag`), or by :meth:`Drain.start`. Readiness
   is 503 from now on, liveness stays 200, and responses ask their connections to close.
2. For ``delay`` seconds every request is served as ever: balancers need that long to see the 503.
3. Requests in flight get up to ``grace`` seconds more to finish.
4. Only then the signal goes on to the server's own handler, which stops listening.

A drain never goes back. A process that has not answered anything yet, not even a probe, is known to no
balancer: its signal goes on at once.
"""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from scalekit._durations import Duration, seconds
from scalekit._forks import renew_in_children
from scalekit._options import check_kind
from scalekit.metrics import Metric, gauge
from scalekit.ops.signals import SignalChain

if TYPE_CHECKING:
    from scalekit.ops.flag import Flag


class Drain:
    """The drain of one process. Safe to share between threads and event loops.

    Args:
        delay: seconds (or ``timedelta``) to go on serving after readiness turned 503, 5 by default. Make it
            longer than the balancer needs to take a server out: its probe interval times its threshold.
        grace: seconds (or ``timedelta``) that requests in flight then get to finish, 20 by default.
            ``delay`` and ``grace`` together belong below what the platform waits before it kills.
        signals: what begins a drain, ``SIGTERM`` by default. An empty tuple leaves it to ``file`` and
            :meth:`start`.
        file: what begins it, too, once it is there: for ``scalekit drain``, and hooks that can no more than
            ``touch``. In a folder that the server may write into, such as ``"/run/shop/drain"``.
    """

    #: Whether this process has answered anything, probes included.
    used: bool

    #: Requests and WebSockets that are open now, probes left out.
    in_flight: int

    def __init__(
        self,
        *,
        delay: Duration = 5.0,
        grace: Duration = 20.0,
        signals: Iterable[signal.Signals] = (signal.SIGTERM,),
        file: str | os.PathLike[str] | None = None,
    ) -> None:
        self.delay = seconds(delay, name="delay")
        self.grace = seconds(grace, name="grace")
        self._chain = SignalChain(self, tuple(signals))
        self._flag = None if file is None else _flag(file)
        self._since: float | None = None
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        """A child has answered nothing, and what is in flight and waits is its parent's."""
        self.used, self.in_flight = False, 0
        self._lock = threading.Lock()
        self._waiters: set[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = set()
        self._chain.forked()

    @property
    def draining(self) -> bool:
        """Whether the drain has begun. Streams that have no natural end look here, or await :meth:`wait`."""
        return self._since is not None

    @property
    def drained(self) -> bool:
        """Whether the delay is over and nothing is in flight, or the grace is over too."""
        if self._since is None:
            return False
        waited = time.monotonic() - self._since
        return waited >= self.delay and (self.in_flight == 0 or waited >= self.delay + self.grace)

    def start(self) -> None:
        """Begin to drain; again is the same as once. A later signal does not start the wait afresh."""
        self.mark()
        self.notify()

    def mark(self) -> None:
        """`start` without telling the waiters: takes no lock, so that a signal handler may call it."""
        if self._since is None:
            self._since = time.monotonic()

    def notify(self) -> None:
        """Wake all who are in :meth:`wait`."""
        with self._lock:
            waiters, self._waiters = self._waiters, set()
        for loop, future in waiters:
            with contextlib.suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(_resolve, future)

    async def wait(self) -> None:
        """Return when the drain begins, so that a stream or a WebSocket can say goodbye.

        Works on any number of event loops at once; a cancelled waiter leaves nothing behind.
        """
        loop = asyncio.get_running_loop()
        waiter = (loop, loop.create_future())
        with self._lock:
            self._waiters.add(waiter)
        try:
            # Looked at after the waiter is in the set: a drain that begins in between has woken it.
            if not self.draining:
                await waiter[1]
        finally:
            with self._lock:
                self._waiters.discard(waiter)

    def enter(self) -> None:
        """Count a request as in flight, until :meth:`leave`. The shells do this."""
        with self._lock:
            self.used = True
            self.in_flight += 1

    def leave(self) -> None:
        """The end of a request that has entered."""
        with self._lock:
            self.in_flight -= 1

    def metrics(self) -> Iterator[Metric]:
        """Whether this process drains, and what it has in flight; see :class:`scalekit.metrics.Measured`."""
        yield gauge("scalekit_drain_draining", "Whether this process drains.", self.draining)
        yield gauge(
            "scalekit_drain_in_flight", "Requests and WebSockets that a drain waits for.", self.in_flight
        )

    def probed(self) -> None:
        """A probe was answered. The shells say so: a balancer knows this process from now on."""
        self.used = True
        self._chain.look_again()

    def install(self) -> bool:
        """Chain the signals and watch the file, once per process; the shells do this.

        Call it yourself where no shell is built in the main thread of the process that serves.

        Returns:
            Whether signals are chained; ``False`` where they cannot be, which is logged.

        Raises:
            ConfigurationError: nothing can be written beside the file.
        """
        if self._flag is not None:
            self._flag.start(self)
        return self._chain.install()

    def uninstall(self) -> None:
        """Put the signal handlers back that :meth:`install` found, and watch the file no more."""
        self._chain.uninstall()
        if self._flag is not None:
            self._flag.stop()


def _flag(file: str | os.PathLike[str]) -> "Flag":
    check_kind(file, (str, os.PathLike), option="file=", wanted="a path, such as '/run/shop/drain'")
    from scalekit.ops.flag import Flag  # needs locks of POSIX

    return Flag(Path(file).absolute())


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

"""A signal handler in front of the server's own.

Servers stop listening the moment their handler for SIGTERM runs, and what the balancer still sends is
refused. So ours is put in front of it, and the signal goes on only when the drain is done.

Rules:

* The first signal begins the drain. When the drain is done it is sent once more, to the main thread, and
  goes on to the server's own handler.
* A second signal from outside goes on at once, for whoever sends it is impatient. Unless it comes within a
  second of the first: that is its echo. systemd signals every process of a service, and then the master
  passes its own signal on to the workers.
* SIGINT is not ours: Ctrl-C stops at once, as ever.
* A child of a fork that has answered nothing is none that a balancer knows: it ends at once.
* The handler takes no lock and logs nothing, for it may have interrupted code that holds one. Anything
  more is done by a thread that it starts (`_thread`, because `threading` takes a lock to start one).
* A handler that was replaced after ours is left alone.
* What an event loop handles it is not told until then: see :mod:`scalekit.ops._wakeup`.
"""

import _thread
import asyncio
import logging
import os
import signal
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Any

from scalekit.ops._wakeup import Wakeup

if TYPE_CHECKING:
    from scalekit.ops.drain import Drain

_log = logging.getLogger("scalekit.ops")

_TICK = 0.05
_ECHO = 1.0
_OF_A_LOOP = ("_sighandler_noop", "_Loop__sighandler")  # asyncio's and uvloop's


class SignalChain:
    """Delays `signals` for one `Drain`."""

    def __init__(self, drain: "Drain", signals: tuple[signal.Signals, ...]) -> None:
        self._drain = drain
        self._signals = signals
        self._previous: dict[int, Any] = {}
        self._process: int | None = None  # a fork has to install again
        self._warned: int | None = None
        self._received: float | None = None  # when, on the monotonic clock
        self._done = False  # the drain is, and the signal is on its way once more
        self._over = False  # the signal went on, or the handlers were taken back
        self._wakeup = Wakeup()
        self._of_a_loop: list[int] = []

    def install(self) -> bool:
        if self._process == os.getpid():
            return bool(self._previous)
        if not self._signals:
            return False
        if threading.current_thread() is not threading.main_thread():
            self._warn(
                "drain: not the main thread, where alone signals can be chained, so SIGTERM stops this "
                "process without a drain; call drain.install() there (gunicorn: in post_worker_init)"
            )
            return False
        self._process = os.getpid()
        inherited, self._previous = self._previous, {}
        self._over, self._of_a_loop = False, []
        for number in self._signals:
            previous: Any = signal.getsignal(number)
            if previous == self._handle:  # a fork that kept its parent's handlers
                previous = inherited[number]
            if getattr(previous, "__name__", "") in _OF_A_LOOP:
                self._of_a_loop.append(number)
                held = self._hold()
            else:
                held = previous is not None  # a handler of C code
            if not held:
                _log.warning(
                    "drain: %s is handled outside Python's handlers and cannot be delayed", number.name
                )
            elif previous is not signal.SIG_IGN:
                self._previous[number] = previous
                signal.signal(number, self._handle)
        return bool(self._previous)

    def forked(self) -> None:
        """A child has none of its parent's loops, nor what was told to its parent."""
        self._wakeup.forget()
        self._previous.update(dict.fromkeys(self._of_a_loop, signal.SIG_DFL))
        self._of_a_loop, self._received, self._done = [], None, False

    def uninstall(self) -> None:
        self._over = True
        if self._process == os.getpid() and threading.current_thread() is threading.main_thread():
            for number, previous in self._previous.items():
                if signal.getsignal(number) == self._handle:
                    signal.signal(number, previous)
            self._wakeup.release()
            self._previous = {}
            self._process = None

    def look_again(self) -> None:
        """Hold on to the signals that `install` chained, where a server has changed something since."""
        if self._over or self._process != os.getpid():
            return
        if self._of_a_loop:
            self._hold()  # from a loop that was run anew it is held back anew
        elif any(signal.getsignal(number) != self._handle for number in self._previous):
            self._warn(
                "drain: another handler took the place of ours, as granian's does after it has loaded a WSGI "
                "application, so the signal stops this process without a drain; run 'scalekit drain' before"
            )

    def _warn(self, message: str) -> None:
        if self._warned != os.getpid():
            self._warned = os.getpid()
            _log.warning(message)

    def _hold(self) -> bool:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        if threading.current_thread() is not threading.main_thread():
            return False
        return self._wakeup.hold(loop, self._of_a_loop)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._drain.mark()
        if not self._drain.used or self._done:
            self._pass_on(number, frame)
        elif self._received is None:
            self._received = time.monotonic()
            try:
                _thread.start_new_thread(self._run_down, (number,))
            except RuntimeError:  # there are too many: without one the drain would never be done
                self._pass_on(number, frame)
        elif time.monotonic() - self._received >= _ECHO:
            self._pass_on(number, frame)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._over = True
        previous = self._previous[number]
        if callable(previous) and number not in self._of_a_loop:
            previous(number, frame)
        else:  # a loop's, or SIG_DFL, which ends the process
            self._wakeup.release()
            signal.signal(number, previous)
            signal.raise_signal(number)

    def _run_down(self, number: int) -> None:
        _log.info("drain: begun by signal %d, %d in flight", number, self._drain.in_flight)
        self._drain.notify()
        while not (self._drain.drained or self._over):
            time.sleep(_TICK)
        if self._over or signal.getsignal(number) != self._handle:
            return  # the server is on its way out already
        _log.info("drain: done, %d in flight; the signal goes on", self._drain.in_flight)
        self._done = True
        main = threading.main_thread().ident
        if main is not None:
            # To the main thread, not the process: it may be in a system call that only a signal ends.
            signal.pthread_kill(main, number)

"""Signals that an event loop handles, held back on their way to it.

A handler of ``loop.add_signal_handler()`` runs past any handler that is put in front of it: Python writes the
number of each signal into a descriptor, the loop reads it there. So ours is put in between. What it reads
goes on to the loop, but for the signals that are held back.

A loop may take its descriptor away, and set another, whenever it is run anew (uvloop) or gets another
handler (asyncio); `hold` is asked again now and then.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterable


class Wakeup:
    """Python's wake-up descriptor, with ours before the loop's. For the main thread only."""

    def __init__(self) -> None:
        self._held: frozenset[int] = frozenset()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pair: tuple[socket.socket, socket.socket] | None = None
        self._theirs = -1

    def hold(self, loop: asyncio.AbstractEventLoop, signals: Iterable[int]) -> bool:
        """Hold ``signals`` back from the running ``loop``. ``False`` if it hears of them in another way."""
        if self._pair is None or self._loop is not loop:
            self.release()
            self._loop, self._pair = loop, socket.socketpair()
            for end in self._pair:
                end.setblocking(False)
            loop.add_reader(self._pair[0], self._forward)
        self._held = frozenset(signals)
        ours = self._pair[1].fileno()
        before = signal.set_wakeup_fd(ours, warn_on_full_buffer=False)
        if before == -1:
            self.release()
            return False
        if before != ours:
            self._theirs = before
        return True

    def release(self) -> None:
        """Let everything through again."""
        if self._pair is None:
            return
        before = signal.set_wakeup_fd(-1)
        back = self._theirs if before == self._pair[1].fileno() else before  # what was set after ours stays
        with contextlib.suppress(OSError, ValueError):  # of a loop that was closed
            signal.set_wakeup_fd(back, warn_on_full_buffer=False)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._pair[0])
        for end in self._pair:
            end.close()
        self._loop, self._pair, self._theirs = None, None, -1

    def forget(self) -> None:
        """In a fork: leave to the parent what is the parent's."""
        if self._pair is not None:
            signal.set_wakeup_fd(-1)
            for end in self._pair:
                end.close()
        self._loop, self._pair, self._theirs = None, None, -1

    def _forward(self) -> None:
        if self._pair is None:
            return
        with contextlib.suppress(BlockingIOError):  # the loop has plenty to read, and will look
            numbers = bytes(number for number in self._pair[0].recv(4096) if number not in self._held)
            if numbers:
                os.write(self._theirs, numbers)

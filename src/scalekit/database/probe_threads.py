"""Asking the members in threads, for synchronous code."""

import os
import threading
import time
from collections.abc import Callable

from scalekit._steps import run
from scalekit.database.fleet import Fleet
from scalekit.database.member import Member
from scalekit.database.probe import GRACE, ask


class ThreadMonitor:
    """A daemon thread for each member, and one that watches their deadlines.

    Args:
        fleet: whom to ask, and whom to tell.
        interval: seconds between two questions to a member.
    """

    def __init__(self, fleet: Fleet, *, interval: float) -> None:
        self._fleet, self._interval = fleet, interval
        self._process: int | None = None
        self._renew()

    def _renew(self) -> None:
        self._starting = threading.Lock()
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._pokes = {member: threading.Event() for member in self._fleet.members}
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        if self._process == os.getpid():
            return
        if self._process is not None:
            # A fork: the threads did not come along, locks may be held for ever, and the connections
            # belong to the parent.
            self._fleet.forked()
            self._renew()
        with self._starting:
            if self._process == os.getpid():
                return
            self._stop.clear()
            watch = [threading.Thread(target=self._watch, args=(member,)) for member in self._fleet.members]
            self._threads = [*watch, threading.Thread(target=self._guard)]
            for thread in self._threads:
                thread.daemon = True
                thread.name = "scalekit.database"
                thread.start()
            self._process = os.getpid()

    def poke(self) -> None:
        for poke in self._pokes.values():
            poke.set()

    def wait(self, condition: Callable[[], bool], timeout: float) -> None:
        with self._changed:
            self._changed.wait_for(condition, timeout)

    def changed(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def signal_stop(self) -> None:
        """Let the threads end, without waiting for it."""
        self._stop.set()
        self.poke()

    def stop(self) -> None:
        """End the threads and their connections."""
        if self._process != os.getpid():
            return
        self.signal_stop()
        for thread in self._threads:
            thread.join()
        self._process, self._threads = None, []

    def _watch(self, member: Member) -> None:
        poke = self._pokes[member]
        while not self._stop.is_set():
            poke.clear()
            run(ask(self._fleet, member))
            poke.wait(self._interval)
        run(member.hang_up(broken=False))

    def _guard(self) -> None:
        while not self._stop.wait(min(self._interval, 0.25)):
            self._cut_late()
        for thread in self._threads[:-1]:
            while thread.is_alive():
                thread.join(GRACE)
                self._cut_late()

    def _cut_late(self) -> None:
        late = [member for member in self._fleet.members if member.is_late()]
        if late:
            time.sleep(GRACE)
        for member in late:
            if member.is_late():
                member.cut_probe()

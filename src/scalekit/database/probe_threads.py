"""Asking the members in threads, for synchronous code."""

import contextvars
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from scalekit._forks import renew_in_children
from scalekit._steps import run
from scalekit.database.directory import Directory
from scalekit.database.member import Member
from scalekit.database.probe import GRACE, Prober
from scalekit.database.roles import Roles


class ThreadMonitor(Prober):
    """A daemon thread for each member, one that watches their deadlines, and one that asks who they are."""

    def __init__(self, roles: Roles, *, interval: float) -> None:
        super().__init__(roles, interval=interval)
        self._renew()

    def _renew(self) -> None:
        self._starting = threading.Lock()
        self._changed, self._changes = threading.Condition(), 0
        self._stop = threading.Event()
        self._pokes: dict[Member, threading.Event] = {}
        self._watchers: dict[Member, threading.Thread] = {}
        self._others: list[threading.Thread] = []

    def start(self) -> None:
        if self._process == os.getpid():
            return
        renew_in_children(self)
        with self._starting:
            if self._process == os.getpid():
                return
            self._stop.clear()
            if not self._others:
                self._others.append(_started(self._guard))
            if self._roles.directory is not None and len(self._others) == 1:
                self._others.append(_started(self._list, self._roles.directory))
            self._watch_all()
            # Only now: where a thread cannot be started, the next transaction tries again.
            self._process = os.getpid()

    def forked(self) -> None:
        """Threads do not come along, locks may be held for ever, and the connections are the parent's."""
        self._roles.forked()
        self._renew()
        self._process = None

    def poke(self) -> None:
        for poke in list(self._pokes.values()):
            poke.set()

    def members_changed(self) -> None:
        with self._starting:
            if not self._stop.is_set():
                self._watch_all()
        self.poke()

    def _watch_all(self) -> None:
        for member in self._roles.members:
            if member not in self._watchers:
                poke = threading.Event()
                self._watchers[member] = _started(self._watch, member, poke)
                self._pokes[member] = poke

    def wait(self, condition: Callable[[], bool], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            changes = self._changes
            # Not under the lock: it takes others, under which somebody may be telling us of a change.
            if condition():
                return
            left = deadline - time.monotonic()
            if left <= 0:
                return
            with self._changed:
                if self._changes == changes:
                    self._changed.wait(left)

    def changed(self) -> None:
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def signal_stop(self) -> None:
        """Let the threads end, without waiting for it."""
        self._stop.set()
        self.poke()

    def stop(self) -> None:
        """End the threads and their connections."""
        if self._process != os.getpid():
            return
        with self._starting:
            self.signal_stop()
        for thread in (*self._watchers.values(), *self._others):
            thread.join()
        self._process, self._watchers, self._pokes, self._others = None, {}, {}, []

    def _watch(self, member: Member, poke: threading.Event) -> None:
        while not self._stop.is_set() and member in self._roles.members:
            poke.clear()
            run(self._ask(member))
            poke.wait(self._interval)
        if member in self._roles.members:
            run(member.probe.hang_up(broken=False))
        else:
            run(member.leave())
            with self._starting:
                if not self._stop.is_set():
                    del self._watchers[member], self._pokes[member]

    def _list(self, directory: Directory) -> None:
        while not self._stop.is_set():
            with self._listing(directory):
                self._roles.set_replicas(directory.read(directory.find()))
            self._stop.wait(directory.refresh)

    def _guard(self) -> None:
        while not self._stop.wait(min(self._interval, 0.25)):
            self._cut_late()
        for thread in list(self._watchers.values()):
            while thread.is_alive():
                thread.join(GRACE)
                self._cut_late()

    def _cut_late(self) -> None:
        late = [member for member in list(self._watchers) if member.probe.is_late()]
        if late:
            time.sleep(GRACE)
        for member in late:
            if member.probe.is_late():
                member.probe.cut()


def _started(target: Callable[..., None], *arguments: Any) -> threading.Thread:
    # In no request's context, where Python lets threads inherit one.
    run = contextvars.Context().run
    thread = threading.Thread(target=run, args=(target, *arguments), daemon=True, name="scalekit.database")
    thread.start()
    return thread

"""The open connections of an engine: whose they are, and how one that will never answer is cut."""

import math
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

from scalekit.database.drivers.protocol import Driver
from scalekit.database.report import Report


@dataclass(slots=True)
class Link:
    """One open connection.

    Args:
        opened: when, on the monotonic clock.
        report: what the server at its other end said when it was opened. A connection never changes its
            server, but the next one under the same name may lead to another.
    """

    opened: float
    report: Report | None = None


class Links:
    """The open connections of one engine.

    The garbage collector may close a forgotten connection in the middle of any of this, in the same thread:
    so the lock can be taken twice, and what is gone over is a copy.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start with none; they belong to another process or event loop."""
        self._lock = threading.RLock()
        self.closing = False  # its member is none any more: what is given back is not kept
        self.open: dict[Any, Link] = {}
        self.busy: set[Any] = set()
        # Opened, and not in use so far. One whose set-up failed is never reported closed.
        self._new: set[Any] = set()

    def opened(self, connection: Any, driver: Driver) -> None:
        """A socket is open; nothing has been asked over it."""
        with self._lock:
            for one in list(self._new):
                if _is_closed(one, driver):
                    self.closed(one)
            self.open[connection] = Link(time.monotonic())
            self._new.add(connection)

    def identified(self, connection: Any, report: Report) -> None:
        """The server at the other end has said who it is."""
        with self._lock:
            link = self.open.get(connection)
            if link is not None:
                link.report = replace(report, since=link.opened)

    def taken(self, connection: Any) -> None:
        """Somebody uses it. Not before its set-up, after which it may be forgotten, is this sure."""
        with self._lock:
            self._new.discard(connection)
            self.busy.add(connection)

    def given_back(self, connection: Any) -> None:
        """Nobody uses it any more."""
        with self._lock:
            self.busy.discard(connection)

    def closed(self, connection: Any, *_: Any) -> None:
        with self._lock:
            self.open.pop(connection, None)
            self.busy.discard(connection)
            self._new.discard(connection)

    def cut(self, driver: Driver, *, opened_before: float = math.inf) -> None:
        """Break every connection, the idle ones too."""
        # Under the lock, a connection cannot be closed and its descriptor reused in between.
        with self._lock:
            for connection, link in list(self.open.items()):
                if link.opened < opened_before:
                    driver.cut(connection)


def _is_closed(connection: Any, driver: Driver) -> bool:
    try:
        return driver.is_closed(connection)
    except driver.errors:  # closed by its own thread between two questions to it
        return True

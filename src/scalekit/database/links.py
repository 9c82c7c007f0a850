"""The open connections of an engine, so that one that will never answer can be cut."""

import math
import threading
import time
from typing import Any

from scalekit.database.drivers.protocol import Driver


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
        self.open: dict[Any, float] = {}  # and when each was opened
        self.busy: set[Any] = set()

    def opened(self, connection: Any, driver: Driver) -> None:
        with self._lock:
            # One whose set-up failed is never reported closed. For the same reason it is not busy yet.
            for one in list(self.open):
                if driver.is_closed(one):
                    self.closed(one)
            self.open[connection] = time.monotonic()

    def closed(self, connection: Any, *_: Any) -> None:
        with self._lock:
            self.open.pop(connection, None)
            self.busy.discard(connection)

    def cut(self, driver: Driver, *, opened_before: float = math.inf) -> None:
        """Break every connection, the idle ones too."""
        # Under the lock, a connection cannot be closed and its descriptor reused in between.
        with self._lock:
            for connection, opened in list(self.open.items()):
                if opened < opened_before:
                    driver.cut(connection)

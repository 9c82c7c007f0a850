"""A log for what each request would say again: during an outage, or of a session that something else has
broken."""

import logging
import threading
import time
from collections.abc import Callable

PAUSE = 60.0  # seconds

_log = logging.getLogger("scalekit.sessions")


class SparingLog:
    """Logs each message once a minute; the next one says how many were left out since.

    Args:
        clock: counts seconds; tests put their own here.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._said: dict[str, tuple[float, int]] = {}  # when it may be said again, and how often it was not

    def log(self, level: int, message: str, *args: object) -> None:
        """As ``Logger.log``. What is alike has the same ``message``; ``args`` may differ."""
        with self._lock:
            now = self._clock()
            due, left_out = self._said.get(message, (now, 0))
            if now < due:
                self._said[message] = (due, left_out + 1)
                return
            self._said[message] = (now + PAUSE, 0)
        if left_out:
            message, args = f"{message} (and %d times more since this was last said)", (*args, left_out)
        _log.log(level, message, *args)

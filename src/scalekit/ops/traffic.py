"""The requests of one process, counted: how many, how long, how many now, and how long they had waited.

Rules:

* A request is counted by its method and the class of its status, never by its path: there is no end of paths.
* It lasts until the last of the response was handed to the server, or the application gave up.
* An application that raises an error before it answers is counted as 5xx, which the server makes of it; what
  ended without any answer, because the client left, as ``none``.
* A probe that the OpsMiddleware inside has answered is no request: while a server drains it would be a 5xx,
  and else quicker than what visitors get.
* How long it had waited is what the balancer's header says, see :mod:`scalekit.ops.queue_time`.
"""

import time
from collections.abc import Iterable

from scalekit._tally import Histogram, Tally
from scalekit.metrics import Metric, gauge

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_CLASSES = {number: f"{number}xx" for number in range(1, 6)}
# A request that waits for a free worker waits for what a request takes, or for many of those.
_QUEUE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Traffic:
    """What the middlewares count. Safe to share between threads."""

    def __init__(self) -> None:
        self._requests = Tally(
            "scalekit_http_requests",
            "Requests that were answered, by method and class of status.",
            labels=["method", "status"],
        )
        self._seconds = Histogram(
            "scalekit_http_request_seconds", "How long requests took, to the end of the response."
        )
        self._queue = Histogram(
            "scalekit_http_queue_seconds",
            "How long requests had waited between the balancer and here.",
            bounds=_QUEUE,
        )
        self._begun, self._ended = Tally("begun", "Begun."), Tally("ended", "Ended.")
        self._opened, self._closed = Tally("opened", "Opened."), Tally("closed", "Closed.")

    @property
    def in_flight(self) -> int:
        """Requests that are being answered now."""
        return _difference(self._begun, self._ended)

    def begin(self, waited: float | None) -> float:
        """A request has come, after ``waited`` seconds if that is known. Returns what :meth:`end` needs."""
        self._begun.add()
        if waited is not None:
            self._queue.observe(waited)
        return time.perf_counter()

    def end(self, began: float, method: str, status: int) -> None:
        """It is over; ``status`` is 0 if there was none."""
        self._ended.add()
        self._seconds.observe(time.perf_counter() - began)
        known = method if method in _METHODS else "other"
        self._requests.add(known, _CLASSES.get(status // 100, "none"))

    def drop(self) -> None:
        """It is over, and was no request of a visitor."""
        self._ended.add()

    def open(self) -> None:
        """A WebSocket has come."""
        self._opened.add()

    def close(self) -> None:
        """It is over."""
        self._closed.add()

    def metrics(self) -> Iterable[Metric]:
        """See :class:`scalekit.metrics.Measured`."""
        yield self._requests.metric()
        yield gauge("scalekit_http_in_flight", "Requests that are being answered now.", self.in_flight)
        yield self._seconds.metric()
        yield self._queue.metric()
        open_now = _difference(self._opened, self._closed)
        yield gauge("scalekit_http_websockets", "WebSockets that are open now.", open_now)


def _difference(more: Tally, less: Tally) -> int:
    # The lesser first: what ends in between is then one that is still counted, not one below nothing.
    fewer = less.value()
    return max(0, int(more.value() - fewer))

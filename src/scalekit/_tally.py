"""Counting what happens, for :mod:`scalekit.metrics`: from any thread, in less than 100 ns.

* Each process counts what it did itself: a child that is forked begins at nothing. So the sum over all
  processes of a server counts nothing twice.
* What happens all the time takes no lock. ``next()`` of a counter, and ``append()`` of a deque, are one step
  of the interpreter; ``+=`` is several, and can lose one between threads.
"""

import itertools
import math
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from scalekit._forks import renew_in_children
from scalekit.metrics import Distribution, Kind, Metric, Sample

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds for how long a request takes."""

_FOLD = 1024


class Tally:
    """A number that grows, or one for each combination of label values.

    >>> shed = Tally("scalekit_shed_requests", "Requests that were refused.", labels=["priority"])
    >>> shed.add("low")

    What goes up and down is the difference of two of them.

    Args:
        name: as in :class:`~scalekit.metrics.Metric`.
        help: a sentence of what is counted.
        labels: the names of its labels. Their values must be few, and never what visitors choose.
        known: values of the only label that are shown from the beginning. What appears with a 1 has not
            risen, for those who look at how fast it grows.
    """

    kind: Kind = "counter"

    def __init__(
        self, name: str, help: str, *, labels: Iterable[str] = (), known: Iterable[str] = ()
    ) -> None:
        self.name, self.help = name, help
        self.labels = tuple(labels)
        self._known: list[tuple[str, ...]] = [(value,) for value in known] if self.labels else [()]
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        self._lock = threading.Lock()
        self._ticks = {values: itertools.count().__next__ for values in self._known}
        self._more: dict[tuple[str, ...], float] = {}

    def add(self, *values: str) -> None:
        """One more, for the values of the labels in their order."""
        tick = self._ticks.get(values)
        if tick is None:
            # Of two threads the first one's stays, and both count with it.
            tick = self._ticks.setdefault(values, itertools.count().__next__)
        tick()

    def add_many(self, number: float, *values: str) -> None:
        """``number`` more, such as bytes. It takes a lock: not in a signal handler."""
        with self._lock:
            self._more[values] = self._more.get(values, 0) + number

    def value(self, *values: str) -> float:
        """How much it is now."""
        return _read(self._ticks.get(values)) + self._more.get(values, 0)

    def metric(self) -> Metric:
        """All of it."""
        with self._lock:
            every = dict.fromkeys([*self._ticks, *self._more])
        samples = (Sample(self.value(*key), dict(zip(self.labels, key, strict=True))) for key in every)
        return Metric(self.name, self.kind, self.help, tuple(samples))


class Histogram:
    """How often each size was seen.

    Args:
        name: as in :class:`~scalekit.metrics.Metric`.
        help: a sentence of what is measured.
        bounds: upper bounds of the buckets, ascending, without infinity.
    """

    def __init__(self, name: str, help: str, *, bounds: Sequence[float] = SECONDS) -> None:
        self.name, self.help = name, help
        self._bounds = tuple(bounds)
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        self._lock = threading.Lock()
        self._new: deque[float] = deque()
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, size: float) -> None:
        """One more, of this size."""
        self._new.append(size)
        if len(self._new) >= _FOLD:
            self._fold()

    def metric(self) -> Metric:
        """All of it."""
        self._fold()
        with self._lock:
            counts, total = list(self._counts), self._sum
        bounds = (*self._bounds, math.inf)
        buckets = tuple(zip(bounds, itertools.accumulate(counts), strict=True))
        return Metric(self.name, "histogram", self.help, (Sample(Distribution(buckets, total)),))

    def _fold(self) -> None:
        with self._lock:
            # Those that are there now: others may add as fast as these are taken.
            for _ in range(len(self._new)):
                size = self._new.popleft()
                self._counts[bisect_left(self._bounds, size)] += 1
                self._sum += size


def _read(tick: Callable[[], int] | None) -> int:
    """How often it was called. What a counter is at it shows to nobody but people."""
    return 0 if tick is None else int(repr(getattr(tick, "__self__"))[len("count(") : -1])  # noqa: B009

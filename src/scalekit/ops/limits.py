"""How many requests at once are good for a server, found while it serves. Rules only: no I/O, no clock.

In-flight requests above what keeps the processor and the connections busy only wait for each other: they make
every answer later, and no second holds more of them. So the limit follows two signs of a queue:

* *A standing queue*, after CoDel (RFC 8289): the least wait of a window is above 5 ms, and above a tenth of
  the usual latency. One that is empty now and then is a burst; one that never is, is too long. Waits are the
  lag of the event loop, or the time since a proxy in front took the request.
* *Slow answers*, after Netflix's Gradient2: their mean is above 1.5 times its usual, as when requests queue
  for a pool of connections, which the event loop does not feel.

Rules, window by window (half a second; longer where answers are slow or few):

1. A queue in two windows in a row: the limit, or what is in use of it, is cut, to 1.5 x usual / now for slow
   answers and by the share of their time that a standing queue is: to 0.9 or less, and to a half at most. The
   next window lets that take effect. Answers that are slow while half of the limit is free are let be.
2. No queue, and the limit was reached: it grows, by a tenth, and by twice as much as the time before in each
   window more, to a half at most; by a tenth again where answers take more than 1.2 x usual.
3. No queue, and it was not reached: it goes back to where it began, by 2 % for each half second. It never
   shrinks for want of traffic.
4. *A cut must not cost throughput.* If after cuts to 0.7 or less about as much less gets done, nothing was
   waiting in a queue: a service behind this one became slow, or another process takes the processor. The
   limit goes back to what it was, and how things are now is the usual; unless the event loop is late by more
   than 50 ms, which is a queue whoever causes it. (This is what a limit by latency alone
   lacks: it would stay at its minimum.)
5. The usual goes down by a fifth of the way in any window, and up by a hundredth when less than half of the
   limit was in use. Who has only ever seen an overload knows no better, so a limit that is reached is halved
   once in half a minute, as Envoy's gradient controller does, and the latency of that window is the usual. If
   as much gets done it stays halved, and the next look comes at once.
"""

import math
from dataclasses import dataclass

from scalekit._options import check_count
from scalekit.errors import ConfigurationError

WINDOW = 0.5
"""Seconds of the shortest window."""

_LONGEST = 5.0  # seconds, after which few answers have to do
_ENOUGH = 10  # answers that make a mean
_WAITS = 3  # waits that make a least one
_TARGET = 0.005  # seconds: CoDel's own
_TARGET_AT_MOST = 0.05
_TARGET_SHARE = 0.1  # of the usual latency: CoDel's, too
_TOLERANCE = 1.5
_CUT, _DEEPEST_CUT = 0.9, 0.5
_GROWTH, _FASTEST_GROWTH = 0.1, 0.5
_NEAR = 1.2  # times the usual, from where the growth is careful
_KNOWN_FOR = 30.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The range in which the limit of requests in flight moves.

    Args:
        initial: at the start, and again when an overload is long over; 100 by default.
        minimum: 2 by default.
        maximum: 1000 by default; all that is in flight counts against it, long streams too. Critical
            requests may exceed it by half, as they may the limit.

    With all three the same the limit is a fixed one.

    Raises:
        ConfigurationError: they are no whole numbers in the order minimum, initial, maximum.
    """

    initial: int = 100
    minimum: int = 2
    maximum: int = 1000

    def __post_init__(self) -> None:
        for name in ("initial", "minimum", "maximum"):
            check_count(getattr(self, name), option=f"{name}=", least=1, cure="nothing is served otherwise")
        if not self.minimum <= self.initial <= self.maximum:
            raise ConfigurationError(
                f"initial={self.initial} must lie between minimum={self.minimum} and maximum={self.maximum}"
            )


@dataclass(frozen=True)
class _Work:
    """What a window got done, under which limit: requests a second, each after ``latency`` seconds."""

    limit: float
    latency: float
    throughput: float

    def is_less_than(self, before: "_Work") -> bool:
        """Whether the cut since then cost throughput: less was counted, and the latency is not less in turn.

        Each alone can be wrong. Where answers are slow they come in clumps, and few are counted in a window.
        And a latency from before the limit was full has no queue in it that a cut could have shortened.
        """
        share = self.limit / before.limit
        fair = (1 + share) / 2  # halfway between what it is when nobody queued, and when all did
        slower = self.latency / before.latency if before.latency else 1.0
        return self.throughput < fair * before.throughput and share < fair * slower


class AdaptiveLimit:
    """The limit of one process. Not safe between threads: whoever counts the requests holds a lock anyway.

    Times are seconds of the caller's monotonic clock.
    """

    def __init__(self, limits: Limits) -> None:
        self._range = limits
        self._limit = float(limits.initial)
        self._usual: float | None = None  # latency, in seconds
        self._known = -math.inf  # when the usual was last seen without a queue
        self._target = _TARGET
        self._before: _Work | None = None  # ahead of a row of cuts
        self._looking = False  # the cut before was to see the usual
        self._settling = False
        self._queued = False  # in the window before
        self._standing = False
        self._growth = _GROWTH
        self._started: float | None = None
        self._length = WINDOW
        self._clear()

    def _clear(self) -> None:
        self._answers, self._total = 0, 0.0
        self._waits, self._least = 0, math.inf
        self._peak = 0

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return int(self._limit)

    @property
    def usual(self) -> float | None:
        """Seconds until an answer begins when nothing queues; ``None`` where that is not known yet."""
        return self._usual

    @property
    def standing(self) -> bool:
        """Whether there was a queue all through the last window."""
        return self._standing

    def used(self, in_flight: int) -> None:
        """So many are in flight, or would be had one not been turned away."""
        self._peak = max(self._peak, in_flight)

    def answered(self, latency: float) -> None:
        """A request took so long until its response began."""
        self._answers += 1
        self._total += latency

    def waited(self, wait: float) -> None:
        """Something waited so long for its turn."""
        self._waits += 1
        self._least = min(self._least, wait)

    def advance(self, now: float) -> None:
        """Tell the time; ends the window when it is due. Call it often."""
        if self._started is None:
            self._started = now
        elapsed = now - self._started
        # A small limit lets few through at once: two rounds of them make a mean.
        enough = self._answers >= min(_ENOUGH, 2 * self.limit)
        # Where next to nothing gets done, a queue is seen all the same.
        if elapsed < self._length or not (enough or elapsed >= _LONGEST or self._wait() > _TARGET_AT_MOST):
            return
        latency = self._total / self._answers if enough and self._answers else None
        self._decide(now, elapsed, latency)
        self._started = now
        self._clear()

    def _decide(self, now: float, elapsed: float, latency: float | None) -> None:
        least = self._wait()
        used = min(self._limit, max(1.0, float(self._peak)))
        work = None if latency is None else _Work(used, latency, self._answers / elapsed)
        self._standing = least > max(self._target, _TARGET_SHARE * (self._usual or 0.0))
        # A queue for the processor shows at once, whatever answers take.
        self._length = WINDOW if self._standing else min(max(WINDOW, latency or 0.0), _LONGEST)
        self._target = max(_TARGET, self._target * 0.98)
        if self._settling:
            self._settling = False
            return
        if self._looking:
            self._look(now, work)
            return
        busy = self._peak >= self._limit / 2
        self._learn(now, latency, busy=busy)
        slower = 1.0 if latency is None or not self._usual else latency / self._usual
        queued, self._queued = self._queued, self._standing or slower > _TOLERANCE
        if not self._queued:
            self._before = None
            self._grow(now, elapsed, work, slower)
            return
        self._growth = _GROWTH
        if not (busy or self._standing):
            self._before = None
        elif queued and work is not None:
            self._cut(now, work, slower, least)
        elif queued and self._standing:
            self._limit = max(used * _DEEPEST_CUT, float(self._range.minimum))
            self._settling = True

    def _wait(self) -> float:
        """The least wait, in seconds, if there were some or one long enough."""
        known = self._waits >= _WAITS or WINDOW <= self._least < math.inf
        return self._least if known else 0.0

    def _learn(self, now: float, latency: float | None, *, busy: bool) -> None:
        if latency is None:
            return
        if self._usual is None:
            self._usual = latency
        elif latency < self._usual:
            self._usual += 0.2 * (latency - self._usual)
        elif not busy and not self._standing:
            self._usual += 0.01 * (latency - self._usual)
        if not busy and not self._standing:
            self._known = now

    def _grow(self, now: float, elapsed: float, work: _Work | None, slower: float) -> None:
        if self._peak < self.limit:
            self._growth = _GROWTH
            if self._limit < self._range.initial:
                # A minute of nothing at all counts like a minute of little.
                grown = self._limit * 1.02 ** min(elapsed / WINDOW, 1000)
                self._limit = min(grown, float(self._range.initial))
        elif work is not None and now - self._known > _KNOWN_FOR and self._limit / 2 >= self._range.minimum:
            self._before = work
            self._limit /= 2
            self._looking = self._settling = True
        else:
            if slower > _NEAR:
                self._growth = _GROWTH
            grown = self._limit + max(1.0, self._limit * self._growth)
            self._limit = min(grown, float(self._range.maximum))
            self._growth = min(2 * self._growth, _FASTEST_GROWTH)

    def _look(self, now: float, work: _Work | None) -> None:
        assert self._before is not None
        before, self._before, self._looking = self._before, None, False
        if work is not None:
            self._usual = work.latency
        if work is None or work.is_less_than(before):
            self._limit, self._known = before.limit, now

    def _cut(self, now: float, work: _Work, slower: float, least: float) -> None:
        before = self._before = self._before or work
        # Who waits longer than that for the processor waits in our queue, however little of it others leave.
        ours = least > _TARGET_AT_MOST
        if not ours and work.limit <= 0.7 * before.limit and work.is_less_than(before):
            self._limit, self._before, self._usual, self._known = before.limit, None, work.latency, now
            self._target = max(_TARGET, min(1.5 * least, _TARGET_AT_MOST))
            return
        # Of the requests in flight, as many wait in the queue as it is of their time (Little's law).
        queue = least / work.latency if self._standing and work.latency else 0.0
        factor = max(_DEEPEST_CUT, min(_CUT, _TOLERANCE / slower, 1 - queue))
        self._limit = max(work.limit * factor, float(self._range.minimum))
        self._settling = True

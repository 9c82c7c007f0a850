"""A server in virtual time: one processor with its queue, a pool of connections, and waits.

Seconds of it pass in milliseconds, and the same seed gives the same run: what the algorithm does can be
tested without a machine that has to be quiet.
"""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from scalekit.ops.limits import AdaptiveLimit, Limits

TICK = 0.02
_LIMITS = Limits()


@dataclass
class Load:
    """What happens in one run, in seconds: ``rate(t)`` requests a second arrive as they please."""

    rate: Callable[[float], float]
    cpu: float = 0.005  # before and after the wait, half of it each
    wait: Callable[[float], float] = lambda now: 0.05
    pool: int | None = None  # connections that the wait needs; None: as many as wanted
    refusal: float = 0.00015  # of the processor
    late: Callable[[float], float] = lambda now: 0.0  # that others keep the timer from running


@dataclass
class Run:
    """What became of it."""

    answered: list[tuple[float, float]] = field(default_factory=list)  # when, and after how long
    shed: list[float] = field(default_factory=list)
    limits: list[tuple[float, int]] = field(default_factory=list)

    def goodput(self, since: float, until: float) -> float:
        return sum(since <= at < until for at, _ in self.answered) / (until - since)

    def p99(self, since: float, until: float) -> float:
        took = sorted(latency for at, latency in self.answered if since <= at < until)
        return took[int(len(took) * 0.99)] if took else float("inf")

    def limit(self, at: float) -> int:
        return next(limit for when, limit in reversed(self.limits) if when <= at)


class Simulation:
    """One run, with ``limits``, or bare without."""

    def __init__(self, load: Load, limits: Limits | None = _LIMITS, *, seed: int = 1) -> None:
        self.load, self.run_ = load, Run()
        self.limit = AdaptiveLimit(limits) if limits is not None else None
        self.now, self.in_flight = 0.0, 0
        self._random = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order: Iterator[int] = itertools.count()
        self._turns: deque[tuple[float, Callable[[], None]]] = deque()
        self._running = False
        self._pool_free, self._pool_queue = load.pool or 0, deque[Callable[[], None]]()

    def run(self, seconds: float) -> Run:
        self._at(0.0, self._arrive)
        self._at(TICK, self._tick)
        while self._events and self._events[0][0] < seconds:
            self.now, _, event = heapq.heappop(self._events)
            event()
        return self.run_

    def _at(self, when: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))

    def _turn(self, cpu: float, then: Callable[[], None]) -> None:
        """``then`` runs on the processor when those before it have; it takes ``cpu``."""
        self._turns.append((cpu, then))
        if not self._running:
            self._next_turn()

    def _next_turn(self) -> None:
        self._running = bool(self._turns)
        if self._running:
            cpu, then = self._turns.popleft()

            def done() -> None:
                then()
                self._next_turn()

            self._at(self.now + cpu, done)

    def _tick(self) -> None:
        due = self.now

        def measured() -> None:
            assert self.limit is not None
            self.limit.waited(self.now - due + self.load.late(self.now))
            self.limit.advance(self.now)
            self.run_.limits.append((self.now, self.limit.limit))
            self._at(self.now + TICK, self._tick)

        if self.limit is not None:
            self._turn(0.0, measured)

    def _arrive(self) -> None:
        self._at(self.now + self._random.expovariate(max(self.load.rate(self.now), 1e-3)), self._arrive)
        if self.load.rate(self.now) > 0:
            arrived = self.now
            self._turn(0.0, lambda: self._admit(arrived))

    def _admit(self, arrived: float) -> None:
        began = self.now
        if self.limit is not None:
            self.limit.used(self.in_flight + 1)
            if self.in_flight >= self.limit.limit:
                self._turn(self.load.refusal, lambda: self.run_.shed.append(self.now))
                return
        self.in_flight += 1

        def finish() -> None:
            self.in_flight -= 1
            self.run_.answered.append((self.now, self.now - arrived))
            if self.limit is not None:
                self.limit.answered(self.now - began)

        def waited() -> None:
            if self.load.pool:
                self._pool_free += 1
                if self._pool_queue:
                    self._pool_free -= 1
                    self._pool_queue.popleft()()
            self._turn(self.load.cpu / 2, finish)

        def wait() -> None:
            self._at(self.now + self.load.wait(self.now) * self._random.uniform(0.8, 1.2), waited)

        def enter_pool() -> None:
            if not self.load.pool:
                wait()
            elif self._pool_free:
                self._pool_free -= 1
                wait()
            else:
                self._pool_queue.append(wait)

        self._turn(self.load.cpu / 2, enter_pool)

"""Turning requests away while there is time for the others.

Rules:

* A request gets a slot before the application sees it, or 503 at once. There is no queue: those in flight
  wait for each other already, and who waits in a queue has less patience left for the answer.
* A slot is held until the application is done with the request, whatever way that ends: an answer, an
  exception, a cancellation. A visitor who went away frees it when the work for them ends.
* The limit is for requests at work. A response that goes on for ten seconds after it has begun, an event
  stream and a WebSocket keep their slots; they count against ``maximum`` alone, for a limit that an overload
  has made small is not for them to fill. Critical requests may exceed the maximum by half of it, as they may
  the limit: a fixed limit, where the two are the same, has room for them, too.
* The time until the response begins is what the limit learns from. How long it then flows is the visitor's
  line. Errors (5xx) teach nothing: they are quicker than the work, or as slow as a time-out.
* While a queue stands, a request that has waited for a tenth of a second is turned away in any case, unless
  it is critical. Handlers that block the event loop run one after the other, and so are never many in flight.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from scalekit._durations import Duration
from scalekit._forks import renew_in_children
from scalekit._options import check_function, check_kind
from scalekit.metrics import Metric, counters, gauge
from scalekit.ops.busy import BusyPage
from scalekit.ops.limits import WINDOW, AdaptiveLimit, Limits
from scalekit.ops.priorities import Priority, Rule, checked_rules
from scalekit.types import Headers

_PATIENCE = 0.1  # seconds
_LONG = 10.0  # seconds, after which a response that has begun is a stream


class Slot:
    """A request in flight. Its methods may be called again, and in any order; the first time counts."""

    __slots__ = ("_shedding", "entered", "responding", "streams")

    def __init__(self, shedding: "Shedding", entered: float) -> None:
        self._shedding = shedding
        self.entered = entered
        self.responding = False
        self.streams = False

    def answered(self, status: int, *, endless: bool = False) -> None:
        """The response begins; ``endless`` if it has no natural end."""
        self._shedding._answered(self, status, endless=endless)

    def leave(self) -> None:
        """The request is over."""
        self._shedding._leave(self)


class Shedding:
    """What one process takes on, and what it does not. Safe to share between threads and event loops.

    Args:
        limits: the range of the limit; found by itself within 2 and 1000 by default.
        rules: the first that fits a request gives its priority; without one it is normal.
        classify: a function of the ASGI scope, or the WSGI environ, that returns a priority, or ``None`` to
            leave it to the rules. It is asked for every request, so it should be quick; it must not raise.
        page: the busy page for browsers: HTML as text or bytes, such as ``Path("busy.html").read_bytes()``.
            It must need nothing else from this server: its style sheet or image would be turned away, too.
        retry_after: seconds (or ``timedelta``) to come back after, 5 by default. Each answer says that or up
            to twice as long, by chance: who was turned away at once does not come back at once.

    Raises:
        ConfigurationError: an option is of another type, or ``retry_after`` is below a second.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        rules: Iterable[Rule] = (),
        classify: Callable[[Any], Priority | None] | None = None,
        page: str | bytes | None = None,
        retry_after: Duration = 5.0,
    ) -> None:
        limits = Limits() if limits is None else limits
        check_kind(
            limits, Limits, option="limits=", wanted="the range of the limit, such as Limits(initial=50)"
        )
        if classify is not None:
            check_function(classify, option="classify=", wanted="a function that returns a Priority or None")
        self.busy = BusyPage(page, retry_after)
        self._rules = checked_rules(rules)
        self._classify = classify
        self._maximum = limits.maximum
        self._limit = AdaptiveLimit(limits)
        self._looked = 0.0
        self._wait = 0.0
        self.forked()
        renew_in_children(self)

    @property
    def limit(self) -> int:
        """Normal requests that may be at work now."""
        return self._limit.limit

    @property
    def in_flight(self) -> int:
        """Requests that hold a slot now, streams included."""
        return len(self._slots)

    def priority_of(self, request: Any, method: str, path: str, headers: Headers) -> Priority:
        """The priority of a request, of which ``request`` is the scope or the environ."""
        if self._classify is not None:
            found = self._classify(request)
            if found is not None:
                return found
        for rule in self._rules:
            if rule.fits(method, path, headers):
                return rule.priority
        return Priority.NORMAL

    def enter(self, priority: Priority, *, waited: float = 0.0) -> Slot | None:
        """Take a request on, or not (``None``). It has ``waited`` so many seconds for its turn."""
        now = time.monotonic()
        with self._lock:
            if waited > WINDOW:  # what has to tell it may not get its turn either
                self._limit.waited(waited)
            self._limit.advance(now)
            room = priority.room(self._limit.limit)
            if len(self._slots) - self._streams >= room:
                self._find_streams(now)
            at_work = len(self._slots) - self._streams
            self._limit.used(at_work + 1)
            late = waited > _PATIENCE and self._limit.standing and priority is not Priority.CRITICAL
            most = max(self._maximum, priority.room(self._maximum))
            if late or at_work >= room or len(self._slots) >= most:
                self._shed[priority.value] += 1
                return None
            self._admitted[priority.value] += 1
            slot = Slot(self, now)
            self._slots.add(slot)
            return slot

    def waited(self, wait: float) -> None:
        """Something waited for its turn, in seconds."""
        with self._lock:
            self._wait = wait
            self._limit.waited(wait)
            self._limit.advance(time.monotonic())

    def metrics(self) -> Iterator[Metric]:
        """The numbers of this moment, for an exporter."""
        with self._lock:
            admitted, shed = dict(self._admitted), dict(self._shed)
            limit, in_flight, wait = self._limit.limit, len(self._slots), self._wait
        yield counters("scalekit_shed_admitted", "Requests that were taken on.", admitted, label="priority")
        yield counters("scalekit_shed_requests", "Requests that were turned away.", shed, label="priority")
        yield gauge("scalekit_shed_limit", "Normal requests that may be at work at once.", limit)
        yield gauge("scalekit_shed_in_flight", "Requests that hold a slot.", in_flight)
        yield gauge("scalekit_shed_lag_seconds", "Lag of the event loop, or wait in a queue.", wait)

    def forked(self) -> None:
        """What a child has anew: what is in flight, and was counted, is its parent's."""
        self._lock = threading.Lock()
        self._slots: set[Slot] = set()
        self._streams = 0
        self._admitted = dict.fromkeys(_COUNTED, 0)
        self._shed = dict.fromkeys(_COUNTED, 0)

    def _answered(self, slot: Slot, status: int, *, endless: bool) -> None:
        now = time.monotonic()
        with self._lock:
            if slot.responding or slot not in self._slots:
                return
            slot.responding = True
            if endless:
                self._streams_on(slot)
            elif status < 500:
                self._limit.answered(now - slot.entered)
            self._limit.advance(now)

    def _leave(self, slot: Slot) -> None:
        with self._lock:
            if slot in self._slots:
                self._slots.discard(slot)
                self._streams -= slot.streams

    def _find_streams(self, now: float) -> None:
        # Once in a second, and only when it makes a difference.
        if now - self._looked >= 1.0:
            self._looked = now
            for slot in self._slots:
                if slot.responding and now - slot.entered >= _LONG:
                    self._streams_on(slot)

    def _streams_on(self, slot: Slot) -> None:
        self._streams += not slot.streams
        slot.streams = True


_COUNTED: tuple[str, ...] = ("low", "normal", "critical")

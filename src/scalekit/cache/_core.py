"""Get, or compute once and keep: the one algorithm, in both colours.

Rules:

* Look in this process, then in the back end. On a miss, one caller in this process leads
  (:mod:`scalekit.cache.leading`) and the others wait for what it gets.
* A caller shares a computation under way only if nothing was invalidated since that one began: what it reads
  from the back end on its way tells (see :mod:`scalekit.cache.flights`). So a call made after an invalidation
  never gets a result that was computed before it.
* A back end that fails is never the caller's problem: the function runs and its result is returned.
* A caller whose transaction has changes of its own neither reads nor stores: it sees what nobody else may.
  That is asked of the sessions among its arguments. What the function takes from elsewhere shows while it
  runs (see :mod:`scalekit.cache.uses`), and then its result is not stored.
* A cached function that another one calls is not answered from this process's memory.
* What is stored was read from the primary. A replica may be behind the last invalidation, and then its data
  would be served as if they were new. What was read there goes to its caller alone.
* Callers whose results cannot be shared do not queue for each other: each runs the function, as without a
  cache.
"""

import logging
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from scalekit._steps import Steps
from scalekit.cache.backend import Lookup
from scalekit.cache.codecs import UNREADABLE
from scalekit.cache.dirty import DirtyCount, in_registries
from scalekit.cache.entry import Found, Hit, Miss, judge
from scalekit.cache.flights import ABANDONED, RELEASED, Part
from scalekit.cache.invalidation import Invalidation
from scalekit.cache.leading import Lead
from scalekit.cache.local import MISSING, Local, Mark
from scalekit.cache.query import Asked, Call, Query, Via
from scalekit.cache.runtime import Runtime, runtimes
from scalekit.cache.sessions import Replicated, has_changes, is_behind
from scalekit.cache.stats import Counter
from scalekit.cache.uses import is_inside, note_call
from scalekit.types import Colour

__all__ = ["Call", "Core", "Query", "Via"]

log = logging.getLogger("scalekit.cache")


class Core:
    """The tiers and counters that the queries of one cache share."""

    def __init__(self, *, local: Local, counter: Counter) -> None:
        self.local = local
        self.count = counter.add
        self.runtimes: dict[Colour, Runtime] = runtimes()
        self.invalidation = Invalidation(local=local, counter=counter, runtimes=self.runtimes)
        self.or_none = self.invalidation.or_none
        # What sessions are watched (see scalekit.cache.orm).
        self.watched: weakref.WeakSet[Any] = weakref.WeakSet()
        self.replicated: list[Replicated] = []
        self.registries: list[Any] = []
        # How many watched transactions here have changes. Only if it is 0 the first tier answers unasked.
        self.dirty = 0
        self.dirty_count = DirtyCount(self._set_dirty)
        self.clock: Callable[[], float] = time.time
        self._told: set[str] = set()

    def fetch(self, query: Query, call: Call) -> Steps[Any]:
        """The result of ``call``: kept, waited for, or computed."""
        note_call(call.tags)
        if has_changes(call.left_out) or in_registries(self.registries):
            self.count("bypasses")
            return (yield call.run())
        # What others invalidate reaches this tier a little later than the back end: an outer result made of
        # what is kept here would be stored as if it were new.
        kept = MISSING if is_inside() else self.local.get(call.key, call.tags)
        if kept is not MISSING:
            self.count("local_hits")
            return kept
        called, counted = time.monotonic(), False
        flights = query.via.runtime.flights
        while True:
            asked = yield from self.ask(query, call)
            judged = self.judge(asked.found)
            if isinstance(judged, Hit) and self.is_fresh(judged):
                if not counted:
                    self.count("hits")
                result, readable = yield from self.read_back(query, call, asked, judged)
                if readable:
                    return result
                asked = yield from self.ask(query, call)
            if not counted:
                self.count("misses")
                counted = True
            if isinstance(judged, Miss) and judged.passes:
                return (yield from self.alone(call))
            if is_behind(call.left_out, asked.found, self.replicated):
                return (yield from self.alone(call))
            flight, part = flights.enter(call.key, call.tags, asked.found, called)
            if part is Part.LEAD:
                return (yield from Lead(self, query, call, flight).steps(asked))
            if flights.is_mine(flight):
                return (yield from self.alone(call))
            self.count("waits")
            if part is Part.FOLLOW:
                yield flights.wait_end(flight)
                continue
            outcome = yield flights.wait(flight)
            if outcome is RELEASED:
                return (yield from self.alone(call))
            if outcome is not ABANDONED:
                return query.codec.decode(outcome)

    def watch_registry(self, registry: Any) -> None:
        """Ask ``registry``, such as ``scoped_session``'s, at each call for the session that it has here."""
        self.registries.append(registry)
        self.dirty_count.add(1)  # for ever: what is pending in its session tells nobody

    def _set_dirty(self, number: int) -> None:
        self.dirty = number

    def alone(self, call: Call) -> Steps[Any]:
        """Run the function, for its caller."""
        self.count("computes")
        return (yield call.run())

    def ask(self, query: Query, call: Call) -> Steps[Asked]:
        """What the back end has."""
        mark = self.local.mark(call.tags)
        if not (yield from self.invalidation.allow_reading(query.via, call.key, call.tags)):
            return Asked(None, mark)
        found = yield from self.or_none(query.via.entries.read([Lookup(call.key, call.tags)]))
        if found is None:
            return Asked(None, mark)
        self.invalidation.outage.answered()
        if found[0].value is not None:
            self.count("bytes_read", len(found[0].value))
        return Asked(found[0], mark)

    def read_back(self, query: Query, call: Call, asked: Asked, hit: Hit) -> Steps[tuple[Any, bool]]:
        """The result of a hit, and whether it could be read."""
        try:
            result = query.codec.decode(hit.payload)
        except UNREADABLE:
            # Not of this return type, whoever wrote it: as if it were not there.
            yield from self.or_none(query.via.entries.drop([call.key]))
            return None, False
        self.keep(query, call, asked.mark, hit.payload, result, hit.soft_end)
        return result, True

    def keep(
        self, query: Query, call: Call, mark: Mark, payload: bytes | memoryview, result: Any, soft_end: int
    ) -> None:
        """Put a result into the first tier, unless something was invalidated since ``mark``."""
        left = (soft_end - self.now()) / 1000
        if query.codec.immutable:
            self.local.put(call.key, call.tags, mark, result, None, left)
        else:
            self.local.put(call.key, call.tags, mark, bytes(payload), query.codec.decode, left)

    def now(self) -> int:
        """Milliseconds since 1970."""
        return int(self.clock() * 1000)

    def judge(self, found: Found | None) -> Hit | Miss:
        return judge(found, self.now()) if found is not None else Miss()

    def is_fresh(self, hit: Hit) -> bool:
        return hit.soft_end > self.now()

    def tell_missing_tags(self, query: Query, missing: Iterable[str]) -> None:
        """Say once why the results of ``query`` are not stored."""
        if query.name not in self._told:
            self._told.add(query.name)
            log.warning(
                "%s calls cached functions whose results are dropped with %s, and is not: what it returns is "
                "not stored. Add these to its reads=[...] or tags=[...]",
                query.name,
                ", ".join(sorted(missing)),
            )

"""Get, or compute once and keep: the one algorithm, in both colours.

Rules:

* Look in the back end; what this process has was looked at before (:mod:`scalekit.cache.compiled`). On a miss
  one caller in this process leads (:mod:`scalekit.cache.leading`) and the others wait for what it gets.
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
* A result that is valid may have grown stale: :mod:`scalekit.cache.freshness` says what to do then. A caller
  that may be answered before the function is done has it run apart (:mod:`scalekit.cache.refresh`).
* Callers whose results cannot be shared do not queue for each other: each runs the function, as without a
  cache.
"""

import concurrent.futures
import logging
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from scalekit._steps import Steps
from scalekit.cache.backend import Lookup
from scalekit.cache.codecs import UNREADABLE, Codec
from scalekit.cache.dirty import DirtyCount, in_registries, in_scope
from scalekit.cache.entry import Found, Hit, Miss, Shared, judge
from scalekit.cache.flights import ABANDONED, LATE, RELEASED, Flight, Part
from scalekit.cache.freshness import Plan, dice, local_end, plan
from scalekit.cache.functions import refuse_coroutine
from scalekit.cache.invalidation import Invalidation
from scalekit.cache.leading import Lead
from scalekit.cache.listening import Listener
from scalekit.cache.local import Local, Mark
from scalekit.cache.query import Asked, Call, Query, Via
from scalekit.cache.refresh import Refreshes
from scalekit.cache.runtime import Runtime, runtimes
from scalekit.cache.sessions import Replicated, has_changes, is_behind
from scalekit.cache.stats import Counter
from scalekit.cache.uses import note_call, running
from scalekit.errors import BackendError, QueryTimeout, UncacheableResult
from scalekit.types import Colour

__all__ = ["Call", "Core", "Query", "Via"]

log = logging.getLogger("scalekit.cache")

_NOTHING = Miss()

_AGAIN = object()


def _decoded(codec: Codec, shared: Shared | Flight, payload: bytes | memoryview) -> Any:
    """The result that ``shared`` has for several callers: each gets a copy of what the first has decoded."""
    if codec.copy is None:
        return codec.decode(payload)
    known = shared.decoded
    if known is None or known[0] is not codec:
        known = shared.decoded = codec, codec.decode(payload)
    return codec.copy(known[1])


class Core:
    """The tiers and counters that the queries of one cache share."""

    def __init__(self, *, local: Local, counter: Counter, ttl_factor: Callable[[], float]) -> None:
        self.local = local
        self.ttl_factor = ttl_factor
        self.listener: Listener | None = None  # keeps the first tier right, where the back end can tell
        self.counter = counter
        self.count = counter.add
        self.runtimes: dict[Colour, Runtime] = runtimes()
        self.invalidation = Invalidation(local=local, counter=counter, runtimes=self.runtimes)
        self.or_none = self.invalidation.or_none
        # What sessions are watched (see scalekit.cache.orm).
        self.watched: weakref.WeakSet[Any] = weakref.WeakSet()
        self.replicated: list[Replicated] = []
        self.registries: list[Any] = []
        # Of what functions it was asked how long ago a key was dropped.
        self.aged: set[str] = set()
        # How many watched transactions here have changes. Only if it is 0 the first tier answers unasked.
        self.dirty = 0
        self.dirty_count = DirtyCount(self._set_dirty)
        # How many blocks have switched the cache off.
        self.disabled = 0
        self.clock: Callable[[], float] = time.time
        self._told: set[tuple[str, str]] = set()
        self.refreshes = Refreshes(self, lambda: self.clock())

    def fetch(self, query: Query, call: Call) -> Steps[Any]:
        """The result of ``call``: kept, waited for, or computed."""
        note_call(call.tags)
        if self.is_apart(call):
            if self.disabled:
                return (yield from self.run_here(query, call, since=time.monotonic()))
            self.count("bypasses")
            return (yield from self._run(query, call, time.monotonic()))
        if query.afresh is not None:
            query.afresh.check(call.arguments, call.left_out)
        called, counted = time.monotonic(), False
        while True:
            asked = yield from self.ask(query, call)
            now = self.now()
            judged = judge(asked.found, now) if asked.found is not None else _NOTHING
            stale = None
            if isinstance(judged, Hit):
                planned = self._plan(query, call, judged, now)
                if planned is not Plan.EXPIRED:
                    result, readable = yield from self.read_back(query, call, asked, judged)
                    if not readable:
                        asked = yield from self.ask(query, call)
                    elif planned is Plan.WAIT:
                        stale = judged
                    else:
                        if not counted:
                            self.count("hits")
                        if judged.soft_end <= now:
                            self.count("stale")
                        if planned is Plan.SERVE_AND_REFRESH:
                            self.refreshes.start(query, call, asked, judged)
                        return result
            if not counted:
                self.count("misses")
                counted = True
            if isinstance(judged, Miss) and judged.passes:
                return (yield from self.alone(query, call, called))
            try:
                result = yield from self._computed(query, call, asked, stale, called)
            except UncacheableResult:
                raise
            except Exception as error:
                if stale is None:
                    raise
                self.refreshes.tell(query, error)
                result = self._stale(query, stale)
            if result is not _AGAIN:
                return result

    def _computed(
        self, query: Query, call: Call, asked: Asked, stale: Hit | None, called: float
    ) -> Steps[Any]:
        """What this caller computes, or another one here or elsewhere; ``_AGAIN`` if nobody has.

        ``stale`` is the result that may be served instead.
        """
        flights = query.via.runtime.flights
        apart = query.leaves_behind or (stale is not None and query.afresh is not None)
        if not apart and is_behind(call.left_out, asked.found, self.replicated):
            return (yield from self.alone(query, call, called))
        flight, part = flights.enter(call.key, call.tags, asked.found, called)
        if part is Part.LEAD:
            if not apart:
                return (yield from Lead(self, query, call, flight, stale).steps(asked))
            self.refreshes.lead(query, call, flight, asked, stale)
        elif flights.is_mine(flight):
            return (yield from self.alone(query, call, called))
        else:
            self.count("waits")
        soft, hard = query.patience.soft_timeout, query.patience.hard_timeout
        limit = hard if stale is None or soft is None else soft
        within = None if limit is None else max(0.0, called + limit - time.monotonic())
        if part is Part.FOLLOW:
            yield flights.wait_end(flight, within)
            outcome: Any = ABANDONED if flight.future.done() else LATE
        else:
            outcome = yield flights.wait(flight, within)
        if outcome is LATE:
            if stale is not None and soft is not None:
                return self._stale(query, stale)
            raise QueryTimeout(function=query.name, limit=limit or 0.0)
        if outcome is RELEASED:
            return (yield from self.alone(query, call, called))
        result: Any = _AGAIN if outcome is ABANDONED else _decoded(query.codec, flight, outcome)
        return result

    def is_apart(self, call: Call) -> bool:
        """Whether the caller does without the cache: it is off, or the caller's transaction has changes."""
        # Only the sessions among the arguments may have changes that are not counted in `dirty`.
        return bool(self.dirty or call.left_out) and bool(
            self.disabled or has_changes(call.left_out) or in_registries(self.registries)
        )

    def _plan(self, query: Query, call: Call, hit: Hit, now: int) -> Plan:
        if hit.soft_end <= now and running():
            # What the outer one makes of it would be stored as if it were new.
            return Plan.EXPIRED
        planned = plan(hit, query.life, now, dice)
        if planned in (Plan.SERVE_AND_REFRESH, Plan.WAIT) and not self.refreshes.cooling.is_over(call.key):
            return Plan.SERVE
        return planned

    def _stale(self, query: Query, hit: Hit) -> Any:
        self.count("stale")
        return query.codec.decode(hit.payload)

    def watch_registry(self, registry: Any) -> None:
        """Ask ``registry``, such as ``scoped_session``'s, at each call for the session that it has here."""
        self.registries.append(registry)
        self.dirty_count.add_lasting()  # what is pending in its session tells nobody

    def given(self, left_out: Iterable[object]) -> Iterator[object]:
        """What a cached function has of sessions, by its arguments or by registries."""
        yield from left_out
        yield from in_scope(self.registries)

    def _set_dirty(self, number: int) -> None:
        self.dirty = number

    def alone(self, query: Query, call: Call, called: float) -> Steps[Any]:
        """Run the function, for its caller."""
        limit = query.patience.hard_timeout
        if limit is None or not query.leaves_behind:
            return (yield from self.run_here(query, call, since=called))
        future = self.refreshes.alone(query, call)
        within = max(0.0, called + limit - time.monotonic())
        if not concurrent.futures.wait([future], timeout=within).done:
            future.cancel()  # if it has not begun, nobody wants it
            raise QueryTimeout(function=query.name, limit=limit)
        return future.result()

    def run_here(self, query: Query, call: Call, *, since: float) -> Steps[Any]:
        """Run the function, in this task or thread; its time counts from ``since``."""
        self.count("computes")
        return (yield from self._run(query, call, since))

    def _run(self, query: Query, call: Call, since: float) -> Steps[Any]:
        limit = query.patience.hard_timeout
        made = call.run()
        if not query.is_async:
            refuse_coroutine(made, name=query.name)
        if limit is None:
            return (yield made)
        within = max(0.0, since + limit - time.monotonic())
        return (yield query.via.runtime.limited(made, within, QueryTimeout(function=query.name, limit=limit)))

    def ask(self, query: Query, call: Call) -> Steps[Asked]:
        """What the back end has."""
        if self.listener is not None:
            self.listener.use()
        mark, lookup = self.local.mark(call.tags), Lookup(call.key, call.tags)
        invalidation = self.invalidation
        if invalidation.is_behind and not (yield from invalidation.allow_reading(query.via, lookup)):
            return Asked(None, mark)
        try:
            found = yield from query.via.look(lookup)
        except BackendError as error:
            invalidation.failed(error)
            return Asked(None, mark)
        if not invalidation.outage.is_over:
            invalidation.answered(query.via, lookup)
        if found.value is not None:
            self.count("bytes_read", len(found.value))
        return Asked(found, mark)

    def read_back(self, query: Query, call: Call, asked: Asked, hit: Hit) -> Steps[tuple[Any, bool]]:
        """The result of a hit, and whether it could be read."""
        try:
            codec, found = query.codec, asked.found
            result = (
                _decoded(codec, found, hit.payload)
                if isinstance(found, Shared)
                else codec.decode(hit.payload)
            )
        except UNREADABLE:
            # Not of this return type, whoever wrote it: as if it were not there.
            yield from self.or_none(query.via.entries.drop([call.key]))
            return None, False
        self.keep(query, call, asked.mark, hit.payload, result, hit.soft_end, hit.delta)
        return result, True

    def keep(
        self,
        query: Query,
        call: Call,
        mark: Mark,
        payload: bytes | memoryview,
        result: Any,
        soft_end: int,
        delta: int,
    ) -> None:
        """Put a result into the first tier, unless something was invalidated since ``mark``."""
        if not self.local.enabled:
            return
        left = (local_end(soft_end, delta, query.life) - self.now()) / 1000
        if left <= 0:
            return
        immutable = query.codec.immutable
        self.local.put(
            call.local,
            call.key,
            mark,
            result if immutable else bytes(payload),
            ends=self.local.clock() + left,
            size=len(payload),
            tags=call.tags,
            decode=None if immutable else query.codec.decode,
        )

    def now(self) -> int:
        """Milliseconds since 1970."""
        return int(self.clock() * 1000)

    def judge(self, found: Found | None) -> Hit | Miss:
        return judge(found, self.now()) if found is not None else Miss()

    def is_fresh(self, hit: Hit) -> bool:
        return hit.soft_end > self.now()

    def tell_missing_tags(self, query: Query, missing: Iterable[str]) -> None:
        """Say once why the results of ``query`` are not stored."""
        if self._is_news(query, "tags"):
            log.warning(
                "%s calls cached functions whose results are dropped with %s, and is not: what it returns is "
                "not stored. Add these to its reads=[...] or tags=[...]",
                query.name,
                ", ".join(sorted(missing)),
            )

    def tell_oversized(self, query: Query, size: int, limit: int) -> None:
        """Say once why a result of ``query`` is not stored."""
        if self._is_news(query, "size"):
            log.warning(
                "%s returned what takes %d bytes, and was not stored: the back end is given %d at most. "
                "Have it return less, such as a part at a time, or raise max_value_size= of the RedisBackend "
                "with a timeout= that is long enough, or max_item_size= of the MemcachedBackend",
                query.name,
                size,
                limit,
            )

    def _is_news(self, query: Query, what: str) -> bool:
        """Whether the log does not have this of ``query`` yet; from now on it has."""
        new = (query.name, what) not in self._told
        self._told.add((query.name, what))
        return new

"""Get, or compute once and keep: the one algorithm, in both colours.

Rules:

* Look in this process, then in the back end. On a miss, one caller in this process takes the lease, runs the
  function and stores the result; the others wait for it.
* A caller shares a computation under way only if nothing was invalidated since that one began: what it reads
  from the back end on its way tells (see :mod:`scalekit.cache.flights`). So a call made after an invalidation
  never gets a result that was computed before it.
* A back end that fails is never the caller's problem: the function runs and its result is returned.
* A caller whose transaction has changes of its own neither reads nor stores: it sees what nobody else may.
  That is asked of the sessions among its arguments. What the function takes from elsewhere shows while it
  runs (see :mod:`scalekit.cache.uses`), and then its result is not stored.
* What is stored was read from the primary. A replica may be behind the last invalidation, and then its data
  would be served as if they were new. What was read there goes to its caller alone.
* Callers whose results cannot be shared do not queue for each other: each runs the function, as without a
  cache.
"""

import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from scalekit._steps import Steps
from scalekit.cache.backend import Entries, Lease, Miss
from scalekit.cache.codecs import UNREADABLE, Codec
from scalekit.cache.flights import ABANDONED, RELEASED, AsyncFlights, Flight, Flights, Part, SyncFlights
from scalekit.cache.local import MISSING, Local, Mark
from scalekit.cache.sessions import Replicated, has_changes
from scalekit.cache.stats import Counter
from scalekit.cache.uses import noted
from scalekit.errors import BackendError, NoServerAvailable
from scalekit.types import Colour


@dataclass(frozen=True, kw_only=True)
class Query:
    """What does not change from call to call."""

    entries: Entries
    flights: Flights
    codec: Codec
    tags: tuple[str, ...]
    ttl: float


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call: its key, how to run the function, and what of its arguments belongs to the caller."""

    key: str
    run: Callable[[], Any]
    left_out: Sequence[object]


class Core:
    """The tiers and counters that the queries of one cache share."""

    def __init__(self, *, local: Local, counter: Counter) -> None:
        self.local = local
        self.count = counter.add
        # Tags that a commit has changed and that are still to be dropped: this process does not read what
        # carries them before that has succeeded. The object tells one debt from the next.
        self._owed: dict[str, object] = {}
        # What sessions are watched (see scalekit.cache.orm).
        self.watched: weakref.WeakSet[Any] = weakref.WeakSet()
        self.replicated: list[Replicated] = []
        self.flights: dict[Colour, Flights] = {"sync": SyncFlights(), "async": AsyncFlights()}

    def fetch(self, query: Query, call: Call) -> Steps[Any]:
        """The result of ``call``: kept, waited for, or computed."""
        if has_changes(call.left_out):
            self.count("bypasses")
            return (yield call.run())
        kept = self.local.get(call.key, query.tags)
        if kept is not MISSING:
            self.count("local_hits")
            return kept
        called, counted = time.monotonic(), False
        while True:
            mark = self.local.mark(query.tags)
            found = yield from self._read(query, call.key)
            if isinstance(found, bytes):
                try:
                    result = query.codec.decode(found)
                except UNREADABLE:
                    # Not of this return type, whoever wrote it: as if it were not there.
                    yield from self._or_none(query.entries.drop([call.key]))
                    found = yield from self._read(query, call.key)
                    found = None if isinstance(found, bytes) else found
                else:
                    self._keep(query, call.key, mark, found, result)
                    if not counted:
                        self.count("hits")
                    return result
            if not counted:
                self.count("misses")
                counted = True
            if any(source.has_begun(call.left_out) for source in self.replicated):
                return (yield from self._alone(call))
            flight, part = query.flights.enter(call.key, query.tags, found, called)
            if part is Part.LEAD:
                return (yield from self._lead(query, call, flight, mark))
            if query.flights.is_mine(flight):
                return (yield from self._alone(call))
            self.count("waits")
            if part is Part.FOLLOW:
                yield query.flights.wait_end(flight)
                continue
            outcome = yield query.flights.wait(flight)
            if outcome is RELEASED:
                return (yield from self._alone(call))
            if outcome is not ABANDONED:
                return query.codec.decode(outcome)

    def drop(self, entries: Entries, *, keys: set[str], tags: set[str]) -> Steps[None]:
        """Invalidate keys and tags, everywhere.

        Raises:
            BackendError: the back end could not be told; what it holds is served by others until it expires.
        """
        try:
            for flights in self.flights.values():
                flights.detach(keys, tags)
            if keys:
                yield from entries.drop(sorted(keys))
            if tags:
                yield from entries.drop_tags(sorted(tags))
            self.count("invalidations", len(keys) + len(tags))
        finally:
            # Last: a result read from the back end just before must not come in after us.
            self.local.drop(keys, tags)

    def owe(self, tags: set[str]) -> None:
        """Note that ``tags`` are to be dropped."""
        self._owed.update(dict.fromkeys(tags, object()))

    def settle(self, entries: Entries) -> Steps[None]:
        """Drop the tags that are owed.

        Raises:
            BackendError: they still are.
        """
        owed = dict(self._owed)
        yield from self.drop(entries, keys=set(), tags=set(owed))
        for tag, debt in owed.items():
            if self._owed.get(tag) is debt:  # or it was changed once more meanwhile
                del self._owed[tag]

    def _lead(self, query: Query, call: Call, flight: Flight, mark: Mark) -> Steps[Any]:
        try:
            lease: bytes | Lease | None = None
            if flight.found is not None:
                lease = yield from self._or_none(query.entries.lease(call.key, query.tags, flight.found))
            if isinstance(lease, bytes):  # another process was faster
                payload, keep = lease, True
            else:
                flight.begin(lease)
                try:
                    result, shared = yield from self._compute(call)
                except NoServerAvailable:
                    if not self.replicated:
                        raise
                    # The primary is away: what a replica has is better than nothing.
                    self.count("discarded")
                    query.flights.land(flight, RELEASED)
                    return (yield from self._alone(call))
                if not shared:
                    self.count("discarded")
                    query.flights.land(flight, RELEASED)
                    return result
                payload = query.codec.encode(result)
                mark = self.local.later(mark)
                keep = yield from self._fill(query, call.key, lease, payload)
            result = query.codec.decode(payload)
            if keep:
                self._keep(query, call.key, mark, payload, result)
            query.flights.land(flight, payload)
        except Exception as error:
            query.flights.crash(flight, error)
            raise
        except BaseException:  # cancelled, interrupted: that is this caller's affair
            query.flights.land(flight, ABANDONED)
            raise
        return result

    def _compute(self, call: Call) -> Steps[tuple[Any, bool]]:
        """Run the function where it reads all that is committed: its result, and whether to share it."""
        with ExitStack() as stack:
            uses = stack.enter_context(noted())
            for source in self.replicated:
                stack.enter_context(source.primary())
            result = yield from self._alone(call)
        # The function itself may have written, through what it was given or through what it found elsewhere.
        return result, not (has_changes(call.left_out) or uses.are_private(self.replicated))

    def _alone(self, call: Call) -> Steps[Any]:
        """Run the function, for its caller."""
        self.count("computes")
        return (yield call.run())

    def _fill(self, query: Query, key: str, lease: Lease | None, payload: bytes) -> Steps[bool]:
        """Store a result; whether it may be kept."""
        if lease is None:
            return False
        life = query.ttl - self.local.life(query.ttl)
        stored = yield from self._or_none(query.entries.fill(key, lease, payload, life))
        if stored is not None:  # None: the back end has failed, and that is counted
            self.count("fills" if stored else "discarded")
        return bool(stored)

    def _read(self, query: Query, key: str) -> Steps[bytes | Miss | None]:
        """What the back end has; ``None`` if it cannot be asked, or not be trusted."""
        if self._owed and not self._owed.keys().isdisjoint(query.tags):
            try:
                yield from self.settle(query.entries)
            except BackendError:
                self.count("errors")
                return None
        found: bytes | Miss | None = yield from self._or_none(query.entries.read(key, query.tags))
        return found

    def _or_none(self, steps: Steps[Any]) -> Steps[Any]:
        try:
            return (yield from steps)
        except BackendError:
            self.count("errors")
            return None

    def _keep(self, query: Query, key: str, mark: Mark, payload: bytes, result: Any) -> None:
        if query.codec.immutable:
            self.local.put(key, query.tags, mark, result, None, query.ttl)
        else:
            self.local.put(key, query.tags, mark, payload, query.codec.decode, query.ttl)

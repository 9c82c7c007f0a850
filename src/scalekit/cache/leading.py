"""One caller's part in a flight: compute for all who wait here, or wait for the process that does.

Rules:

* The lease decides who computes. Who finds it taken asks again and again, for all who wait in this process
  (see :mod:`scalekit.cache.waiting`), until there is a result, or nobody who makes one. After a minute it
  computes for itself, and stores nothing: one query that hangs must not stop all processes.
* A lease is given back as soon as there will be no result. Where the next one would fare no better, a *pass
  mark* stays in its place, and for a while nobody waits.
* Of a result that is there still, and is to be replaced, the lease is of another kind: it stays readable.
  Whoever gets that lease looks once more whether it was replaced meanwhile. If the function fails then, it is
  let cool (see :mod:`scalekit.cache.freshness`), and the result stays for those who may have it.
* A result is stored if it was computed under the lease, by a transaction that sees what everybody may see,
  if all that it depends on is among its tags, and if the caller wants it stored.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from scalekit._steps import Steps
from scalekit.cache import waiting
from scalekit.cache.backend import Lease, Lookup
from scalekit.cache.debts import RETRIES
from scalekit.cache.entry import (
    COOLING,
    TOKEN_BYTES,
    Found,
    Hit,
    Miss,
    pack,
    pack_pass,
    pack_refresh,
    token_of,
    without_refresh,
)
from scalekit.cache.flights import ABANDONED, RELEASED, Flight
from scalekit.cache.freshness import dice
from scalekit.cache.local import Mark
from scalekit.cache.positions import is_after_drop, is_old, may_share
from scalekit.cache.query import Asked, Call, Query
from scalekit.cache.runtime import LEASE_TTL, Held
from scalekit.cache.sessions import has_changes
from scalekit.cache.tags import tag_of_keys
from scalekit.cache.uses import Uses, noted
from scalekit.errors import BackendError, BackendTimeout, NoServerAvailable, QueryTimeout

if TYPE_CHECKING:
    from scalekit.cache._core import Core

log = logging.getLogger("scalekit.cache")

PASS_TTL = 2.0
"""Seconds for which nobody waits for a result that could not be stored."""


_GIVEN_UP = (asyncio.CancelledError, GeneratorExit)

LONGEST_WAIT = 60.0
"""Seconds, and those that a lease lasts, for which anybody waits for another process: its query may hang."""


class Lead:
    """The leader of one flight; ``replaces`` is the result that is there, if it may be served.

    ``apart`` is one that is none of the callers.
    """

    def __init__(
        self,
        core: "Core",
        query: Query,
        call: Call,
        flight: Flight,
        replaces: Hit | None = None,
        *,
        apart: bool = False,
    ) -> None:
        self._core, self._query, self._call, self._flight = core, query, call, flight
        self._entries, self._runtime = query.via.entries, query.via.runtime
        self._replaces, self._apart = replaces, apart
        self._since = time.monotonic()

    def steps(self, asked: Asked) -> Steps[Any]:
        """The result; those who wait in this process have it, too."""
        flights = self._runtime.flights
        try:
            return (yield from self._obtain(asked))
        except Exception as error:
            flights.crash(self._flight, error)
            raise
        except BaseException as error:
            if self._apart and not isinstance(error, _GIVEN_UP):
                flights.crash(self._flight, error)  # the function's own, as SystemExit, and so the next time
            else:  # cancelled, interrupted: that is this caller's affair
                self._land(ABANDONED)
            raise
        finally:
            self._land(RELEASED)  # if nothing else was its end

    def _land(self, outcome: object) -> None:
        self._runtime.flights.land(self._flight, outcome)

    def _obtain(self, asked: Asked) -> Steps[Any]:
        core, call = self._core, self._call
        while (found := asked.found) is not None:
            judged = core.judge(found)
            if isinstance(judged, Miss) and judged.passes:
                self._land(RELEASED)
                return (yield from core.run_here(self._query, call, since=self._since))
            if isinstance(judged, Hit) and judged.cooling:
                if self._replaces is None:
                    break  # nobody has the lease, and nobody will give it back
                core.count("stale")
                self._land(ABANDONED)  # they will see it
                return self._query.codec.decode(judged.payload)
            if isinstance(judged, Hit) and core.is_fresh(judged) and not self._is_old(judged):
                result, readable = yield from core.read_back(self._query, call, asked, judged)
                if readable:  # another process was faster
                    # Without a lease to tell by, who joined meanwhile may have called after this was read.
                    early = self._flight.begun is None
                    self._land(ABANDONED if early else bytes(judged.payload))
                    return result
                asked = yield from core.ask(self._query, call)
                continue
            lease = yield from self._acquire(found, refresh=isinstance(judged, Hit))
            if lease is None:
                break
            if isinstance(lease, Found):
                if lease == found:  # neither a hit nor to be replaced: not of our making
                    yield from core.or_none(self._entries.drop([call.key]))
                    break
                asked = asked._replace(found=lease)
                continue
            self._flight.begin(lease)
            if not lease.mine:
                if time.monotonic() - self._since > LONGEST_WAIT:
                    break
                asked = yield from self._wait_for(lease)
                continue
            entry = None
            if lease.refresh:
                again = yield from core.ask(self._query, call)
                now_there = core.judge(again.found)
                if again.found is not None and not (
                    isinstance(now_there, Hit) and now_there[1:4] == judged[1:4]
                ):
                    yield from core.or_none(self._entries.release(lease))
                    asked = again
                    continue
                entry = again.found.value if again.found is not None else None
            return (yield from self._compute_under(lease, asked.mark, entry))
        self._flight.begin(None)
        return (yield from self._compute(None, asked.mark))

    def _acquire(self, found: Found, *, refresh: bool) -> Steps[Lease | Found | None]:
        """The right to store, or what stands against it; ``None``: there is none to be had."""
        lookup, token = Lookup(self._call.key, self._call.tags), secrets.token_bytes(TOKEN_BYTES)
        # What we have if the answer does not come.
        unanswered = Lease(lookup.key, token, b"", mine=True, left=LEASE_TTL, refresh=refresh)
        try:
            return (
                yield from self._core.invalidation.noting(
                    self._entries.acquire(lookup, found, ttl=LEASE_TTL, refresh=refresh, token=token)
                )
            )
        except BackendError as error:
            self._core.count("errors")
            # What was refused or not sent took no lease. One that was taken when the connection broke ends by
            # itself: there may be many who were refused, and no telling them apart.
            if isinstance(error, BackendTimeout):
                self._give_back_later(lambda: unanswered, asked_for=True)
            return None
        except BaseException:
            self._give_back_later(lambda: unanswered, asked_for=True)
            raise

    def _is_old(self, hit: Hit) -> bool:
        """Whether it is the one to be replaced."""
        old = self._replaces
        return old is not None and (hit.made, hit.soft_end) == (old.made, old.soft_end)

    def _wait_for(self, lease: Lease) -> Steps[Asked]:
        """What there is once another process does not have ``lease`` any more, or should not."""
        self._core.count("waits")
        ends = time.monotonic() + lease.left
        while True:
            now = time.monotonic()
            limit = self._query.patience.hard_timeout
            if limit is not None and now >= self._since + limit:
                raise QueryTimeout(function=self._query.name, limit=limit)
            yield self._runtime.pause(waiting.pause(now - self._since, ends - now, dice()))
            asked = yield from self._core.ask(self._query, self._call)
            # At its end it may have been renewed: who asks for it is told its new one.
            if asked.found is None or token_of(asked.found.value) != lease.token or time.monotonic() >= ends:
                return asked

    def _compute_under(self, lease: Lease, mark: Mark, entry: bytes | None) -> Steps[Any]:
        """Run the function, and store its result under ``lease``, which is renewed meanwhile.

        ``entry`` is what it is to replace.
        """
        held = self._runtime.hold(self._entries, lease)
        try:
            return (yield from self._compute(held, mark))
        except Exception:
            if entry is None or self._replaces is None:
                yield from self._give_back(held)
            else:
                yield from self._let_cool(held, entry, self._replaces)
            raise
        except BaseException:
            held.stop()
            self._give_back_later(lambda: held.lease)  # whoever was cancelled does not wait for a server
            raise

    def _let_cool(self, held: Held, entry: bytes, hit: Hit) -> Steps[None]:
        """Leave the entry, and word that nobody is to try for a while."""
        core, throttle = self._core, self._query.patience.throttle
        core.count("failures")
        core.refreshes.cooling.failed(self._call.key, throttle)
        now = core.now()
        left = (hit.soft_end - now) / 1000 + self._query.life.stale
        if throttle and left > 0:
            value = pack_refresh(COOLING, now + int(throttle * 1000), without_refresh(entry))
            yield held.stop()
            yield from core.or_none(self._entries.fill(held.lease, value, ttl=left))
        else:
            yield from self._give_back(held)

    def _compute(self, held: Held | None, mark: Mark) -> Steps[Any]:
        """Run the function for all who wait; store its result if ``held`` and if it may be stored."""
        core, codec = self._core, self._query.codec
        made, began = core.now(), time.monotonic()
        try:
            result, uses, private = yield from self._run(held)
        except NoServerAvailable:
            if not core.replicated:
                raise
            # The primary is away: what a replica has is better than nothing.
            core.count("discarded")
            self._land(RELEASED)
            yield from self._give_back(held)
            return (yield from core.run_here(self._query, self._call, since=self._since))
        if private:
            core.count("discarded")
            self._land(RELEASED)
            yield from self._give_back(held)
            return result
        payload = codec.encode(result)
        result = codec.decode(payload)
        if held is not None:
            delta = int((time.monotonic() - began) * 1000)
            yield from self._store(held, mark, payload, result, uses, made=made, delta=delta)
        self._land(payload)
        return result

    def _store(
        self, held: Held, mark: Mark, payload: bytes, result: Any, uses: Uses, *, made: int, delta: int
    ) -> Steps[None]:
        core, query, call = self._core, self._query, self._call
        missing = uses.tags.difference(call.tags)
        if missing:
            core.tell_missing_tags(query, missing)
        if missing or (query.cache_if is not None and not query.cache_if(result)):
            core.count("discarded")
            # What lacks a tag will lack it the next time, too.
            yield from self._give_back(held, passes=bool(missing) or query.refuses_again)
            return
        ends = query.life.ends(core.now(), dice, core.ttl_factor())
        value = pack(held.lease.versions, made=made, delta=delta, soft_end=ends.soft, payload=payload)
        if self._entries.limit is not None and len(value) > self._entries.limit:
            core.count("oversized")
            core.tell_oversized(query, len(value), self._entries.limit)
            yield from self._give_back(held, passes=True)
            return
        yield held.stop()
        ttl = (ends.hard - core.now()) / 1000
        stored = yield from core.or_none(self._entries.fill(held.lease, value, ttl=ttl))
        if stored is None:  # the back end has failed, and that is counted
            self._give_back_later(lambda: held.lease)
        else:
            core.count("fills" if stored else "discarded")
            core.count("bytes_written", len(value))
        if stored:
            # With the mark from before the query: it was under way while others may have dropped its tags.
            core.keep(query, call, mark, payload, result, ends.soft, delta)

    def _give_back(self, held: Held | None, *, passes: bool = False) -> Steps[None]:
        if held is not None:
            yield held.stop()
            mark = pack_pass(held.lease.versions) if passes else b""
            try:
                yield from self._core.invalidation.noting(
                    self._entries.release(held.lease, mark=mark, ttl=PASS_TTL)
                )
            except BackendError:
                self._core.count("errors")
                self._give_back_later(lambda: held.lease)

    def _give_back_later(self, lease: Callable[[], Lease], *, asked_for: bool = False) -> None:
        """In the background, while it would last: or others would wait for its end.

        One that was only ``asked_for`` may be taken later than it is given back: it is given back repeatedly.
        """
        self._runtime.background(lambda: self._giving_back(lease, asked_for), name="release a lease")

    def _giving_back(self, lease: Callable[[], Lease], asked_for: bool) -> Steps[None]:
        ends = time.monotonic() + LEASE_TTL
        for wait in RETRIES:
            if time.monotonic() > ends:
                return
            try:
                yield from self._core.invalidation.noting(self._entries.release(lease()))
            except BackendError:
                pass  # as below: once more
            else:
                if not asked_for:
                    return
            yield self._runtime.pause(wait)

    def _run(self, held: Held | None) -> Steps[tuple[Any, Uses, bool]]:
        """Run the function where it reads all that is committed.

        Returns its result, what it used, and whether it saw what others may not see, or something older.
        """
        core, replicated, left_out = self._core, self._core.replicated, self._call.left_out
        lease = held.lease if held is not None else None
        with ExitStack() as stack:
            uses = stack.enter_context(noted(lease, self._call.tags, core.invalidation.last_commit))
            for value in core.given(left_out):
                uses.given(value)
            for source in replicated:
                stack.enter_context(source.primary())
            result = yield from core.run_here(self._query, self._call, since=self._since)
        # It may have written, through what it was given or through what it found elsewhere.
        private = has_changes(left_out) or uses.are_private(replicated)
        if lease is not None and not private:
            if is_old(uses):
                private = not (yield from self._is_after_drop(uses, lease))
            elif replicated and tag_of_keys(self._call.key) not in core.aged:
                yield from self._since_drop()  # that replicas may read past a commit since then
        private = private or not may_share(uses, lease)
        return result, uses, private

    def _is_after_drop(self, uses: Uses, lease: Lease) -> Steps[bool]:
        """Whether the function has read what its last dropped key was dropped for."""
        since = yield from self._since_drop()
        return since is not None and is_after_drop(uses, lease, since, now=time.monotonic())

    def _since_drop(self) -> Steps[float | None]:
        """Seconds since a key of the function was dropped, at least; ``None``: nobody knows.

        Nobody wants that other lease: it makes the tag, if there is none, and tells its age.
        """
        tag = tag_of_keys(self._call.key)
        asked = yield from self._core.or_none(
            self._entries.acquire(Lookup(tag, (tag,)), Found(None, (None, None)), ttl=1.0)
        )
        if not isinstance(asked, Lease):
            return None
        self._core.aged.add(tag)
        return min(asked.ages)

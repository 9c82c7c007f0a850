"""Invalidation, here and everywhere: by hand, by commits, and of what could not be told in time.

Rules:

* In this process it takes effect before the back end is told, for calls that come later (nobody joins a
  computation under way), and again after it, for what was read from the back end meanwhile.
* Of a key nothing stays behind, so each function has a tag of its own, which no result carries: it is dropped
  before a key is. Its age tells what was read in older snapshots from what was not.
* What the back end could not be told is owed (see :mod:`scalekit.cache.debts`): it is not believed here, and
  told as soon as that is possible. Cancelling whoever invalidates cancels nothing.
"""

from typing import TypeVar

from scalekit._steps import Steps
from scalekit.cache.backend import Lookup, elsewhere
from scalekit.cache.bumps import Bumps
from scalekit.cache.debts import EVERYTHING, RETRIES, Debts, Outage, Owed
from scalekit.cache.local import Local
from scalekit.cache.positions import Commit
from scalekit.cache.query import Via
from scalekit.cache.runtime import Runtime
from scalekit.cache.stats import Counter
from scalekit.cache.tags import tag_of_keys
from scalekit.errors import BackendError
from scalekit.types import Colour

T = TypeVar("T")

MARK_TTL = 30.0
"""Seconds after which the mark of a writer that never came back ends by itself."""


class Invalidation:
    """What the queries of one cache are told to forget."""

    def __init__(self, *, local: Local, counter: Counter, runtimes: dict[Colour, Runtime]) -> None:
        self._local = local
        self._count = counter.add
        self._runtimes = runtimes
        self.debts = Debts()
        self.outage = Outage()
        self.bumps = Bumps()
        self.last_commit: Commit | None = None
        """Of those of this process whose position is known."""

    def drop(self, via: Via, *, keys: set[str], tags: set[str]) -> Steps[None]:
        """Invalidate keys and tags.

        Raises:
            BackendError: the back end could not be told. It will be, as soon as it can; what it holds is
                served by others until then, or until it expires.
        """
        yield from self._pay(via, self.debts.owe(keys=keys, tags=tags))

    def settle(self, via: Via) -> Steps[None]:
        """Drop what is owed.

        Raises:
            BackendError: it still is.
        """
        yield from self._pay(via, self.debts.copy())

    def _pay(self, via: Via, owed: Owed) -> Steps[None]:
        keys, tags = set(owed[0]), set(owed[1])
        everything = EVERYTHING in tags
        self._detach(keys, tags)
        try:
            if everything:
                yield from self.noting(via.entries.renew_generation())
            # The tags first: whoever finds a function's old enough has a lease that dropping the key voids.
            elif dropped := tags.union(map(tag_of_keys, keys)):
                yield from self.noting(via.entries.drop_tags(sorted(dropped)))
            if keys:
                yield from self.noting(via.entries.drop(sorted(keys)))
            self.debts.paid(owed)
            self._count("invalidations", len(keys) + len(tags))
        except BaseException:  # cancelled, too: that cancels nothing
            self.debts.failed()
            raise
        finally:
            # Last: a result read from the back end just before must not come in after us.
            if everything:
                self._local.flush()
            else:
                self._local.drop(keys, tags)
            self.make_up(via)

    def make_up(self, via: Via) -> None:
        """If anything is owed, go on trying to drop it, in the background."""
        if self.debts.begin():
            via.runtime.background(lambda: self._make_up(via), name="make up for invalidations")

    def mark(self, via: Via, tags: set[str], writer: bytes) -> Steps[None]:
        """``writer`` is about to commit changes of ``tags``.

        Raises:
            BackendError: the back end could not be told.
        """
        self._detach(set(), tags)
        try:
            yield from self.noting(via.entries.mark(sorted(tags), writer, ttl=MARK_TTL))
            self._count("invalidations", len(tags))
        finally:
            self._local.drop(set(), tags)

    def bump(self, via: Via, tags: set[str], writer: bytes, *, position: str | None = None) -> Steps[None]:
        """``writer`` has committed, or not. If that cannot be told, its mark ends by itself."""
        yield from self.or_none(via.entries.bump(sorted(tags), writer, position=position))

    def allow_reading(self, via: Via, lookup: Lookup) -> Steps[bool]:
        """Whether what the back end has for a lookup can be believed; what stands against it is settled."""
        if self.bumps:
            yield self.bumps.wait(lookup.tags)
        try:
            if self.debts and self.debts.concern(lookup.key, lookup.tags):
                yield from self.settle(via)
            if (
                self.outage.began
                and (away := self.outage.seconds(elsewhere(via.entries, lookup))) is not None
            ):
                # Only once all of them answer: the generation may be on another server, and what is stored
                # under a new one, while these are away from some of us, would be as doubtful.
                yield from self.noting(via.entries.read([lookup]))
                yield from self.noting(via.entries.renew_generation(older_than=away))
        except BackendError:
            self._count("errors")
            return False
        return True

    @property
    def is_behind(self) -> bool:
        """Whether anything is to be settled before the back end is believed, perhaps."""
        return bool(self.bumps or self.debts or self.outage.began)

    def failed(self, error: BackendError) -> None:
        """The back end did not answer somebody who can do without it."""
        self.outage.failed(error)
        self._count("errors")

    def answered(self, via: Via, lookup: Lookup) -> None:
        """The servers that have a part in ``lookup`` have answered."""
        self.outage.answered(elsewhere(via.entries, lookup))

    def noting(self, steps: Steps[T]) -> Steps[T]:
        """``steps``, noting whether the back end answers."""
        try:
            return (yield from steps)
        except BackendError as error:
            self.outage.failed(error)
            raise

    def or_none(self, steps: Steps[T]) -> Steps[T | None]:
        """``steps``; ``None`` if the back end has failed, which is counted."""
        try:
            return (yield from self.noting(steps))
        except BackendError:
            self._count("errors")
            return None

    def _detach(self, keys: set[str], tags: set[str]) -> None:
        for runtime in self._runtimes.values():
            if EVERYTHING in tags:
                runtime.flights.detach_all()
            else:
                runtime.flights.detach(keys, tags)

    def _make_up(self, via: Via) -> Steps[None]:
        attempt = 0
        while self.debts.go_on():
            yield via.runtime.pause(RETRIES[min(attempt, len(RETRIES) - 1)])
            attempt += 1
            yield from self.or_none(self.settle(via))

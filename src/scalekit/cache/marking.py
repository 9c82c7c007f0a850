"""Telling the back end of a commit, in both colours: a mark before COMMIT, a bump after it.

Rules:

=====================  ====================================================================================
before COMMIT          The tags are marked, and ``commit()`` waits for that: one round trip. From then on no
                       process gets or stores anything that carries them.
after COMMIT           They are bumped, which only switches caching on again. Synchronous code waits for it;
                       asynchronous code does not, but a read of them in the same event loop does, and the
                       end of ``asyncio.run()``.
the process dies       Its marks end by themselves, after 30 seconds.
the mark fails         The commit goes on, and what could not be told is owed from its end on; or, with
                       ``unreachable="refuse"``, it raises and nothing is committed.
cancelled in the mark  Nothing is committed, and what may have been marked is bumped in the background.
=====================  ====================================================================================
"""

import asyncio
import logging
import time
from collections.abc import Callable, Set
from contextlib import suppress
from typing import Any, Literal

from scalekit._steps import Steps, run, run_async
from scalekit.cache.backend import Backend
from scalekit.cache.invalidation import Invalidation
from scalekit.cache.positions import Commit
from scalekit.cache.query import Via
from scalekit.cache.runtime import Runtime
from scalekit.cache.transactions import Transaction, new_writer
from scalekit.errors import BackendError, MissingExtra, WrongColour
from scalekit.types import Colour

try:
    from sqlalchemy.exc import MissingGreenlet
    from sqlalchemy.util import await_only
except ImportError:
    raise MissingExtra("sqlalchemy", needed_by="scalekit.cache with SQLAlchemy") from None

log = logging.getLogger("scalekit.cache")

Unreachable = Literal["commit", "refuse"]
"""What becomes of a commit that the back end cannot be told of."""

# No greenlet: an asynchronous connection that nobody has closed is being collected.
_UNTOLD = (BackendError, WrongColour, MissingGreenlet)


class Marking:
    """What one watcher tells.

    Args:
        invalidation: of the cache.
        runtimes: what each colour can do.
        backend: who is told.
        unreachable: what becomes of a commit that it cannot be told of.
    """

    def __init__(
        self,
        invalidation: Invalidation,
        runtimes: dict[Colour, Runtime],
        backend: Backend,
        *,
        unreachable: Unreachable,
    ) -> None:
        self._invalidation, self._runtimes, self._backend = invalidation, runtimes, backend
        self._refuse = unreachable == "refuse"

    def mark(self, transaction: Transaction, tags: Set[str], *, asynchronous: bool) -> None:
        """``transaction`` is about to commit changes of ``tags``.

        Raises:
            BackendError: the back end could not be told, and the commit is to be refused then.
        """
        writer = new_writer()
        if transaction.marked_at is None:
            transaction.marked_at = time.monotonic()
        try:
            self._drive(lambda via: self._invalidation.mark(via, set(tags), writer), asynchronous)
        except _UNTOLD as error:
            if self._refuse:
                self._bump_later(tags, writer, asynchronous=asynchronous)
                error.add_note(
                    f"so the changes of {_listed(tags)} are not committed; the cache watches with "
                    "unreachable='refuse'"
                )
                raise
            transaction.untold |= tags
            transaction.marked[writer] = tags  # perhaps: its answer may have been late
        except BaseException:  # cancelled: whoever waits for the commit does not wait for this
            self._bump_later(tags, writer, asynchronous=asynchronous)
            raise
        else:
            transaction.marked[writer] = tags

    def settle(self, transaction: Transaction, *, asynchronous: bool, position: str | None = None) -> None:
        """``transaction`` has ended: caching goes on, and what could not be told is owed."""
        marked, untold = transaction.take()
        if position is not None and transaction.marked_at is not None:
            self._invalidation.last_commit = Commit(transaction.marked_at, position)
        for writer, tags in marked.items():
            if asynchronous:
                self._bump_later(tags, writer, asynchronous=True, position=position)
                continue
            try:
                self._drive(self._bump(tags, writer, position), asynchronous)
            except WrongColour:  # then it was not marked either
                continue
        if untold:
            self._owe(untold, asynchronous=asynchronous)

    def _bump(self, tags: Set[str], writer: bytes, position: str | None) -> Callable[[Via], Steps[None]]:
        return lambda via: self._invalidation.bump(via, set(tags), writer, position=position)

    def _bump_later(
        self, tags: Set[str], writer: bytes, *, asynchronous: bool, position: str | None = None
    ) -> None:
        bump = self._bump(tags, writer, position)
        try:
            via = self._via(asynchronous=asynchronous)
        except WrongColour:
            return
        if not asynchronous:
            via.runtime.background(lambda: bump(via), name="end a commit")
            return
        with suppress(RuntimeError):  # its loop is gone, and so will be the mark
            self._invalidation.bumps.start(tags, lambda: run_async(bump(via)))

    def _owe(self, tags: Set[str], *, asynchronous: bool) -> None:
        self._invalidation.debts.owe(tags=tags)
        try:
            self._drive(self._invalidation.settle, asynchronous, shielded=True)
        except _UNTOLD as error:
            log.warning(
                "changes of %s are committed, but the cache could not be told: other servers may serve older "
                "results until these expire (%s)",
                _listed(tags),
                error,
            )

    def _drive(
        self, steps: Callable[[Via], Steps[None]], asynchronous: bool, *, shielded: bool = False
    ) -> None:
        via = self._via(asynchronous=asynchronous)
        if not asynchronous:
            run(steps(via))
        elif shielded:
            await_only(_shielded(steps(via)))
        else:
            await_only(run_async(steps(via)))

    def _via(self, *, asynchronous: bool) -> Via:
        colour: Colour = "async" if asynchronous else "sync"
        return Via(self._backend.using(colour), self._runtimes[colour])


_kept: set[asyncio.Task[Any]] = set()


async def _shielded(steps: Steps[None]) -> None:
    # A request that is cancelled now has committed all the same.
    task = asyncio.ensure_future(run_async(steps))
    _kept.add(task)
    task.add_done_callback(_kept.discard)
    await asyncio.shield(task)


def _listed(tags: Set[str]) -> str:
    return ", ".join(sorted(tags))

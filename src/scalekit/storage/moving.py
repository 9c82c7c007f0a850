"""Move a storage: ``await sync(source, destination)`` brings the destination to the state of the source.

Rules:

* An object is written if the destination has none of its key, or another content; see :data:`Compare`.
* Every object appears whole, by the contract of storages, and is compared with what was read. Nothing else
  is kept between runs: what was killed, at any point, is continued by the next and ends in the same state.
* Only with ``delete`` are objects removed that the source does not have, and last of all: when everything
  has been written, and each after another look at the source. A source that holds nothing is taken for one
  that is not there, such as a disk that is not mounted; then nothing is removed.
* An object that fails is told, and left to the next run. The others go on, up to ``MAX_FAILURES``.
* What lies among the source's objects and is none, such as a file whose name is no key, is told: it stays
  behind.
* Memory is bounded: two listings side by side, and ``concurrency`` objects on their way.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace

from scalekit._options import check_count
from scalekit.errors import BackendError, ConfigurationError, ObjectExists, StorageError
from scalekit.storage._contract import Storage
from scalekit.storage._moving_copy import Copier
from scalekit.storage._moving_pairs import Pair, pairs
from scalekit.storage._moving_report import Action, Change, SyncProgress, SyncReport, Tally
from scalekit.storage._moving_same import Compare, same
from scalekit.storage.keys import check_prefix

__all__ = ["MAX_FAILURES", "Change", "Compare", "SyncProgress", "SyncReport", "sync"]

MAX_FAILURES = 100
"""With so many objects that fail, something is wrong with a storage, not with an object."""


async def sync(
    source: Storage,
    destination: Storage,
    *,
    prefix: str = "",
    compare: Compare = "checksum",
    delete: bool = False,
    dry_run: bool = False,
    concurrency: int = 8,
    on_progress: Callable[[SyncProgress], None] | None = None,
    on_change: Callable[[Change], None] | None = None,
) -> SyncReport:
    """Write to ``destination`` what ``source`` has and it has not, or has otherwise; see the rules above.

    Both may be in use meanwhile. What changes behind the reader is for the next run.

    Args:
        prefix: only keys that begin so.
        compare: how to tell that an object need not be written.
        delete: remove what the source does not have.
        dry_run: write and remove nothing, and tell what would be.
        concurrency: objects at a time.
        on_progress: told often; the source is listed once more, to know how much it is.
        on_change: told of each key that is dealt with, of unchanged ones too.

    Raises:
        ConfigurationError: one of the two contains the other, or ``delete`` and a source that holds nothing.
        InvalidKey: no key could begin with ``prefix``.
        StorageError: a storage cannot be listed, or ``MAX_FAILURES`` objects have failed.
        BackendError: a storage cannot be reached.
    """
    check_prefix(prefix)
    check_count(concurrency, option="concurrency=", least=1, cure="8 is the default")
    _check_apart(source, destination)
    tally = Tally(on_progress, on_change)
    work = _Sync(source, destination, prefix, compare, dry_run, concurrency, tally)
    try:
        async with asyncio.TaskGroup() as group:
            counting = group.create_task(work.count()) if on_progress is not None else None
            await work.write()
            if delete and not tally.report.failed:
                await work.delete()
            if counting is not None:
                counting.cancel()
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    return tally.report


class _Sync:
    def __init__(
        self,
        source: Storage,
        destination: Storage,
        prefix: str,
        compare: Compare,
        dry_run: bool,
        concurrency: int,
        tally: Tally,
    ) -> None:
        self._source, self._destination, self._prefix = source, destination, prefix
        self._compare: Compare = compare
        self._dry_run, self._concurrency = dry_run, concurrency
        self._tally = tally
        self._copier = Copier(source, destination)

    async def count(self) -> None:
        """Find out how many bytes the source has."""
        total = 0
        async with aclosing(self._source.list(self._prefix)) as entries:
            async for stored in entries:
                total += stored.size
        self._tally.total = total

    async def write(self) -> None:
        """Write what the destination has not, or has otherwise."""
        await self._each(lambda pair: pair.source is not None, self._bring)
        async with aclosing(self._source.strays(self._prefix)) as strays:
            async for name, reason in strays:
                self._tally.changed(Change(key=name, action="skipped", size=0, reason=reason))

    async def delete(self) -> None:
        """Remove what only the destination has."""
        if await self._holds_nothing(self._source) and not await self._holds_nothing(self._destination):
            raise ConfigurationError(
                "the source holds nothing, so delete would empty the destination; is its disk mounted, and "
                "the prefix right?"
            )
        await self._each(lambda pair: pair.source is None, self._remove)

    async def _each(self, wanted: Callable[[Pair], bool], do: Callable[[Pair], Awaitable[None]]) -> None:
        slots = asyncio.Semaphore(self._concurrency)

        async def attempt(pair: Pair) -> None:
            try:
                await do(pair)
            except (StorageError, BackendError) as error:
                self._failed(pair, error)
            finally:
                slots.release()

        async with (
            asyncio.TaskGroup() as group,
            aclosing(pairs(self._source, self._destination, self._prefix)) as found,
        ):
            async for pair in found:
                if wanted(pair):
                    await slots.acquire()
                    group.create_task(attempt(pair))

    async def _bring(self, pair: Pair) -> None:
        ours, theirs = pair.source, pair.destination
        assert ours is not None
        on_bytes = self._tally.meter()
        action: Action = "created" if theirs is None else "replaced"
        size = ours.size
        if theirs is not None and await same(self._source, self._destination, pair, self._compare, on_bytes):
            action = "unchanged"
        elif not self._dry_run:
            try:
                stored = await self._copier.copy(pair.key, overwrite=theirs is not None, on_bytes=on_bytes)
            except ObjectExists:
                # Written since it was listed. By a newer server, perhaps: it is looked at like any other.
                on_bytes(0)
                there = await self._destination.stat(pair.key)
                if there is None:
                    raise  # gone again, perhaps; the next run will see
                return await self._bring(replace(pair, destination=there))
            if stored is None:
                return None  # deleted since it was listed
            size = stored.size
        on_bytes(ours.size)
        self._tally.changed(Change(key=pair.key, action=action, size=size))
        return None

    async def _remove(self, pair: Pair) -> None:
        assert pair.destination is not None
        # It may have been stored while the listing was read, or be missing from a listing only.
        if await self._source.stat(pair.key) is None:
            if not self._dry_run:
                await self._destination.delete(pair.key)
            self._tally.changed(Change(key=pair.key, action="deleted", size=pair.destination.size))

    async def _holds_nothing(self, storage: Storage) -> bool:
        async with aclosing(storage.list(self._prefix)) as entries:
            return await anext(entries, None) is None

    def _failed(self, pair: Pair, error: Exception) -> None:
        size = 0 if pair.source is None else pair.source.size
        self._tally.changed(Change(key=pair.key, action="failed", size=size, reason=str(error)))
        if self._tally.report.failed == MAX_FAILURES:
            raise StorageError(f"{MAX_FAILURES} objects have failed, the last one: {error}") from error


def _check_apart(source: Storage, destination: Storage) -> None:
    one, other = source.location, destination.location
    if source is destination or (one and other and (one.startswith(other) or other.startswith(one))):
        raise ConfigurationError(
            f"the source ({one or 'a storage'}) and the destination ({other or 'the same'}) share objects; "
            "what is written would be read again"
        )


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    # The first is the reason; the others are what followed from it.
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

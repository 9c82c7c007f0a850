"""What resumable uploads leave in a storage: those that nobody finished, and the notes of those that ended.

Rules:

* All of it lies below ``tus/``, under the hour in which the upload expires; what expired first comes first.
* Nothing is touched before the upload has expired: until then its client may go on.
* An upload that is not complete is given up first, so that a server that is still at it stops.
* A file is not touched, unless nobody was ever told of it.
"""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from scalekit.errors import BackendError, StorageError
from scalekit.storage._contract import Storage
from scalekit.storage._hourly import Hourly
from scalekit.storage._tus_pieces import PLACE, Final, Pieces
from scalekit.storage._values import Leftover

_log = logging.getLogger("scalekit.storage")

GRACE = 3600.0
"""Seconds. What was begun just before an upload expired has come to its end by then."""

_KEY = re.compile(rf"({PLACE}(\d{{10}})/[0-9a-f]{{32}})\.(?:p\d+|length|file|end|gone)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Expired:
    """What is left of an upload: the stem of its objects, how many, their bytes, the time of the last."""

    stem: str
    objects: int
    size: int
    modified: datetime


async def expired(storage: Storage, before: datetime) -> AsyncGenerator[Expired, None]:
    """What is left of the uploads that expired before ``before``, those first that expired first."""
    found: Expired | None = None
    async with aclosing(storage.list(PLACE)) as entries:
        async for stored in entries:
            named = _KEY.fullmatch(stored.key)
            if named is None:
                continue  # somebody else's
            stem = named[1]
            if found is not None and found.stem != stem:
                yield found
                found = None
            if _end_of(named[2]) >= before:
                return
            found = Expired(
                stem=stem,
                objects=1 + (found.objects if found else 0),
                size=stored.size + (found.size if found else 0),
                modified=max(stored.modified, found.modified) if found else stored.modified,
            )
    if found is not None:
        yield found


async def leftovers(storage: Storage, before: datetime, prefix: str) -> AsyncGenerator[Leftover, None]:
    """The same for :func:`scalekit.storage.sweep.sweep`. They are nowhere else than below ``tus/``."""
    if not PLACE.startswith(prefix):
        return
    async with aclosing(expired(storage, before)) as uploads:
        async for upload in uploads:
            yield Leftover(
                kind="resumable upload",
                name=upload.stem,
                modified=upload.modified,
                size=upload.size,
                remove=partial(remove, storage, upload.stem),
            )


async def remove(
    storage: Storage, stem: str, see_through: Callable[[Final], Awaitable[None]] | None = None
) -> None:
    """Remove what is left of an upload.

    Args:
        see_through: awaited with how it ended if the application was perhaps not told.
    """
    pieces = Pieces(storage=storage, stem=stem)
    final = await pieces.give_up()
    # While there are pieces it was not seen through.
    if final is not None and see_through is not None and await pieces.left():
        await see_through(final)
    await pieces.drop(keep=())


class Sweeper:
    """Sweeps now and then on behalf of a server, so that nobody has to.

    Args:
        see_through: as for :func:`remove`.
        now: the time, in seconds since 1970.
    """

    def __init__(
        self, storage: Storage, see_through: Callable[[Final], Awaitable[None]], now: Callable[[], float]
    ) -> None:
        self.storage, self.see_through, self.now = storage, see_through, now
        self._hourly = Hourly(self.sweep, now)
        self._lock = asyncio.Lock()  # two would get in each other's way

    async def sweep(self) -> int:
        """Remove what expired more than ``GRACE`` seconds ago. Returns of how many uploads."""
        async with self._lock:
            return await self._sweep()

    async def _sweep(self) -> int:
        before = datetime.fromtimestamp(self.now() - GRACE, UTC)
        found, removed = [upload.stem async for upload in expired(self.storage, before)], 0
        for stem in found:
            try:
                await remove(self.storage, stem, self.see_through)
            except (StorageError, BackendError) as error:
                # Perhaps another server is at it. One that cannot be removed is not to keep the others.
                _log.warning(
                    "what is left of %r was not removed, the next sweep tries again: %s", stem, error
                )
            else:
                removed += 1
        return removed

    def now_and_then(self) -> None:
        """Begin to sweep in the background, if that was an hour ago."""
        self._hourly.remind()


def _end_of(hour: str) -> datetime:
    return datetime.strptime(hour, "%Y%m%d%H").replace(tzinfo=UTC) + timedelta(hours=1)

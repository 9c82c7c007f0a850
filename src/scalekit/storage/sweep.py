"""Remove what is left of uploads whose server was killed: ``await sweep(storage, timedelta(days=1))``.

Rules:

* Only what is below the storage's own prefix is looked at.
* The age of a leftover is the time since it last grew, not since it began: an upload that goes on stays,
  however long it takes. Nothing younger than an hour is removed, for one part may take minutes.
* Of a resumable upload the pieces, and the notes of how it ended, are left over from when it expired.
* Files are never removed. Whoever goes on with an upload that was swept is told that it failed, and nothing
  is stored.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from scalekit._durations import Duration, seconds
from scalekit.errors import BackendError, StorageError
from scalekit.storage._contract import Storage
from scalekit.storage._tus_sweep import leftovers as tus_leftovers
from scalekit.storage._values import Leftover
from scalekit.storage.content import drafts

MIN_AGE = 3600.0
"""Seconds."""

KINDS: list[Callable[[Storage, datetime, str], AsyncGenerator[Leftover, None]]] = [
    lambda storage, before, prefix: storage.leftovers(before, prefix),
    tus_leftovers,
    drafts,
]
"""Where leftovers come from: the storage's own ones, and those of what is built on storages."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Swept:
    """What a sweep has removed; in a dry run, what it would."""

    removed: tuple[Leftover, ...] = ()
    failed: tuple[tuple[Leftover, str], ...] = ()
    """What could not be removed, and why."""


async def sweep(
    storage: Storage,
    older_than: Duration = 86400,
    *,
    prefix: str = "",
    dry_run: bool = False,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    on_removal: Callable[[Leftover], object] = lambda leftover: None,
) -> Swept:
    """Remove the leftovers that have not grown for ``older_than``, by the rules above.

    Args:
        older_than: seconds or ``timedelta``, a day by default; longer than any pause that a client makes.
        prefix: look only at what would have become keys that begin so.
        dry_run: remove nothing, and tell what would be.
        now: the time, with time zone. For tests.
        on_removal: called for each, when it is gone; in a dry run, where it would be.

    Raises:
        ConfigurationError: ``older_than`` is less than an hour.
        StorageError, BackendError: the storage cannot be listed.
    """
    before = now() - timedelta(seconds=seconds(older_than, name="older_than", minimum=MIN_AGE))
    removed: list[Leftover] = []
    failed: list[tuple[Leftover, str]] = []
    for kind in KINDS:
        async with aclosing(kind(storage, before, prefix)) as leftovers:
            async for leftover in leftovers:
                try:
                    if not dry_run:
                        await leftover.remove()
                except (StorageError, BackendError) as error:
                    failed.append((leftover, str(error)))
                else:
                    removed.append(leftover)
                    on_removal(leftover)
    return Swept(removed=tuple(removed), failed=tuple(failed))

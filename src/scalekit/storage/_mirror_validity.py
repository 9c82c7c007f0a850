"""What there is of a key now: the copy, if the origin says, or has said lately, that it is still that.

See :class:`scalekit.storage.mirror.MirroredStorage` for the options.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

from scalekit.errors import BackendError, BackendTimeout, StorageError
from scalekit.storage._contract import Storage
from scalekit.storage._mirror_copy import Copy
from scalekit.storage._mirror_directory import Directory
from scalekit.storage._shield import in_thread
from scalekit.storage._values import Stored

_log = logging.getLogger("scalekit.storage")


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """``fresh_for`` and ``stale_for`` are nanoseconds, as file systems count; ``timeout`` is in seconds."""

    origin: Storage
    directory: Directory
    fresh_for: int
    stale_for: int
    immutable: Callable[[str], bool]
    timeout: float

    async def _open(self, key: str) -> tuple[Copy | None, int]:
        found = await in_thread(self.directory.find, key)
        if isinstance(found.error, OSError):  # a disk that cannot be read is one without copies
            _log.warning("copies cannot be read: %s", found.error.strerror)
            found.raise_if_cancelled()
            return None, -1
        if found.cancelled is not None and found.value is not None and found.value[0] is not None:
            os.close(found.value[0].fd)
        return found.unwrap()

    async def discard(self, key: str) -> None:
        outcome = await in_thread(self.directory.drop, key)
        outcome.raise_if_cancelled()
        if not isinstance(outcome.error, OSError):
            outcome.unwrap()

    async def find(self, key: str, now: int) -> tuple[Copy | None, Stored | None, int]:
        """The copy, if there is one of what there is; what there is; and what the directory said before."""
        copy, dropped = await self._open(key)
        if copy is None:
            return None, await self._ask(key), dropped
        try:
            stored, asked = await self._check(copy, now)
        except BaseException:
            os.close(copy.fd)
            raise
        if stored == copy.stored:
            copy.note(used=now, asked=asked)
            return copy, stored, dropped
        os.close(copy.fd)
        if stored is None:
            await self.discard(key)
        return None, stored, dropped

    async def _check(self, copy: Copy, now: int) -> tuple[Stored | None, int]:
        """What there is, and when the origin said so."""
        key, age = copy.stored.key, now - copy.asked
        if copy.asked and (self.immutable(key) or 0 <= age < self.fresh_for):
            return copy.stored, copy.asked
        try:
            return await self._ask(key), now
        except (BackendError, StorageError) as error:
            if _is_outage(error) and 0 <= age < self.stale_for:
                return copy.stored, copy.asked
            raise

    async def _ask(self, key: str) -> Stored | None:
        try:
            async with asyncio.timeout(self.timeout):
                return await self.origin.stat(key)
        except TimeoutError as error:
            if isinstance(error, BackendError):
                raise
            raise BackendTimeout(
                f"the origin did not look up {key!r} within {self.timeout:g} s", backend="storage"
            ) from error


def _is_outage(error: Exception) -> bool:
    # A file system's errors are those of a mount that is gone. A refusal is an answer.
    return isinstance(error, BackendError) or isinstance(error.__cause__, OSError)

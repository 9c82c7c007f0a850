"""``Quarantine``: a storage whose objects a scanner has seen before anybody can read them.

Rules:

* What is written goes to a place of its own first, which no method of this storage shows. The scanner reads
  it there. Only what it lets pass gets its key, and exactly what it has read: a copy of what was put there
  since is refused. So what it refuses was never readable, whatever else happened.
* A promotion that was cut off is done again by whoever asks again, as often as they like, with one result.
* What is refused is removed. What nobody promoted stays where it waits until it is swept.
* What a client writes to a key while that is being promoted was not scanned, and stays where it waits: what
  waits is looked at before it is removed, and removed only if it is what was scanned. A write between that
  look and the removal is lost, unread. This cannot be excluded everywhere: not every service that speaks like
  S3 removes on a condition, and moving what waits to another name is a copy and a removal there. It takes a
  client that writes twice to a key that it was given for one file, of which the first was promoted.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from datetime import datetime
from functools import partial
from inspect import isawaitable
from typing import TypeAlias

from scalekit._options import check_function, check_kind
from scalekit.errors import (
    BackendError,
    ConfigurationError,
    FileRefused,
    InvalidKey,
    ObjectExists,
    ObjectMissing,
    StorageError,
)
from scalekit.metrics import Metric
from scalekit.storage._contract import Storage
from scalekit.storage._digest import digest
from scalekit.storage._shield import settle
from scalekit.storage._tus_pieces import PLACE
from scalekit.storage._values import Leftover, Opened, SignedURL, Source, Stored
from scalekit.storage.checksums import Checksum
from scalekit.storage.keys import check_key, check_scope, random_key

_log = logging.getLogger("scalekit.storage")

Scan: TypeAlias = Callable[[Stored, AsyncIterator[bytes]], Awaitable[str | None]]
"""``await scan(stored, chunks)``: what was found in the content, or ``None`` if it may pass.

What it raises is the caller's, and leaves the object where it waits. It need not read to the end. An answer
of another type, such as ``False``, is a ``ConfigurationError``, and passes and removes nothing.
"""


class Quarantine(Storage):
    """The objects of ``storage`` that have passed ``scan``, and the way there.

    Use it wherever a storage is wanted: the files of a form, say, are scanned before they are there. What
    comes in by other ways, resumable or from a browser to S3 directly, is written to :attr:`waiting` and
    promoted.

    Args:
        storage: any storage; readers who are handed it see what waits as well, under its prefix.
        scan: see :data:`Scan`.
        prefix: where objects wait; ends with a slash.

    Raises:
        ConfigurationError: no storage, or a ``scan`` that cannot be called.
        InvalidKey: a ``prefix`` that is none.
    """

    def __init__(self, storage: Storage, *, scan: Scan, prefix: str = "quarantine/") -> None:
        check_kind(storage, Storage, option="storage", wanted="a storage, such as S3Storage('media')")
        check_function(scan, option="scan=", wanted="a coroutine function of an object and its content")
        self.storage = storage
        self.scan = scan
        self.prefix = check_scope(prefix)
        self.waiting = storage.scoped(prefix)
        """The storage of what waits, and of what was never asked for again."""
        self.base_url = storage.base_url

    async def put(
        self,
        key: str,
        source: Source,
        *,
        content_type: str | None = None,
        overwrite: bool = False,
        size: int | None = None,
        checksum: Checksum | None = None,
        filename: str | None = None,
    ) -> Stored:
        """As :meth:`Storage.put`; raises :class:`~scalekit.errors.FileRefused` for what ``scan`` refuses."""
        self._check(key)
        if not overwrite and await self.storage.stat(key) is not None:
            raise ObjectExists(key)
        name = f"{random_key()}/{key.rpartition('/')[2]}"
        try:
            await self.waiting.put(
                name, source, content_type=content_type, size=size, checksum=checksum, filename=filename
            )
            waiting = await self._passed(name, key)
            return await self.storage.copy(self.prefix + name, key, overwrite=overwrite, etag=waiting.etag)
        finally:
            # Also when it was not written: cancelled as it got its name, it is there.
            (await settle(self._drop(name))).raise_if_cancelled()

    async def promote(self, key: str, *, to: str | None = None) -> Stored:
        """Scan what waits under ``key``, and give it the key ``to``, by default the same.

        Any number of servers may do so, and again after one of them died: all get what is there in the end.
        What a client has written to ``key`` since it was scanned goes on waiting there.

        Raises:
            FileRefused: ``scan`` found something; the object is gone.
            ObjectMissing: nothing waits there, and nothing was promoted; or what waits was just replaced.
            ObjectExists: there is an object with another content.
        """
        target = self._check(key if to is None else to)
        try:
            waiting = await self._passed(key, target)
        except ObjectMissing:
            return await self._promoted(key, target)
        try:
            stored = await self.storage.copy(self.prefix + key, target, etag=waiting.etag)
        except ObjectExists:
            if await self._differ(key, target):
                raise
            stored = await self._promoted(key, target)
        except ObjectMissing:
            if await self.waiting.stat(key) is not None:
                raise  # it was replaced while it was scanned, and what is there now has not been
            stored = await self._promoted(key, target)
        await self._drop(key, waiting)
        return stored

    async def copy(
        self, source: str, key: str, *, overwrite: bool = False, etag: str | None = None
    ) -> Stored:
        # It has passed already.
        return await self.storage.copy(self._check(source), self._check(key), overwrite=overwrite, etag=etag)

    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Opened | None:
        return await self.storage.open(self._check(key), offset=offset, length=length)

    async def stat(self, key: str) -> Stored | None:
        return await self.storage.stat(self._check(key))

    async def delete(self, key: str) -> None:
        await self.storage.delete(self._check(key))

    async def list(self, prefix: str = "") -> AsyncGenerator[Stored, None]:
        async with aclosing(self.storage.list(prefix)) as entries:
            async for stored in entries:
                if not stored.key.startswith(self.prefix):
                    yield stored

    async def url(self, key: str) -> str:
        return await self.storage.url(self._check(key))

    async def signed_url(self, key: str, *, filename: str | None = None) -> SignedURL | None:
        return await self.storage.signed_url(self._check(key), filename=filename)

    async def leftovers(self, before: datetime, prefix: str = "") -> AsyncGenerator[Leftover, None]:
        async with aclosing(self.storage.leftovers(before, prefix)) as leftovers:
            async for leftover in leftovers:
                yield leftover
        async with aclosing(self.waiting.list(prefix)) as entries:
            async for stored in entries:
                # The pieces of a resumable upload are left over when that has expired: it sweeps them itself.
                if stored.modified < before and not stored.key.startswith(PLACE):
                    yield Leftover(
                        kind="object in quarantine",
                        name=stored.key,
                        modified=stored.modified,
                        size=stored.size,
                        remove=partial(self.waiting.delete, stored.key),
                    )

    def metrics(self) -> Iterable[Metric]:
        """Those of the storage behind it."""
        return self.storage.metrics()

    async def aclose(self) -> None:
        await self.storage.aclose()

    def _check(self, key: str) -> str:
        if check_key(key).startswith(self.prefix):
            raise InvalidKey(key, f"is in {self.prefix!r}, where what was not scanned waits")
        return key

    async def _passed(self, name: str, key: str) -> Stored:
        """What waits under ``name``, if ``scan`` lets it pass; it is removed if not."""
        opened = await self.waiting.open(name)
        if opened is None:
            raise ObjectMissing(name)
        async with opened:
            answer = self.scan(opened.stored, aiter(opened))
            if not isawaitable(answer):
                raise ConfigurationError("scan= must be a coroutine function; write `async def`")
            found = await answer
        if found is not None:
            if not isinstance(found, str):  # False may mean that nothing was found, or that it must not pass
                raise ConfigurationError(
                    f"scan= answered {type(found).__name__}; return what was found as a str, or None"
                )
            await self._drop(name, opened.stored)
            raise FileRefused(key, found)
        return opened.stored

    async def _drop(self, name: str, scanned: Stored | None = None) -> None:
        """Remove what waits under ``name``, unless it is something else than what was ``scanned``."""
        try:
            if scanned is not None:
                there = await self.waiting.stat(name)
                if there is None or there.etag != scanned.etag:
                    return
            await self.waiting.delete(name)
        except (StorageError, BackendError) as error:
            # Nobody can read it, and a sweep will find it.
            _log.warning("%r stays in quarantine: %s", name, type(error).__name__)

    async def _promoted(self, name: str, key: str) -> Stored:
        stored = await self.storage.stat(key)
        if stored is None:
            raise ObjectMissing(name)
        return stored

    async def _differ(self, name: str, key: str) -> bool:
        mine = await digest(self.waiting, name, "sha256")
        # What does not wait any more, another server has promoted meanwhile.
        return mine is not None and mine != await digest(self.storage, key, "sha256")

"""``ScopedStorage``: the part of a storage below a prefix, which nothing that it is asked for can leave."""

from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from datetime import datetime
from urllib.parse import quote

from scalekit.errors import ObjectExists, ObjectMissing
from scalekit.metrics import Metric
from scalekit.storage._contract import Storage
from scalekit.storage._values import Leftover, Opened, SignedURL, Source, Stored
from scalekit.storage.checksums import Checksum
from scalekit.storage.keys import check_key, check_scope


class ScopedStorage(Storage):
    """The objects of ``storage`` under ``prefix``; :meth:`Storage.scoped` makes it.

    Keys are the storage's without the prefix. A key is checked before the prefix goes in front of it, so that
    whatever is asked for begins with the prefix, whole.

    Args:
        storage: any storage.
        prefix: such as ``"tenants/7/"``; ends with a slash.

    Raises:
        InvalidKey: no key could begin with ``prefix``, or it does not end with a slash.
    """

    def __init__(self, storage: Storage, prefix: str) -> None:
        self.storage = storage
        self.prefix = check_scope(prefix)
        self.base_url = None if storage.base_url is None else storage.base_url + quote(prefix)

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
        with self._own_keys():
            stored = await self.storage.put(
                self._whole(key),
                source,
                content_type=content_type,
                overwrite=overwrite,
                size=size,
                checksum=checksum,
                filename=filename,
            )
        return self._own(stored)

    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Opened | None:
        opened = await self.storage.open(self._whole(key), offset=offset, length=length)
        if opened is not None:
            opened.stored = self._own(opened.stored)
        return opened

    async def stat(self, key: str) -> Stored | None:
        stored = await self.storage.stat(self._whole(key))
        return None if stored is None else self._own(stored)

    async def delete(self, key: str) -> None:
        await self.storage.delete(self._whole(key))

    async def list(self, prefix: str = "") -> AsyncGenerator[Stored, None]:
        async with aclosing(self.storage.list(self.prefix + prefix)) as entries:
            async for stored in entries:
                yield self._own(stored)

    async def compose(
        self,
        key: str,
        sources: Sequence[str],
        *,
        content_type: str | None = None,
        overwrite: bool = False,
        filename: str | None = None,
    ) -> Stored:
        with self._own_keys():
            stored = await self.storage.compose(
                self._whole(key),
                [self._whole(source) for source in sources],
                content_type=content_type,
                overwrite=overwrite,
                filename=filename,
            )
        return self._own(stored)

    @property
    def location(self) -> str | None:
        around = self.storage.location
        return None if around is None else around + self.prefix

    async def strays(self, prefix: str = "") -> AsyncGenerator[tuple[str, str], None]:
        async with aclosing(self.storage.strays(self.prefix + prefix)) as strays:
            async for name, reason in strays:
                yield name.removeprefix(self.prefix), reason

    async def leftovers(self, before: datetime, prefix: str = "") -> AsyncGenerator[Leftover, None]:
        async with aclosing(self.storage.leftovers(before, self.prefix + prefix)) as leftovers:
            async for leftover in leftovers:
                yield replace(leftover, name=leftover.name.removeprefix(self.prefix))

    async def copy(
        self, source: str, key: str, *, overwrite: bool = False, etag: str | None = None
    ) -> Stored:
        with self._own_keys():
            stored = await self.storage.copy(
                self._whole(source), self._whole(key), overwrite=overwrite, etag=etag
            )
        return self._own(stored)

    async def url(self, key: str) -> str:
        return await self.storage.url(self._whole(key))

    async def signed_url(self, key: str, *, filename: str | None = None) -> SignedURL | None:
        return await self.storage.signed_url(self._whole(key), filename=filename)

    def metrics(self) -> Iterable[Metric]:
        """Those of the storage behind it."""
        return self.storage.metrics()

    async def aclose(self) -> None:
        """Nothing: the connections are the whole storage's, which others use."""

    def _whole(self, key: str) -> str:
        return self.prefix + check_key(key)

    @contextmanager
    def _own_keys(self) -> Generator[None, None, None]:
        """Errors name keys as they were asked for. What a source raises is not ours to change."""
        try:
            yield
        except (ObjectExists, ObjectMissing) as error:
            if not error.key.startswith(self.prefix):
                raise
            key = error.key.removeprefix(self.prefix)
            if isinstance(error, ObjectExists):
                raise ObjectExists(key) from error.__cause__
            raise ObjectMissing(key, changed=error.changed) from error.__cause__

    def _own(self, stored: Stored) -> Stored:
        return replace(stored, key=stored.key.removeprefix(self.prefix))

"""The contract that every storage keeps.

Rules, which :func:`scalekit.testing.check_storage` tests:

* An object appears whole or not at all: no reader, on any server, ever sees a part of it, and a write whose
  source fails, is cut short or is cancelled leaves what was there before. A cancellation that comes while all
  of it is being given its name is too late: then the object is there, whole.
* A write is create-only unless told otherwise: of two writers of one key exactly one wins.
* What is absent is ``None``, not an error. Deleting twice is deleting once.
* Keys are checked by :mod:`scalekit.storage.keys` before anything else happens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from scalekit._durations import Duration
from scalekit.errors import ConfigurationError, InvalidKey, ObjectMissing
from scalekit.metrics import Metric
from scalekit.storage._values import Chunk, Leftover, Opened, SignedURL, Source, Stored
from scalekit.storage.checksums import Checksum
from scalekit.storage.keys import check_key

if TYPE_CHECKING:
    from scalekit.storage.sweep import Swept
    from scalekit.storage.sync import SyncStorage


class Storage(ABC):
    """Where objects live. Asynchronous (asyncio); :meth:`sync` is the same storage for synchronous code."""

    base_url: str | None = None
    """Where readers find the objects: a path such as ``"/media/"``, or a CDN's URL. Ends with ``/``."""

    @abstractmethod
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
        """Store all of ``source`` under ``key``, or nothing.

        Args:
            key: see :mod:`scalekit.storage.keys`.
            source: bytes, or an asynchronous iterable of them, read once and never ahead of need.
            content_type: such as ``"image/png"``; default: what the key's extension stands for.
            overwrite: replace an object that is there; by default it is kept and the write fails.
            size: the length that was promised, in bytes, if one was; another length is refused.
            checksum: what the content was promised to have, if anything; another content is refused.
            filename: what people call it. It is kept beside the content where a storage can, cleaned by
                :func:`scalekit.storage.keys.clean_filename`, and is never part of a key.

        Raises:
            InvalidKey: before anything is read.
            ConfigurationError: ``content_type`` is no media type; before anything is read.
            ObjectExists: there is an object, and ``overwrite`` is false.
            MalformedUpload: the source had another length than ``size``.
            ChecksumMismatch: or another ``checksum``.
            UploadFailed: the storage failed for good, and stored nothing.

        What ``source`` raises reaches the caller unchanged.
        """

    @abstractmethod
    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Opened | None:
        """The object for reading, or ``None`` if there is none.

        Args:
            offset: first byte wanted, at most the object's size.
            length: how many bytes at most; default: up to the end.
        """

    @abstractmethod
    async def stat(self, key: str) -> Stored | None:
        """What is known about the object, or ``None`` if there is none."""

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Remove the object. No error if there is none."""

    @abstractmethod
    def list(self, prefix: str = "") -> AsyncGenerator[Stored, None]:
        """Every object whose key starts with ``prefix``, in the order of their keys.

        ``content_type`` is told from the key's extension here: asking for each would cost a request each.
        """

    async def compose(
        self,
        key: str,
        sources: Sequence[str],
        *,
        content_type: str | None = None,
        overwrite: bool = False,
        filename: str | None = None,
    ) -> Stored:
        """Store under ``key`` what the objects ``sources`` contain, one after the other. They stay.

        A storage that can does it without the content passing through this process. A source that is replaced
        or deleted meanwhile counts as it was, or makes this fail; the object is never a mixture.

        Args:
            sources: keys; none of them may be ``key``.
            content_type, overwrite, filename: as for :meth:`put`.

        Raises:
            ObjectMissing: there is no object under one of ``sources``; nothing was stored.
            InvalidKey, ConfigurationError, ObjectExists, UploadFailed: as for :meth:`put`.
        """
        check_sources(key, sources)
        async with aclosing(self._contents(sources)) as content:
            return await self.put(
                key, content, content_type=content_type, overwrite=overwrite, filename=filename
            )

    async def copy(
        self, source: str, key: str, *, overwrite: bool = False, etag: str | None = None
    ) -> Stored:
        """Store under ``key`` what ``source`` contains, with its type and file name. ``source`` stays.

        Args:
            etag: of what was seen of ``source``; if it contains something else by now, it is not copied.

        Raises:
            ObjectMissing: there is no ``source``, or not with this ``etag``.
            InvalidKey, ObjectExists, UploadFailed: as for :meth:`put`.
        """
        check_sources(key, [source])
        opened = await self.open(source)
        if opened is None:
            raise ObjectMissing(source)
        async with opened:
            there = opened.stored
            if etag not in (None, there.etag):
                raise ObjectMissing(source, changed=True)
            return await self.put(
                key,
                opened,
                content_type=there.content_type,
                overwrite=overwrite,
                size=there.size,
                filename=there.filename,
            )

    def scoped(self, prefix: str) -> Storage:
        """The objects under ``prefix``, such as ``"tenants/7/"``, as a storage of their own.

        No key, prefix or signature of it reaches anything else, so that a tenant's code may be handed it. It
        has no connections of its own: close the whole.

        Raises:
            InvalidKey: no key could begin with ``prefix``, or it does not end with a slash.
        """
        from scalekit.storage.scoped import ScopedStorage

        return ScopedStorage(self, prefix)

    @property
    def location(self) -> str | None:
        """Where the objects are, ending with a slash; ``None`` where nobody can tell.

        Of two storages that share objects one's location begins with the other's.
        """
        return None

    async def strays(self, prefix: str = "") -> AsyncGenerator[tuple[str, str], None]:
        """What lies among the objects below ``prefix`` and is none: its name, and why not."""
        for nothing in list[tuple[str, str]]():
            yield nothing

    async def leftovers(self, before: datetime, prefix: str = "") -> AsyncGenerator[Leftover, None]:
        """What is left of uploads below ``prefix`` that have not grown since ``before``."""
        for nothing in list[Leftover]():
            yield nothing

    async def sweep(self, older_than: Duration = 86400, *, dry_run: bool = False) -> Swept:
        """Remove what is left of uploads that nobody goes on with; see :mod:`scalekit.storage.sweep`."""
        from scalekit.storage.sweep import sweep

        return await sweep(self, older_than, dry_run=dry_run)

    async def _contents(self, sources: Sequence[str]) -> AsyncGenerator[Chunk, None]:
        for source in sources:
            opened = await self.open(source)
            if opened is None:
                raise ObjectMissing(source)
            async with opened:
                async for chunk in opened:
                    yield chunk

    async def read(self, key: str) -> bytes | None:
        """The whole object in memory, or ``None`` if there is none."""
        opened = await self.open(key)
        if opened is None:
            return None
        async with opened:
            return await opened.read()

    def public_url(self, key: str) -> str:
        """The permanent address of ``key`` under ``base_url``. No I/O: usable in a template.

        Raises:
            ConfigurationError: the storage was given no ``base_url``.
        """
        if self.base_url is None:
            raise ConfigurationError(f"{type(self).__name__} has no public address; give it base_url=")
        return self.base_url + quote(check_key(key))

    async def url(self, key: str) -> str:
        """An address at which whoever gets it can read ``key``. It may expire: store keys, not addresses."""
        return self.public_url(key)

    async def signed_url(self, key: str, *, filename: str | None = None) -> SignedURL | None:
        """A temporary address of ``key``, or ``None`` where the storage signs none, as by default.

        Args:
            filename: make browsers save the object under this name instead of showing it.
        """
        check_key(key)
        return None

    def metrics(self) -> Iterable[Metric]:
        """What it counts, see :class:`scalekit.metrics.Measured`; nothing by default."""
        return ()

    async def aclose(self) -> None:  # noqa: B027  most storages hold nothing
        """Close connections. The storage can be used again afterwards."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def sync(self) -> SyncStorage:
        """This storage for synchronous code: WSGI applications, scripts, tasks."""
        from scalekit.storage.sync import SyncStorage

        return SyncStorage(self)


def check_sources(key: str, sources: Sequence[str]) -> None:
    """Check what :meth:`Storage.compose` is given.

    Raises:
        InvalidKey: one of the keys is none, or ``key`` is among ``sources``.
    """
    check_key(key)
    for source in sources:
        if check_key(source) == key:
            raise InvalidKey(key, "cannot be made of itself")


def check_base_url(base_url: str | None) -> str | None:
    """``base_url`` with one slash at its end.

    Raises:
        ConfigurationError: it is neither a path from the root nor an http(s) URL, or not in ASCII.
    """
    if base_url is None:
        return None
    plain = base_url.isascii() and base_url.isprintable() and not any(char in base_url for char in "?# \\")
    if not plain or not base_url.startswith(("/", "https://", "http://")):
        raise ConfigurationError(
            f"base_url={base_url!r}; give a path such as '/media/' or an https:// URL, in ASCII: é is %C3%A9"
        )
    return base_url.rstrip("/") + "/"

"""``MirroredStorage``: a bounded copy of a storage on the local disk, filled by what is read.

Rules:

* What is read is what the origin has now: each read asks it for the object's entity tag, unless it was asked
  less than ``fresh_for`` ago, or the key is one that never changes.
* The mirror makes reading quicker and never makes it fail: where there is no copy, no room for one, or a
  damaged one, the object comes from the origin.
* Writes go to the origin. Whatever becomes of them, the copy goes.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from weakref import WeakKeyDictionary

from scalekit._durations import Duration, seconds
from scalekit._options import check_count, check_kind
from scalekit._tally import Tally
from scalekit.errors import ConfigurationError, StorageError
from scalekit.metrics import Metric
from scalekit.storage._contract import Storage, check_base_url
from scalekit.storage._mirror_copy import BLOCK, Copy
from scalekit.storage._mirror_directory import Directory
from scalekit.storage._mirror_fill import Fill, read_on
from scalekit.storage._mirror_validity import Validity
from scalekit.storage._shield import in_thread
from scalekit.storage._values import Leftover, Opened, SignedURL, Source, Stored
from scalekit.storage.checksums import Checksum
from scalekit.storage.keys import check_key

T = TypeVar("T")

_log = logging.getLogger("scalekit.storage")

# How often an object is replaced between a look at it and its opening, before it is read without a copy.
_ATTEMPTS = 5


class MirroredStorage(Storage):
    """Reads of ``origin`` come from copies in a local directory, which all processes of the machine can
    share.

    An object is copied while it is read for the first time, by one process, however many want it: they read
    what has come so far. A range far behind that comes from the origin. Copies unused for longest make room.

    It keeps the whole contract. Writing, listing and signing are the origin's.

    Args:
        origin: any storage.
        directory: for the copies, on a local disk. It is made if need be. Origins that know their
            ``location`` can share one, whose bound must then be the same.
        max_bytes: how much the copies may take. Larger objects are not copied.
        fresh_for: seconds or ``timedelta`` during which the origin is not asked again. 0 by default: each
            read asks once, so that what is read is never older than the moment at which reading began.
        immutable: the objects of these keys never change and are not asked for again: a function of the key,
            or ``True`` for all, as with the random keys of ``stream_form``. One that is deleted elsewhere may
            still be read here.
        stale_if_error: seconds or ``timedelta`` for which a copy is good after the origin was asked last,
            where it cannot be asked. 0 by default: that is an error.
        timeout: seconds or ``timedelta`` that the origin may take to answer, and between two pieces of a
            copy.
        base_url: where :class:`scalekit.storage.serve.StorageFiles` serves the mirror; by default addresses
            are the origin's.

    Raises:
        ConfigurationError: one of these is something else.
    """

    def __init__(
        self,
        origin: Storage,
        directory: str | os.PathLike[str],
        *,
        max_bytes: int,
        fresh_for: Duration = 0,
        immutable: bool | Callable[[str], bool] = False,
        stale_if_error: Duration = 0,
        timeout: Duration = 10,
        base_url: str | None = None,
    ) -> None:
        check_kind(origin, Storage, option="origin", wanted="a storage, such as S3Storage('media')")
        check_count(max_bytes, option="max_bytes=", least=1, cure="such as 10 * GiB")
        self.origin = origin
        self.base_url = origin.base_url if base_url is None else check_base_url(base_url)
        self._served_here = base_url is not None
        self._directory = Directory(_folder(directory), max_bytes, origin.location or "")
        self._reads = Tally(
            "scalekit_storage_mirror_reads",
            "Objects that were opened, by where they came from.",
            labels=["source"],
            known=("copy", "origin"),
        )
        self._timeout = seconds(timeout, name="timeout", minimum=0.001)
        self._validity = Validity(
            origin=origin,
            directory=self._directory,
            fresh_for=int(seconds(fresh_for, name="fresh_for") * 1e9),
            stale_for=int(seconds(stale_if_error, name="stale_if_error") * 1e9),
            immutable=immutable if callable(immutable) else lambda _: bool(immutable),
            timeout=self._timeout,
        )
        self._fills: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Fill]] = WeakKeyDictionary()

    def metrics(self) -> Iterator[Metric]:
        """From where reads came, and what the origin counts."""
        yield self._reads.metric()
        yield from self.origin.metrics()

    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Opened | None:
        check_key(key)
        for _ in range(_ATTEMPTS):
            asked = self._directory.clock()
            copy, stored, dropped = await self._validity.find(key, asked)
            if stored is None:
                return None
            end = stored.size if length is None else min(stored.size, offset + length)
            if copy is not None:
                self._reads.add("copy")
                chunks = self._blocks(copy, offset, end)
                return self._opened(stored, copy.fd, chunks, offset, end)
            fill = self._fill(stored, asked, dropped)
            # Whoever wants the end of a film does not wait for its beginning.
            if offset <= fill.written and (fd := await fill.join()) is not None:
                self._reads.add("origin")
                return self._opened(stored, fd, fill.read(fd, offset, end), offset, end)
            if fill.whole:
                continue  # it was faster than this
            self._reads.add("origin")
            opened = await self.origin.open(key, offset=offset, length=length)
            if opened is None or opened.stored.etag == stored.etag:
                return opened
            await opened.aclose()
        return await self.origin.open(key, offset=offset, length=length)

    async def stat(self, key: str) -> Stored | None:
        check_key(key)
        copy, stored, _ = await self._validity.find(key, self._directory.clock())
        if copy is not None:
            os.close(copy.fd)
        return stored

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
        check_key(key)
        written = self.origin.put(
            key,
            source,
            content_type=content_type,
            overwrite=overwrite,
            size=size,
            checksum=checksum,
            filename=filename,
        )
        return await self._changing(key, written)

    async def delete(self, key: str) -> None:
        check_key(key)
        await self._changing(key, self.origin.delete(key))

    async def compose(
        self,
        key: str,
        sources: Sequence[str],
        *,
        content_type: str | None = None,
        overwrite: bool = False,
        filename: str | None = None,
    ) -> Stored:
        check_key(key)
        made = self.origin.compose(
            key, sources, content_type=content_type, overwrite=overwrite, filename=filename
        )
        return await self._changing(key, made)

    async def copy(
        self, source: str, key: str, *, overwrite: bool = False, etag: str | None = None
    ) -> Stored:
        check_key(key)
        return await self._changing(key, self.origin.copy(source, key, overwrite=overwrite, etag=etag))

    def list(self, prefix: str = "") -> AsyncGenerator[Stored, None]:
        return self.origin.list(prefix)

    async def url(self, key: str) -> str:
        return self.public_url(key) if self._served_here else await self.origin.url(key)

    async def signed_url(self, key: str, *, filename: str | None = None) -> SignedURL | None:
        return await self.origin.signed_url(key, filename=filename)

    @property
    def location(self) -> str | None:
        return self.origin.location

    def strays(self, prefix: str = "") -> AsyncGenerator[tuple[str, str], None]:
        return self.origin.strays(prefix)

    def leftovers(self, before: datetime, prefix: str = "") -> AsyncGenerator[Leftover, None]:
        return self.origin.leftovers(before, prefix)

    async def aclose(self) -> None:
        """Stop what is being copied, and close the origin."""
        tasks = [fill.task for fill in self._fills.pop(asyncio.get_running_loop(), {}).values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self.origin.aclose()

    async def _changing(self, key: str, change: Awaitable[T]) -> T:
        try:
            return await change
        finally:
            # Also when it failed: the answer may be all that was lost.
            dropped = await in_thread(self._directory.drop, key)
            if isinstance(dropped.error, OSError):
                raise StorageError(
                    f"the copy of {key!r} cannot be dropped: {dropped.error.strerror}"
                ) from dropped.error
            dropped.unwrap()

    def _fill(self, stored: Stored, asked: int, dropped: int) -> Fill:
        """The copy of this version that is on its way, or the beginning of one."""
        fills = self._fills.setdefault(asyncio.get_running_loop(), {})
        fill = fills.get(stored.key)
        if fill is None or fill.stored != stored:
            fill = fills[stored.key] = Fill(
                self.origin,
                self._directory,
                stored,
                asked=asked,
                dropped=dropped,
                stall_seconds=self._timeout,
            )

            def forget(task: asyncio.Task[None], fill: Fill = fill) -> None:
                if fills.get(fill.stored.key) is fill:
                    del fills[fill.stored.key]
                if not task.cancelled() and (error := task.exception()) is not None:
                    _log.error("no copy of %r is kept", fill.stored.key, exc_info=error)

            fill.task.add_done_callback(forget)
        return fill

    async def _blocks(self, copy: Copy, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """The content of a copy. Ends early where it is damaged."""
        while start < end:
            number, skip = divmod(start, BLOCK)
            block = (await in_thread(copy.block, number)).unwrap()
            if block is None:
                _log.warning("the copy of %r is damaged and removed", copy.stored.key)
                await self._validity.discard(copy.stored.key)
                return
            piece = block[skip : skip + end - start]
            start += len(piece)
            yield piece

    def _opened(
        self, stored: Stored, fd: int, chunks: AsyncGenerator[bytes, None], start: int, end: int
    ) -> Opened:
        async def close() -> None:
            os.close(fd)

        return Opened(stored, self._to_the_end(stored, chunks, start, end), close=close)

    async def _to_the_end(
        self, stored: Stored, chunks: AsyncGenerator[bytes, None], start: int, end: int
    ) -> AsyncGenerator[bytes, None]:
        async with aclosing(chunks):
            async for chunk in chunks:
                start += len(chunk)
                yield chunk
        if start < end:
            async with aclosing(read_on(self.origin, stored, start, end)) as rest:
                async for chunk in rest:
                    yield chunk


def _folder(directory: str | os.PathLike[str]) -> Path:
    folder = Path(directory).absolute()
    if os.path.isfile(folder):
        raise ConfigurationError(f"directory={str(folder)!r} is a file; give the path of a folder")
    return folder

"""A copy on its way: written here, or by another process while this one looks on; readers follow either.

Rules:

* It belongs to nobody who reads: whoever hangs up, the copy goes on.
* Readers get what is there, as it comes. Where it does not come to its end, because the origin, the disk or
  the process that writes fails, each reads on from the origin by itself.
* Whoever looks on stops when nothing comes for ``stall_seconds``: that process may be frozen.
"""

import asyncio
import fcntl
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import suppress
from contextvars import Context

from scalekit.errors import ChecksumMismatch, ScalekitError, StorageError
from scalekit.storage._contract import Storage
from scalekit.storage._mirror_copy import HEADER, length_of
from scalekit.storage._mirror_directory import Directory, Part
from scalekit.storage._shield import in_thread
from scalekit.storage._values import Stored

_READ_SIZE = 256 * 1024
_POLL = 0.01

_log = logging.getLogger("scalekit.storage")


class Fill:
    """Starts when it is made, in a task of its own.

    Args:
        stored: what the origin said, when it was ``asked``.
        dropped: what the directory said before that.
    """

    def __init__(
        self,
        origin: Storage,
        directory: Directory,
        stored: Stored,
        *,
        asked: int,
        dropped: int,
        stall_seconds: float,
    ) -> None:
        self.stored = stored
        self.written = 0
        """How much of the content can be read."""
        self.error: StorageError | None = None
        """The content is not what the origin says it is, so that nobody is to read it."""
        self.whole = False
        """There is a copy now."""
        self._origin, self._directory, self._stall = origin, directory, stall_seconds
        self._asked, self._dropped = asked, dropped
        self._fd: int | None = None
        self._began, self._ended = asyncio.Event(), False
        self._news = asyncio.Event()
        # Not in the context of the request that happens to be first: its sessions and scopes end before.
        self.task = asyncio.create_task(self._run(), context=Context())
        # By a callback: a task that is cancelled before it began has no `finally`, and readers would wait.
        self.task.add_done_callback(self._end)

    async def join(self) -> int | None:
        """A descriptor of the file, for a reader to close, once something comes; ``None`` if nothing does."""
        await self._began.wait()
        with suppress(OSError):  # this process may have too many open files
            return None if self._fd is None else os.dup(self._fd)
        return None

    async def read(self, fd: int, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """The content as it comes. Ends early where the copy does."""
        while start < end:
            while start >= self.written and not self._ended:
                await self._news.wait()
            length = min(_READ_SIZE, end - start, self.written - start)
            read = await in_thread(os.pread, fd, length, HEADER + start) if length > 0 else None
            if read is None or not read.value:
                if read is not None:
                    read.raise_if_cancelled()
                break
            start += len(read.value)
            yield read.unwrap()
        if start < end and self.error is not None:
            raise self.error

    async def _run(self) -> None:
        begun = await in_thread(self._begin)
        part = begun.value if isinstance(begun.value, Part) else None
        self._fd = part.writer.fd if part is not None else begun.value  # type: ignore[assignment]
        try:
            begun.unwrap()
            if part is not None:
                await self._write(part)
            elif self._fd is not None:
                self._began.set()
                await self._look_on(self._fd)
        except ScalekitError as error:
            _log.info("no copy of %r is kept: %s", self.stored.key, error)
        except TimeoutError:
            _log.info("no copy of %r is kept: nothing came for %g s", self.stored.key, self._stall)
        except OSError as error:
            _log.warning("no copy of %r is kept: %s", self.stored.key, error.strerror)
        finally:
            if part is not None:
                await in_thread(self._directory.abandon, part)  # what fails here goes with the next look
                # Readers have descriptors of the same open file, which would keep the lock.
                fcntl.flock(part.writer.fd, fcntl.LOCK_UN)
            fd, self._fd = self._fd, None
            if fd is not None:
                os.close(fd)

    def _end(self, _: object) -> None:
        self._ended = True
        self._began.set()
        self._news.set()

    def _begin(self) -> Part | int | None:
        return self._directory.begin(self.stored, asked=self._asked, dropped=self._dropped)

    async def _write(self, part: Part) -> None:
        try:
            if await self._content(part) and (await in_thread(part.writer.end)).unwrap():
                (await in_thread(self._directory.finish, part)).unwrap()
                self.whole = True
        except ChecksumMismatch as error:
            self.error = StorageError(f"{self.stored.key!r} did not come as it was stored: {error}")
            raise self.error from error

    async def _content(self, part: Part) -> bool:
        async with asyncio.timeout(self._stall):
            opened = await self._origin.open(self.stored.key)
        if opened is None:
            return False
        async with opened:
            if opened.stored.etag != self.stored.etag:
                return False
            self._began.set()
            while True:
                async with asyncio.timeout(self._stall):
                    chunk = await anext(aiter(opened), None)
                if chunk is None:
                    return True
                if not (await in_thread(part.writer.append, chunk)).unwrap():
                    return False
                self._tell(part.writer.written)

    async def _look_on(self, fd: int) -> None:
        waited = 0.0
        while waited < self._stall:
            # In this order: what is written last is written before the lock is gone.
            gone = _is_unlocked(fd)
            size = os.fstat(fd).st_size
            if (there := min(size - HEADER, self.stored.size)) > self.written:
                self._tell(there)
                waited = 0.0
            self.whole = size >= length_of(self.stored.size)
            if gone or self.whole:
                return
            await asyncio.sleep(_POLL)
            waited += _POLL
        (await in_thread(self._directory.disown, self.stored.key, fd)).unwrap()

    def _tell(self, written: int) -> None:
        self.written = written
        news, self._news = self._news, asyncio.Event()
        news.set()


async def read_on(origin: Storage, stored: Stored, start: int, end: int) -> AsyncGenerator[bytes, None]:
    """The rest of the content from the origin.

    Raises:
        StorageError: there is another object by now.
    """
    opened = await origin.open(stored.key, offset=start, length=end - start)
    if opened is None:
        raise StorageError(f"{stored.key!r} was deleted while it was read")
    async with opened:
        if opened.stored.etag != stored.etag:
            raise StorageError(f"{stored.key!r} was replaced while it was read")
        async for chunk in opened:
            yield chunk


def _is_unlocked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(fd, fcntl.LOCK_UN)
    return True

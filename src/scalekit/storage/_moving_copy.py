"""One object from one storage to another, and a look at what has arrived."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from scalekit.errors import ChecksumMismatch
from scalekit.storage._contract import Opened, Storage, Stored
from scalekit.storage._moving_same import CERTAIN, OnBytes, digest
from scalekit.storage._shield import in_thread
from scalekit.storage.checksums import Checksum, Hasher, hasher


class Copier:
    """Copies objects of ``source`` to ``destination``, with type and file name, and verifies them.

    What was read must have the checksum that the source keeps, if it keeps one, and what was written that of
    what was read. Where the destination keeps none, what was written is read again.
    """

    def __init__(self, source: Storage, destination: Storage) -> None:
        self._source, self._destination = source, destination
        # The first object that is written shows which checksum the destination keeps.
        self._algorithm = CERTAIN

    async def copy(self, key: str, *, overwrite: bool, on_bytes: OnBytes) -> Stored | None:
        """What was stored, or ``None``: the object has gone.

        Raises:
            ObjectExists: there is one at the destination, and ``overwrite`` is false.
            ChecksumMismatch: the content changed on its way.
            StorageError, BackendError: as one of the two storages has it.
        """
        opened = await self._source.open(key)
        if opened is None:
            return None
        algorithm = self._algorithm
        running = hasher(algorithm)
        async with opened, aclosing(_hashed(opened, running, on_bytes)) as content:
            stored = await self._destination.put(
                key,
                content,
                content_type=opened.stored.content_type,
                filename=opened.stored.filename,
                size=opened.stored.size,
                checksum=opened.stored.checksum,
                overwrite=overwrite,
            )
        await self._verify(stored, Checksum(algorithm, running.digest()))
        return stored

    async def _verify(self, stored: Stored, read: Checksum) -> None:
        written = stored.checksum
        if written is not None and written.algorithm != read.algorithm:
            self._algorithm, written = written.algorithm, None
        if written is None:
            written = await digest(self._destination, stored.key, read.algorithm)
        if written == read:
            return
        now = await self._destination.stat(stored.key)
        # Of another etag it is not what was written here: somebody else was faster.
        if written is not None and now is not None and now.etag == stored.etag:
            raise ChecksumMismatch(expected=str(read), found=str(written))


async def _hashed(opened: Opened, running: Hasher, on_bytes: OnBytes) -> AsyncGenerator[bytes, None]:
    count = 0
    async for chunk in opened:
        (await in_thread(running.update, chunk)).unwrap()
        yield chunk
        count += len(chunk)
        on_bytes(count)

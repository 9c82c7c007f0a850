"""One object from one storage to another, and a look at what has arrived."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from scalekit.errors import ChecksumMismatch
from scalekit.storage._contract import Storage
from scalekit.storage._digest import OnBytes, digest
from scalekit.storage._moving_same import CERTAIN, is_md5
from scalekit.storage._shield import in_thread
from scalekit.storage._values import Opened, Stored
from scalekit.storage.checksums import Checksum, Hasher, hasher


class Copier:
    """Copies objects of ``source`` to ``destination``, with type and file name, and verifies them.

    What was read must have the checksum that the source keeps, if it keeps one, and what was written that of
    what was read, or an ETag that is its MD5. Where the destination keeps neither, what was written is read
    again.
    """

    def __init__(self, source: Storage, destination: Storage) -> None:
        self._source, self._destination = source, destination
        # The first object that is written shows what the destination keeps.
        self._algorithms: tuple[str, ...] = (CERTAIN, "md5")

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
        running = {name: hasher(name) for name in self._algorithms}
        async with opened, aclosing(_hashed(opened, list(running.values()), on_bytes)) as content:
            stored = await self._destination.put(
                key,
                content,
                content_type=opened.stored.content_type,
                filename=opened.stored.filename,
                size=opened.stored.size,
                checksum=opened.stored.checksum,
                overwrite=overwrite,
            )
        await self._verify(stored, [Checksum(name, each.digest()) for name, each in running.items()])
        return stored

    async def _verify(self, stored: Stored, read: list[Checksum]) -> None:
        if stored.checksum is not None:
            self._algorithms = (stored.checksum.algorithm,)
        elif any(is_md5(stored.etag, each) for each in read):
            self._algorithms = ("md5",)
            return
        expected = next(
            (each for each in read if stored.checksum and each.algorithm == stored.checksum.algorithm), None
        )
        written = stored.checksum
        if expected is None:
            expected = read[0]
            written = await digest(self._destination, stored.key, expected.algorithm)
        if written == expected:
            return
        now = await self._destination.stat(stored.key)
        # Of another etag it is not what was written here: somebody else was faster.
        if written is not None and now is not None and now.etag == stored.etag:
            raise ChecksumMismatch(expected=str(expected), found=str(written))


async def _hashed(opened: Opened, running: list[Hasher], on_bytes: OnBytes) -> AsyncGenerator[bytes, None]:
    count = 0
    async for chunk in opened:
        (await in_thread(_update, running, chunk)).unwrap()
        yield chunk
        count += len(chunk)
        on_bytes(count)


def _update(running: list[Hasher], chunk: bytes) -> None:
    for each in running:
        each.update(chunk)

"""MemoryStorage: objects in the memory of this process, for tests and for one-process applications."""

from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime

from scalekit.errors import ObjectExists
from scalekit.metrics import Metric
from scalekit.storage._contract import Storage, check_base_url
from scalekit.storage._counted import Counts, counted
from scalekit.storage._extensions import content_type_for
from scalekit.storage._source import cut
from scalekit.storage._values import Opened, Source, Stored
from scalekit.storage.checksums import Checksum
from scalekit.storage.keys import check_key, check_prefix, filename_or_none

_CHUNK = 64 * 1024


class MemoryStorage(Storage):
    """The storage contract over a dictionary. Other processes see nothing of it, and it ends with this one.

    Args:
        base_url: where :class:`scalekit.storage.serve.StorageFiles` is mounted.
    """

    def __init__(self, *, base_url: str | None = "/media/") -> None:
        self.base_url = check_base_url(base_url)
        self._objects: dict[str, tuple[bytes, Stored]] = {}
        self._counts = Counts()

    def metrics(self) -> Iterator[Metric]:
        """What passed through this storage in this process, see :class:`scalekit.metrics.Measured`."""
        return self._counts.metrics()

    @counted
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
        content_type = content_type_for(check_key(key), content_type)
        if not overwrite and key in self._objects:
            raise ObjectExists(key)  # before reading what would be thrown away
        content = b"".join(
            [body.join() async for body, _ in cut(source, _CHUNK, size=size, checksum=checksum)]
        )
        # No await from here on: to other tasks the object appears in one step.
        if not overwrite and key in self._objects:
            raise ObjectExists(key)
        own = Checksum.of(content)
        stored = Stored(
            key=key,
            size=len(content),
            content_type=content_type,
            etag=own.digest.hex()[:32],
            modified=datetime.now(UTC),
            filename=filename_or_none(filename),
            checksum=own,
        )
        self._objects[key] = content, stored
        return stored

    @counted
    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Opened | None:
        found = self._objects.get(check_key(key))
        if found is None:
            return None
        content, stored = found
        end = stored.size if length is None else min(stored.size, offset + length)
        return Opened(stored, _slices(content, offset, end))

    async def stat(self, key: str) -> Stored | None:
        found = self._objects.get(check_key(key))
        return found[1] if found else None

    @counted
    async def delete(self, key: str) -> None:
        self._objects.pop(check_key(key), None)

    async def list(self, prefix: str = "") -> AsyncGenerator[Stored, None]:
        check_prefix(prefix)
        for key in sorted(key for key in self._objects if key.startswith(prefix)):
            if key in self._objects:  # it may have been deleted while the caller was busy
                yield self._objects[key][1]


async def _slices(content: bytes, start: int, end: int) -> AsyncGenerator[bytes, None]:
    for position in range(start, end, _CHUNK):
        yield content[position : min(position + _CHUNK, end)]

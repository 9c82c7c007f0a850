"""One object of S3 made of others inside S3: a multipart upload whose parts are copied there.

Rules:

* What is copied is what was looked at: every copy names the ETag that its source had, and a source that was
  replaced since makes the whole fail.
* S3 takes no part below 5 MiB but the last, and some services only parts of one size. What cannot be done by
  copying is not done here: the caller is told, and reads and writes instead.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from scalekit._amazon import CLIENT_ERRORS, code_of
from scalekit.errors import ObjectMissing
from scalekit.storage._s3_digests import kept_crc32
from scalekit.storage._s3_multipart import MAX_PARTS, MIN_PART_SIZE, Multipart, Part, multipart
from scalekit.storage._s3_target import Target
from scalekit.storage._values import Stored

# Bytes of one copy, of which S3 takes 5 GiB: these take it seconds, and run side by side.
_COPY_SIZE = 1024**3

# Bytes a second; S3 says nothing while it copies.
_SLOWEST_COPY = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class Copy:
    """A part to be: ``size`` bytes of ``source`` from ``offset`` on."""

    number: int
    source: Stored
    offset: int
    size: int


def planned(
    sources: Sequence[Stored], *, equal_parts: bool, copy_size: int = _COPY_SIZE
) -> list[Copy] | None:
    """The parts, or ``None`` if S3 would not take them."""
    ranges = [(source, *piece) for source in sources for piece in _pieces(source.size, copy_size)]
    sizes = [size for _, _, size in ranges]
    if not sizes or len(sizes) > MAX_PARTS or any(size < MIN_PART_SIZE for size in sizes[:-1]):
        return None
    if equal_parts and (len(set(sizes[:-1])) > 1 or sizes[-1] > sizes[0]):
        return None
    return [Copy(number, *piece) for number, piece in enumerate(ranges, start=1)]


def _pieces(size: int, copy_size: int) -> Iterator[tuple[int, int]]:
    """Offsets and sizes: none for nothing, and no last piece that would be too small for a part."""
    offset = 0
    while offset < size:
        left = size - offset
        taken = left if left < copy_size + MIN_PART_SIZE else copy_size
        yield offset, taken
        offset += taken


@dataclass(frozen=True, kw_only=True, slots=True)
class Composition:
    """The object ``target``, made of ``copies``. ``name`` says how S3 calls a key of the storage."""

    target: Target
    copies: Sequence[Copy]
    name: Callable[[str], str]
    concurrency: int

    async def run(self) -> Stored:
        """Make it."""
        async with multipart(self.target) as upload:
            slots = asyncio.Semaphore(self.concurrency)
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._copy(upload, copy, slots)) for copy in self.copies]
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from errors.exceptions[0].__cause__
            return await upload.complete([task.result() for task in tasks])

    async def _copy(self, upload: Multipart, copy: Copy, slots: asyncio.Semaphore) -> Part:
        target, last = self.target, copy.offset + copy.size - 1
        async with slots:
            try:
                answer: dict[str, Any] = await target.in_time(
                    target.client.upload_part_copy(
                        **target.place,
                        UploadId=upload.upload_id,
                        PartNumber=copy.number,
                        CopySource={"Bucket": target.bucket, "Key": self.name(copy.source.key)},
                        CopySourceIfMatch=copy.source.etag,
                        CopySourceRange=f"bytes={copy.offset}-{last}",
                    ),
                    extra=copy.size / _SLOWEST_COPY,
                )
            except CLIENT_ERRORS as error:
                if code_of(error) in ("NoSuchKey", "PreconditionFailed"):
                    changed = code_of(error) != "NoSuchKey"
                    raise ObjectMissing(copy.source.key, changed=changed) from error
                raise target.failed(error) from error
        copied = answer["CopyPartResult"]
        checksum = kept_crc32(copied)
        crc32 = None if checksum is None else int.from_bytes(checksum.digest, "big")
        return Part(number=copy.number, etag=copied["ETag"], size=copy.size, crc32=crc32)

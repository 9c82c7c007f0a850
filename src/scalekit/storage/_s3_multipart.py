"""One multipart upload to S3: created, given its parts, and completed or aborted, whatever happens.

Rules:

* Creating and completing are seen through to their answer even when the caller is cancelled, so that every
  upload whose creation was answered is completed or aborted. Of one whose answer was lost, as of one whose
  server was killed, only ``Storage.sweep`` and a lifecycle rule of the bucket know.
* A commit is not undone: whoever is cancelled during one leaves a whole object. There is no way to remove it
  that could not remove what another has written in its place.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from scalekit._amazon import CLIENT_ERRORS, code_of
from scalekit.storage._crc32 import combined
from scalekit.storage._s3_digests import digest
from scalekit.storage._s3_target import Target
from scalekit.storage._shield import CLEAN_UP_SECONDS, settle
from scalekit.storage._source import Body
from scalekit.storage._values import Stored
from scalekit.storage.checksums import Checksum

MAX_PARTS = 10_000
MIN_PART_SIZE = 5 * 1024 * 1024

# S3 is silent while it puts parts together.
_SECONDS_A_PART = 0.1

_log = logging.getLogger("scalekit.storage")


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A part that S3 has."""

    number: int
    etag: str
    size: int
    crc32: int | None


@dataclass(frozen=True, slots=True)
class Multipart:
    """An upload that was created; see :func:`multipart`."""

    target: Target
    upload_id: str

    async def send(self, number: int, body: Body) -> Part:
        """Upload ``body`` as part ``number``, and let go of it."""
        target = self.target
        try:
            digests = await digest(body, target.profile, signed=target.signed)
            answer = await target.watched(
                body,
                target.client.upload_part(
                    **target.place,
                    UploadId=self.upload_id,
                    PartNumber=number,
                    Body=body,
                    **digests.parameters,
                ),
            )
        except CLIENT_ERRORS as error:
            raise target.failed(error) from error
        finally:
            size = body.size
            body.clear()  # the client's request objects outlive the request, and refer to it
        return Part(number=number, etag=answer["ETag"], size=size, crc32=digests.crc32)

    async def complete(self, parts: list[Part]) -> Stored:
        """Make them the object, in their order."""
        if not self.target.profile.conditional_completions:
            await self.target.check_free()
        target, size = self.target, sum(part.size for part in parts)
        crc32 = _whole_crc32(parts)
        named: list[dict[str, Any]] = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        outcome = await settle(
            target.in_time(
                target.client.complete_multipart_upload(
                    **target.place,
                    UploadId=self.upload_id,
                    MultipartUpload={"Parts": named},
                    **(
                        {}
                        if crc32 is None
                        else {"ChecksumCRC32": crc32.base64, "ChecksumType": "FULL_OBJECT"}
                    ),
                    **target.condition(decided=target.profile.conditional_completions),
                ),
                extra=len(parts) * _SECONDS_A_PART,
            )
        )
        return await target.committed(outcome, size, crc32)

    async def abort(self) -> None:
        # Twice: a part that was in flight can arrive after the first time, and would stay and be paid for.
        try:
            async with asyncio.timeout(CLEAN_UP_SECONDS):
                for _ in range(2):
                    await self.target.client.abort_multipart_upload(
                        **self.target.place, UploadId=self.upload_id
                    )
        except CLIENT_ERRORS as error:
            if code_of(error) != "NoSuchUpload":
                key, code = self.target.key, code_of(error)
                _log.warning("upload of %r was not aborted (%s); its parts remain", key, code)


async def begin(target: Target, *, whole_crc32: bool = False) -> Multipart:
    """Create an upload, of whose content S3 then keeps a CRC-32 if every part comes with its own."""
    whole = {"ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT"} if whole_crc32 else {}
    created = await settle(
        target.in_time(target.client.create_multipart_upload(**target.place, **target.description, **whole))
    )
    if created.value is None:
        raise target.failure(created)
    upload = Multipart(target, created.value["UploadId"])
    if created.cancelled is not None:
        await settle(upload.abort())
        raise created.cancelled
    return upload


@asynccontextmanager
async def multipart(target: Target) -> AsyncGenerator[Multipart, None]:
    """Create an upload; it is aborted if the block raises."""
    await target.check_free()  # completing would find out too, gigabytes later
    upload = await begin(target, whole_crc32=target.profile.checksum == "crc32")
    try:
        yield upload
    except BaseException:
        # After a completion this finds nothing, which is as well.
        (await settle(upload.abort())).raise_if_cancelled()
        raise


def _whole_crc32(parts: list[Part]) -> Checksum | None:
    whole = 0
    for part in parts:
        if part.crc32 is None:
            return None
        whole = combined(whole, part.crc32, part.size)
    return Checksum("crc32", whole.to_bytes(4, "big"))

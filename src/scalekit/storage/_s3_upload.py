"""One upload to S3: a single PUT, or a multipart upload with a few parts in flight.

Rules:

* At most ``concurrency`` parts are being sent and one is being filled; the source is asked for more only
  when there is room, so memory and what is taken from the client stay below (concurrency + 1) parts.
* Every multipart upload whose creation was answered is completed or aborted, whatever happens in between;
  creating and completing are therefore seen through to their answer even when the caller is cancelled. Of one
  whose answer was lost, as of one whose server was killed, only a lifecycle rule of the bucket knows.
* A part that makes no progress for ``stall_seconds`` is given up, and so is any other request that takes
  longer: a stalled S3 is an error, not a hang. Completing has more time, by the number of parts.
* Every object carries the mark of the write that made it. When the answer to a write is lost, and a retry
  meets an object, the mark tells whether it is ours.
* A commit is not undone: whoever is cancelled during one leaves a whole object. There is no way to remove it
  that could not remove what another has written in its place.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeGuard
from urllib.parse import quote, unquote

from botocore.exceptions import ClientError

from scalekit.errors import FileTooLarge, ObjectExists, UploadFailed
from scalekit.storage._contract import Source
from scalekit.storage._s3_errors import (
    CLIENT_ERRORS,
    code_of,
    is_conflict,
    may_have_worked,
    place,
    upload_failed,
)
from scalekit.storage._shield import CLEAN_UP_SECONDS, Outcome, settle
from scalekit.storage._source import Body, cut
from scalekit.storage.checksums import Checksum
from scalekit.storage.keys import filename_or_none

MAX_PARTS = 10_000
MIN_PART_SIZE = 5 * 1024 * 1024
MAX_OBJECT_SIZE = 5 * 1024**4
_MIB = 1024 * 1024

# Bytes a second; a connection below this is as good as none.
_SLOWEST = 256 * 1024

# S3 is silent while it puts parts together.
_SECONDS_A_PART = 0.1

# Up to here a body is sent as one bytes object: no "Expect: 100-continue", so one round trip less.
_INLINE = _MIB

_MARK = "scalekit-write"
_FILENAME = "filename"

_log = logging.getLogger("scalekit.storage")


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """Where an upload goes and how. ``name`` is the key with the storage's prefix, ``key`` without."""

    client: Any
    bucket: str
    key: str
    name: str
    content_type: str
    overwrite: bool
    part_size: int
    concurrency: int
    stall_seconds: float
    filename: str | None = None
    mark: str = field(default_factory=lambda: secrets.token_hex(8))

    async def run(self, source: Source, size: int | None, checksum: Checksum | None) -> tuple[str, int]:
        """Store ``source``. Returns the ETag and the number of bytes."""
        part_size = self._part_size_for(size)
        async with aclosing(cut(source, part_size, size=size, checksum=checksum)) as pieces:
            first, more = await anext(pieces)
            if more:
                return await self._multipart(first, pieces)
            return await self._single(first)

    def _part_size_for(self, size: int | None) -> int:
        if size is None:
            return self.part_size
        if size > MAX_OBJECT_SIZE:
            raise FileTooLarge(limit=MAX_OBJECT_SIZE, received=0)
        needed = -(-size // MAX_PARTS)
        return max(self.part_size, -(-needed // _MIB) * _MIB)

    async def _single(self, body: Body) -> tuple[str, int]:
        inline = body.size <= _INLINE
        put = self._watched(
            body,
            self.client.put_object(
                Bucket=self.bucket,
                Key=self.name,
                Body=body.join() if inline else body,
                ContentType=self.content_type,
                Metadata=self._metadata(),
                **self._condition(),
            ),
        )
        # Until the last byte is handed out S3 cannot have the object, so stopping is safe; then it may.
        outcome = await settle(put, may_stop=lambda: not inline and body.stop())
        return await self._committed(outcome), body.size

    async def _multipart(self, first: Body, rest: AsyncGenerator[tuple[Body, bool], None]) -> tuple[str, int]:
        if not self.overwrite and await self._head() is not None:
            raise ObjectExists(self.key)  # completing would find out too, gigabytes later
        created = await settle(
            self._in_time(
                self.client.create_multipart_upload(
                    Bucket=self.bucket,
                    Key=self.name,
                    ContentType=self.content_type,
                    Metadata=self._metadata(),
                )
            )
        )
        if created.value is None:
            raise self._failure(created)
        upload_id = created.value["UploadId"]
        try:
            created.raise_if_cancelled()
            parts, size = await self._send(upload_id, first, rest)
            outcome = await settle(
                self._in_time(
                    self.client.complete_multipart_upload(
                        Bucket=self.bucket,
                        Key=self.name,
                        UploadId=upload_id,
                        MultipartUpload={"Parts": parts},
                        **self._condition(),
                    ),
                    extra=len(parts) * _SECONDS_A_PART,
                )
            )
            return await self._committed(outcome), size
        except BaseException:
            # After a completion this finds nothing, which is as well.
            aborted = await settle(self._abort(upload_id))
            aborted.raise_if_cancelled()
            raise

    async def _send(
        self, upload_id: str, first: Body, rest: AsyncGenerator[tuple[Body, bool], None]
    ) -> tuple[list[dict[str, Any]], int]:
        slots = asyncio.Semaphore(self.concurrency)
        sending: list[asyncio.Task[dict[str, Any]]] = []
        size = 0

        async def send(number: int, body: Body) -> dict[str, Any]:
            try:
                answer = await self._watched(
                    body,
                    self.client.upload_part(
                        Bucket=self.bucket, Key=self.name, UploadId=upload_id, PartNumber=number, Body=body
                    ),
                )
            except CLIENT_ERRORS as error:
                raise self._failed(error) from error
            finally:
                body.clear()  # the client's request objects outlive the request, and refer to it
                slots.release()
            return {"PartNumber": number, "ETag": answer["ETag"]}

        try:
            # A part that fails cancels the others and the wait for the source with them.
            async with asyncio.TaskGroup() as group:
                body, more = first, True
                while True:
                    size += body.size
                    if len(sending) == MAX_PARTS:
                        raise FileTooLarge(
                            limit=MAX_PARTS * self.part_size,
                            received=size,
                            what="an upload of unknown length",
                        )
                    await slots.acquire()
                    sending.append(group.create_task(send(len(sending) + 1, body)))
                    if not more:
                        break
                    body, more = await anext(rest)
        except BaseExceptionGroup as errors:
            error = _first(errors)
            raise error from error.__cause__
        return [task.result() for task in sending], size

    async def _watched(self, body: Body, call: Coroutine[Any, Any, Any]) -> Any:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self.stall_seconds) as deadline:

            def progress() -> None:
                if not deadline.expired():
                    # What was handed out last may still be in the buffers of a slow connection.
                    drain = body.size / _SLOWEST if body.exhausted else 0.0
                    deadline.reschedule(loop.time() + self.stall_seconds + drain)

            body.on_progress = progress
            try:
                return await call
            finally:
                body.on_progress = None

    async def _in_time(self, call: Coroutine[Any, Any, Any], *, extra: float = 0.0) -> Any:
        async with asyncio.timeout(self.stall_seconds + extra):
            return await call

    async def _committed(self, outcome: Outcome[Any]) -> str:
        """The ETag of what was written, or the error. The answer to a commit can be lost, or come late."""
        outcome.raise_if_cancelled()
        error = outcome.error
        if outcome.value is not None and "ETag" in outcome.value:
            return str(outcome.value["ETag"]).strip('"')
        # An answer without an ETag is as good as none.
        if error is None or (isinstance(error, CLIENT_ERRORS) and may_have_worked(error)):
            there = await self._head()
            if self._is_ours(there):
                return str(there["ETag"]).strip('"')
            if error is None:
                raise UploadFailed(f"S3 did not store {self.key!r}: its answer was empty")
            if there is not None and is_conflict(error):
                raise ObjectExists(self.key)
        raise self._failure(outcome)

    async def _head(self) -> dict[str, Any] | None:
        try:
            answer: dict[str, Any] = await self._in_time(
                self.client.head_object(Bucket=self.bucket, Key=self.name)
            )
        except ClientError:
            return None  # absent, or not ours to see; the write itself will tell
        except CLIENT_ERRORS as error:
            raise self._failed(error) from error
        return answer

    def _is_ours(self, head: dict[str, Any] | None) -> TypeGuard[dict[str, Any]]:
        return head is not None and head.get("Metadata", {}).get(_MARK) == self.mark

    async def _abort(self, upload_id: str) -> None:
        # Twice: a part that was in flight can arrive after the first time, and would stay and be paid for.
        try:
            async with asyncio.timeout(CLEAN_UP_SECONDS):
                for _ in range(2):
                    await self.client.abort_multipart_upload(
                        Bucket=self.bucket, Key=self.name, UploadId=upload_id
                    )
        except CLIENT_ERRORS as error:
            if code_of(error) != "NoSuchUpload":
                _log.warning("upload of %r was not aborted (%s); its parts remain", self.key, code_of(error))

    def _metadata(self) -> dict[str, str]:
        name = {} if self.filename is None else {_FILENAME: quote(self.filename)}
        return {_MARK: self.mark, **name}

    def _condition(self) -> dict[str, str]:
        return {} if self.overwrite else {"IfNoneMatch": "*"}

    def _failed(self, error: BaseException) -> UploadFailed:
        return upload_failed(self.key, error, place(self.client, self.bucket))

    def _failure(self, outcome: Outcome[Any]) -> BaseException:
        if outcome.cancelled is not None:
            return outcome.cancelled
        error = outcome.error
        assert error is not None
        return self._failed(error) if isinstance(error, CLIENT_ERRORS) else error


def filename_in(metadata: dict[str, str]) -> str | None:
    """The file name that was stored with an object: percent-encoded, since headers are ASCII."""
    # Others write to buckets too, and whatever they wrote.
    return filename_or_none(unquote(metadata[_FILENAME])) if _FILENAME in metadata else None


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    # The first is the reason; the rest are the cancellations and failures that followed from it.
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

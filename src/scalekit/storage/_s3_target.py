"""One object that is to be written to S3: the requests that are about it, and what their answers mean.

Rules:

* A request that makes no progress for ``stall_seconds`` is given up: a stalled S3 is an error, not a hang.
* Every object carries the mark of the write that made it. When the answer to a write is lost, and a retry
  meets an object, the mark tells whether it is ours.
* Creating only is the service's decision where its profile says that it can decide; elsewhere it is preceded
  by a look.
"""

import asyncio
import secrets
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeGuard
from urllib.parse import quote, unquote

from botocore.exceptions import ClientError

from scalekit._amazon import CLIENT_ERRORS, place
from scalekit.errors import ObjectExists, UploadFailed
from scalekit.storage._s3_digests import is_signed
from scalekit.storage._s3_errors import is_conflict, is_refused, may_have_worked, upload_failed
from scalekit.storage._shield import Outcome
from scalekit.storage._source import Body
from scalekit.storage._values import Stored
from scalekit.storage.checksums import Checksum
from scalekit.storage.keys import filename_or_none
from scalekit.storage.profiles import S3Profile

# Bytes a second; a connection below this is as good as none.
_SLOWEST = 256 * 1024

# So much later than promised, as a share of stall_seconds, a stalled body may be given up.
_PRECISION = 0.05

_MARK = "scalekit-write"
_FILENAME = "filename"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where a write goes and how. ``name`` is the key with the storage's prefix, ``key`` without."""

    client: Any
    profile: S3Profile
    bucket: str
    key: str
    name: str
    content_type: str
    filename: str | None
    overwrite: bool
    stall_seconds: float
    mark: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def place(self) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.name}

    @property
    def description(self) -> dict[str, Any]:
        """What is kept beside the content."""
        name = {} if self.filename is None else {_FILENAME: quote(self.filename)}
        return {"ContentType": self.content_type, "Metadata": {_MARK: self.mark, **name}}

    @property
    def signed(self) -> bool:
        return is_signed(self.client)

    def condition(self, *, decided: bool) -> dict[str, str]:
        """The parameter by which the service, if this is ``decided`` there, keeps what is there."""
        return {"IfNoneMatch": "*"} if decided and not self.overwrite else {}

    async def check_free(self) -> None:
        """Raise what a create-only write would, if that is known already."""
        if not self.overwrite and await self.head() is not None:
            raise ObjectExists(self.key)

    async def watched(self, body: Body, call: Coroutine[Any, Any, Any]) -> Any:
        """Send ``body``; as long as it goes on it may take as long as it takes."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self.stall_seconds) as deadline:
            later = 0.0

            def progress() -> None:
                nonlocal later
                now = loop.time()
                # Not for every chunk: setting timers was a good tenth of the event loop's work.
                if (now >= later or body.exhausted) and not deadline.expired():
                    later = now + self.stall_seconds * _PRECISION
                    # What was handed out last may still be in the buffers of a slow connection.
                    drain = body.size / _SLOWEST if body.exhausted else 0.0
                    deadline.reschedule(later + self.stall_seconds + drain)

            body.on_progress = progress
            try:
                return await call
            finally:
                body.on_progress = None

    async def in_time(self, call: Coroutine[Any, Any, Any], *, extra: float = 0.0) -> Any:
        async with asyncio.timeout(self.stall_seconds + extra):
            return await call

    async def committed(self, outcome: Outcome[Any], size: int, checksum: Checksum | None) -> Stored:
        """What was written, or the error. The answer to a commit can be lost, or come late."""
        outcome.raise_if_cancelled()
        error = outcome.error
        if outcome.value is not None and "ETag" in outcome.value:
            return self._stored(outcome.value["ETag"], size, checksum)
        # An answer without an ETag is as good as none.
        if error is None or (isinstance(error, CLIENT_ERRORS) and may_have_worked(error)):
            there = await self.head()
            if self._is_ours(there):
                return self._stored(there["ETag"], size, checksum)
            if error is None:
                raise UploadFailed(f"S3 did not store {self.key!r}: its answer was empty")
            # What was in the way may be gone again, or not for these credentials to see.
            if is_refused(error) or (there is not None and is_conflict(error)):
                raise ObjectExists(self.key)
        raise self.failure(outcome)

    async def head(self) -> dict[str, Any] | None:
        """What is there, if anything is that may be seen."""
        try:
            answer: dict[str, Any] = await self.in_time(self.client.head_object(**self.place))
        except ClientError:
            return None  # absent, or not ours to see; the write itself will tell
        except CLIENT_ERRORS as error:
            raise self.failed(error) from error
        return answer

    async def found(self) -> Stored | None:
        """What this write has made, if that is there."""
        there = await self.head()
        if not self._is_ours(there):
            return None
        stored = self._stored(there["ETag"], int(there["ContentLength"]), None)
        return replace(stored, content_type=there["ContentType"])

    def failed(self, error: BaseException) -> UploadFailed:
        return upload_failed(self.key, error, place(self.client, self.bucket))

    def failure(self, outcome: Outcome[Any]) -> BaseException:
        """What to raise for a step that has no value."""
        if outcome.cancelled is not None:
            return outcome.cancelled
        error = outcome.error
        assert error is not None
        return self.failed(error) if isinstance(error, CLIENT_ERRORS) else error

    def _is_ours(self, head: dict[str, Any] | None) -> TypeGuard[dict[str, Any]]:
        return head is not None and head.get("Metadata", {}).get(_MARK) == self.mark

    def _stored(self, etag: str, size: int, checksum: Checksum | None) -> Stored:
        return Stored(
            key=self.key,
            size=size,
            content_type=self.content_type,
            etag=etag.strip('"'),
            modified=datetime.now(UTC),
            filename=self.filename,
            checksum=checksum,
        )


def filename_in(metadata: dict[str, str]) -> str | None:
    """The file name that was stored with an object: percent-encoded, since headers are ASCII."""
    # Others write to buckets too, and whatever they wrote.
    return filename_or_none(unquote(metadata[_FILENAME])) if _FILENAME in metadata else None

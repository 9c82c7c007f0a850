"""Multipart uploads that nobody goes on with: S3 keeps their parts, unseen and paid for."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from scalekit._amazon import code_of, place
from scalekit.storage._s3_errors import reading
from scalekit.storage._values import Leftover


async def abandoned(
    client: Any, bucket: str, root: str, prefix: str, before: datetime
) -> AsyncGenerator[Leftover, None]:
    """The uploads below ``root + prefix`` whose last part, or beginning, is older than ``before``.

    An upload that goes on for days is not abandoned, whenever it began.
    """
    where = place(client, bucket)
    page: dict[str, Any] = {}
    while True:
        with reading("list uploads", where):
            answer = await client.list_multipart_uploads(Bucket=bucket, Prefix=root + prefix, **page)
        for upload in answer.get("Uploads", ()):
            name, upload_id, began = upload["Key"], upload["UploadId"], upload["Initiated"].astimezone(UTC)
            # Every server filters by prefix; what would be removed is worth a second look.
            if began >= before or not name.startswith(root + prefix):
                continue
            grown = await _growth(client, bucket, name, upload_id)
            if grown is None or max(grown[0] or began, began) >= before:
                continue
            yield Leftover(
                kind="multipart upload",
                name=name.removeprefix(root),
                modified=grown[0] or began,
                size=grown[1],
                remove=partial(_abort, client, bucket, name, upload_id),
            )
        if not answer.get("IsTruncated"):
            return
        page = {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"]}


async def _growth(client: Any, bucket: str, name: str, upload_id: str) -> tuple[datetime | None, int] | None:
    """When the last part came, and the bytes of all; ``None`` if the upload has ended meanwhile."""
    newest: datetime | None = None
    size = 0
    page: dict[str, Any] = {}
    while True:
        with reading(f"look at the upload of {name!r}", place(client, bucket)):
            try:
                answer = await client.list_parts(Bucket=bucket, Key=name, UploadId=upload_id, **page)
            except ClientError as error:
                if code_of(error) == "NoSuchUpload":
                    return None
                raise
        for part in answer.get("Parts", ()):
            came = part["LastModified"].astimezone(UTC)
            newest = came if newest is None else max(newest, came)
            size += int(part["Size"])
        if not answer.get("IsTruncated"):
            return newest, size
        page = {"PartNumberMarker": answer["NextPartNumberMarker"]}


async def _abort(client: Any, bucket: str, name: str, upload_id: str) -> None:
    with reading(f"abort the upload of {name!r}", place(client, bucket)):
        try:
            await client.abort_multipart_upload(Bucket=bucket, Key=name, UploadId=upload_id)
        except ClientError as error:
            if code_of(error) != "NoSuchUpload":
                raise

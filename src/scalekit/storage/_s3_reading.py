"""Objects of S3 as they are read, looked up and listed. ``name`` is a key with the storage's prefix."""

import inspect
from collections.abc import AsyncGenerator
from datetime import UTC
from typing import Any

from botocore.exceptions import ClientError

from scalekit._amazon import code_of, place, status_of
from scalekit.errors import BackendUnavailable, InvalidKey
from scalekit.storage._extensions import UNKNOWN, type_for
from scalekit.storage._s3_digests import kept_crc32
from scalekit.storage._s3_errors import reading
from scalekit.storage._s3_target import filename_in
from scalekit.storage._values import Opened, Stored
from scalekit.storage.keys import check_key

_READ_SIZE = 256 * 1024


async def read(
    client: Any, bucket: str, key: str, name: str, *, offset: int, length: int | None
) -> Opened | None:
    """See ``Storage.open``."""
    wanted: dict[str, Any] = {"Bucket": bucket, "Key": name}
    if offset or length is not None:
        if length == 0:  # HTTP has no empty range
            return await _nothing_of(client, bucket, key, name)
        wanted["Range"] = f"bytes={offset}-{'' if length is None else offset + length - 1}"
    with reading(f"read {key!r}", place(client, bucket)):
        try:
            answer = await client.get_object(**wanted)
        except ClientError as error:
            if code_of(error) == "InvalidRange":  # from the very end on, or an empty object
                return await _nothing_of(client, bucket, key, name)
            if _is_absent(error):
                return None
            raise
    body, expected = answer["Body"], int(answer["ContentLength"])
    whole = answer.get("ContentRange", f"/{expected}").rpartition("/")[2]

    async def close() -> None:
        closed = body.close()
        if inspect.isawaitable(closed):  # aiobotocore over httpx
            await closed

    chunks = _chunks(key, body, expected, place(client, bucket))
    return Opened(_stored(key, answer, int(whole)), chunks, close=close)


async def look_up(client: Any, bucket: str, key: str, name: str) -> Stored | None:
    """See ``Storage.stat``."""
    with reading(f"look up {key!r}", place(client, bucket)):
        try:
            answer = await client.head_object(Bucket=bucket, Key=name, ChecksumMode="ENABLED")
        except ClientError as error:
            if _is_absent(error):
                return None
            raise
    return _stored(key, answer, int(answer["ContentLength"]))


async def objects(client: Any, bucket: str, root: str, prefix: str) -> AsyncGenerator[Stored, None]:
    """What is below ``root + prefix``, by keys without ``root``."""
    page: dict[str, Any] = {}
    while True:
        with reading(f"list {prefix!r}" if prefix else "list the objects", place(client, bucket)):
            answer = await client.list_objects_v2(Bucket=bucket, Prefix=root + prefix, **page)
        for entry in answer.get("Contents", ()):
            key = entry["Key"].removeprefix(root)
            if _is_key(key):  # others write to buckets too, such as "folders" that end with a slash
                yield _stored(key, entry | {"ContentType": type_for(key)}, int(entry["Size"]))
        if not answer.get("IsTruncated"):
            return
        page = {"ContinuationToken": answer["NextContinuationToken"]}


async def _nothing_of(client: Any, bucket: str, key: str, name: str) -> Opened | None:
    stored = await look_up(client, bucket, key, name)
    return None if stored is None else Opened(stored, _no_chunks())


def _is_absent(error: ClientError) -> bool:
    return status_of(error) == 404 and code_of(error) != "NoSuchBucket"


def _stored(key: str, answer: dict[str, Any], size: int) -> Stored:
    return Stored(
        key=key,
        size=size,
        content_type=answer.get("ContentType") or UNKNOWN,
        etag=answer["ETag"].strip('"'),
        modified=answer["LastModified"].astimezone(UTC),
        filename=filename_in(answer.get("Metadata", {})),
        checksum=kept_crc32(answer),
    )


def _is_key(key: str) -> bool:
    try:
        check_key(key)
    except InvalidKey:
        return False
    return True


async def _chunks(key: str, body: Any, expected: int, where: str) -> AsyncGenerator[bytes, None]:
    received = 0
    while received < expected:
        with reading(f"read {key!r}", where):
            chunk = await body.read(_READ_SIZE)
        if not chunk:
            raise BackendUnavailable(
                f"S3 ended after {received} of {expected} bytes of {key!r}", backend="s3"
            )
        received += len(chunk)
        yield chunk


async def _no_chunks() -> AsyncGenerator[bytes, None]:
    for nothing in list[bytes]():
        yield nothing

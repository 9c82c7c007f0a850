"""The S3 side of an upload in parts that the browser sends itself."""

from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from scalekit._amazon import code_of, place
from scalekit.storage._direct_grant import Grant
from scalekit.storage._s3_errors import reading
from scalekit.storage._s3_multipart import Multipart, Part
from scalekit.storage._s3_target import Target
from scalekit.storage._values import Stored

URL_EXPIRES = 3600
"""Seconds that the address of a part is valid at most. The browser asks for another then."""


async def sign(
    target: Target, grant: Grant, numbers: Sequence[int], *, lifetime: int
) -> list[dict[str, Any]]:
    """Where to PUT each of these parts, and how many bytes; S3 refuses any other number of bytes."""
    signed = []
    with reading(f"sign {grant.key!r}", place(target.client, target.bucket)):
        for number in numbers:
            size = grant.size_of(number)
            url = await target.client.generate_presigned_url(
                "upload_part",
                Params={
                    **target.place,
                    "UploadId": grant.upload_id,
                    "PartNumber": number,
                    "ContentLength": size,
                },
                ExpiresIn=max(1, min(URL_EXPIRES, lifetime)),
            )
            signed.append({"number": number, "url": url, "size": size})
    return signed


async def arrived(target: Target, grant: Grant) -> dict[int, Part] | None:
    """The parts that S3 has, as they must be; ``None`` if it has no such upload (any more)."""
    found: dict[int, Part] = {}
    page: dict[str, Any] = {}
    while True:
        with reading(f"look at the upload of {grant.key!r}", place(target.client, target.bucket)):
            try:
                answer = await target.client.list_parts(**target.place, UploadId=grant.upload_id, **page)
            except ClientError as error:
                if code_of(error) == "NoSuchUpload":
                    return None
                raise
        for part in answer.get("Parts", ()):
            number, size = int(part["PartNumber"]), int(part["Size"])
            # S3 refuses others, if it keeps to what was signed.
            if number <= grant.parts and size == grant.size_of(number):
                found[number] = Part(number=number, etag=part["ETag"], size=size, crc32=None)
        if not answer.get("IsTruncated"):
            return found
        page = {"PartNumberMarker": answer["NextPartNumberMarker"]}


async def complete(target: Target, grant: Grant, parts: Mapping[int, Part]) -> Stored:
    """Make the parts, all of them, the object."""
    return await Multipart(target, grant.upload_id).complete([parts[number] for number in sorted(parts)])


async def abort(target: Target, grant: Grant) -> None:
    """Remove what has arrived."""
    await Multipart(target, grant.upload_id).abort()

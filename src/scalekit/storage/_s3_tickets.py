"""Permissions to upload, as S3 signs and checks them; see :mod:`scalekit.storage.direct`."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from scalekit._durations import Duration, seconds
from scalekit.errors import ConfigurationError, FileTooLarge, InvalidKey
from scalekit.storage._content_type import check_content_type, is_pattern
from scalekit.storage.checksums import Checksum
from scalekit.storage.profiles import S3Profile

MAX_PUT_SIZE = 5 * 1024**3
"""Bytes that S3 takes in one request."""

MAX_EXPIRES = 7 * 24 * 3600
"""Signatures of version 4 are valid for a week at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PostTicket:
    """A signed form: a browser posts ``fields`` and then a field ``file`` to ``url``, as multipart/form-data.

    Args:
        url: where to post.
        fields: the form fields to send first, in any order. They contain the signature.
        key: the object's key in the storage once the upload has succeeded.
        expires: the ticket is refused after this time.
    """

    url: str
    fields: dict[str, str] = field(repr=False)
    key: str
    expires: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class PutTicket:
    """A signed address: a browser sends the file, and nothing else, to ``url`` by PUT.

    Args:
        url: where to send it.
        headers: to be sent exactly so. ``Content-Length``, which is signed as well, browsers set themselves.
        key: the object's key in the storage once the upload has succeeded.
        expires: the ticket is refused after this time.
    """

    url: str = field(repr=False)
    headers: dict[str, str]
    key: str
    expires: datetime


async def presign_post(
    client: Any,
    *,
    bucket: str,
    name: str,
    key: str,
    content_type: str,
    min_size: int,
    max_size: int,
    expires: Duration,
) -> PostTicket:
    """See ``S3Storage.presign_post``. ``name`` is the key with the storage's prefix."""
    if not 0 <= min_size <= max_size:
        raise ConfigurationError(f"min_size={min_size}, max_size={max_size}; need 0 <= min_size <= max_size")
    if "${" in name:
        raise InvalidKey(key, "contains '${', for which S3 puts the name that the browser chose")
    lifetime = check_expires(expires)
    fields = {"success_action_status": "201"}
    conditions: list[Any] = [["content-length-range", min_size, max_size], {"success_action_status": "201"}]
    if content_type.endswith("/*") and content_type != "*/*" and is_pattern(content_type):
        conditions.append(["starts-with", "$Content-Type", content_type.removesuffix("*")])
    else:
        check_content_type(content_type)
        fields["Content-Type"] = content_type
        conditions.append({"Content-Type": content_type})
    until = datetime.now(UTC) + timedelta(seconds=lifetime)
    signed = await client.generate_presigned_post(
        Bucket=bucket, Key=name, Fields=fields, Conditions=conditions, ExpiresIn=lifetime
    )
    return PostTicket(url=signed["url"], fields=signed["fields"], key=key, expires=until)


async def presign_put(
    client: Any,
    profile: S3Profile,
    *,
    bucket: str,
    name: str,
    key: str,
    size: int,
    content_type: str,
    checksum: Checksum | None,
    overwrite: bool,
    expires: Duration,
) -> PutTicket:
    """See ``S3Storage.presign_put``. ``name`` is the key with the storage's prefix."""
    if size < 0:
        raise ConfigurationError(f"size={size}; give the file's size in bytes")
    if size > MAX_PUT_SIZE:
        raise FileTooLarge(limit=MAX_PUT_SIZE, received=0, what=f"one PUT of {size} bytes")
    lifetime = check_expires(expires)
    signed: dict[str, tuple[str, str]] = {"ContentType": ("Content-Type", check_content_type(content_type))}
    if checksum is not None:
        signed |= _signed_checksum(checksum, profile)
    if not overwrite and profile.conditional_puts:
        signed["IfNoneMatch"] = ("If-None-Match", "*")
    params = {parameter: value for parameter, (_, value) in signed.items()}
    until = datetime.now(UTC) + timedelta(seconds=lifetime)
    url = await client.generate_presigned_url(
        "put_object",
        Params={"Bucket": bucket, "Key": name, "ContentLength": size, **params},
        ExpiresIn=lifetime,
    )
    return PutTicket(url=url, headers=dict(signed.values()), key=key, expires=until)


def _signed_checksum(checksum: Checksum, profile: S3Profile) -> dict[str, tuple[str, str]]:
    algorithm = checksum.algorithm
    if algorithm == "md5":
        return {"ContentMD5": ("Content-MD5", checksum.base64)}
    if profile.checksum != "crc32":
        raise ConfigurationError(f"checksum={checksum}; {profile.name} checks no other than md5")
    return {f"Checksum{algorithm.upper()}": (f"x-amz-checksum-{algorithm}", checksum.base64)}


def check_expires(expires: Duration) -> int:
    """``expires`` in whole seconds.

    Raises:
        ConfigurationError: not between one second and a week.
    """
    lifetime = int(seconds(expires, name="expires", minimum=1))
    if lifetime > MAX_EXPIRES:
        raise ConfigurationError(
            f"expires={lifetime} s; a signature is valid for {MAX_EXPIRES} seconds at most"
        )
    return lifetime

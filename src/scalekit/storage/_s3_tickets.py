"""Permissions to upload, as S3 signs and checks them; see :mod:`scalekit.storage.direct`."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from scalekit._durations import Duration, seconds
from scalekit.errors import ConfigurationError, InvalidKey
from scalekit.storage._content_type import check_content_type, is_pattern

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

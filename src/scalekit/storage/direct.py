"""Permissions to talk to S3 directly, so that large files need not pass through the application.

A ticket is signed here and checked by S3. It says what may be uploaded: how many bytes, of which type, under
which key, until when. Nothing else is allowed, and no request reaches the application before or after.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from scalekit._durations import Duration, seconds
from scalekit.errors import ConfigurationError

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
    lifetime = check_expires(expires)
    fields = {"success_action_status": "201"}
    conditions: list[Any] = [["content-length-range", min_size, max_size], {"success_action_status": "201"}]
    kind, slash, subtype = content_type.partition("/")
    if not kind or not slash or not subtype or "*" in kind:
        raise ConfigurationError(
            f"content_type={content_type!r}; give a type such as 'image/png' or 'image/*'"
        )
    if subtype == "*":
        conditions.append(["starts-with", "$Content-Type", f"{kind}/"])
    else:
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

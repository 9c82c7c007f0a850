"""19. Permission for one PUT of an exact size: what it says works, everything else S3 refuses."""

import datetime
from dataclasses import replace
from typing import Any

import httpx
import pytest

from scalekit.errors import ConfigurationError, FileTooLarge, InvalidKey, ObjectExists
from scalekit.storage import Checksum, GiB
from scalekit.storage.direct import PutTicket
from scalekit.storage.profiles import AMAZON, SWIFT
from scalekit.storage.s3 import S3Storage
from tests.storage.helpers import PNG, on_each_s3, on_strict_s3


async def send(ticket: PutTicket, content: bytes, **changed: str) -> int:
    """What a browser does with a ticket, and the status that it gets."""
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.put(ticket.url, headers=ticket.headers | changed, content=content)
        return answer.status_code


async def allowed(storage: S3Storage, **options: Any) -> PutTicket:
    return await storage.presign_put(**({"size": len(PNG), "content_type": "image/png"} | options))


@on_each_s3
async def test_an_upload_from_the_browser(s3_storage: S3Storage) -> None:
    """19. What the ticket says is taken by S3 and found under the ticket's key."""
    ticket = await allowed(s3_storage, prefix="avatars/", checksum=Checksum.of(PNG, "md5"))
    assert await send(ticket, PNG) == 200
    stored = await s3_storage.stat(ticket.key)
    assert stored is not None
    assert (stored.size, stored.content_type) == (len(PNG), "image/png")
    assert ticket.key.startswith("avatars/")
    assert ticket.key.endswith(".png")
    assert await s3_storage.read(ticket.key) == PNG


@on_strict_s3
async def test_what_the_ticket_does_not_say(s3_storage: S3Storage, s3_client: Any, bucket: str) -> None:
    """19. Longer, shorter, empty, of another type, to another key, with another signature: all refused."""
    ticket = await allowed(s3_storage)
    for content, headers in (
        (PNG + b"x", {}),
        (PNG[:-1], {}),
        (b"", {}),
        (PNG, {"Content-Type": "text/html"}),
        (PNG, {"If-None-Match": '"other"'}),
        (PNG, {"x-amz-meta-scanned": "clean"}),
    ):
        assert await send(ticket, content, **headers) == 403, (len(content), headers)
    for part, other in (
        ("photos/", "elsewhere/"),
        ("X-Amz-Signature=", "X-Amz-Signature=0"),
        ("X-Amz-Expires=900", "X-Amz-Expires=9000"),
    ):
        assert part in ticket.url
        assert await send(replace(ticket, url=ticket.url.replace(part, other)), PNG) == 403, part
    assert "Contents" not in await s3_client.list_objects_v2(Bucket=bucket)
    assert await send(ticket, PNG) == 200


@on_strict_s3
async def test_another_content(s3_storage: S3Storage) -> None:
    """17. 19. With a checksum in the ticket another content of this size is refused, by MD5 and by CRC-32."""
    for profile, algorithm in ((None, "md5"), (AMAZON, "crc32"), (AMAZON, "sha256")):
        s3_storage.profile = profile
        ticket = await allowed(s3_storage, checksum=Checksum.of(PNG, algorithm))
        assert await send(ticket, PNG[::-1]) == 400, algorithm
        ((name, _),) = [item for item in ticket.headers.items() if "5" in item[0] or "checksum" in item[0]]
        other = Checksum.of(PNG[::-1], algorithm).base64
        assert await send(ticket, PNG[::-1], **{name: other}) == 403, algorithm
        assert await s3_storage.stat(ticket.key) is None
        assert await send(ticket, PNG) == 200


@on_each_s3
async def test_nothing_is_replaced(s3_storage: S3Storage) -> None:
    """16. A ticket replaces nothing, not even what came by itself before, unless it was made to."""
    ticket = await allowed(s3_storage, key="logo.png")
    other = await allowed(s3_storage, key="logo.png", size=3)
    assert await send(ticket, PNG) == 200
    assert await send(other, b"new") == 412
    assert await send(ticket, PNG) == 412
    assert await s3_storage.read("logo.png") == PNG
    assert await send(await allowed(s3_storage, key="logo.png", size=3, overwrite=True), b"new") == 200
    assert await s3_storage.read("logo.png") == b"new"


async def test_where_s3_cannot_refuse(s3_storage: S3Storage) -> None:
    """24. A service without conditional writes is asked before: a ticket for what is there is not made."""
    s3_storage.profile = SWIFT
    await s3_storage.put("logo.png", PNG)
    with pytest.raises(ObjectExists):
        await allowed(s3_storage, key="logo.png")
    assert "If-None-Match" not in (await allowed(s3_storage)).headers


@on_strict_s3
async def test_an_expired_ticket(s3_storage: S3Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """19. A ticket is refused after its time."""
    import botocore.auth

    real = botocore.auth.get_current_datetime
    # Signed as if ten minutes ago, with a life of one.
    monkeypatch.setattr(
        botocore.auth, "get_current_datetime", lambda *args: real(*args) - datetime.timedelta(minutes=10)
    )
    assert await send(await allowed(s3_storage, expires=60), PNG) == 403
    assert await send(await allowed(s3_storage, expires=3600), PNG) == 200


@pytest.mark.parametrize(
    "options",
    [
        {"content_type": "image/*"},
        {"content_type": "image/png, text/html"},
        {"size": -1},
        {"expires": 0},
        {"expires": 8 * 24 * 3600},
        {"checksum": Checksum.of(PNG, "sha256")},
    ],
)
async def test_mistakes(options: dict[str, Any]) -> None:
    """A ticket that could never be used is a mistake of the application."""
    async with storage_elsewhere() as storage:
        with pytest.raises(ConfigurationError):
            await allowed(storage, **options)


async def test_too_large_for_one_request() -> None:
    """A size that S3 does not take in one request is the client's mistake: 413."""
    async with storage_elsewhere() as storage:
        assert (await allowed(storage, size=5 * GiB)).headers["Content-Type"] == "image/png"
        with pytest.raises(FileTooLarge):
            await allowed(storage, size=5 * GiB + 1)


async def test_keys_stay_in_their_place() -> None:
    """15. A ticket of a tenant's storage is for its prefix, whatever key it is asked for."""
    async with storage_elsewhere() as storage:
        tenant = storage.scoped("tenants/7/")
        assert "/bucket/photos/tenants/7/a.png?" in (await allowed(tenant, key="a.png")).url
        for key in ("../8/a.png", "/a.png", ""):
            with pytest.raises(InvalidKey):
                await allowed(tenant, key=key)


async def test_secrets_are_not_shown() -> None:
    """A ticket that is logged does not give itself away."""
    async with storage_elsewhere() as storage:
        ticket = await allowed(storage)
        assert "X-Amz-Signature" in ticket.url
        assert "X-Amz-Signature" not in repr(ticket)


def storage_elsewhere() -> S3Storage:
    """One that is asked for signatures only, which takes no server."""
    return S3Storage(
        "bucket",
        prefix="photos/",
        endpoint_url="http://127.0.0.1:9",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )

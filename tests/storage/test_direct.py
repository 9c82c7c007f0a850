"""Tickets that S3 itself checks: what they allow works, everything else the S3 server refuses."""

import base64
import datetime
import json
from typing import Any

import httpx
import pytest

from scalekit.errors import ConfigurationError, InvalidKey
from scalekit.storage import MiB
from scalekit.storage.direct import PostTicket
from scalekit.storage.s3 import S3Storage
from tests.storage.helpers import PNG, on_each_s3, on_strict_s3


async def post(ticket: PostTicket, content: bytes, **changed: str) -> httpx.Response:
    """What a browser does with a ticket."""
    async with httpx.AsyncClient(timeout=60) as client:
        return await client.post(
            ticket.url, data=ticket.fields | changed, files={"file": ("cat.png", content, "image/png")}
        )


@on_each_s3
async def test_an_upload_from_the_browser(s3_storage: S3Storage) -> None:
    """19. What the ticket allows is taken by S3 and found under the ticket's key in the storage."""
    ticket = await s3_storage.presign_post(max_size=5 * MiB, content_type="image/png", prefix="avatars/")
    answer = await post(ticket, PNG)
    assert answer.status_code == 201
    stored = await s3_storage.stat(ticket.key)
    assert stored is not None
    assert (stored.size, stored.content_type) == (len(PNG), "image/png")
    assert ticket.key.startswith("avatars/")
    assert ticket.key.endswith(".png")


@on_each_s3
async def test_what_the_ticket_does_not_allow(s3_storage: S3Storage, s3_client: Any, bucket: str) -> None:
    """19. Too large, empty, of another type, under another key: S3 refuses each, and stores nothing."""
    ticket = await s3_storage.presign_post(max_size=1000, content_type="image/png")
    for content, changed in (
        (b"x" * 1001, {}),
        (b"", {}),
        (b"x", {"Content-Type": "text/html"}),
        (b"x", {"key": "photos/another.png"}),
        (b"x", {"key": "elsewhere/" + ticket.key}),
    ):
        answer = await post(ticket, content, **changed)
        assert answer.status_code in (400, 403), (changed, len(content), answer.status_code)
    assert "Contents" not in await s3_client.list_objects_v2(Bucket=bucket)


async def test_what_the_policy_says(s3_storage: S3Storage) -> None:
    """19. Size, type, bucket and key are conditions of the ticket, and its time is that of the policy."""
    ticket = await s3_storage.presign_post(max_size=1000, content_type="image/png", expires=60)
    policy = json.loads(base64.b64decode(ticket.fields["policy"]))
    for condition in (
        ["content-length-range", 1, 1000],
        {"Content-Type": "image/png"},
        {"bucket": s3_storage.bucket},
        {"key": "photos/" + ticket.key},
    ):
        assert condition in policy["conditions"]
    ends = datetime.datetime.fromisoformat(policy["expiration"])
    assert abs(ends - ticket.expires) < datetime.timedelta(seconds=5)


@on_strict_s3  # LocalStack does not check signatures of forms
async def test_a_tampered_ticket(s3_storage: S3Storage, s3_client: Any, bucket: str) -> None:
    """19. A ticket with another policy, signature, name or one field more is refused, and nothing stored."""
    ticket = await s3_storage.presign_post(max_size=1000, content_type="image/png")
    policy = json.loads(base64.b64decode(ticket.fields["policy"]))
    limit = policy["conditions"].index(["content-length-range", 1, 1000])
    policy["conditions"][limit][2] = 10_000
    for changed in (
        {"policy": base64.b64encode(json.dumps(policy).encode()).decode()},
        {"x-amz-signature": "0" * 64},
        {"x-amz-credential": ticket.fields["x-amz-credential"].replace("test/", "admin/")},
        {"x-amz-meta-scanned": "clean"},
    ):
        assert (await post(ticket, b"x" * 500, **changed)).status_code in (400, 403), changed
    assert "Contents" not in await s3_client.list_objects_v2(Bucket=bucket)
    assert (await post(ticket, b"x" * 500)).status_code == 201


@on_each_s3
async def test_any_type_of_a_kind(s3_storage: S3Storage) -> None:
    """19. A ticket for image/* takes every image, and nothing else."""
    ticket = await s3_storage.presign_post(max_size=1000, content_type="image/*")
    assert (await post(ticket, b"x", **{"Content-Type": "video/mp4"})).status_code == 403
    assert (await post(ticket, b"x", **{"Content-Type": "image/webp"})).status_code == 201


@on_each_s3
async def test_an_expired_ticket(s3_storage: S3Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """19. A ticket is refused after its time."""
    import aiobotocore.signers

    real = aiobotocore.signers.get_current_datetime
    # Signed as if ten minutes ago, with a life of one.
    monkeypatch.setattr(
        aiobotocore.signers,
        "get_current_datetime",
        lambda *args: real(*args) - datetime.timedelta(minutes=10),
    )
    ticket = await s3_storage.presign_post(max_size=1000, content_type="image/png", expires=60)
    assert (await post(ticket, PNG[:500])).status_code == 403


async def test_a_chosen_key(s3_storage: S3Storage) -> None:
    """The application may choose the key, within the rules for keys and the storage's prefix."""
    ticket = await s3_storage.presign_post(max_size=10, content_type="text/plain", key="notes/1.txt")
    assert ticket.key == "notes/1.txt"
    assert ticket.fields["key"] == "photos/notes/1.txt"
    with pytest.raises(InvalidKey):
        await s3_storage.presign_post(max_size=10, content_type="text/plain", key="../1.txt")


@pytest.mark.parametrize("where", [{"key": "u/7/${filename}"}, {"prefix": "${filename}/"}])
async def test_the_browser_does_not_choose_the_key(s3_storage: S3Storage, where: dict[str, str]) -> None:
    """19. A key in which S3 would put the browser's own file name is refused."""
    with pytest.raises(InvalidKey, match="browser chose"):
        await s3_storage.presign_post(max_size=10, content_type="text/plain", **where)


@pytest.mark.parametrize(
    "options",
    [
        {"content_type": "image"},
        {"content_type": "*/*"},
        {"content_type": "image/png, text/html"},
        {"content_type": "image, text/*"},
        {"max_size": 0},
        {"min_size": 20},
        {"min_size": -1},
        {"expires": 0},
        {"expires": 8 * 24 * 3600},
    ],
)
async def test_mistakes(s3_storage: S3Storage, options: dict[str, Any]) -> None:
    """A ticket that could never be used, or not be limited, is a mistake of the application."""
    with pytest.raises(ConfigurationError):
        await s3_storage.presign_post(**({"max_size": 10, "content_type": "image/png"} | options))


async def test_secrets_are_not_shown(s3_storage: S3Storage) -> None:
    """A ticket that is logged does not give itself away."""
    ticket = await s3_storage.presign_post(max_size=10, content_type="image/png")
    assert ticket.fields["x-amz-signature"] not in repr(ticket)


@on_each_s3
async def test_signed_addresses(s3_storage: S3Storage) -> None:
    """url() without a base_url is an address that works for whoever has it; altered, it does not."""
    await s3_storage.put("cat photo.png", PNG)
    url = await s3_storage.url("cat photo.png")
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.get(url)
        assert (answer.status_code, answer.content) == (200, PNG)
        assert answer.headers["content-type"] == "image/png"
        altered = url[:-1] + ("1" if url.endswith("0") else "0")
        assert (await client.get(altered)).status_code == 403
        download = await s3_storage.presign_get("cat photo.png", filename="../my \u202ecät.png", expires=60)
        answer = await client.get(download)
        assert answer.headers["content-disposition"] == (
            "attachment; filename=\"my c_t.png\"; filename*=UTF-8''my%20c%C3%A4t.png"
        )


async def test_public_addresses(bucket: str, s3_server: Any) -> None:
    """With a base_url the address is permanent and needs no request; without, there is none."""
    async with S3Storage(
        bucket, base_url="https://cdn.example.com/media", **s3_server.client_kwargs
    ) as storage:
        assert await storage.url("a/ä b.png") == "https://cdn.example.com/media/a/%C3%A4%20b.png"
        assert storage.public_url("a.png") == "https://cdn.example.com/media/a.png"
    with pytest.raises(ConfigurationError, match="base_url"):
        S3Storage(bucket, **s3_server.client_kwargs).public_url("a.png")
    for wrong in ("media/", "ftp://x/", "/media?x", "javascript:alert(1)"):
        with pytest.raises(ConfigurationError):
            S3Storage(bucket, base_url=wrong, **s3_server.client_kwargs)


@pytest.mark.parametrize(
    "options", [{"part_size": MiB}, {"concurrency": 0}, {"url_expires": 0}, {"prefix": "../"}]
)
async def test_options_are_checked(options: dict[str, Any]) -> None:
    """What S3 would refuse later is refused when the storage is set up."""
    with pytest.raises((ConfigurationError, InvalidKey)):
        S3Storage("media", **options)

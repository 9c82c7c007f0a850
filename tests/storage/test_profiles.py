"""24. Services that speak like S3 are asked for what they understand, and for nothing else."""

from typing import Any

import pytest

from scalekit.errors import ObjectExists
from scalekit.storage import MiB
from scalekit.storage.profiles import AMAZON, CEPH, COMPATIBLE, R2, SWIFT, S3Profile, profile_for
from scalekit.storage.s3 import S3Storage
from tests.storage.helpers import stream
from tests.storage.stand_in import S3StandIn

_NEW = {
    "x-amz-checksum-crc32",
    "x-amz-checksum-algorithm",
    "x-amz-checksum-type",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-trailer",
}


class _Seen:
    """The headers that requests were sent with."""

    def __init__(self) -> None:
        self.headers: dict[str, list[dict[str, str]]] = {}

    def __call__(self, request: Any, operation_name: str, **_: Any) -> None:
        headers = {name.lower(): str(value) for name, value in request.headers.items()}
        self.headers.setdefault(operation_name, []).append(headers)

    def names(self) -> set[str]:
        return {name for sent in self.headers.values() for headers in sent for name in headers}


async def _uploads(stand_in: S3StandIn, profile: S3Profile | None, *, signing: bool) -> _Seen:
    """What was sent for one small and one large create-only upload."""
    seen = _Seen()
    async with S3Storage("media", part_size=5 * MiB, profile=profile, **stand_in.client_kwargs) as storage:
        client = await storage._clients.get()
        if not signing:
            client.meta.config.s3["payload_signing_enabled"] = False
        client.meta.events.register("before-sign.s3", seen)
        await storage.put("small.txt", b"small")
        await storage.put("large.bin", stream(6 * MiB))
        assert await storage.read("small.txt") == b"small"
        assert (await storage.stat("large.bin")) is not None
    return seen


@pytest.fixture(params=[True, False], ids=["http", "as over tls"])
def signing(request: pytest.FixtureRequest) -> bool:
    signs: bool = request.param
    return signs


async def test_amazon(stand_in: S3StandIn, signing: bool) -> None:
    """24. Amazon's S3 gets a CRC-32 of every body and of the whole, and decides what create-only means."""
    seen = await _uploads(stand_in, AMAZON, signing=signing)
    for operation in ("PutObject", "UploadPart", "CompleteMultipartUpload"):
        assert all("x-amz-checksum-crc32" in headers for headers in seen.headers[operation])
    assert "content-md5" not in seen.names()
    for operation in ("PutObject", "CompleteMultipartUpload"):
        assert [headers["if-none-match"] for headers in seen.headers[operation]] == ["*"]


@pytest.mark.parametrize(
    "profile", [None, COMPATIBLE, R2, CEPH, SWIFT], ids=lambda p: p.name if p else "default"
)
async def test_others(stand_in: S3StandIn, profile: S3Profile | None, signing: bool) -> None:
    """24. Others get no checksum that is newer than S3: none where the body is signed, else Content-MD5."""
    seen = await _uploads(stand_in, profile, signing=signing)
    assert not _NEW & seen.names()
    for operation in ("PutObject", "UploadPart"):
        assert all(("content-md5" in headers) is not signing for headers in seen.headers[operation])
    known = profile or COMPATIBLE
    for operation, decided in (
        ("PutObject", known.conditional_puts),
        ("CompleteMultipartUpload", known.conditional_completions),
    ):
        assert all(("if-none-match" in headers) is decided for headers in seen.headers[operation])


async def test_create_only_where_nobody_decides_it(stand_in: S3StandIn) -> None:
    """16, 24. Without conditional writes an object that is there is still kept: it is looked for first."""
    async with S3Storage("media", part_size=5 * MiB, profile=SWIFT, **stand_in.client_kwargs) as storage:
        await storage.put("a.bin", b"first")
        for source in (b"second", stream(6 * MiB)):
            with pytest.raises(ObjectExists):
                await storage.put("a.bin", source)
        assert await storage.read("a.bin") == b"first"


def test_which_one_is_taken() -> None:
    """24. Amazon's profile is taken at Amazon's addresses alone."""
    for endpoint, expected in (
        ("https://s3.eu-central-1.amazonaws.com", AMAZON),
        ("https://s3.cn-north-1.amazonaws.com.cn", AMAZON),
        ("https://media.s3.amazonaws.com:443/x", AMAZON),
        ("https://s3.amazonaws.com.example.org", COMPATIBLE),
        ("http://127.0.0.1:9000", COMPATIBLE),
        ("https://account.r2.cloudflarestorage.com", COMPATIBLE),
    ):
        assert profile_for(endpoint) is expected

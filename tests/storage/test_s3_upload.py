"""S3Storage when S3 is slow, stalls, fails or loses an answer, and when the client goes away."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from scalekit.errors import (
    BackendUnavailable,
    ConfigurationError,
    FileTooLarge,
    InvalidKey,
    ObjectExists,
    StorageError,
    UploadFailed,
)
from scalekit.storage import MiB, Storage
from scalekit.storage import _s3_upload as s3_upload
from scalekit.storage._s3_target import Target
from scalekit.storage.s3 import S3Storage
from tests.storage.helpers import (
    SourceBroken,
    broken,
    cancel_every_turn,
    cancel_everywhere,
    chunks,
    eventually,
    on_each_s3,
    on_strict_s3,
    settled,
    stream,
)
from tests.storage.stand_in import S3StandIn

pytestmark = pytest.mark.slow

PART = 5 * MiB


@pytest.fixture
async def media(stand_in: S3StandIn) -> AsyncGenerator[S3Storage, None]:
    """S3Storage over the stand-in, with the smallest parts."""
    async with S3Storage("media", part_size=PART, **stand_in.client_kwargs) as storage:
        yield storage


async def _nothing_stored(client: Any, bucket: str) -> None:
    listed = await client.list_objects_v2(Bucket=bucket)
    assert "Contents" not in listed
    uploads = await client.list_multipart_uploads(Bucket=bucket)
    assert not uploads.get("Uploads")


@on_each_s3
@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 2 * PART, 23 * MiB])
async def test_sizes(s3_server: Any, bucket: str, size: int) -> None:
    """8. Nothing, one byte, exactly one part and one byte more: the object has the content."""
    content = b"".join([chunk async for chunk in stream(size, chunk=99_991)])
    async with S3Storage(bucket, part_size=PART, **s3_server.client_kwargs) as storage:
        stored = await storage.put("a.bin", stream(size, chunk=99_991))
        assert stored.size == size
        assert await storage.read("a.bin") == content
        seen = await storage.stat("a.bin")
        assert seen is not None
        assert (seen.etag, seen.size) == (stored.etag, size)


@pytest.mark.parametrize(("size", "requests"), [(PART, ["PUT object"]), (PART + 1, None)])
async def test_one_request_below_the_threshold(
    media: S3Storage, stand_in: S3StandIn, size: int, requests: list[str] | None
) -> None:
    """8. Up to one part an upload is one PUT; above, it is created, sent in parts and completed."""
    await media.put("a.bin", stream(size), overwrite=True)
    expected = requests or ["POST uploads", "PUT uploadId", "PUT uploadId", "POST uploadId"]
    assert sorted(stand_in.requests) == sorted(expected)


@on_each_s3
async def test_source_fails(s3_storage: Storage, s3_client: Any, bucket: str) -> None:
    """6. A source that fails before or after the first part leaves neither object nor upload."""
    for size in (MiB, 20 * MiB):
        with pytest.raises(SourceBroken):
            await s3_storage.put("a.bin", broken(size))
        await _nothing_stored(s3_client, bucket)


@on_each_s3
async def test_client_gone(s3_storage: Storage, s3_client: Any, bucket: str) -> None:
    """3. Cancelled half-way through a large upload: no object, no upload listed, no live task."""
    half = asyncio.Event()

    async def source() -> AsyncGenerator[bytes, None]:
        async for chunk in stream(40 * MiB):
            yield chunk
        half.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(s3_storage.put("a.bin", source()))
    await half.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _nothing_stored(s3_client, bucket)


@pytest.mark.parametrize("size", [1000, 3 * MiB, 2 * PART + 1], ids=["bytes", "one body", "parts"])
async def test_cancelled_at_every_await(media: S3Storage, stand_in: S3StandIn, size: int) -> None:
    """4. Wherever a create-only upload is cancelled, there is no upload, and no object or a whole one.

    Nothing is deleted, for it could be another's by then.
    """
    await media.stat("warm-up")
    found = []

    async def whole_or_nothing(number: int) -> None:
        # An aborted body may still be on its way to the server; then it is half, and discarded.
        sizes = [stored[3] for stored in stand_in.objects.values()]
        assert (sizes in ([], [size]), stand_in.uploads) == (True, {}), f"await number {number}"
        found.append(bool(sizes))
        stand_in.objects.clear()

    await cancel_everywhere(lambda: media.put("a.bin", stream(size, chunk=MiB)), whole_or_nothing)
    assert stand_in.objects.pop("a.bin")[3] == size
    turns = await cancel_every_turn(lambda: media.put("a.bin", stream(size, chunk=MiB)), whole_or_nothing)
    assert turns > 10
    assert not all(found) or size == 1000  # which is a commit and nothing else
    assert "DELETE object" not in stand_in.requests
    assert stand_in.objects["a.bin"][3] == size


async def test_a_composition_cancelled_at_every_await(media: S3Storage, stand_in: S3StandIn) -> None:
    """4. Wherever putting objects together is cancelled, there is no upload, and a whole object or none."""
    for key in ("a.bin", "b.bin"):
        await media.put(key, stream(PART))
    found = []

    async def whole_or_nothing(number: int) -> None:
        made = stand_in.objects.pop("c.bin", None)
        assert (made is None or made[3] == 2 * PART, stand_in.uploads) == (True, {}), f"await {number}"
        found.append(made is not None)

    for drive in (cancel_everywhere, cancel_every_turn):
        await drive(lambda: media.compose("c.bin", ["a.bin", "b.bin"]), whole_or_nothing)
        assert stand_in.objects.pop("c.bin")[3] == 2 * PART
    assert {True, False} == set(found)
    assert set(stand_in.objects) == {"a.bin", "b.bin"}


@pytest.mark.parametrize("size", [1000, PART + 1])
@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_silent_s3(stand_in: S3StandIn, size: int, overwrite: bool) -> None:
    """5. An S3 that answers nothing any more is an error within a few times stall_seconds, not in minutes."""
    async with (
        S3Storage("media", part_size=PART, stall_seconds=1, **stand_in.client_kwargs) as storage,
        asyncio.timeout(30),  # a connection's own patience is 60 seconds, three times over
    ):
        stand_in.silent = True
        with pytest.raises(UploadFailed) as caught:
            await storage.put("a.bin", stream(size), overwrite=overwrite)
    assert isinstance(caught.value.__cause__, TimeoutError)


async def test_an_empty_answer(media: S3Storage, stand_in: S3StandIn) -> None:
    """18. A completion that is answered with nothing is looked up: it is done, or the upload failed."""
    stand_in.empty_answers = 1
    stored = await media.put("a.bin", stream(PART + 1))
    assert stand_in.objects["a.bin"][1] == stored.etag
    stand_in.empty_answers, stand_in.deaf = 1, True
    with pytest.raises(UploadFailed, match="its answer was empty"):
        await media.put("b.bin", stream(PART + 1))
    assert stand_in.uploads == {}


async def test_names_that_s3_does_not_take(stand_in: S3StandIn) -> None:
    """A key that is too long together with the prefix is refused before anything is sent."""
    key = "/".join(["k" * 190] * 4)
    async with S3Storage(
        "media", prefix="p" * 190 + "/" + "q" * 190 + "/", **stand_in.client_kwargs
    ) as storage:
        for call in (storage.put(key, b"x"), storage.stat(key), storage.open(key), storage.delete(key)):
            with pytest.raises(InvalidKey, match="more than S3's 1024"):
                await call
    assert stand_in.requests == []


async def test_cancelled_overwrite_keeps_a_whole_object(media: S3Storage, stand_in: S3StandIn) -> None:
    """4. A cancelled overwrite leaves the old object or the new one, and no upload."""
    await media.put("a.bin", b"old")

    async def whole(number: int) -> None:
        assert stand_in.objects["a.bin"][3] in (3, PART + 1)
        assert stand_in.uploads == {}

    await cancel_everywhere(lambda: media.put("a.bin", stream(PART + 1, chunk=MiB), overwrite=True), whole)


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_stalled_s3_stops_the_source(stand_in: S3StandIn, concurrency: int) -> None:
    """2. When S3 stalls, no more than (concurrency + 1) parts and one chunk are taken from the client.

    The upload then fails within its patience and is aborted as soon as S3 answers again.
    """
    stand_in.stall_after = 2 * MiB
    taken: list[int] = []
    chunk, part = 64 * 1024, 16 * MiB  # more than the buffers of the connection swallow
    storage = S3Storage(
        "media", part_size=part, concurrency=concurrency, stall_seconds=3, **stand_in.client_kwargs
    )
    async with storage:
        task = asyncio.create_task(storage.put("a.bin", stream(1000 * MiB, counted=taken)))
        await eventually(lambda: sum(taken) > concurrency * part)
        assert await settled(lambda: sum(taken)) <= (concurrency + 1) * part + chunk
        with pytest.raises(UploadFailed) as caught:
            await task
        assert isinstance(caught.value.__cause__, TimeoutError)
    assert (stand_in.objects, stand_in.uploads) == ({}, {})


async def test_a_slow_s3_is_not_a_stalled_one(stand_in: S3StandIn) -> None:
    """5. An upload that takes longer than the patience for stalls succeeds, as long as it goes on."""
    stand_in.bytes_per_second = 2 * MiB
    async with S3Storage("media", part_size=PART, stall_seconds=3, **stand_in.client_kwargs) as storage:
        started = asyncio.get_running_loop().time()
        await storage.put("a.bin", stream(11 * MiB))
        assert asyncio.get_running_loop().time() - started > 4
    assert stand_in.objects["a.bin"][3] == 11 * MiB


async def test_a_part_fails_for_good(media: S3Storage, stand_in: S3StandIn) -> None:
    """5. A part that S3 refuses again and again ends the upload, although the source never ends."""
    stand_in.refused_parts = {2}

    async def waits_for_ever() -> AsyncGenerator[bytes, None]:
        async for chunk in stream(3 * PART):
            yield chunk
        await asyncio.Event().wait()

    async with asyncio.timeout(60):
        with pytest.raises(UploadFailed, match="InternalError"):
            await media.put("a.bin", waits_for_ever())
    assert (stand_in.objects, stand_in.uploads) == ({}, {})
    assert stand_in.requests.count("DELETE uploadId") == 2


@pytest.mark.parametrize(("size", "lost"), [(1000, "PUT"), (PART + 1, "POST complete")])
async def test_the_answer_is_lost(media: S3Storage, stand_in: S3StandIn, size: int, lost: str) -> None:
    """18. S3 stored the object but its answer was lost: that is found out, the upload succeeds, once."""
    stand_in.lose = {lost}
    stored = await media.put("a.bin", stream(size))
    assert stored.size == size
    assert stand_in.objects["a.bin"][1] == stored.etag
    assert stand_in.uploads == {}


async def test_the_answer_is_lost_but_another_won(media: S3Storage, stand_in: S3StandIn) -> None:
    """16, 18. A retried create-only write that meets another's object does not take it for its own."""
    await media.put("a.bin", b"another's")
    stand_in.lose = {"PUT"}
    with pytest.raises(ObjectExists):
        await media.put("a.bin", b"mine")
    assert stand_in.objects["a.bin"][0] == b"another's"


@pytest.mark.parametrize("size", [1000, PART + 1])
async def test_what_is_in_the_way_cannot_be_seen(
    media: S3Storage, stand_in: S3StandIn, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """16. Credentials that may write and not read hear from S3's refusal alone that there is an object; so
    does whoever looks when it is gone again."""

    async def nothing(_: Target) -> None:
        return None

    monkeypatch.setattr(Target, "head", nothing)
    await media.put("a.bin", b"first")
    with pytest.raises(ObjectExists):
        await media.put("a.bin", stream(size))
    assert (stand_in.objects["a.bin"][0], stand_in.uploads) == (b"first", {})


async def test_unknown_length_has_a_limit(
    media: S3Storage, stand_in: S3StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """9. Beyond S3's number of parts an upload of unknown length fails before it asks for one too many."""
    monkeypatch.setattr(s3_upload, "MAX_PARTS", 3)
    with pytest.raises(FileTooLarge) as caught:
        await media.put("a.bin", stream(4 * PART))
    assert caught.value.limit == 3 * PART
    assert stand_in.requests.count("PUT uploadId") <= 3
    assert (stand_in.objects, stand_in.uploads) == ({}, {})
    # With a known length the parts grow instead.
    await media.put("a.bin", stream(4 * PART), size=4 * PART)
    assert stand_in.objects["a.bin"][3] == 4 * PART


async def test_a_length_no_object_can_have(media: S3Storage, stand_in: S3StandIn) -> None:
    """9. More than 5 TiB are refused before anything is read or sent."""
    taken: list[int] = []
    with pytest.raises(FileTooLarge):
        await media.put("a.bin", stream(100, counted=taken), size=6 * 1024**4)
    assert (taken, stand_in.requests) == ([], [])


@on_each_s3
async def test_missing_bucket(s3_server: Any) -> None:
    """A bucket that does not exist is an error that says so, on every way in, with its name and its host."""
    message = r"NoSuchBucket \(bucket 'no-such-bucket-here' at [a-z0-9.]+:\d+\); make the bucket, or correct"
    async with S3Storage("no-such-bucket-here", **s3_server.client_kwargs) as storage:
        for size in (10, 9 * MiB):
            with pytest.raises(UploadFailed, match=message):
                await storage.put("a.bin", stream(size), overwrite=True)
        with pytest.raises(StorageError, match=message):
            await storage.open("a.bin")
        with pytest.raises(StorageError, match=message):
            _ = [stored async for stored in storage.list()]


async def test_unreachable() -> None:
    """An S3 that cannot be reached is a backend that is unavailable, and an upload that failed."""
    async with S3StandIn() as gone:
        options = gone.client_kwargs
    async with S3Storage("media", **options) as storage:
        message = (
            rf"EndpointConnectionError \(bucket 'media' at 127.0.0.1:{gone.port}\); is endpoint_url= right"
        )
        with pytest.raises(BackendUnavailable, match=message):
            await storage.stat("a.bin")
        with pytest.raises(UploadFailed, match=message):
            await storage.put("a.bin", chunks(b"content"))


async def test_no_credentials(stand_in: S3StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where none are found anywhere, the message says how to give them."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    async with S3Storage("media", endpoint_url=stand_in.endpoint_url, region_name="us-east-1") as storage:
        with pytest.raises(UploadFailed, match=r"NoCredentialsError .*; set AWS_ACCESS_KEY_ID and"):
            await storage.put("a.bin", b"content")
        with pytest.raises(StorageError, match=r"NoCredentialsError .*; set AWS_ACCESS_KEY_ID and"):
            await storage.stat("a.bin")


def test_an_endpoint_needs_a_scheme() -> None:
    """An error at start-up, which quotes nothing of it."""
    with pytest.raises(ConfigurationError, match="endpoint_url= begins with http:// or https://") as caught:
        S3Storage("media", endpoint_url="key:s3cret@localhost:9000")
    assert "s3cret" not in str(caught.value)


async def test_of_an_endpoint_only_the_host_is_told() -> None:
    """A user and a password in it stay out of the messages."""
    async with S3StandIn() as gone:
        options = gone.client_kwargs | {"endpoint_url": f"http://key:s3cret@127.0.0.1:{gone.port}"}
    async with S3Storage("media", **options) as storage:
        with pytest.raises(BackendUnavailable, match=rf"at 127.0.0.1:{gone.port}\)") as caught:
            await storage.stat("a.bin")
    assert "s3cret" not in str(caught.value)


@on_strict_s3  # LocalStack takes any key
@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (
            {"aws_secret_access_key": "very-secret-access-key"},
            r"SignatureDoesNotMatch .*; .*AWS_SECRET_ACCESS_KEY",
        ),
        ({"aws_access_key_id": "very-secret-access-key"}, "InvalidAccessKeyId"),
    ],
    ids=["secret", "name"],
)
async def test_wrong_credentials(s3_server: Any, bucket: str, wrong: dict[str, str], code: str) -> None:
    """Keys that S3 does not take are an error with its reason, and with no key or signature in it."""
    async with S3Storage(bucket, part_size=PART, **s3_server.client_kwargs | wrong) as storage:
        for size in (10, PART + 1):
            with pytest.raises(UploadFailed, match=code) as caught:
                await storage.put("a.bin", stream(size))
            assert "very-secret" not in str(caught.value)
        with pytest.raises(StorageError) as refused:
            await storage.read("a.bin")
        assert "very-secret" not in str(refused.value)
    async with S3Storage(bucket, **s3_server.client_kwargs) as storage:
        assert [stored.key async for stored in storage.list()] == []


async def test_prefixes_do_not_see_each_other(s3_server: Any, bucket: str) -> None:
    """15. Two storages in one bucket under two prefixes cannot read, list or sign each other's objects."""
    options = s3_server.client_kwargs
    async with (
        S3Storage(bucket, prefix="a/", **options) as a,
        S3Storage(bucket, prefix="b/", **options) as b,
        S3Storage(bucket, **options) as whole,
    ):
        await a.put("x.txt", b"a's")
        await b.put("x.txt", b"b's")
        await b.put("only.txt", b"b's")
        assert [stored.key async for stored in a.list()] == ["x.txt"]
        assert await a.read("x.txt") == b"a's"
        assert await a.stat("only.txt") is None
        await a.delete("only.txt")
        assert [stored.key async for stored in whole.list()] == ["a/x.txt", "b/only.txt", "b/x.txt"]
        assert "/a/only.txt?" in await a.url("only.txt")


async def test_long_listings(media: S3Storage, stand_in: S3StandIn) -> None:
    """A listing goes on over pages, and leaves out what is no key, such as "folders" of other tools."""
    stand_in.page_size = 3
    keys = [f"{number}.txt" for number in range(10)]
    for key in keys:
        await media.put(key, b"x")
    stand_in.objects["folder/"] = stand_in.objects["0.txt"]
    assert [stored.key async for stored in media.list()] == keys


@pytest.mark.parametrize("letter", ["x", "é", "猫", "😀"])
async def test_long_file_names(media: S3Storage, letter: str) -> None:
    """14. The longest name that a client can give fits the 2 KiB that S3 keeps beside an object."""
    stored = await media.put("a.txt", b"content", filename=letter * 300)
    found = await media.stat("a.txt")
    assert found is not None
    assert found.filename == stored.filename
    assert set(found.filename or "") == {letter}


async def test_a_given_client(s3_client: Any, s3_server: Any, bucket: str) -> None:
    """A client that is passed in is used, entered or not, and closed only by whoever entered it."""
    from aiobotocore.session import get_session

    async with S3Storage(bucket, client=s3_client) as storage:
        await storage.put("a.txt", b"content")
    assert await storage.read("a.txt") == b"content"
    context = get_session().create_client("s3", **s3_server.client_kwargs)
    async with S3Storage(bucket, client=context) as storage:
        assert await storage.read("a.txt") == b"content"


async def test_many_uploads_at_once_share_a_client(media: S3Storage, stand_in: S3StandIn) -> None:
    """Concurrent first uses make one client; cancelling the first does not take it from the others."""
    first = asyncio.create_task(media.put("first", b"x"))
    others = [asyncio.create_task(media.put(f"{number}", b"x")) for number in range(20)]
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(*others)
    with contextlib.suppress(asyncio.CancelledError):
        await first
    assert len(stand_in.objects) == 20


async def test_s3_ends_in_the_middle_of_a_read(media: S3Storage, stand_in: S3StandIn) -> None:
    """A download that breaks off is an error, not a shorter object."""
    await media.put("a.bin", stream(24 * MiB))
    opened = await media.open("a.bin")
    assert opened is not None
    async with opened:
        await anext(aiter(opened))
        stand_in.hang_up()
        with pytest.raises(BackendUnavailable):
            await opened.read()

"""Copies and compositions inside S3, on a real S3 server."""

from dataclasses import replace
from typing import Any

import pytest

from scalekit.errors import ObjectExists, ObjectMissing
from scalekit.storage import Checksum, MiB, Stored
from scalekit.storage._s3_compose import planned
from scalekit.storage.profiles import AMAZON
from scalekit.storage.s3 import S3Storage


@pytest.fixture
async def media(s3_server: Any, bucket: str) -> Any:
    async with S3Storage(bucket, prefix="p/", profile=AMAZON, **s3_server.client_kwargs) as storage:
        yield storage


@pytest.fixture
def requests(media: S3Storage, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the operations that the storage asks S3 for."""
    asked: list[str] = []
    target = S3Storage.target

    async def watched(self: S3Storage, *args: Any) -> Any:
        made = await target(self, *args)
        made.client.meta.events.register(
            "before-call.s3", lambda model, **_: asked.append(model.name), unique_id="requests"
        )
        return made

    monkeypatch.setattr(S3Storage, "target", watched)
    return asked


async def test_nothing_passes_through_the_process(media: S3Storage, requests: list[str]) -> None:
    """Large sources are put together by S3 itself, and a copy is one; both have what their sources have."""
    await media.put("a.bin", b"a" * 5 * MiB)
    await media.put("b.txt", b"b", filename="b’s.txt", content_type="text/csv")
    requests.clear()
    await media.compose("c.bin", ["a.bin", "b.txt"])
    copied = await media.copy("b.txt", "d.txt")
    assert not {"GetObject", "PutObject", "UploadPart"} & set(requests)
    assert await media.read("c.bin") == b"a" * 5 * MiB + b"b"
    assert await media.read("d.txt") == b"b"
    assert (copied.content_type, copied.filename) == ("text/csv", "b’s.txt")
    assert (await media.stat("d.txt")) == replace(copied, modified=(await _stat(media, "d.txt")).modified)


async def test_small_sources_are_read_and_written(media: S3Storage, requests: list[str]) -> None:
    """S3 takes no small parts but the last."""
    await media.put("a.txt", b"a")
    await media.put("b.txt", b"b")
    requests.clear()
    await media.compose("c.txt", ["a.txt", "b.txt"])
    assert "UploadPartCopy" not in requests
    assert await media.read("c.txt") == b"ab"


async def test_a_source_that_is_replaced_meanwhile(media: S3Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never a mixture: nothing is stored, and no upload is left."""
    await media.put("a.bin", b"a" * 5 * MiB)
    await media.put("b.bin", b"b")
    plan = planned

    def slow(sources: Any, **options: Any) -> Any:
        return plan([replace(source, etag="of-before") for source in sources], **options)

    monkeypatch.setattr("scalekit.storage.s3.planned", slow)
    with pytest.raises(ObjectMissing):
        await media.compose("c.bin", ["a.bin", "b.bin"])
    assert await media.stat("c.bin") is None
    client = await media._clients.get()
    assert not (await client.list_multipart_uploads(Bucket=media.bucket)).get("Uploads")


async def test_what_is_there_is_kept(media: S3Storage) -> None:
    """16. A copy is create-only, too."""
    await media.put("a.bin", b"a" * 5 * MiB)
    await media.put("b.bin", b"b")
    with pytest.raises(ObjectExists):
        await media.copy("a.bin", "b.bin")
    assert await media.read("b.bin") == b"b"


async def test_s3_keeps_a_checksum_of_the_whole(media: S3Storage) -> None:
    """17. What S3 keeps of an object, in one part or in many, is what a local CRC-32 of it is."""
    for size in (0, 1, 100_000, 8 * MiB, 8 * MiB + 1, 17 * MiB):
        content = bytes(range(251)) * (size // 251 + 1)
        content = content[:size]
        stored = await media.put(f"{size}.bin", content)
        own = Checksum.of(content, "crc32")
        assert stored.checksum == own
        assert (await _stat(media, f"{size}.bin")).checksum == own


async def _stat(storage: S3Storage, key: str) -> Stored:
    found = await storage.stat(key)
    assert found is not None
    return found


def sized(*sizes: int) -> list[Stored]:
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    return [
        Stored(key=str(number), size=size, content_type="a/b", etag="e", modified=now)
        for number, size in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    ("sizes", "equal", "expected"),
    [
        ((), False, None),
        ((0,), False, None),
        ((3,), False, [3]),
        ((5 * MiB, 0, 3), False, [5 * MiB, 3]),
        ((5 * MiB - 1, 3), False, None),
        ((40 * MiB,), False, [20 * MiB, 20 * MiB]),
        ((44 * MiB,), False, [20 * MiB, 24 * MiB]),
        ((45 * MiB,), False, [20 * MiB, 20 * MiB, 5 * MiB]),
        ((6 * MiB, 7 * MiB), False, [6 * MiB, 7 * MiB]),
        ((6 * MiB, 7 * MiB), True, None),
        ((6 * MiB, 5 * MiB, 5 * MiB), True, None),
        ((6 * MiB, 6 * MiB, 5), True, [6 * MiB, 6 * MiB, 5]),
        ((5 * MiB,) * 10_001, False, None),
    ],
)
def test_the_plan(sizes: tuple[int, ...], equal: bool, expected: list[int] | None) -> None:
    """Parts are what S3 takes, or there is no plan; they are all of the sources, in order."""
    plan = planned(sized(*sizes), equal_parts=equal, copy_size=20 * MiB)
    assert (plan and [copy.size for copy in plan]) == expected
    if plan is not None:
        assert [copy.number for copy in plan] == list(range(1, len(plan) + 1))
        assert sum(copy.size for copy in plan) == sum(sizes)

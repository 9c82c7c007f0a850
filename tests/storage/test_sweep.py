"""The sweeper: what killed servers leave behind goes, and nothing else."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scalekit.errors import ConfigurationError, StorageError
from scalekit.storage import FileStorage, Leftover, MemoryStorage, MiB, Storage
from scalekit.storage.sweep import sweep
from tests.storage.helpers import eventually, on_each_s3

_UPLOADER = """
import asyncio, json, sys
from scalekit.storage import FileStorage
from scalekit.storage.urls import storage_from_url

async def body():
    for _ in range(3):
        yield bytes(5 * 1024 * 1024)
    while True:                           # a client that is slow
        await asyncio.to_thread(sys.stdin.readline)
        yield bytes(5 * 1024 * 1024)

async def main(kind, options, key):
    if kind == "s3":
        from scalekit.storage.s3 import S3Storage
        storage = S3Storage(**json.loads(options), part_size=5 * 1024 * 1024)
    else:
        storage = FileStorage(json.loads(options)["directory"])
    await storage.put(key, body())

asyncio.run(main(*sys.argv[1:]))
"""


@contextmanager
def uploading(kind: str, options: dict[str, str], key: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that uploads and comes to no end."""
    process = subprocess.Popen(
        [sys.executable, "-c", _UPLOADER, kind, json.dumps(options), key], stdin=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


async def left(storage: Storage, before: datetime) -> list[str]:
    return [leftover.name async for leftover in storage.leftovers(before)]


async def has_parts(client: Any, bucket: str, key: str, least: int) -> bool:
    uploads = (await client.list_multipart_uploads(Bucket=bucket)).get("Uploads", ())
    for upload in uploads:
        if upload["Key"] == key:
            answer = await client.list_parts(Bucket=bucket, Key=key, UploadId=upload["UploadId"])
            return len(answer.get("Parts", ())) >= least
    return False


@on_each_s3
@pytest.mark.slow
async def test_uploads_to_s3(s3_server: Any, bucket: str, s3_client: Any) -> None:
    """7. Of killed uploads those of the own prefix go that are old; one that goes on stays."""
    from scalekit.storage.s3 import S3Storage

    connection = s3_server.client_kwargs
    options = {"bucket": bucket, **connection}

    async def grown(key: str, parts: int) -> None:
        await eventually(lambda: has_parts(s3_client, bucket, key, parts), seconds=60)

    async with (
        S3Storage(bucket, prefix="own/", **connection) as own,
        S3Storage(bucket, prefix="others/", **connection) as others,
    ):
        with uploading("s3", options | {"prefix": "own/"}, "slow") as slow:
            with (
                uploading("s3", options | {"prefix": "own/"}, "killed"),
                uploading("s3", options | {"prefix": "others/"}, "killed"),
            ):
                for key in ("own/killed", "others/killed", "own/slow"):
                    await grown(key, 2)
            killed = datetime.now(UTC)
            cutoff = killed + timedelta(seconds=1)  # S3 tells whole seconds
            await eventually(lambda: datetime.now(UTC) > cutoff + timedelta(seconds=1))
            assert slow.stdin is not None
            slow.stdin.write(b"\n\n")
            slow.stdin.flush()
            await grown("own/slow", 4)

            a_day_later = cutoff + timedelta(days=1)
            dry = await sweep(own, timedelta(days=1), dry_run=True, now=lambda: a_day_later)
            (leftover,) = dry.removed
            assert (leftover.name, leftover.kind, leftover.size) == ("killed", "multipart upload", 10 * MiB)
            swept = await sweep(own, timedelta(days=1), now=lambda: a_day_later)
            assert [leftover.name for leftover in swept.removed] == ["killed"]
            await swept.removed[0].remove()  # twice is once
            uploads = (await s3_client.list_multipart_uploads(Bucket=bucket)).get("Uploads", ())
            assert sorted(upload["Key"] for upload in uploads) == ["others/killed", "own/slow"]
            assert await left(others, cutoff) == ["killed"]
            assert (await others.sweep(3600)).removed == ()  # it is a moment old


async def test_temporary_files(tmp_path: Path) -> None:
    """7. After kill -9 a temporary file remains; it goes when it is old, and one that is written to stays."""
    storage = FileStorage(tmp_path)
    await storage.put("photos/whole.png", b"an old object")
    options = {"directory": str(tmp_path)}

    def sizes() -> list[int]:
        return sorted(path.stat().st_size for path in tmp_path.glob("photos/.*"))

    with uploading("file", options, "photos/slow.png") as slow:
        with uploading("file", options, "photos/killed.png"):
            await eventually(lambda: sizes() == [15 * MiB - MiB] * 2, seconds=60)
        yesterday = datetime.now(UTC).timestamp() - 90_000
        for path in tmp_path.glob("photos/*"):
            os.utime(path, (yesterday, yesterday))
        for path in tmp_path.glob("photos/.*"):
            os.utime(path, (yesterday, yesterday))
        assert slow.stdin is not None
        slow.stdin.write(b"\n")
        slow.stdin.flush()
        await eventually(lambda: len(set(sizes())) == 2, seconds=60)

        assert (await storage.sweep(timedelta(days=2))).removed == ()
        assert (await storage.sweep(timedelta(days=1), dry_run=True)).removed[0].size == 14 * MiB
        assert (await storage.scoped("others/").sweep(timedelta(days=1))).removed == ()
        (leftover,) = (await storage.scoped("photos/").sweep(timedelta(days=1))).removed
        assert leftover.kind == "temporary file"
        assert leftover.name.startswith(".scalekit-")
        await leftover.remove()  # twice is once
        assert [size > 14 * MiB for size in sizes()] == [True], "the one that is written to stays"
    assert await storage.read("photos/whole.png") == b"an old object"


class Littered(MemoryStorage):
    """Has leftovers, of which one cannot be removed."""

    def __init__(self) -> None:
        super().__init__()
        self.names = ["a", "stuck", "z"]

    async def leftovers(self, before: datetime, prefix: str = "") -> AsyncGenerator[Leftover, None]:
        for name in list(self.names):
            yield Leftover(kind="pile", name=name, modified=before, size=1, remove=partial(self.remove, name))

    async def remove(self, name: str) -> None:
        if name == "stuck":
            raise StorageError("it is stuck")
        self.names.remove(name)


async def test_one_that_cannot_be_removed() -> None:
    """7. It is told with its reason, and the others go."""
    storage = Littered()
    swept = await storage.sweep()
    assert [leftover.name for leftover in swept.removed] == ["a", "z"]
    assert [(leftover.name, reason) for leftover, reason in swept.failed] == [("stuck", "it is stuck")]
    assert storage.names == ["stuck"]


@pytest.mark.parametrize("age", [0, 3599.9, timedelta(minutes=59), -1, "24h"])
async def test_nothing_young_is_removed(age: Any) -> None:
    """7. An age below an hour would remove uploads that are under way: it is refused."""
    with pytest.raises(ConfigurationError, match="older_than="):
        await Littered().sweep(age)

"""kill -9 at many points of a sync: what is there is whole, and the next run ends as one run would have."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scalekit.storage import FileStorage, MiB, Storage
from scalekit.storage.moving import sync
from tests.storage.helpers import on_strict_s3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

OLD = {f"changed/{number}": b"old" * 100_000 for number in range(4)} | {"same": b"same", "superfluous": b"x"}
NEW = {f"changed/{number}": b"new" * 100_000 for number in range(4)} | {"same": b"same"}
NEW |= {f"new/{number:02}": bytes([number]) * 1000 * number for number in range(12)} | {
    "large": b"L" * 6 * MiB
}


@pytest.fixture
def killer() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.storage.kill_sync"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield process
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.wait(60)
    process.stdout.close()


async def fill(storage: Storage, content: dict[str, bytes]) -> None:
    async for stored in storage.list():
        if stored.key not in content:
            await storage.delete(stored.key)
    for key, data in content.items():
        await storage.put(key, data, overwrite=True)


async def check(
    killer: subprocess.Popen[str], one: tuple[Storage, Any], other: tuple[Storage, Any], turns: Iterator[int]
) -> int:
    """Kill a sync in each of ``turns``, until one ends before; returns how many were killed."""
    (source, source_options), (destination, options) = one, other
    assert killer.stdin is not None
    assert killer.stdout is not None
    await fill(source, NEW)
    for count, turn in enumerate(turns):
        await fill(destination, OLD)
        killer.stdin.write(f"{json.dumps(source_options)}\t{json.dumps(options)}\t{turn}\n")
        killer.stdin.flush()
        outcome = (await asyncio.to_thread(killer.stdout.readline)).strip()
        async for stored in destination.list():
            content = await destination.read(stored.key)
            assert content in (OLD.get(stored.key), NEW.get(stored.key)), f"{stored.key}, turn {turn}"
            assert content is not None
        if outcome == "done 0":
            assert await state(destination) == NEW
            return count
        assert outcome == "killed"
        await sync(source, destination, delete=True)
        assert await state(destination) == NEW, f"turn {turn}"
        assert await state(source) == NEW
    raise AssertionError("it never came to its end")


async def state(storage: Storage) -> dict[str, bytes | None]:
    return {stored.key: await storage.read(stored.key) async for stored in storage.list()}


def growing(factor: float) -> Iterator[int]:
    turn = 1.0
    while turn < 1e9:
        yield int(turn)
        turn = turn * factor + 1


async def test_between_two_folders(killer: subprocess.Popen[str], tmp_path: Path) -> None:
    """25. Killed at dozens of points and run again, a sync of folders ends in the same state."""
    folders = [{"directory": str(tmp_path / name)} for name in ("from", "to")]
    one, other = [(FileStorage(**options), options) for options in folders]
    assert await check(killer, one, other, growing(1.3)) >= 10


@on_strict_s3
async def test_from_a_folder_to_s3_and_back(
    killer: subprocess.Popen[str], tmp_path: Path, s3_server: Any, bucket: str
) -> None:
    """25. The same with S3 on either side: on SeaweedFS, since LocalStack stores a body that was cut off."""
    from scalekit.storage.s3 import S3Storage

    options = {"bucket": bucket, "prefix": "moved/", **s3_server.client_kwargs}
    folder = {"directory": str(tmp_path)}
    async with S3Storage(**options) as s3:
        files = FileStorage(tmp_path)
        assert await check(killer, (files, folder), (s3, options), growing(4)) >= 3
        await s3.delete("superfluous")
        assert await check(killer, (s3, options), (files, folder), growing(4)) >= 3

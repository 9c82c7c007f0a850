"""What storages report."""

from pathlib import Path
from typing import Any

import pytest

from scalekit.errors import ObjectExists, UploadFailed
from scalekit.storage import FileStorage, MemoryStorage, MiB, Storage
from scalekit.storage.budget import MemoryBudget
from scalekit.storage.mirror import MirroredStorage
from scalekit.storage.quarantine import Quarantine
from tests.measured import numbers, risen
from tests.storage.stand_in import S3StandIn


def counted(storage: object, before: dict[str, float] | None = None) -> dict[str, float]:
    """What has risen, without the beginning of the names."""
    found = risen(before or {}, numbers(storage))
    return {key.removeprefix("scalekit_storage_"): number for key, number in found.items() if number}


async def use(storage: Storage) -> None:
    """Each operation that is counted, and one whose caller is wrong."""
    await storage.put("a", b"x" * 1000)
    await storage.put("b", b"y" * 10)
    with pytest.raises(ObjectExists):
        await storage.put("a", b"")
    assert await storage.read("a")
    opened = await storage.open("a", offset=900, length=500)
    assert opened is not None
    await opened.aclose()
    assert await storage.open("nothing") is None
    await storage.delete("b")


USED = {
    "operations put": 2,
    "operations open": 3,
    "operations delete": 1,
    "written_bytes": 1010,
    "read_bytes": 1100,
}


async def test_a_storage_reports_what_passed_through_it(storage: Storage) -> None:
    """Uploads, reads and bytes of both; a mistake of the caller's is no failure of the storage."""
    assert set(numbers(storage).values()) == {0}
    await use(storage)
    assert counted(storage) == USED


async def test_s3_reports_the_same_and_what_failed(stand_in: S3StandIn) -> None:
    """What the service refuses is counted by operation, and no upload is."""
    pytest.importorskip("aiobotocore")
    from scalekit.storage.s3 import S3Storage

    async with S3Storage("media", part_size=5 * MiB, **stand_in.client_kwargs) as storage:
        await use(storage)
        assert counted(storage) == USED
        stand_in.refused_parts = {2}
        with pytest.raises(UploadFailed):
            await storage.put("c", b"x" * 6 * MiB)
        assert counted(storage) == {**USED, "failures put": 1}
        part = storage.scoped("below/")
        await part.put("d", b"123")
        assert numbers(part) == numbers(storage)
        assert counted(storage)["written_bytes"] == 1013


async def test_what_stands_before_a_storage_reports_its_numbers(tmp_path: Path) -> None:
    """A part of it, its synchronous twin and a quarantine count nothing twice."""

    async def scan(stored: Any, chunks: Any) -> None:
        return None

    inner = FileStorage(tmp_path / "media")
    await use(inner.scoped("a/"))
    for around in (inner.scoped("a/"), inner.sync(), Quarantine(inner, scan=scan)):
        assert numbers(around) == numbers(inner)
    assert counted(inner) == USED


async def test_a_mirror_reports_where_reads_came_from(tmp_path: Path) -> None:
    """The first from the origin, then from the copy."""
    origin = MemoryStorage()
    mirror = MirroredStorage(origin, tmp_path / "copies", max_bytes=MiB)
    await mirror.put("a", b"x" * 1000)
    reads = 0
    while not counted(mirror).get("mirror_reads copy"):  # until what was read is written
        assert await mirror.read("a") == b"x" * 1000
        reads += 1
    found = counted(mirror)
    assert found.pop("mirror_reads copy") == 1
    assert found.pop("mirror_reads origin") == reads - 1 >= 1
    assert found == counted(origin)
    assert found["read_bytes"] == 1000
    await mirror.aclose()


async def test_a_budget_reports_how_full_it_is() -> None:
    """What uploads hold, and may hold."""
    budget = MemoryBudget(MiB)
    from scalekit.storage.budget import Account

    with Account(budget) as account:
        await account.take(1000)
        assert counted(budget) == {"budget_bytes": 1000, "budget_limit_bytes": MiB}
    assert counted(budget) == {"budget_limit_bytes": MiB}


async def test_a_storage_of_your_own_reports_nothing_by_default() -> None:
    """It need not count."""
    assert list(Storage.metrics(MemoryStorage())) == []

"""MirroredStorage over S3: the contract, an S3 that is gone, and files served from the copies."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest

from scalekit.errors import BackendError
from scalekit.storage import MiB, MirroredStorage
from scalekit.storage.s3 import S3Storage
from scalekit.storage.serve import StorageFiles
from scalekit.testing import check_storage
from tests.faults import FaultProxy
from tests.storage.helpers import eventually
from tests.storage.shells import SHELLS, asking
from tests.storage.stand_in import S3StandIn

CONTENT = bytes(range(256)) * 8 * 1024  # 2 MiB


@pytest.mark.slow
async def test_it_keeps_the_contract(s3_storage: S3Storage, tmp_path: Path) -> None:
    """A mirror of a bucket is a storage, and so is a tenant's part of it."""
    async with MirroredStorage(s3_storage, tmp_path / "copies", max_bytes=100 * MiB) as mirror:
        await check_storage(mirror, strict=False)
        await check_storage(mirror.scoped("tenants/a/"), strict=False)
    assert [path for path in (tmp_path / "copies").iterdir() if len(path.name) >= 64] == []


@pytest.fixture
async def behind_a_proxy(stand_in: S3StandIn) -> AsyncGenerator[tuple[S3Storage, FaultProxy], None]:
    options: dict[str, Any] = dict(stand_in.client_kwargs)
    async with (
        FaultProxy("127.0.0.1", stand_in.port) as proxy,
        S3Storage("media", **options | {"endpoint_url": proxy.url(stand_in.endpoint_url)}) as storage,
    ):
        yield storage, proxy
        proxy.pass_through()


async def test_an_s3_that_is_frozen(behind_a_proxy: tuple[S3Storage, FaultProxy], tmp_path: Path) -> None:
    """An S3 that is silent for `timeout` is an error, or with stale_if_error what was read before."""
    origin, proxy = behind_a_proxy
    folder = tmp_path / "copies"
    await origin.put("a.bin", CONTENT)
    mirror = MirroredStorage(origin, folder, max_bytes=10 * MiB)
    assert await mirror.read("a.bin") == CONTENT
    await eventually(lambda: not any(mirror._fills.values()))
    proxy.blackhole()
    with pytest.raises(BackendError):
        await MirroredStorage(origin, folder, max_bytes=10 * MiB, timeout=0.2).read("a.bin")
    lenient = MirroredStorage(origin, folder, max_bytes=10 * MiB, timeout=0.2, stale_if_error=3600)
    assert await lenient.read("a.bin") == CONTENT
    with pytest.raises(BackendError):
        await lenient.read("b.bin")
    proxy.pass_through()
    await origin.put("a.bin", b"new", overwrite=True)
    # One that waits longer than a busy machine takes to answer.
    patient = MirroredStorage(origin, folder, max_bytes=10 * MiB, stale_if_error=3600)
    assert await patient.read("a.bin") == b"new"


async def test_an_s3_that_hangs_up(behind_a_proxy: tuple[S3Storage, FaultProxy], tmp_path: Path) -> None:
    """A connection that breaks in the middle leaves no half copy, and the next read has all of it."""
    origin, proxy = behind_a_proxy
    folder = tmp_path / "copies"
    await origin.put("a.bin", CONTENT)
    async with MirroredStorage(origin, folder, max_bytes=10 * MiB) as mirror:
        proxy.cut(after=MiB)
        with pytest.raises(BackendError):
            await mirror.read("a.bin")
        await eventually(lambda: not any(mirror._fills.values()))
        assert [path for path in folder.iterdir() if len(path.name) >= 64] == []
        proxy.pass_through()
        assert await mirror.read("a.bin") == CONTENT


@pytest.mark.parametrize("shell", SHELLS)
async def test_served_from_copies(shell: str, stand_in: S3StandIn, tmp_path: Path) -> None:
    """22. StorageFiles serves what S3 has from the local disk: one HEAD a request, and nothing else."""
    origin = S3Storage("media", **stand_in.client_kwargs)
    await origin.put("film.mp4", CONTENT, filename="Film.mp4")
    mirror = MirroredStorage(origin, tmp_path / "copies", max_bytes=10 * MiB)
    async with asking(shell, mirror) as ask:
        assert (await ask("/film.mp4")).content == CONTENT
        await eventually(lambda: len(list((tmp_path / "copies").glob("?" * 64))) == 1)
        stand_in.requests.clear()
        part = await ask("/film.mp4", headers={"range": "bytes=1000000-1000009"})
        assert (part.status_code, part.content) == (206, CONTENT[1_000_000:1_000_010])
        assert part.headers["content-disposition"] == 'inline; filename="Film.mp4"'
        assert {request.split()[0] for request in stand_in.requests} == {"HEAD"}
        await origin.put("film.mp4", b"another", overwrite=True)
        assert (await ask("/film.mp4")).content == b"another"
    await origin.aclose()


async def test_a_tenant_of_a_mirror(stand_in: S3StandIn, tmp_path: Path) -> None:
    """15. Tenants share a mirror's directory and not their objects."""
    async with S3Storage("media", **stand_in.client_kwargs) as origin:
        mirror = MirroredStorage(
            origin, tmp_path / "copies", max_bytes=10 * MiB, fresh_for=60, immutable=True
        )
        a, b = mirror.scoped("a/"), mirror.scoped("b/")
        await a.put("k.txt", b"a's")
        assert await a.read("k.txt") == b"a's"
        assert await b.read("k.txt") is None
        transport: Any = httpx.ASGITransport(StorageFiles(b))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            for path in ("/k.txt", "/../a/k.txt", "/..%2fa%2fk.txt", "/a/k.txt"):
                assert (await client.get(path)).status_code == 404
        await asyncio.sleep(0)
        await mirror.aclose()

"""The storages under test, and S3 servers that can be looked into."""

import asyncio
import functools
import importlib.util
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest

from scalekit.storage import FileStorage, KiB, MemoryStorage, MiB, Storage, _mirror_directory
from tests.servers import S3Server
from tests.storage.helpers import eventually
from tests.storage.stand_in import S3StandIn


@pytest.fixture(scope="session", autouse=True)
def models_are_read_once() -> Iterator[None]:
    """For each client botocore parses a megabyte of JSON, which the garbage collector then walks; most tests
    make a client."""
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("botocore"):
            from botocore.loaders import JSONFileLoader

            load = functools.cache(JSONFileLoader().load_file)
            patch.setattr(JSONFileLoader, "load_file", lambda self, path: load(path))
        yield


@pytest.fixture(autouse=True)
def patience_with_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that has no turn for a second, with a mirror's ledger in hand, keeps no other from copying."""
    monkeypatch.setattr(_mirror_directory, "_PATIENCE", 30.0)


@pytest.fixture
def which_s3() -> str:
    """The name of the fixture with the real S3 server: of the one that starts fast, unless the test asks for
    another with ``on_strict_s3`` or ``on_each_s3`` of tests.storage.helpers."""
    return "s3_server"


@pytest.fixture
def s3_server(which_s3: str, request: pytest.FixtureRequest) -> S3Server:
    """That of the test, and of its ``bucket``, ``s3_storage`` and ``s3_client``."""
    found: S3Server = request.getfixturevalue(which_s3)
    return found


@pytest.fixture
async def s3_storage(s3_server: Any, bucket: str) -> AsyncGenerator[Storage, None]:
    """S3Storage over the real server."""
    from scalekit.storage.s3 import S3Storage

    async with S3Storage(bucket, prefix="photos/", **s3_server.client_kwargs) as storage:
        yield storage


@pytest.fixture
async def s3_client(s3_server: Any) -> AsyncGenerator[Any, None]:
    """A plain client of the real server, to see what is really there."""
    from aiobotocore.session import get_session

    async with get_session().create_client("s3", **s3_server.client_kwargs) as client:
        yield client


@pytest.fixture(params=["memory", "file", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Each storage in turn."""
    if request.param == "memory":
        return MemoryStorage()
    if request.param == "file":
        return FileStorage(tmp_path / "media")
    found: Storage = request.getfixturevalue("s3_storage")
    return found


@pytest.fixture
async def stand_in() -> AsyncGenerator[S3StandIn, None]:
    """An S3 that is strict about races and can be made to fail."""
    async with S3StandIn() as server:
        yield server


@pytest.fixture(autouse=True)
async def no_live_task() -> AsyncGenerator[None, None]:
    """Nothing that a test started is still running when it ends."""
    before = asyncio.all_tasks()
    yield
    me = asyncio.current_task()
    # Not at once: httpx leaves the generator of a body that was not read to the garbage collector.
    await eventually(lambda: not asyncio.all_tasks() - before - {me})


@pytest.fixture(params=["file", "s3"])
def shared_storage(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Storage, dict[str, Any]]:
    """A storage, and how other processes get to it: options of tests.storage.tus_server."""
    options: dict[str, Any] = {"log": str(tmp_path / "log")}
    if request.param == "file":
        directory = tmp_path / "media"
        return FileStorage(directory), options | {"directory": str(directory), "piece_size": 256 * KiB}
    s3 = request.getfixturevalue("s3_server").client_kwargs | {"prefix": "photos/"}
    options |= {"bucket": request.getfixturevalue("bucket"), "s3": s3, "piece_size": 5 * MiB}
    return request.getfixturevalue("s3_storage"), options

"""TusUploads and the client that people use, tus-js-client in Node.js (in a browser: tests/e2e)."""

import asyncio
import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from scalekit.storage import FileStorage, KiB, MiB, Storage
from tests.conftest import MakeNginx
from tests.servers.node import node, npm_package
from tests.storage.helpers import eventually
from tests.storage.tus_fleet import behind, fleet
from tests.storage.tus_requests import content_of, head, keys

pytestmark = pytest.mark.slow

VERSION = "4.3.1"


async def told(endpoint: str, file: Path, scenario: str) -> dict[str, Any]:
    """What tus-js-client in a process of its own says at its end, see tus_client.cjs."""
    package = await asyncio.to_thread(npm_package, "tus-js-client", VERSION)
    script = Path(__file__).with_name("tus_client.cjs")
    done = await asyncio.to_thread(
        subprocess.run,
        [node(), str(script), str(package), endpoint, str(file), scenario],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, f"{scenario}: {done.stderr}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "film"
    path.write_bytes(content_of(2 * MiB))
    return path


async def test_everything_that_the_client_can(nginx: MakeNginx, file: Path, tmp_path: Path) -> None:
    """20. tus-js-client sends whole, in chunks, with the creation, of unknown length, in parallel, over POST,
    and after a pause, to three servers in turn: each object is byte-identical. What it gives up is gone."""
    directory = tmp_path / "media"
    options = {"directory": str(directory), "log": str(tmp_path / "log"), "piece_size": 256 * KiB}
    scenarios = ["whole", "chunks", "early", "deferred", "parallel", "override", "paused"]
    async with fleet(3, options) as servers:
        directives, upstream = behind(servers.ports)
        front = nginx(directives, http=upstream)
        for scenario in scenarios:
            assert (await told(f"{front.url}/", file, scenario))["retries"] == 0, scenario
        given_up = await told(f"{front.url}/", file, "given_up")
        async with httpx.AsyncClient(base_url=front.url, timeout=60) as client:
            assert (await head(client, given_up["url"])).status_code == 410
        assert len(set(servers.log("POST") + servers.log("HEAD") + servers.log("PATCH"))) == 3
    storage = FileStorage(directory)
    found = await keys(storage)
    assert len(found) == len(scenarios)
    assert sorted(servers.log("done")) == found
    for key in found:
        assert await storage.read(key) == file.read_bytes()


async def test_the_server_is_killed_under_the_client(
    shared_storage: tuple[Storage, dict[str, Any]], nginx: MakeNginx, file: Path
) -> None:
    """20. tus-js-client sends a file in one PATCH to three servers behind a balancer, and the one that has it
    is killed: the client goes on by itself where that one was, and the object is byte-identical."""
    storage, options = shared_storage
    size = options["piece_size"]
    file.write_bytes(content_of(3 * size + 32))
    async with fleet(3, options | {"hold_after": size}) as servers:
        directives, upstream = behind(servers.ports)
        front = nginx(directives, http=upstream)
        client = asyncio.create_task(told(f"{front.url}/", file, "whole"))

        async def stored() -> bool:
            return any(key.startswith("tus/") for key in await keys(storage))

        # The server has a piece and somewhat more, and goes no further.
        await eventually(stored, seconds=60)
        [pid] = servers.log("PATCH")
        servers.send(servers.port_of(pid), signal.SIGKILL)
        Path(f"{options['log']}.go").touch()
        assert (await client)["retries"] > 0
        offsets = [int(offset) for offset in servers.log("offset")]
    assert offsets[0] == 0
    assert offsets[1] in (size, 2 * size), "it goes on where the killed server was"
    [key] = await keys(storage)
    assert set(servers.log("done")) == {key}
    assert await storage.read(key) == file.read_bytes()

"""Memory stays bounded, however large the upload and slow the storage. Measured in child processes."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scalekit.storage import MiB

pytestmark = pytest.mark.slow

_UPLOAD = """
import asyncio, json, sys
from scalekit.storage import FileStorage
from scalekit.storage.forms import stream_form
from scalekit.storage.s3 import S3Storage

how, target, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
CHUNK = 64 * 1024

def memory(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))

async def body(size):
    for number in range(size // CHUNK):
        yield number.to_bytes(4, "big") * (CHUNK // 4)  # fresh memory each time, as from a socket

async def form(size):
    yield b'--b\\r\\nContent-Disposition: form-data; name="f"; filename="a.bin"\\r\\n\\r\\n'
    async for chunk in body(size):
        yield chunk
    yield b"\\r\\n--b--\\r\\n"

def request(size):
    chunks = form(size)
    async def receive():
        chunk = await anext(chunks, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}
    return {"type": "http", "headers": [(b"content-type", b"multipart/form-data; boundary=b")]}, receive

async def upload(storage, size):
    if how == "form":
        async with stream_form(request(size), storage, max_file_size=size) as found:
            assert found.files["f"].size == size
    else:
        assert (await storage.put(f"{size}.bin", body(size), overwrite=True)).size == size

async def main():
    async with FileStorage(target) if how == "file" else S3Storage("media", **json.loads(target)) as storage:
        await upload(storage, 1024 * 1024)  # what is made once, such as the client, is not growth
        before = memory("VmRSS")
        with open("/proc/self/clear_refs", "w") as refs:
            refs.write("5")  # the peak starts anew
        await upload(storage, size)
        print(memory("VmHWM") - before)

asyncio.run(main())
"""


@pytest.fixture(params=[None, 40 * MiB], ids=["fast", "slow"])
def s3(request: pytest.FixtureRequest) -> Iterator[str]:
    """The stand-in as a process of its own, which throws bodies away; its client options as JSON."""
    speed = [] if request.param is None else [f"--bytes-per-second={request.param}"]
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.storage.stand_in", *speed],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        options = server.stdout.readline()
        json.loads(options)
        yield options
    finally:
        server.communicate("\n", timeout=20)


async def growth(how: str, target: str, size: int) -> int:
    """Bytes by which the peak of the process grew while it uploaded."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _UPLOAD, how, target, str(size), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return int(output)


@pytest.mark.parametrize("how", ["put", "form"])
async def test_to_s3(s3: str, how: str, request: pytest.FixtureRequest) -> None:
    """1. 1 GiB grows the process by less than the parts in flight and 16 MiB; so does what goes to a slow S3.

    That is of less size, yet three times what may be held.
    """
    size = 128 if "slow" in request.node.callspec.id else 1024
    grown = await growth(how, s3, size * MiB)
    assert grown < 4 * 8 * MiB + 16 * MiB, f"{grown / MiB:.0f} MiB"


async def test_to_a_directory(tmp_path: Path) -> None:
    """256 MiB to a directory grow the process by less than 16 MiB."""
    grown = await growth("file", str(tmp_path), 256 * MiB)
    assert grown < 16 * MiB, f"{grown / MiB:.0f} MiB"

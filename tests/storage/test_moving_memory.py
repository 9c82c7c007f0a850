"""A sync in bounded memory, however much there is to move. Measured in a child process."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from scalekit.storage import MiB

pytestmark = pytest.mark.slow

_SYNC = """
import asyncio, sys
from datetime import UTC, datetime
from scalekit.storage import FileStorage, MemoryStorage, Stored
from scalekit.storage.moving import sync

NOW = datetime.now(UTC)

def memory(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))

async def content(size):
    for number in range(size // 65536):
        yield number.to_bytes(4, "big") * 16384

class Many(MemoryStorage):
    async def list(self, prefix=""):
        for number in range(self.count):
            yield Stored(key=f"{number:012}", size=1, content_type="x/y", etag="-", modified=NOW)

async def many(directory, count):
    source, destination = Many(), Many()
    source.count = destination.count = count
    assert (await sync(source, destination, compare="size", on_progress=lambda now: None)).unchanged == count

async def large(directory, size):
    source, destination = FileStorage(directory + "/from"), FileStorage(directory + "/to")
    for number in range(4):
        await source.put(f"{size}-{number}", content(size // 4))
    assert (await sync(source, destination)).bytes_written >= size
    assert (await sync(source, destination)).created == 0

async def main(how, directory, size):
    work = {"many": many, "large": large}[how]
    await work(directory, 1024 * 1024 if how == "large" else 100)
    before = memory("VmRSS")
    with open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")  # the peak starts anew
    await work(directory, size)
    print(memory("VmHWM") - before)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


@pytest.mark.parametrize(("how", "size"), [("many", 50_000), ("large", 256 * MiB)])
async def test_growth(tmp_path: Path, how: str, size: int) -> None:
    """25. Neither many objects nor large ones grow the process by more than 24 MiB."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _SYNC, how, str(tmp_path), str(size)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    grown = int(done.stdout)
    assert grown < 24 * MiB, f"{grown / MiB:.0f} MiB"

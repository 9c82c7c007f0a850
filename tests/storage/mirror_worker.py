"""A process that reads through a mirror: ``python -m tests.storage.mirror_worker ORIGIN COPIES LOG ...``.

What it does comes on standard input, a line each: ``read KEY``, answered with the SHA-256 of what was read,
or ``end``. Each read of the origin is a line in LOG. While there is a file ``LOG.wait``, it stops half-way.
"""

import argparse
import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from scalekit.storage import FileStorage, KiB, MirroredStorage, Opened, _mirror_directory

# One that has no turn for a second while it has the ledger would keep others from copying.
_mirror_directory._PATIENCE = 30.0


class _Logged(FileStorage):
    def __init__(self, directory: Path, log: Path) -> None:
        super().__init__(directory)
        self.log = log

    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Opened | None:
        opened = await super().open(key, offset=offset, length=length)
        with self.log.open("a") as log:
            log.write(f"{os.getpid()} {key} {offset}\n")
        if opened is None or offset:
            return opened

        async def chunks() -> AsyncGenerator[bytes, None]:
            sent = 0
            async with aclosing(opened._chunks):
                async for chunk in opened:
                    while sent >= 512 * KiB and Path(f"{self.log}.wait").exists():
                        await asyncio.sleep(0.01)
                    sent += len(chunk)
                    yield chunk

        return Opened(opened.stored, chunks(), close=opened.aclose)


async def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("origin", "copies", "log"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--max-bytes", type=int, default=2**30)
    parser.add_argument("--timeout", type=float, default=30)
    given = parser.parse_args()
    mirror = MirroredStorage(
        _Logged(given.origin, given.log), given.copies, max_bytes=given.max_bytes, timeout=given.timeout
    )
    async with mirror:
        while (line := (await asyncio.to_thread(sys.stdin.readline)).split()) and line[0] == "read":
            opened = await mirror.open(line[1])
            print("reading", flush=True)
            digest = hashlib.sha256()
            if opened is not None:
                async with opened:
                    async for chunk in opened:
                        digest.update(chunk)
            print(digest.hexdigest(), flush=True)
        if fills := [fill.task for each in mirror._fills.values() for fill in each.values()]:
            await asyncio.wait(fills)


if __name__ == "__main__":
    asyncio.run(main())

"""``python -m tests.storage.kill_sync``: syncs that are killed in a given turn of their event loop.

Each runs in a fork of this process, so that the imports are paid for once. A line of source, destination and
turn, with tabs between them, is answered by "killed", or by "done" and the exit status.
"""

import asyncio
import functools
import json
import os
import signal
import sys

import botocore.session
from botocore.loaders import JSONFileLoader

from scalekit.storage import FileStorage, Storage
from scalekit.storage.moving import sync
from scalekit.storage.s3 import S3Storage


def storage(text: str) -> Storage:
    options = json.loads(text)
    return (
        FileStorage(**options) if "directory" in options else S3Storage(**options, part_size=5 * 1024 * 1024)
    )


async def killed_in(turns: int, source: str, destination: str) -> None:
    async def wait_and_kill() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGKILL)

    killer = asyncio.create_task(wait_and_kill())
    async with storage(source) as one, storage(destination) as other:
        await sync(one, other, delete=True, concurrency=4)
    killer.cancel()


def main() -> None:
    # What a first client reads, which is most of the time that one takes, is read before the forks.
    load = functools.cache(JSONFileLoader().load_file)
    JSONFileLoader.load_file = lambda self, path: load(path)  # type: ignore[method-assign]
    botocore.session.get_session().create_client("s3", region_name="us-east-1").close()
    for line in sys.stdin:
        source, destination, turns = line.rstrip("\n").split("\t")
        pid = os.fork()
        if pid == 0:
            asyncio.run(killed_in(int(turns), source, destination))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        print("killed" if os.WIFSIGNALED(status) else f"done {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    main()

"""``python -m tests.cdn.kill_push CLIENT_KWARGS``: pushes that are killed at a given moment.

A line of folder, destination and moment, with tabs between them, is answered by "killed" or "done". Moment 0
is before the first request is sent, 1 after its answer has come, 2 before the second one, and so on. Each
push runs in a fork of this process, so that the imports are paid for once.
"""

import asyncio
import functools
import itertools
import json
import os
import signal
import sys
from typing import Any

from aiobotocore.session import get_session
from botocore.loaders import JSONFileLoader

from scalekit.cdn import Assets
from scalekit.cdn.push import push


async def killed_at(moment: int, folder: str, destination: str, options: dict[str, str]) -> None:
    moments = itertools.count()

    def die(**_: Any) -> None:
        if next(moments) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    async with get_session().create_client("s3", **options) as client:
        client.meta.events.register("before-send.s3", die)
        client.meta.events.register("response-received.s3", die)
        # One file at a time, so that each moment is one.
        await push(Assets(folder), destination, client=client, concurrency=1)


def main(options: dict[str, str]) -> None:
    load = functools.cache(JSONFileLoader().load_file)
    JSONFileLoader.load_file = lambda self, path: load(path)  # type: ignore[method-assign]
    for line in sys.stdin:
        folder, destination, moment = line.rstrip("\n").split("\t")
        pid = os.fork()
        if pid == 0:
            asyncio.run(killed_at(int(moment), folder, destination, options))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status) or status == 0
        print("killed" if os.WIFSIGNALED(status) else "done", flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

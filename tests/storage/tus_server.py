"""A server of resumable uploads, to be killed: ``python -m tests.storage.tus_server PORT OPTIONS``."""

import asyncio
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import uvicorn

from scalekit.storage import FileStorage, Storage
from scalekit.storage.tus import FinishedUpload, TusUploads
from scalekit.types import ASGIApp, Message, Receive, Scope, Send
from tests.storage.tus_requests import SECRET


class Logged:
    """Writes who has which request into a file that all servers share, and who answers into the answer."""

    def __init__(self, app: ASGIApp, log: str, hold_after: float) -> None:
        self.app, self.hold_after = app, hold_after
        # A body is taken so far and no further before this file is there.
        self.go = Path(f"{log}.go")
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, *words: object) -> None:
        os.write(self.log, (" ".join(map(str, words)) + "\n").encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-server", b"%d" % os.getpid())]
            await send(message)

        taken = 0

        async def held() -> Message:
            nonlocal taken
            while scope["method"] == "PATCH" and taken > self.hold_after and not self.go.exists():
                await asyncio.sleep(0.02)
            message = await receive()
            taken += len(message.get("body", b""))
            return message

        self.note(scope["method"], os.getpid())
        for name, value in scope["headers"]:
            if (scope["method"], name) == ("PATCH", b"upload-offset"):
                self.note("offset", value.decode())
        await self.app(scope, held, told)


def main(port: int, options: dict[str, Any]) -> None:
    storage: Storage
    if "bucket" in options:
        from scalekit.storage.s3 import S3Storage

        storage = S3Storage(options["bucket"], part_size=5 * 1024**2, **options["s3"])
    else:
        storage = FileStorage(options["directory"])

    async def on_complete(file: FinishedUpload) -> None:
        logged.note("done", file.key)

    uploads = TusUploads(
        storage,
        secret_key=SECRET,
        piece_size=options["piece_size"],
        on_complete=on_complete,
        cors_origins=["*"],
    )
    logged = Logged(uploads, options["log"], options.get("hold_after", math.inf))
    uvicorn.run(logged, port=port, log_level="warning", lifespan="off")


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))

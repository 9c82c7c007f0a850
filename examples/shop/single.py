"""The shop in one process, for machines that the wheels are not built for: SQLite, memory, a local folder.

The same application: only its settings are others. What it shows is that the pieces do not need a fleet;
what it cannot show is what they are for.
"""

import os
import secrets
import time
from collections import deque
from pathlib import Path
from typing import Any

from examples.shop.app.internal import figures
from examples.shop.app.main import create_app
from examples.shop.app.seed import seed
from examples.shop.app.settings import Settings
from examples.shop.burst import Burst
from examples.shop.figures import NOTHING_READ, merged_cache, merged_databases
from examples.shop.proxy import Served
from examples.shop.traffic import Traffic
from scalekit.ops import Drain
from scalekit.types import Message, Receive, Scope, Send


class Single:
    """The one server; also the ASGI application, which counts what passes."""

    single = True

    def __init__(self, folder: Path) -> None:
        self.traffic = Traffic()
        self.burst = Burst(on_end=self.note)
        self.log: deque[dict[str, Any]] = deque(maxlen=200)
        self.began = time.time()
        self._settings = Settings(
            server="server-1",
            secret_key=secrets.token_urlsafe(32),
            database=f"sqlite+aiosqlite:///{folder / 'shop.db'}",
            uploads=folder / "uploads",
        )
        self._settings.uploads.mkdir()
        self.app = create_app(self._settings, drain=Drain(signals=()))

    async def start(self) -> None:
        await seed(self._settings.database)
        self.note("One process: nothing to kill here.", "good")

    async def stop(self) -> None:
        await self.burst.stop()

    def note(self, text: str, kind: str = "") -> None:
        self.log.append({"at": time.time(), "text": text, "kind": kind})

    def snapshot(self) -> dict[str, Any]:
        stats: list[dict[str, Any]] = [figures(self.app)]
        traffic = self.traffic.snapshot()
        reads = merged_databases(stats).get("SQLite", NOTHING_READ)
        server = {
            "name": "server-1", "state": "ready", "pid": os.getpid(), "uptime": time.time() - self.began,
            "requests": traffic["total"], "rps": traffic["rps"], "in_flight": 0,
        }  # fmt: skip
        return {
            "single": True,
            "time": time.time(),
            "uptime": time.time() - self.began,
            "servers": [server],
            "databases": [{"name": "SQLite", "role": "primary", "state": "running", "lag": None, **reads}],
            "sessions": None,
            "cache": merged_cache(stats),
            "traffic": traffic,
            "burst": self.burst.snapshot(),
            "log": list(self.log)[-40:],
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began, status = time.monotonic(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            now = time.monotonic()
            self.traffic.add(Served(now, now - began, "server-1", scope["method"], scope["path"], status, 1))

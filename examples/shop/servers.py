"""App servers as child processes."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self, TypeAlias

from examples.shop.proxy import Upstream
from tests.servers import guard
from tests.servers.base import ServerFailed

State: TypeAlias = Literal["starting", "ready", "draining", "gone"]

ROOT = Path(__file__).parents[2]


class AppServer:
    """One process of ``examples.shop.server``, and the balancer's view of it."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, upstream: Upstream) -> None:
        self.name, self.process, self.upstream = name, process, upstream
        self.started = time.monotonic()
        self.draining = False

    @classmethod
    async def start(cls, name: str, environment: Mapping[str, str]) -> Self:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "examples.shop.server",
            cwd=ROOT,
            env={**os.environ, **environment, "SHOP_SERVER": name},
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the supervisor, which ends the servers in order
        )
        guard.watch(process.pid)
        assert process.stdout is not None
        port = (await process.stdout.readline()).strip()
        if not port:
            await process.wait()
            guard.unwatch(process.pid)
            raise ServerFailed(f"{name} did not start; what it said is in the terminal")
        return cls(name, process, Upstream(name, "127.0.0.1", int(port)))

    @property
    def number(self) -> int:
        """The ``2`` of ``server-2``."""
        return int(self.name.rpartition("-")[2])

    @property
    def state(self) -> State:
        if self.process.returncode is not None:
            return "gone"
        if self.draining:
            return "draining"
        return "ready" if self.upstream.ready else "starting"

    def drain(self) -> None:
        """Let it finish what it has begun, and go."""
        self.draining = True
        self._signal(signal.SIGTERM)

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended it, whoever sent that."""
        return self.process.returncode == -signal.SIGKILL

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    async def gone(self) -> None:
        """Return when the process has ended."""
        await self.process.wait()
        guard.unwatch(self.process.pid)

    async def end(self, *, timeout: float) -> None:
        """SIGINT, which skips the drain, and SIGKILL after `timeout` seconds."""
        if self.process.returncode is None:
            self._signal(signal.SIGINT)
            try:
                async with asyncio.timeout(timeout):
                    await self.process.wait()
            except TimeoutError:
                self.kill()
        await self.gone()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

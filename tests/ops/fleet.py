"""Two real servers, a balancer that reads readiness, and load that never stops."""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx

from tests.ops.child import PATIENCE, Child, child
from tests.ops.fleet_app import SLOW
from tests.ops.kinds import UVICORN, Kind
from tests.servers.ports import free_port


@contextlib.contextmanager
def serving(kind: Kind, port: int, *options: str, app: str | None = None, **env: str) -> Iterator[Child]:
    """One server of the fleet on ``port``."""
    with child(*kind.command(port, app), *options, env={**os.environ, **env}) as server:
        yield server


@contextlib.contextmanager
def uvicorn(port: int, *options: str, app: str | None = None, **env: str) -> Iterator[Child]:
    with serving(UVICORN, port, *options, app=app, **env) as server:
        yield server


class Fleet:
    """Servers by port, those that are ready by the last probe, and what became of each request."""

    def __init__(self, size: int, *, kind: Kind = UVICORN, app: str | None = None, **env: str) -> None:
        self.kind, self._app, self.env = kind, app, env
        self._folder = Path(tempfile.mkdtemp())
        self.servers: dict[int, contextlib.ExitStack] = {
            free_port(): contextlib.ExitStack() for _ in range(size)
        }
        self.children: dict[int, Child] = {}
        self.ready: set[int] = set()
        self.served: list[int] = []
        self.failed: list[str] = []
        self.front: str | None = None  # a balancer to go through, instead of being one
        self.routed: set[int] = set()  # what that balancer may send to
        self._sending = Counter[int]()  # requests of visitors under way, past that balancer
        self._turn = 0

    def start(self, port: int) -> None:
        env = {"DRAIN_FILE": str(self.flag(port)), **self.env} if self.kind.hooked else self.env
        self.children[port] = self.servers[port].enter_context(serving(self.kind, port, app=self._app, **env))

    def flag(self, port: int) -> Path:
        """What a server of the hooked kind watches."""
        folder = self._folder / str(port)
        folder.mkdir(exist_ok=True)
        return folder / "drain"

    async def probe(self) -> None:
        """What a balancer does: ask each server whether it wants traffic, ten times a second."""
        async with httpx.AsyncClient(timeout=PATIENCE) as http:
            while True:
                for port in self.servers:
                    try:
                        await self._look(http, port)
                    except httpx.TransportError:
                        self.ready.discard(port)
                await asyncio.sleep(0.1)

    async def _look(self, http: httpx.AsyncClient, port: int) -> None:
        response = await http.get(f"http://127.0.0.1:{port}/health/ready")
        if response.status_code == 200:
            self.ready.add(port)
            return
        self.ready.discard(port)
        if port not in self.routed and not self._sending[port]:
            await http.post(f"http://127.0.0.1:{port}/taken-out")

    async def visit(self, body: bytes) -> None:
        """One visitor: a request that must not be repeated, after another, over kept connections."""
        async with httpx.AsyncClient(timeout=PATIENCE) as http:
            while True:
                if not self.ready:
                    await asyncio.sleep(0.01)
                    continue
                self._turn += 1
                port = sorted(self.ready)[self._turn % len(self.ready)]
                url = self.front or f"http://127.0.0.1:{port}"
                direct = [] if self.front else [port]
                self._sending.update(direct)
                try:
                    response = await http.post(f"{url}/work", content=body)
                    response.raise_for_status()
                    self.served.append(response.json()["pid"])
                except httpx.HTTPError as error:
                    self.failed.append(repr(error))
                    await asyncio.sleep(0.01)
                finally:
                    self._sending.subtract(direct)

    async def settle(self, ready: int) -> None:
        """Wait until as many servers are ready and each has served a visitor since."""
        async with asyncio.timeout(PATIENCE):
            while len(self.ready) != ready:
                await asyncio.sleep(0.01)
            since = len(self.served)
            while len(set(self.served[since:])) < ready:
                await asyncio.sleep(0.01)

    async def stop(self, port: int) -> int:
        """SIGTERM, of a hooked kind after its hook has drained it; then the exit status."""
        if self.kind.hooked:
            with child("-m", "scalekit", "drain", "--file", str(self.flag(port))) as hook:
                said = await asyncio.to_thread(hook.rest)
                assert hook.process.returncode == 0, said
        self.children[port].send(signal.SIGTERM)
        return await asyncio.to_thread(self.children[port].process.wait, PATIENCE)


@contextlib.asynccontextmanager
async def fleet(size: int, *, visitors: int = 8, **env: str) -> AsyncIterator[Fleet]:
    """A fleet under load for as long as the block runs."""
    running = Fleet(size, **env)
    with contextlib.ExitStack() as stack:
        for port, server in running.servers.items():
            stack.push(server)
            running.start(port)
        tasks = [asyncio.create_task(running.probe())]
        bodies = [SLOW, *[b"x" * 100] * (visitors - 1)]
        tasks += [asyncio.create_task(running.visit(body)) for body in bodies]
        try:
            await running.settle(size)
            yield running
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            shutil.rmtree(running._folder)

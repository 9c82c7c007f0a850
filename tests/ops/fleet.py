"""Two real servers, a balancer that reads readiness, and load that never stops."""

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import httpx

from tests.ops.child import PATIENCE, Child, child
from tests.servers.ports import free_port

APP = "tests.ops.fleet_app:app"


@contextlib.contextmanager
def uvicorn(port: int, *options: str, app: str = APP, **env: str) -> Iterator[Child]:
    """One server of the fleet on ``port``."""
    command = ("-m", "uvicorn", app, "--log-level", "warning", "--port", str(port))
    # Connections that visitors keep end by a drain alone, however long a visitor waits for the machine.
    kept = ("--timeout-keep-alive", "600")
    with child(*command, *kept, *options, env={**os.environ, **env}) as server:
        yield server


class Fleet:
    """Servers by port, those that are ready by the last probe, and what became of each request."""

    def __init__(self, size: int, *, app: str = APP, **env: str) -> None:
        self._app, self.env = app, env
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
        self.children[port] = self.servers[port].enter_context(uvicorn(port, app=self._app, **self.env))

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

    async def visit(self) -> None:
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
                    response = await http.post(f"{url}/work", content=b"x" * 100)
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
        """SIGTERM, then the exit status."""
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
        tasks += [asyncio.create_task(running.visit()) for _ in range(visitors)]
        try:
            await running.settle(size)
            yield running
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

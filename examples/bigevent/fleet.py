"""The processes of the shop: started, watched, drained, killed, and told to nginx."""

import asyncio
import contextlib
import math
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp

from examples.bigevent.autoscaler import Autoscaler
from examples.bigevent.servers import Servers
from examples.bigevent.settings import METRICS, Settings
from tests.servers import ServerFailed, guard
from tests.servers.ports import free_port

ROOT = Path(__file__).parents[2]

_IN_FLIGHT = re.compile(r"^scalekit_http_in_flight(?:\{[^}]*\})? (\S+)$", re.MULTILINE)

_LOST = (aiohttp.ClientError, TimeoutError, OSError)


@dataclass(eq=False)
class Process:
    """One process of the shop."""

    port: int
    release: int
    child: asyncio.subprocess.Process
    log: Path
    ready: bool = False
    draining: bool = False
    in_flight: int = 0
    killed: bool = False


@dataclass
class Fleet:
    """Started by `running`; its processes come and go until that ends.

    Args:
        servers: what they stand on.
        settings: what they are told.
        autoscaler: how many there are to be.
    """

    servers: Servers
    settings: Settings
    autoscaler: Autoscaler
    release: int = 1
    processes: list[Process] = field(default_factory=list)
    drains: list[tuple[int, float, float]] = field(default_factory=list)
    """Port, beginning and end of each drain; infinite while it lasts."""
    crashes: list[str] = field(default_factory=list)
    """The end of the log of each process that ended unasked."""
    _routed: list[int] = field(default_factory=list)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def serving(self) -> list[Process]:
        """Those that take requests; of one that was killed that may not be known yet."""
        return [
            process
            for process in self.processes
            if process.ready and not process.draining and not process.killed
        ]

    @property
    def in_flight(self) -> int:
        """The metric: requests that the processes work on, as each of them says."""
        return sum(process.in_flight for process in self.processes if not process.draining)

    async def start_one(self) -> Process:
        port, number = free_port(), self.release
        scratch = self.servers.scratch / f"disk-{port}"
        scratch.mkdir()
        assets = str(self.servers.release(number))
        settings = replace(self.settings, release=number, assets=assets, scratch=str(scratch))
        log = self.servers.scratch / f"log-{port}"
        with log.open("wb") as output:
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "examples.bigevent.app", str(port),
                cwd=ROOT, env={**os.environ, **settings.to_environment()},
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,  # Ctrl-C is for the run, which ends them in order
            )  # fmt: skip
        guard.watch(child.pid)
        process = Process(port, number, child, log)
        self.processes.append(process)
        self.spawn(self._bury(process))
        return process

    async def drain(self, process: Process) -> None:
        """Tell it to leave, and nginx to send it nothing new; returns when it has gone."""
        if process.draining or process.killed:  # what a killed one loses is no fault of a drain
            return
        process.draining = True
        began, number = time.monotonic(), len(self.drains)
        self.drains.append((process.port, began, math.inf))
        _signal(process, signal.SIGTERM)  # its readiness says so, and because of that nginx is told
        await process.child.wait()
        self.drains[number] = (process.port, began, time.monotonic())

    def kill(self, process: Process) -> None:
        """As a machine that loses its power. nginx is not told; it finds out."""
        process.killed = True
        _signal(process, signal.SIGKILL)

    async def deploy(self) -> None:
        """Replace all by processes of the next release: one starts, then an old one drains.

        Raises:
            ServerFailed: none of the next release gets ready; the old ones that are left stay.
        """
        self.release += 1
        for old in [process for process in self.processes if not process.draining]:
            await self._start_ready()
            self.spawn(self.drain(old))

    async def _start_ready(self, *, tries: int = 3) -> None:
        for _ in range(tries):
            new = await self.start_one()
            while new in self.processes:
                if new.ready:
                    return
                await asyncio.sleep(0.1)
        said = f"no process of release {self.release} gets ready; what the last one said:"
        raise ServerFailed(f"{said}\n{_said(new)}")

    def spawn(self, job: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the least number, and keep as many as the autoscaler wants until the block ends."""
        timeout = aiohttp.ClientTimeout(total=2)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            watching = [asyncio.create_task(self._watch(http)), asyncio.create_task(self._scale())]
            try:
                await self._settle(watching)
                yield
                self._raise(watching)
            finally:
                for task in [*watching, *self._tasks]:
                    task.cancel()
                await asyncio.gather(*watching, *self._tasks, return_exceptions=True)
                for process in self.processes:
                    _signal(process, signal.SIGKILL)
                for process in self.processes:
                    await process.child.wait()
                    guard.unwatch(process.child.pid)

    async def _settle(self, watching: list[asyncio.Task[None]], *, timeout: float = 90.0) -> None:
        deadline = time.monotonic() + timeout
        while len(self._routed) < self.autoscaler.target.least:
            self._raise(watching)
            late = [_said(process) for process in self.processes] if time.monotonic() > deadline else []
            if late or self.crashes:
                said = "\n".join(late or self.crashes)
                raise ServerFailed(f"the shop's processes are not ready; what they said:\n{said}")
            await asyncio.sleep(0.05)

    def _raise(self, watching: list[asyncio.Task[None]]) -> None:
        for task in watching:  # they never end by themselves: a fleet that nobody watched has proved nothing
            if task.done():
                task.result()

    async def _watch(self, http: aiohttp.ClientSession) -> None:
        """Look at each process four times a second, and tell nginx of those that are ready."""
        while True:
            await asyncio.gather(*(self._look(http, process) for process in list(self.processes)))
            ports = sorted(process.port for process in self.processes if process.ready)
            # With nobody ready nginx keeps those it has: a late answer is no reason to send all away.
            if ports and ports != self._routed:
                await asyncio.to_thread(self.servers.route, ports)
                self._routed = ports
            await asyncio.sleep(0.25)

    async def _look(self, http: aiohttp.ClientSession, process: Process) -> None:
        address = f"http://127.0.0.1:{process.port}"
        try:
            # Without ops there is no readiness to ask for: what answers is ready.
            async with http.get(f"{address}/health/ready" if self.settings.has("ops") else address) as answer:
                process.ready = answer.status == 200
            if process.ready and self.settings.has("ops"):
                process.in_flight = await _in_flight(http, address)
        except TimeoutError:
            return  # busy: what was known of it stays
        except _LOST:
            process.ready = False

    async def _scale(self) -> None:
        while True:
            staying = [process for process in self.processes if not process.draining]
            serving = len(self.serving)
            wanted = self.autoscaler.decide(
                time.monotonic(), serving=serving, starting=len(staying) - serving, in_flight=self.in_flight
            )
            for _ in range(wanted - len(staying)):
                await self.start_one()
            # The youngest goes first, of those that are up.
            for process in self.serving[wanted:]:
                self.spawn(self.drain(process))
            await asyncio.sleep(0.5)

    async def _bury(self, process: Process) -> None:
        await process.child.wait()
        guard.unwatch(process.child.pid)
        self.processes.remove(process)
        if not (process.killed or process.draining):
            self.crashes.append(_said(process))


async def _in_flight(http: aiohttp.ClientSession, address: str) -> int:
    """The metric of one process, as Prometheus would scrape it.

    Raises:
        ServerFailed: it is not there. Taken for none in flight, it would keep the fleet small in silence.
    """
    async with http.get(address + METRICS) as answer:
        text = await answer.text()
    found = _IN_FLIGHT.findall(text)
    if not found:
        raise ServerFailed(
            f"{address}{METRICS} ({answer.status}) does not say how many requests are in flight"
        )
    return sum(int(float(number)) for number in found)


def _said(process: Process) -> str:
    return process.log.read_text(errors="replace")[-2000:]


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.child.send_signal(number)

"""Servers of resumable uploads in processes of their own, which share nothing but a storage."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.ops.child import ROOT
from tests.servers.ports import free_port
from tests.storage.helpers import eventually
from tests.storage.tus_requests import TUS


@dataclass
class Fleet:
    """``options`` as for ``tests.storage.tus_server``."""

    options: dict[str, Any]
    ports: list[int]
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, port: int) -> None:
        self.processes[port] = subprocess.Popen(
            [sys.executable, "-m", "tests.storage.tus_server", str(port), json.dumps(self.options)], cwd=ROOT
        )

    async def up(self, port: int) -> None:
        """Return when it answers."""

        async def answers() -> bool:
            try:
                async with httpx.AsyncClient(timeout=30) as client:
                    return (await client.options(self.url(port), headers=TUS)).status_code == 204
            except httpx.TransportError:
                return False

        await eventually(answers, seconds=60)

    def url(self, port: int) -> str:
        return f"http://127.0.0.1:{port}/"

    def send(self, port: int, number: signal.Signals) -> None:
        self.processes[port].send_signal(number)
        if number == signal.SIGKILL:
            self.processes[port].wait()

    def log(self, word: str) -> list[str]:
        """What the servers noted under ``word``, one entry each time."""
        path = Path(self.options["log"])
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.partition(" ")[2] for line in lines if line.startswith(f"{word} ")]

    def port_of(self, pid: str) -> int:
        return next(port for port, process in self.processes.items() if process.pid == int(pid))


@asynccontextmanager
async def fleet(count: int, options: dict[str, Any]) -> AsyncGenerator[Fleet, None]:
    """``count`` servers that answer."""
    servers = Fleet(options, [free_port() for _ in range(count)])
    try:
        for port in servers.ports:
            servers.start(port)
        await asyncio.gather(*map(servers.up, servers.ports))
        yield servers
    finally:
        for process in servers.processes.values():
            process.kill()
            process.wait()


def behind(ports: list[int]) -> tuple[str, str]:
    """nginx in front of them, in turn: directives for its server block, and beside it."""
    servers = " ".join(f"server 127.0.0.1:{port} max_fails=0;" for port in ports)
    location = """location / {
        proxy_pass http://fleet;
        proxy_http_version 1.1;
        proxy_request_buffering off;
        client_max_body_size 0;
    }"""
    return location, f"upstream fleet {{ {servers} }}"

"""Sessions behind a real server: reads under uvicorn, one process, with ``wrk -c64`` as the clients.

What is reported is each one's share of the requests/s of the bare application, without any session, which
stands as the floor. ``wrk`` comes from the package of that name.
"""

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import ExitStack
from urllib.error import URLError

from benchmarks._session_apps import SERVER_SIDE, SIGNED_COOKIE, cookies_of
from benchmarks.harness import Case, Contender
from tests.servers import RedisServer, Server, ServerMissing

SECONDS = 2


class App(Server):
    """One contender under uvicorn."""

    name = "uvicorn"
    drops_root = False  # its modules may lie where only root can read

    def __init__(self, contender: str, redis_url: str) -> None:
        super().__init__()
        self._contender, self._redis_url = contender, redis_url

    def command(self) -> list[str]:
        module = ["-m", "benchmarks._session_apps"]
        return [sys.executable, *module, self._contender, str(self.port), self._redis_url]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # it runs in a directory of its own

    def is_ready(self) -> bool:
        try:
            self.get("/untouched")
        except URLError:
            return False
        return True

    def get(self, path: str) -> list[tuple[bytes, bytes]]:
        """The headers of the response."""
        with urllib.request.urlopen(f"http://{self.host}:{self.port}{path}", timeout=5) as response:
            return [(name.encode(), value.encode()) for name, value in response.getheaders()]


def wrk_binary() -> str:
    found = shutil.which("wrk")
    if found is None:
        raise ServerMissing("wrk", cure="apt-get install wrk")
    return found


def load(app: App) -> Contender:
    """Requests by 64 connections for a while; returns how many were answered."""
    cookie = cookies_of(app.get("/fill"))
    command = [wrk_binary(), "-t1", "-c64", f"-d{SECONDS}s"]
    if cookie is not None:
        command += ["-H", f"Cookie: {cookie}"]
    command.append(f"http://{app.host}:{app.port}/read")

    def run() -> int:
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        # Nothing may have failed: an error is faster than an answer.
        assert "Non-2xx" not in output, output
        assert "Socket errors" not in output, output
        answered = re.search(r"(\d+) requests in", output)
        assert answered is not None, output
        return int(answered[1])

    return run


async def cases() -> AsyncIterator[Case]:
    with RedisServer() as server, ExitStack() as stack:
        names = ["bare", "floor", "ours", *SERVER_SIDE, SIGNED_COOKIE]
        loads = {name: load(stack.enter_context(App(name, server.url))) for name in names}
        yield Case(
            piece="sessions",
            name="read, uvicorn with wrk -c64, as a share of the bare application",
            ours=loads["ours"],
            peers={
                "the bare application and one redis-py GET": loads["floor"],
                **{name: loads[name] for name in [*SERVER_SIDE, SIGNED_COOKIE]},
            },
            floor=loads["bare"],
            rate=True,
            rounds=5,
        )

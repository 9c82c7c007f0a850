"""The application of ``bench_scale_processes``, and who asks it.

``python -m benchmarks._scale_app PORT REDIS_URL`` serves it.

==========  ===============================================================
``/bare``   answers; the session is not looked at, and there is no cookie
``/read``   reads the session, of 20 values and 1 KB
``/unseen`` the same, and it is the first request of its session in the process
``/modify`` reads the session and changes a value
``/fill``   begins it
``/cached`` asks for one of 100 cached results of 1 KB, which is in Redis
``/local``  the same, which is in the process, too
==========  ===============================================================
"""

import asyncio
import contextlib
import itertools
import os
import sys
import time
from pathlib import Path
from typing import Any, cast
from urllib.error import URLError
from urllib.request import urlopen

import uvicorn

from benchmarks._scale_load import KILOBYTE
from scalekit.cache import Cache
from scalekit.cache.redis import RedisBackend
from scalekit.sessions._recent import Recent, Seen
from scalekit.sessions.asgi import SessionMiddleware
from scalekit.sessions.redis import RedisStore
from scalekit.sessions.redis_bound import BoundRedisStore
from tests.servers import Server

PATHS = ("/bare", "/local", "/cached", "/read", "/unseen", "/modify")
WITHOUT_SESSION = PATHS[:3]
TAG = "products"
_SECRET = "a secret of the benchmark"
_RESULTS = 100  # more than are asked for at a time, as equal questions are asked together
_BUSY = 8  # requests under way at a time, in each process


class _Forgetful(Recent):
    """So that each request is the first of its session."""

    def note(self, id: str, seen: Seen) -> None:
        pass


def application(url: str) -> Any:
    far = Cache(RedisBackend.from_url(url, timeout=5), channel=False)
    near = Cache(RedisBackend.from_url(url, timeout=5, prefix="n:"), local_entries=1_000)
    rows = list(KILOBYTE.values())
    numbers = itertools.cycle(range(_RESULTS))

    @far.query(ttl=86_400, tags=[TAG])
    async def cached(number: int) -> list[str]:
        return rows

    @near.query(ttl=86_400, tags=[TAG])
    async def local(number: int) -> list[str]:
        return rows

    async def app(scope: Any, receive: Any, send: Any) -> None:
        match scope["path"]:
            case "/read" | "/unseen":
                assert scope["session"]["key-07"] == KILOBYTE["key-07"]
            case "/modify":
                scope["session"]["key-08"] = f"{time.monotonic_ns():044}"
            case "/fill":
                scope["session"].update(KILOBYTE)
            case "/cached":
                await cached(next(numbers))
            case "/local":
                await local(next(numbers))
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    store = RedisStore.from_url(url, timeout=5)
    known = SessionMiddleware(app, store=store, secret_key=_SECRET)
    unseen = SessionMiddleware(app, store=store, secret_key=_SECRET)
    cast(BoundRedisStore, unseen._core.store)._recent = _Forgetful()

    async def either(scope: Any, receive: Any, send: Any) -> None:
        await (unseen if scope.get("path") == "/unseen" else known)(scope, receive, send)

    return either


class App(Server):
    """One process of it, under uvicorn."""

    name = "uvicorn"
    drops_root = False  # its modules may lie where only root can read

    def __init__(self, redis_url: str) -> None:
        super().__init__()
        self._redis_url = redis_url

    def command(self) -> list[str]:
        return [sys.executable, "-m", "benchmarks._scale_app", str(self.port), self._redis_url]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # it runs in a directory of its own

    def is_ready(self) -> bool:
        with contextlib.suppress(URLError):
            self.get("/bare")
            return True
        return False

    def get(self, path: str) -> str | None:
        """The cookie that came with the answer."""
        with urlopen(f"http://{self.host}:{self.port}{path}", timeout=10) as response:
            cookie: str | None = response.getheader("set-cookie")
            return None if cookie is None else cookie.partition(";")[0]

    @property
    def seconds(self) -> float:
        """Of a processor that it has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def memory(self) -> int:
        """Bytes of it that are in memory, without what it shares with others."""
        kilobytes = 0
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private"):
                kilobytes += int(line.split()[1])
        return kilobytes * 1024


class _Browser(asyncio.Protocol):
    """Asks again as soon as it was answered; the answers are of one length."""

    def __init__(self, request: bytes) -> None:
        self.answers, self._request, self._received = 0, request, b""
        self.refused: bytes | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._received.startswith(b"HTTP/1.1 200"[: len(self._received)]):
            self.refused = self._received
            self.transport.close()
        elif self._received.endswith(b"\r\n\r\nok"):
            self.answers, self._received = self.answers + 1, b""
            self.transport.write(self._request)


async def requests(apps: list[App], path: str, cookie: str | None, seconds: float) -> int:
    """How many requests these processes answer to eight browsers each in this time.

    Raises:
        RuntimeError: one was not answered 200.
    """
    head = f"GET {path} HTTP/1.1\r\nhost: shop\r\n" + (f"cookie: {cookie}\r\n" if cookie else "")
    loop, browsers = asyncio.get_running_loop(), []
    for number in range(_BUSY * len(apps)):
        app = apps[number % len(apps)]
        browser = _Browser(f"{head}\r\n".encode())
        browsers.append(browser)
        await loop.create_connection(lambda browser=browser: browser, app.host, app.port)  # type: ignore[misc]
    await asyncio.sleep(seconds)
    for browser in browsers:
        browser.transport.close()
    refused = next((browser.refused for browser in browsers if browser.refused is not None), None)
    if refused is not None:
        raise RuntimeError(f"{path} was answered {refused[:200]!r}")
    return sum(browser.answers for browser in browsers)


if __name__ == "__main__":
    port, url = sys.argv[1:]
    uvicorn.run(application(url), port=int(port), log_level="warning", access_log=False)

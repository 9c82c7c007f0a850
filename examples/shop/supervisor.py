"""The whole fleet in one place: what runs, what is asked of it, and how it ends."""

import asyncio
import json
import secrets
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import h11

from examples.shop.app.seed import seed
from examples.shop.app.settings import Settings
from examples.shop.burst import Burst
from examples.shop.databases import Databases, Refused, Unknown
from examples.shop.figures import NOTHING_READ, merged_cache, merged_databases
from examples.shop.http1 import LOST, Connection
from examples.shop.monitor import Monitor
from examples.shop.proxy import Balancer
from examples.shop.servers import AppServer
from examples.shop.traffic import Traffic
from tests.servers import PostgresCluster, RedisServer, scratch
from tests.servers.base import ServerFailed

_MOST_SERVERS = 6


class Fleet:
    """Started by `start`; afterwards every method may be called by the control room at any time."""

    single = False

    def __init__(self) -> None:
        self.traffic = Traffic()
        self.balancer = Balancer(on_served=self.traffic.add)
        self.servers: dict[str, AppServer] = {}
        self.log: deque[dict[str, Any]] = deque(maxlen=200)
        self.began = time.time()
        self.burst = Burst(on_end=self.note)
        self._stack = ExitStack()
        # One thread for all that blocks: what is done to the databases is done one after the other.
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._next = 1
        self._starting = 0
        # By server, and kept when it has ended: a total must not go back.
        self._stats: dict[str, dict[str, Any]] = {}
        self._sessions = 0

    async def start(self, *, servers: int, cdn: str, say: Callable[[str], None]) -> None:
        redis_started = asyncio.create_task(asyncio.to_thread(RedisServer().start))
        cluster = await self._blocking(PostgresCluster(replicas=2).start)
        self._stack.callback(cluster.close)
        self.redis = await redis_started
        self._stack.callback(self.redis.close)
        say("Valkey, and PostgreSQL with two replicas")
        uploads = scratch.make_directory("uploads")
        self._stack.callback(scratch.remove_directory, uploads)
        self.databases = await self._blocking(Databases, cluster)
        urls = self.databases.urls()
        await seed(urls["db-1"])
        self._settings = Settings(
            server="",
            secret_key=secrets.token_urlsafe(32),
            database=urls["db-1"],
            replicas=tuple(url for name, url in urls.items() if name != "db-1"),
            redis=self.redis.url,
            uploads=uploads,
            cdn=cdn,
        )
        self.monitor = Monitor(self.databases)
        for job in (self.balancer.watch(), self.monitor.watch(), self._watch_stats()):
            self._spawn(job)
        await asyncio.gather(*(self.start_server() for _ in range(servers)))
        deadline = time.monotonic() + 60
        while not all(server.upstream.ready for server in self.servers.values()):
            if time.monotonic() > deadline:
                raise ServerFailed("the app servers did not become ready; what they said is above")
            await asyncio.sleep(0.05)
        say(f"{servers} app servers")
        self.note("Everything is up.", "good")

    async def stop(self) -> None:
        """End every child, in order. Twice is once."""
        await self.burst.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(server.end(timeout=3) for server in self.servers.values()))
        await self._blocking(self._stack.close)
        self._thread.shutdown()

    # What the buttons do. Each returns what to write in the log, or raises Refused.

    async def start_server(self) -> str:
        running = sum(server.state != "gone" for server in self.servers.values())
        if running + self._starting >= _MOST_SERVERS:
            raise Refused(f"{_MOST_SERVERS} servers are enough for one machine")
        name, self._next = f"server-{self._next}", self._next + 1
        self._starting += 1
        try:
            server = await AppServer.start(name, self._settings.to_environment())
        finally:
            self._starting -= 1
        self.servers[name] = server
        self.balancer.add(server.upstream)
        self._spawn(self._bury(server))
        return f"{name} started"

    async def drain_server(self, name: str) -> str:
        server = self._server(name)
        if server.draining:
            raise Refused(f"{name} drains already")  # a second SIGTERM would cut the drain short
        server.drain()
        return f"{name} drains: it gets nothing new"

    async def kill_server(self, name: str) -> str:
        server = self._server(name)
        server.kill()
        # Not waited for: the log tells the act first, and then its effect.
        return f"{name} killed with SIGKILL"

    async def pause_replica(self, name: str) -> str:
        await self._blocking(self.databases.pause, name)
        return f"{name} paused: it shows nothing new"

    async def resume_replica(self, name: str) -> str:
        await self._blocking(self.databases.resume, name)
        return f"{name} resumed"

    async def kill_replica(self, name: str) -> str:
        await self._blocking(self.databases.kill, name)
        return f"{name} killed with SIGKILL"

    async def start_replica(self, name: str) -> str:
        await self._blocking(self.databases.start, name)
        return f"{name} is back, and follows {self.databases.primary}"

    async def promote(self, name: str) -> str:
        began = time.monotonic()
        await self._blocking(self.databases.promote, name)
        return f"{name} is the primary now; the change took {time.monotonic() - began:.1f} s"

    def note(self, text: str, kind: str = "") -> None:
        self.log.append({"at": time.time(), "text": text, "kind": kind})

    def snapshot(self) -> dict[str, Any]:
        traffic = self.traffic.snapshot()
        now = time.monotonic()
        stats = self._stats.values()
        servers = [
            {
                "name": name,
                "state": server.state,
                "pid": server.process.pid,
                "uptime": now - server.started,
                "requests": self.traffic.by_server[name],
                "rps": traffic["by_server"].get(name, 0),
                "in_flight": server.upstream.in_flight,
            }
            # They started side by side, and came up in any order.
            for name, server in sorted(self.servers.items(), key=lambda one: one[1].number)
        ]
        reads = merged_databases(stats)
        databases = []
        for name, node in self.databases.nodes.items():
            lag = self.monitor.lags.get(name)
            databases.append(
                {
                    "name": name,
                    "role": "primary" if name == self.databases.primary else "replica",
                    "state": self.databases.state[name],
                    "port": node.port,
                    "lag": None if lag is None else {"bytes": lag.bytes, "seconds": round(lag.seconds, 2)},
                    **reads.get(name, NOTHING_READ),
                }
            )
        return {
            "single": False,
            "time": time.time(),
            "uptime": time.time() - self.began,
            "servers": servers,
            "databases": databases,
            "sessions": self._sessions,
            "cache": merged_cache(stats),
            "traffic": traffic,
            "burst": self.burst.snapshot(),
            "log": list(self.log)[-40:],
        }

    def _server(self, name: str) -> AppServer:
        server = self.servers.get(name)
        if server is None or server.state == "gone":
            raise Unknown(f"there is no server {name}")
        return server

    async def _bury(self, server: AppServer) -> None:
        """When it has ended, say so, and forget it after a while."""
        await server.gone()
        self.balancer.remove(server.upstream)
        if server.draining and not server.killed:
            self.note(f"{server.name} has finished what it had begun, and is gone")
        else:
            self.note(f"{server.name} is gone", "bad")
        await asyncio.sleep(20)  # shown for a while
        self.servers.pop(server.name, None)

    async def _watch_stats(self, *, interval: float = 0.7) -> None:
        while True:
            for server in [one for one in self.servers.values() if one.state in ("ready", "draining")]:
                try:
                    stats = await _stats(server)
                except LOST:
                    continue
                if stats is not None:
                    self._stats[server.name] = stats
            keys = await self._count_sessions()
            self._sessions = self._sessions if keys is None else keys
            await asyncio.sleep(interval)

    async def _count_sessions(self) -> int | None:
        """Keys of sessions, counted by the server itself in one walk."""
        count = "return #redis.call('KEYS', 'session:*')"  # a demo's few thousand keys take a millisecond
        try:
            return int(await asyncio.to_thread(self.redis.call, "EVAL", count, 0))
        except OSError:
            return None

    async def _blocking(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)

    def _spawn(self, job: Any) -> None:
        task = asyncio.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._report)

    def _report(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.note(f"the supervisor stumbled: {type(error).__name__}: {error}", "bad")


async def _stats(server: AppServer) -> dict[str, Any] | None:
    async with asyncio.timeout(2):
        upstream = server.upstream
        connection = await Connection.open(upstream.host, upstream.port, timeout=1)
        try:
            headers = [(b"host", b"localhost"), (b"connection", b"close")]
            await connection.send_head(b"GET", b"/_internal/stats", headers)
            await connection.end_body()
            head: h11.Response = await connection.head()
            body = b"".join([chunk async for chunk in connection.body()])
            return json.loads(body) if head.status_code == 200 else None
        finally:
            connection.close()

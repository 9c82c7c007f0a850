"""What the pieces say of the servers that they depend on, to the health checks of scalekit.ops."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
from sqlalchemy import make_url

from scalekit.cache import Cache
from scalekit.cache.memcached import MemcachedBackend
from scalekit.cache.memory import MemoryBackend
from scalekit.cache.redis import RedisBackend
from scalekit.database import AsyncCluster, Cluster
from scalekit.ops import Drain, asgi, wsgi
from scalekit.sessions.memcached import MemcachedStore
from scalekit.sessions.redis import RedisStore
from tests.database.conftest import PATIENT
from tests.ops.test_asgi import hello
from tests.ops.test_wsgi import call
from tests.ops.test_wsgi import hello as wsgi_hello
from tests.servers import wait_until
from tests.servers.ports import free_port


async def ask(app: asgi.OpsMiddleware) -> Any:
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        return (await http.get("/health/ready")).json()


async def until(app: asgi.OpsMiddleware, condition: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(60):
        while not condition(said := await ask(app)):
            await asyncio.sleep(0.05)
        return said


def known(said: Any) -> bool:
    return None not in [check["ok"] for check in said["checks"].values()]


def oks(said: Any) -> dict[str, bool | None]:
    return {name: check["ok"] for name, check in said["checks"].items()}


async def test_what_answers_and_what_does_not(redis_url: str, memcached_server: Any) -> None:
    """Back ends and stores are asked; without one of them the server is ready all the same."""
    nobody = f"127.0.0.1:{free_port()}"
    pieces = [
        Cache(RedisBackend.from_url(redis_url)),
        Cache(MemcachedBackend.from_url(memcached_server.url)),
        Cache(MemoryBackend()),  # depends on nothing
        Cache(RedisBackend.from_url(f"redis://{nobody}")),
        RedisStore.from_url(redis_url),
        MemcachedStore.from_url(memcached_server.url),
        MemcachedStore.from_url(f"memcached://{nobody}"),
    ]
    app = asgi.OpsMiddleware(hello, checks=pieces)
    wanted = {
        "cache": True, "cache 2": True, "cache 3": False,
        "sessions": True, "sessions 2": True, "sessions 3": False,
    }  # fmt: skip
    # One that answers is asked again if a busy machine was too slow for it.
    said = await until(app, lambda said: oks(said) == wanted)
    assert said["status"] == "ready"
    blocking = wsgi.OpsMiddleware(wsgi_hello, checks=pieces, drain=Drain(signals=()))

    def answer() -> Any:
        return json.loads(call(blocking, "/health/ready")[2])

    wait_until(lambda: oks(answer()) == wanted, timeout=60, what="the same answers")


async def test_a_server_that_never_reached_its_primary_gets_no_traffic(database: Any) -> None:
    """And one that has is ready: it asks nobody but those who watch the members anyway."""
    replicas = database.replica_urls("asyncpg")
    good = AsyncCluster(database.primary_url("asyncpg"), replicas=replicas, **PATIENT)
    nobody = make_url(database.primary_url("asyncpg")).set(port=free_port())
    wrong = AsyncCluster(nobody, replicas=replicas, **PATIENT)
    try:
        app = asgi.OpsMiddleware(hello, checks=[good])
        said = await until(app, lambda said: said["status"] == "ready")
        assert said["checks"]["database"]["required"] == "once"
        app = asgi.OpsMiddleware(hello, checks=[wrong])
        said = await until(app, known)
        assert said["status"] == "unavailable"
    finally:
        await good.dispose()
        await wrong.dispose()


def test_a_single_server_is_not_asked() -> None:
    """Nobody watches it, so that nothing is known; a check of one's own can ask."""
    cluster = Cluster(f"postgresql+psycopg://app@127.0.0.1:{free_port()}/shop")
    (dependency,) = cluster.dependencies()
    assert dependency.ask("sync") is True
    cluster.dispose()

"""1 to 8 processes of an application: what a request costs them and Redis, and what each of them costs Redis.

On a machine of two cores more processes do not answer more: what is to be seen is whether a request costs
more when there are more of them. What it costs is processor time, which others at work do not add to.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack

from benchmarks._scale_app import PATHS, TAG, WITHOUT_SESSION, App, requests
from benchmarks._scale_series import Series
from scalekit.cache import Cache
from scalekit.cache.redis import RedisBackend
from tests.servers import RedisServer

COUNTS = (1, 2, 4, 6, 8)
_SECONDS = 3.0
_DROPS = 100
_PAUSE = 0.02  # seconds between two of them, so that none is told together with the next


async def series(most: int = COUNTS[-1]) -> AsyncIterator[Series]:
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer())
        apps: list[App] = []
        rows = []
        for count in (count for count in COUNTS if count <= most):
            while len(apps) < count:
                apps.append(stack.enter_context(App(server.url)))
            cookie = apps[0].get("/fill")
            if count == 1:
                yield await _costs(apps[0], server, cookie)
            for app in apps:
                app.get("/local")
            used = await _measured(apps, server, "/read", cookie)
            listening = await _dropped(server)
            memory = sum(app.memory for app in apps) / count / 2**20
            rows.append([count, *used[:3], float(_connections(server)), memory, *listening])
        yield Series(
            name="processes",
            title="Microseconds of processor time for a request that reads its session",
            columns=[
                "processes",
                "requests/s",
                "process, us a request",
                "Redis, us a request",
                "connections to Redis",
                "MiB a process",
                "questions after a drop",
                "bytes told of a drop",
            ],
            rows=rows,
            drawn={"process, us a request": "of the processes", "Redis, us a request": "of Redis"},
            notes=(
                "uvicorn; sessions of 1 KB; 8 browsers a process, each with one request at a time. All share",
                "the same cores, so that requests/s cannot grow: processor time tells what one costs.",
            ),
            log_x=False,
        )


async def _costs(app: App, server: RedisServer, cookie: str | None) -> Series:
    rows: list[list[float | str]] = []
    for path in PATHS:
        given = None if path in WITHOUT_SESSION else cookie
        await requests([app], path, given, 0.5)  # scripts and results are there after that
        _, *used = await _measured([app], server, path, given)
        rows.append([path, *used])
    return Series(
        name="costs",
        title="One process, by what a request does",
        columns=["request", "process, us", "Redis, us", "bytes to Redis", "bytes from Redis"],
        rows=rows,
        drawn={},
    )


async def _measured(
    apps: list[App], server: RedisServer, path: str, cookie: str | None
) -> tuple[float, float, float, float, float]:
    """Requests/s; and for one: microseconds of the processes and of Redis, bytes to and from Redis."""
    before, start = _used(apps, server), time.perf_counter()
    answers = await requests(apps, path, cookie, _SECONDS)
    seconds, after = time.perf_counter() - start, _used(apps, server)
    process, redis, to, back = ((new - old) / answers for old, new in zip(before, after, strict=True))
    return answers / seconds, process * 1e6, redis * 1e6, to, back


def _used(apps: list[App], server: RedisServer) -> tuple[float, float, float, float]:
    cpu, stats = server.info("cpu"), server.info("stats")
    redis = float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])
    to, back = float(stats["total_net_input_bytes"]), float(stats["total_net_output_bytes"])
    return sum(app.seconds for app in apps), redis, to, back


def _connections(server: RedisServer) -> int:
    """But for the one that asks."""
    return int(server.info("clients")["connected_clients"]) - 1


async def _dropped(server: RedisServer) -> tuple[float, float]:
    """For each drop of a tag: questions of the processes to the stream, and bytes that they are told."""
    cache = Cache(RedisBackend.from_url(server.url, timeout=5, prefix="n:"))
    await cache.invalidate_tags(TAG)
    before = _asked(server)
    for _ in range(_DROPS):
        await cache.invalidate_tags(TAG)
        await asyncio.sleep(_PAUSE)
    after = _asked(server)
    await cache.close()
    questions, told = ((new - old) / _DROPS for old, new in zip(before, after, strict=True))
    return questions, told


def _asked(server: RedisServer) -> tuple[int, int]:
    stats = server.info("commandstats")
    found = stats.get("cmdstat_xread", "calls=0,")
    return int(found.split("calls=")[1].split(",")[0]), int(server.info("stats")["total_net_output_bytes"])

"""100 to 1,000,000 cached results, each under a tag of its own: bytes in Redis, and the time of a hit and of
dropping one."""

import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from benchmarks._scale_load import load_entries
from benchmarks._scale_series import Series
from benchmarks.bench_scale_sessions import memory_of
from scalekit.cache import Cache
from scalekit.cache.redis import RedisBackend
from tests.servers import RedisServer

COUNTS = (100, 1_000, 10_000, 100_000, 1_000_000)
_READS, _DROPS, _LOCAL = 2_000, 200, 10_000
ROWS = [f"product {number}: {number:040}" for number in range(20)]  # 1 KB


async def series(most: int = COUNTS[-1]) -> AsyncIterator[Series]:
    rows = []
    with RedisServer() as server:
        # Patient: a busy machine would have the cache go on without Redis, and that is not what is measured.
        far = Cache(RedisBackend.from_url(server.url, timeout=10), channel=False)
        back_end = RedisBackend.from_url(server.url, timeout=10)
        near = Cache(back_end, local_entries=most, local_ttl=3_600, channel=False)
        product, kept = query(far), query(near)
        for _ in range(2):  # the scripts, the stream of drops, and the result that is copied
            await product(0)
            await product.invalidate(0)
        await product(0)
        empty = memory_of(server)
        loaded = 1
        for count in (count for count in COUNTS if count <= most):
            load_entries(server, product.key, range(loaded, count), tag="product:")
            loaded = count
            numbers = random.choices(range(count), k=_READS)
            hit = await median_of(product, numbers)
            dropped = await median_of(
                product.invalidate, random.sample(range(1, count), min(_DROPS, count // 2))
            )
            rows.append([count, (memory_of(server) - empty) / count, hit, await local(kept, count), dropped])
        await far.close()
        await near.close()
    columns = ["results", "bytes each in Redis", "hit in Redis, us", "hit in the process, us", "dropped, us"]
    yield Series(
        name="cache-memory",
        title="Bytes in Redis for one cached result of 1 KB and its tag",
        columns=columns,
        rows=rows,
        drawn={"bytes each in Redis": "bytes a result"},
        notes=("20 texts, 1 KB in all, under one tag that is no other result's: as many tags as results.",),
    )
    yield Series(
        name="cache-time",
        title="Microseconds of one call, by how many results and tags there are",
        columns=["results", *columns[2:]],
        rows=[[row[0], *row[2:]] for row in rows],
        drawn={columns[4]: "drop", columns[2]: "hit in Redis", columns[3]: "hit in the process"},
        notes=(
            f"Median of {_READS} hits and of up to {_DROPS} drops, one after the other, by chance; loopback.",
            f"In the process: hits of the {_LOCAL} results, at most, that it keeps.",
        ),
        log_y=True,
    )


def query(cache: Cache) -> Any:
    @cache.query(ttl=86_400, tags=["product:{number}"])
    async def product(number: int) -> list[str]:
        return ROWS

    return product


async def median_of(call: Callable[[int], Awaitable[Any]], numbers: Sequence[int]) -> float:
    took = []
    for number in numbers:
        start = time.perf_counter()
        await call(number)
        took.append((time.perf_counter() - start) * 1e6)
    return statistics.median(took)


async def local(product: Any, count: int) -> float:
    """Of what the process keeps: these results were just asked for."""
    numbers = range(1, min(count, _LOCAL))
    for number in numbers:
        await product(number)
    return await median_of(product, random.choices(numbers, k=_READS))

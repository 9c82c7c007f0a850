"""1,000 to 1,000,000 live sessions: bytes of each in Redis, and the round trip that reads one of them."""

import random
import statistics
import time
from collections.abc import AsyncIterator

from benchmarks._scale_load import CART, IDLE, KILOBYTE, load_sessions, token
from benchmarks._scale_series import Series
from scalekit.sessions.redis import RedisStore
from scalekit.sessions.tokens import store_id
from tests.servers import RedisServer

COUNTS = (1_000, 10_000, 100_000, 1_000_000)
_READS = 2_000
_STEP = 300_000  # milliseconds: nothing is due


async def series(most: int = COUNTS[-1]) -> AsyncIterator[Series]:
    rows = []
    counts = [count for count in COUNTS if count <= most]
    small, large = used_by(CART, counts), used_by(KILOBYTE, [count for count in counts if count <= 100_000])
    async for count, memory, seconds, server in small:
        median, late = await round_trips(server, count)
        rows.append([count, memory / count, memory / 2**20, median, late, count / seconds])
    sizes = [memory / count async for count, memory, _, _ in large]
    yield Series(
        name="sessions-memory",
        title="Bytes in Redis for one session, by how many there are",
        columns=[
            "sessions",
            "bytes each",
            "MiB in all",
            "read, median us",
            "read, 99 % us",
            "loaded a second",
        ],
        rows=rows,
        drawn={"bytes each": "bytes a session"},
        notes=(
            "A visitor who is logged in: 4 values, a cart among them, and the list of the user's sessions.",
            f"One with 20 values, 1 KB in all: {sizes[-1]:,.0f} bytes.",
        ),
    )
    yield Series(
        name="sessions-time",
        title="Microseconds to read one session, by how many there are",
        columns=["sessions", "median us", "99 % us"],
        rows=[[row[0], row[3], row[4]] for row in rows],
        drawn={"median us": "median", "99 % us": "99 %"},
        notes=(
            f"{_READS} one after the other, by chance, of sessions that the process has not seen; loopback.",
        ),
        log_y=True,
    )


async def used_by(
    data: dict[str, object], counts: list[int]
) -> AsyncIterator[tuple[int, int, float, RedisServer]]:
    """Bytes that so many sessions take in a server of their own, and seconds that the last of them took to
    load."""
    with RedisServer() as server:
        load_sessions(server, range(-1, 0), data=data)  # the script, which takes some
        empty, loaded = memory_of(server), 0
        for count in counts:
            start = time.perf_counter()
            load_sessions(server, range(loaded, count), data=data)
            seconds = (time.perf_counter() - start) * count / (count - loaded)
            loaded = count
            yield count, memory_of(server) - empty, seconds, server


def memory_of(server: RedisServer) -> int:
    """Bytes that it has allocated, its tables of keys among them."""
    return int(server.info("memory")["used_memory"])


async def round_trips(server: RedisServer, count: int) -> tuple[float, float]:
    """Microseconds of a read: the median, and what 99 % do not exceed."""
    link = RedisStore.from_url(server.url, timeout=10)
    store = link.using("async")
    took = []
    for number in random.choices(range(count), k=_READS + 100):
        id = store_id(token(number))
        start = time.perf_counter()
        found = await store.load(id, idle=IDLE, step=_STEP)  # type: ignore[misc]  # it is the async colour
        took.append((time.perf_counter() - start) * 1e6)
        assert found is not None
        assert found.user is not None
    took = sorted(took[100:])
    return statistics.median(took), took[int(len(took) * 0.99)]

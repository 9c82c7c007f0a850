"""One of four processes with 250 callers each, all at once, on a cold key whose query takes 200 ms.

python -m benchmarks._cache_cold CONTENDER URL     # waits for a line, and prints JSON
"""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from benchmarks._cache_peers import peers
from scalekit.cache import Cache
from scalekit.cache.redis import RedisBackend

CALLERS, QUERY = 250, 0.2
OURS = "scalekit"

# Before it starts, each caller has had a connection: what is measured is the burst, not connecting.
Call = Callable[[str], Any]


class Runs:
    """Counts, for threads, what is not the warm-up."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def add(self, category: str) -> None:
        with self._lock:
            self.count += category == "cold"


@contextmanager
def contender(name: str, url: str, runs: Runs) -> Iterator[Call]:
    """A cached query; a plain ``def`` if the peer has no other."""

    async def query(category: str) -> list[int]:
        runs.add(category)
        await asyncio.sleep(QUERY)
        return [1]

    def plain(category: str) -> list[int]:
        runs.add(category)
        time.sleep(QUERY)
        return [1]

    if name == OURS:
        yield Cache(RedisBackend.from_url(url)).query(ttl=600, reads=["product"])(query)
        return
    # With its lock, where it has one that a user would switch on.
    with peers(url, lock=not name.startswith("aiocache")) as theirs:
        if name in theirs.synchronous:
            yield theirs.synchronous[name](plain)
        else:
            yield theirs.asynchronous[name](query)


async def _timed(call: Callable[[str], Awaitable[Any]]) -> float:
    began = time.perf_counter()
    await call("cold")
    return time.perf_counter() - began


async def main(name: str, url: str) -> None:
    runs = Runs()
    with contender(name, url, runs) as call:
        if asyncio.iscoroutinefunction(call):
            await asyncio.gather(*(call(f"warm-up {caller}") for caller in range(CALLERS)))
            await _go()
            times = await asyncio.gather(*(_timed(call) for _ in range(CALLERS)))
        else:
            times = await _in_threads(call)
    print(json.dumps({"runs": runs.count, "times": times}), flush=True)


async def _in_threads(call: Call) -> list[float]:
    def timed(_: int) -> float:
        began = time.perf_counter()
        call("cold")
        return time.perf_counter() - began

    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(lambda caller: call(f"warm-up {caller}"), range(CALLERS)))
        await _go()
        return list(pool.map(timed, range(CALLERS)))


async def _go() -> None:
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

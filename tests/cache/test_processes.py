"""One computation for several processes, and what becomes of it when they are killed."""

import asyncio
import contextlib
import importlib
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from scalekit._steps import run
from scalekit.cache import Cache
from scalekit.cache.backend import Lookup
from scalekit.cache.redis import RedisBackend
from tests.faults import FaultProxy
from tests.patience import TIMEOUTS

WORKER = """
    import asyncio, sys
    from scalekit.cache import Cache
    {imports}

    cache = Cache({backend})
    runs = 0

    @cache.query(ttl=60, tags=["t"], name="answer")
    async def answer(number: int) -> int:
        global runs
        runs += 1
        print("running", flush=True)
        await asyncio.sleep(float(sys.argv[3]))
        return number

    async def main():
        await answer.invalidate(0)  # connected
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        results = await asyncio.gather(*(answer(1) for _ in range(250)))
        print("runs", runs, set(results), flush=True)
        await cache.close()

    asyncio.run(main())
"""
BACKENDS = {
    "redis": (
        "from scalekit.cache.redis import RedisBackend",
        "RedisBackend.from_url(sys.argv[1], prefix=sys.argv[2], timeout=5)",
    ),
    "memcached": (
        "from scalekit.cache.memcached import MemcachedBackend",
        "MemcachedBackend.from_url(sys.argv[1], prefix=sys.argv[2], timeout=5)",
    ),
}

KINDS = [kind for kind in BACKENDS if kind in TIMEOUTS]  # with one extra alone there are no others


@contextlib.contextmanager
def workers(kind: str, url: str, prefix: str, *, seconds: Sequence[float]) -> Iterator[list[Any]]:
    """Processes that are about to call a query that takes so long, 250 times each."""
    imports, backend = BACKENDS[kind]
    code = textwrap.dedent(WORKER).format(imports=imports, backend=backend)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, url, prefix, str(each)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for each in seconds
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate(timeout=60)


def go(process: Any) -> None:
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_callers_in_four_processes(kind: str, request: pytest.FixtureRequest, prefix: str) -> None:
    """1. The query runs exactly once, and all of them have its result."""
    url = request.getfixturevalue(f"{kind}_server").url
    with workers(kind, url, prefix, seconds=[0.5] * 4) as processes:
        for process in processes:
            go(process)
        ends = [process.communicate(timeout=60)[0].splitlines()[-1] for process in processes]
    assert sorted(ends) == ["runs 0 {1}"] * 3 + ["runs 1 {1}"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_holder_that_is_killed(kind: str, request: pytest.FixtureRequest, prefix: str) -> None:
    """2. It is noticed when its lease ends, and another computes: once."""
    url = request.getfixturevalue(f"{kind}_server").url
    with workers(kind, url, prefix, seconds=[600, 0.2, 0.2]) as processes:
        holder, *others = processes
        go(holder)
        assert holder.stdout.readline() == "running\n"
        for process in others:
            go(process)
        holder.send_signal(signal.SIGKILL)
        # What is written here is the line's: five seconds, and what it takes to compute.
        ends = [process.communicate(timeout=5 + 40)[0].splitlines()[-1] for process in others]
    assert sorted(ends) == ["runs 0 {1}", "runs 1 {1}"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_process_that_waits_asks_now_and_then(
    kind: str, request: pytest.FixtureRequest, prefix: str
) -> None:
    """4. At most 20 questions in a second, however many callers wait: they were counted on the wire."""
    server = request.getfixturevalue(f"{kind}_server")
    made = getattr(importlib.import_module(f"scalekit.cache.{kind}"), f"{kind.title()}Backend")
    async with FaultProxy(server.host, server.port) as proxy:
        cache = Cache(made.from_url(proxy.url(server.url), prefix=prefix))
        direct = made.from_url(server.url, prefix=prefix).using("sync")

        @cache.query(ttl=60)
        async def answer(number: int) -> int:
            return number

        await answer(0)
        lookup = Lookup(answer.key(1))
        (found,) = run(direct.read([lookup]))
        lease: Any = run(direct.acquire(lookup, found, ttl=30))
        assert lease.mine
        before, began = proxy.round_trips, time.monotonic()
        callers = [asyncio.create_task(answer(1)) for _ in range(100)]
        async with asyncio.timeout(20):  # a second is what the line is about, and a busy machine's is longer
            while (asked := proxy.round_trips - before) < 4 or time.monotonic() - began < 1.0:
                await asyncio.sleep(0.01)
        # The callers' own lookups came first, in one or two trips; and then it is five in a second at most.
        assert asked <= 22 + 5 * (time.monotonic() - began - 1.0)
        run(direct.release(lease))
        assert await asyncio.gather(*callers) == [1] * 100
        await cache.close()
        direct.close()


def test_threads_and_tasks_of_one_process(redis_url: str, prefix: str) -> None:
    """1. A synchronous process and an asynchronous one share leases, too."""
    runs, running, finish = [], threading.Event(), threading.Event()
    slow, other = (Cache(RedisBackend.from_url(redis_url, prefix=prefix)) for _ in range(2))

    @slow.query(ttl=60, name="answer")
    def answer() -> int:
        runs.append("def")
        running.set()
        assert finish.wait(20)
        return 1

    @other.query(ttl=60, name="answer")
    async def same() -> int:
        runs.append("async def")
        return 2

    async def ask() -> int:
        task = asyncio.create_task(same())
        while other.stats().waits < 1:
            await asyncio.sleep(0.001)
        finish.set()
        result = await task
        await other.close()
        return result

    thread = threading.Thread(target=answer)
    thread.start()
    assert running.wait(20)
    assert asyncio.run(ask()) == 1
    thread.join()
    assert runs == ["def"]
    slow.close_sync()

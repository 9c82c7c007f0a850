"""The first tier and the channel: what another server invalidates is gone here as soon as it is heard.

Two caches stand for two servers, each with a connection of its own; in one test they are processes. With a
`local_ttl` of a minute nothing is gone by itself while a test waits.
"""

import asyncio
import gc
import logging
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio

from scalekit._steps import run_async
from scalekit.cache import Cache, listening
from scalekit.cache.redis import RedisBackend
from tests.faults import FaultProxy, kill
from tests.servers import RedisServer

_WITHIN = 30.0  # seconds
MINUTE = 60.0


class Server:
    """A server with a cache of its own: ``read(n)`` gives the source as it was when it was asked for."""

    def __init__(
        self,
        url: str,
        prefix: str,
        source: list[int],
        *,
        local_ttl: float,
        timeout: float = _WITHIN,
        clock: Callable[[], float] | None = None,
        **options: Any,
    ) -> None:
        self.cache = Cache(
            RedisBackend.from_url(url, prefix=prefix, timeout=timeout),
            local_entries=100,
            local_ttl=local_ttl,
            **options,
        )
        core = self.cache._core
        if clock is not None:
            assert core.listener is not None
            core.local.clock = core.listener._hearing._clock = clock

        @self.cache.query(ttl=600, jitter=0, tags=["t", "number:{number}"], name="read")
        async def read(number: int) -> int:
            return source[0]

        self.read = read

    @property
    def local_hits(self) -> int:
        return self.cache.stats().local_hits

    async def hears(self) -> None:
        """Wait until its memory is trusted by what the channel says."""

        async def is_trusted() -> bool:
            return self.cache._core.local.clock() < self.cache._core.local.horizon

        await until(is_trusted)

    async def is_local(self, number: int = 0) -> bool:
        """Whether a call is answered from this process's memory."""
        before = self.local_hits
        await self.read(number)
        return self.local_hits > before

    async def becomes_local(self, *numbers: int) -> None:
        for number in numbers or (0,):
            await until(lambda number=number: self.is_local(number))  # type: ignore[misc]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(_WITHIN):
        while not await condition():
            await asyncio.sleep(0.005)


async def said(caplog: pytest.LogCaptureFixture, words: str, count: int = 1) -> list[str]:
    """The messages with these words, once there are so many: each follows what readers see."""

    def found() -> list[str]:
        return [record.getMessage() for record in caplog.records if words in record.getMessage()]

    async def is_told() -> bool:
        return len(found()) >= count

    await until(is_told)
    return found()


@asynccontextmanager
async def servers(
    urls: list[str], prefix: str, *, local_ttl: float = MINUTE, timeout: float = _WITHIN, **options: Any
) -> AsyncIterator[tuple[list[int], list[Server]]]:
    """The source, and a server at each URL; ``timeout`` is that of the first."""
    source = [1]
    made = [
        Server(url, prefix, source, local_ttl=local_ttl, timeout=_WITHIN if number else timeout, **options)
        for number, url in enumerate(urls)
    ]
    try:
        yield source, made
    finally:
        for one in made:
            await one.cache.close()


@pytest.mark.parametrize("kind", ["redis_server", "redis_cluster"])
async def test_what_another_server_drops_is_gone(
    kind: str, request: pytest.FixtureRequest, prefix: str
) -> None:
    """6, 8. By key, by tag, by a tag with an argument in it, by a writer's mark before its COMMIT, and with
    everything: long before the bound. What it does not concern stays."""
    url = request.getfixturevalue(kind).url
    async with servers([url] * 2, prefix) as (source, (here, there)):
        entries = there.cache._backend.using("async")

        async def mark() -> None:
            await run_async(entries.mark(["t"], b"a writer", ttl=MINUTE))
            await run_async(entries.bump(["t"], b"a writer"))

        async def clear() -> None:
            await run_async(entries.renew_generation())

        for drop, others_too in (
            (lambda: there.read.invalidate(0), False),
            (lambda: there.cache.invalidate_tags("number:0"), False),
            (lambda: there.cache.invalidate_tags("t"), True),
            (mark, True),
            (clear, True),
        ):
            await here.becomes_local(0, 1)
            source[0] += 1
            await drop()

            async def is_new() -> bool:
                return await here.read(0) == source[0]

            await until(is_new)
            assert await here.is_local(1) != others_too


async def test_it_lives_longer_than_the_bound(
    redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8. While the channel says that nothing has changed, results stay for their whole time to live: ten
    minutes, with a bound of one."""
    monkeypatch.setattr(listening, "_MOST_BLOCK", 0.05)  # so often it says so
    ahead = 0.0
    async with servers([redis_url], prefix, clock=lambda: time.monotonic() + ahead) as (_, (here,)):
        await here.becomes_local()
        asked = here.cache.stats().hits
        for minutes in (3, 6, 9):
            ahead = minutes * MINUTE
            await here.hears()
            assert await here.is_local()
        assert here.cache.stats().hits == asked  # nobody asked Redis for it
        ahead = 10 * MINUTE
        await here.hears()
        assert not await here.is_local()


async def test_without_a_channel_the_bound_is_their_end(redis_url: str, prefix: str) -> None:
    """8. `channel=False`: what another server has dropped is served for `local_ttl` at most, unheard."""
    source = [1]
    here = Server(redis_url, prefix, source, local_ttl=0.05, channel=False)
    there = Server(redis_url, prefix, source, local_ttl=MINUTE)
    await here.becomes_local()
    source[0] = 2
    await there.cache.invalidate_tags("t")

    async def is_new() -> bool:
        return await here.read(0) == 2

    await until(is_new)
    assert here.cache._core.listener is None
    await here.cache.close()
    await there.cache.close()


async def test_two_processes(redis_url: str, prefix: str) -> None:
    """8. In another process, too, that has answered from its memory before."""
    script = f"""
        import asyncio, sys
        from scalekit.cache import Cache
        from scalekit.cache.redis import RedisBackend

        source = int(sys.stdin.readline())
        cache = Cache(
            RedisBackend.from_url({redis_url!r}, prefix={prefix!r}, timeout=5), local_entries=9, local_ttl=60
        )

        @cache.query(ttl=600, tags=["t"], name="value")
        async def value() -> int:
            return source

        async def main():
            global source
            for line in range(3):
                while await value() != source or not cache.stats().local_hits:
                    await asyncio.sleep(0.002)
                print(source, flush=True)
                source = int(await asyncio.to_thread(sys.stdin.readline))
            await cache.close()

        asyncio.run(main())
    """
    worker = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdin
    assert worker.stdout
    here = Cache(RedisBackend.from_url(redis_url, prefix=prefix))
    try:
        async with asyncio.timeout(_WITHIN):
            for number in range(1, 4):
                print(number, file=worker.stdin, flush=True)
                if number > 1:
                    await here.invalidate_tags("t")
                assert await asyncio.to_thread(worker.stdout.readline) == f"{number}\n"
        print(0, file=worker.stdin, flush=True)
        assert await asyncio.to_thread(worker.wait, _WITHIN) == 0
    finally:
        worker.kill()
        worker.communicate()
        await here.close()


async def test_an_invalidation_on_the_way_discards_the_value(
    redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """17. Heard between Redis's answer and the moment at which it would be kept: it is not kept."""
    async with servers([redis_url] * 2, prefix) as (source, (here, there)):
        await there.read(7)  # so that it is found, and not computed, here
        await here.becomes_local(0)
        local, keep = here.cache._core.local, here.cache._core.keep
        heard = asyncio.Event()
        loop = asyncio.get_running_loop()
        drop = local.drop

        def heed(*args: Any) -> None:
            drop(*args)
            loop.call_soon_threadsafe(heard.set)

        answered = asyncio.Event()
        read = here.cache._backend.own._link.using("async").execute  # type: ignore[attr-defined]

        async def hold(*args: Any) -> Any:
            reply = await read(*args)
            if args[0] == "MGET":
                answered.set()
                await heard.wait()
            return reply

        monkeypatch.setattr(local, "drop", heed)
        monkeypatch.setattr(here.cache._backend.own._link.using("async"), "execute", hold)  # type: ignore[attr-defined]
        kept: list[object] = []
        monkeypatch.setattr(here.cache._core, "keep", lambda *args: (kept.append(args), keep(*args)))
        async with asyncio.timeout(_WITHIN):
            asked = asyncio.create_task(here.read(7))
            await answered.wait()
            source[0] = 2
            await there.cache.invalidate_tags("t")
            assert await asked == 1  # its call began before
            assert kept
            assert await here.read(7) == 2


async def test_a_half_open_connection_is_noticed(
    redis_server: RedisServer, redis_url: str, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """16. Nothing is closed and nothing comes any more: noticed by the listener, long before the bound, and
    what is in memory is not used. When it is back nothing is served that was kept before."""
    with FaultProxy(redis_server.host, redis_server.port) as proxy:
        urls = [proxy.url(redis_url), redis_url]
        async with servers(urls, prefix, timeout=2.0) as (source, (here, there)):
            await here.becomes_local(0, 1)
            await asyncio.to_thread(proxy.blackhole)
            source[0] = 2
            await there.cache.invalidate_tags("t")

            async def is_bypassed() -> bool:
                return not await here.is_local()

            await until(is_bypassed)
            assert await here.read(0) == 2
            (lost,) = await said(caplog, "channel is lost")
            assert f":{proxy.port}/" in lost
            assert here.cache.stats().losses == 1
            await asyncio.to_thread(proxy.pass_through)
            await here.becomes_local(1)
            assert await here.read(1) == 2


async def test_a_lost_channel_runs_out_by_itself(
    redis_server: RedisServer, redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16. Even if nobody notices: the bound passes, and nothing that is kept is served."""
    with FaultProxy(redis_server.host, redis_server.port) as proxy:
        urls = [proxy.url(redis_url), redis_url]
        async with servers(urls, prefix, local_ttl=0.4, timeout=2.0) as (source, (here, there)):
            await here.becomes_local()
            local = here.cache._core.local
            monkeypatch.setattr(local, "flush", lambda: None)  # what would notice is deaf
            await asyncio.to_thread(proxy.blackhole)
            source[0] = 2
            await there.cache.invalidate_tags("t")

            async def is_new() -> bool:
                return await here.read(0) == 2

            await until(is_new)
            assert len(local) > 0
            assert not await here.is_local()


@pytest.mark.parametrize("command", [("DEL",), ("XADD", "9999999999999-0", "n", "1")])
async def test_a_stream_that_is_another_one_empties_the_tier(
    redis_server: RedisServer, redis_url: str, prefix: str, command: tuple[str, ...]
) -> None:
    """16. Deleted, evicted, or with a message that does not follow: everything is asked for again."""
    async with servers([redis_url], prefix) as (_, (here,)):
        await here.becomes_local()
        redis_server.call(command[0], prefix + "m", *command[1:])

        async def is_bypassed() -> bool:
            return not await here.is_local()

        await until(is_bypassed)
        await here.becomes_local()


async def test_a_client_of_ones_own_is_heard_by_a_task(redis_url: str, prefix: str) -> None:
    """8. An asynchronous client has no thread: the loop listens, and `close` ends that."""
    source = [1]
    there = Cache(RedisBackend.from_url(redis_url, prefix=prefix))
    async with redis.asyncio.from_url(redis_url) as client:
        here = Cache(RedisBackend(client, prefix=prefix), local_entries=10, local_ttl=MINUTE)

        @here.query(ttl=600, tags=["t"])
        async def read() -> int:
            return source[0]

        async def is_local() -> bool:
            before = here.stats().local_hits
            await read()
            return here.stats().local_hits > before

        await until(is_local)
        source[0] = 2
        await there.invalidate_tags("t")

        async def is_new() -> bool:
            return await read() == 2

        await until(is_new)
        await here.close()

        async def is_over() -> bool:
            return not [task for task in asyncio.all_tasks() if task.get_name() == "scalekit-cache"]

        await until(is_over)
    await there.close()


def test_a_cache_that_is_dropped_listens_no_more(redis_url: str, prefix: str) -> None:
    """Nobody closes it: with the last function of a cache its thread ends."""
    before = set(threading.enumerate())
    cache = Cache(RedisBackend.from_url(redis_url, prefix=prefix), local_entries=10, local_ttl=0.1)

    @cache.query(ttl=600)
    def read() -> int:
        return 1

    read()
    (thread,) = [new for new in set(threading.enumerate()) - before if new.name == "scalekit-cache"]
    del cache, read
    gc.collect()
    thread.join(_WITHIN)
    assert not thread.is_alive()


def test_synchronous_code_hears(redis_url: str, prefix: str) -> None:
    """8. A plain def: the same thread, the same words."""
    source = [1]
    here = Cache(RedisBackend.from_url(redis_url, prefix=prefix), local_entries=10, local_ttl=MINUTE)
    there = Cache(RedisBackend.from_url(redis_url, prefix=prefix))

    @here.query(ttl=600, tags=["t"])
    def read() -> int:
        return source[0]

    ends = time.monotonic() + _WITHIN
    while not here.stats().local_hits:
        assert read() == 1
        assert time.monotonic() < ends
        time.sleep(0.002)
    source[0] = 2
    there.invalidate_tags_sync("t")
    while read() != 2:
        assert time.monotonic() < ends
        time.sleep(0.002)
    here.close_sync()
    there.close_sync()


@pytest.mark.slow
async def test_a_server_that_was_killed(prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    """15, 16. Killed, and started again without its data: what was in memory is not served, neither while it
    is away nor afterwards, and then the tier is used again."""
    caplog.set_level(logging.INFO, "scalekit.cache")
    with RedisServer() as server:
        async with servers([server.url], prefix) as (source, (here,)):
            await here.becomes_local()
            await asyncio.to_thread(kill, server)
            source[0] = 2

            async def is_new() -> bool:
                return await here.read(0) == 2

            await until(is_new)
            await asyncio.to_thread(server.start)
            await here.becomes_local()
            assert await here.read(0) == 2
            lost, back = await said(caplog, "channel", 2)
            assert ("lost" in lost, "lost" in back) == (True, False)

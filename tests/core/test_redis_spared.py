"""Callers who are spared: a server that hangs costs those who ask it first one time-out, and nobody after."""

import asyncio
import time
from typing import Any

import pytest
import redis.asyncio

from scalekit import _limits
from scalekit._redis import Redis
from scalekit.errors import BackendError, BackendTimeout, BackendUnavailable, WrongColour
from tests.faults import FaultProxy
from tests.servers import RedisServer

_WITHIN = 30.0  # seconds, for what comes at once unless the machine is busy


def _sparing(proxy: FaultProxy, url: str, **options: float) -> Redis:
    return Redis.from_url(proxy.url(url), spare_callers=True, **{"cooldown": 0.4} | options)  # type: ignore[arg-type]


async def test_no_caller_is_the_probe(redis_server: RedisServer) -> None:
    """14. Hung: after one time-out every call is refused in the turn in which it is made, while probes go out
    beside; when the server answers again a probe has it used again."""
    with FaultProxy(redis_server.host, redis_server.port) as proxy:
        commands = _sparing(proxy, redis_server.url, timeout=0.1, connect_timeout=0.1).using("async")
        async with asyncio.timeout(_WITHIN):
            while not await _answered(commands):  # in time, on a busy machine
                await asyncio.sleep(0.005)
            proxy.blackhole()
            with pytest.raises(BackendTimeout):
                await commands.execute("GET", "x")
            before = proxy.accepted
            while proxy.accepted < before + 3:
                asked = commands.execute("GET", "x")
                assert isinstance(asked.exception(), BackendUnavailable)  # or it is not done
                await asyncio.sleep(0.005)
            proxy.pass_through()
            while not await _answered(commands):
                await asyncio.sleep(0.005)
        await commands.close()


async def test_connecting_goes_on_without_its_callers(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """14. A server that is slow to connect to: callers give up after `connect_timeout`, and the connection,
    once it is made, serves the next ones."""
    monkeypatch.setattr(_limits, "_CONNECTING", 2 * _WITHIN)
    with FaultProxy(redis_server.host, redis_server.port) as proxy:
        proxy.blackhole()
        # redis-py waits for the answer to SELECT
        url = redis_server.url.removesuffix("/0") + "/1"
        commands = _sparing(proxy, url, timeout=_WITHIN, connect_timeout=0.05).using("async")
        async with asyncio.timeout(_WITHIN):
            with pytest.raises(BackendUnavailable, match=r"no connection within 0\.05 s"):
                await commands.execute("PING")
            await asyncio.sleep(0.2)
            proxy.pass_through()
            while not await _answered(commands):
                await asyncio.sleep(0.005)
        assert proxy.accepted == 1
        await commands.close()


def test_no_thread_is_the_probe(redis_server: RedisServer) -> None:
    """14. The same for threads: a refusal that has no cause has tried nothing."""
    with FaultProxy(redis_server.host, redis_server.port) as proxy:
        commands = _sparing(proxy, redis_server.url, timeout=0.1, connect_timeout=0.1).using("sync")
        until = time.monotonic() + _WITHIN
        while not _has_answered(commands):  # in time, on a busy machine
            assert time.monotonic() < until
            time.sleep(0.005)
        proxy.blackhole()
        with pytest.raises(BackendTimeout):
            commands.execute("PING")
        before = proxy.accepted
        while proxy.accepted < before + 3:
            with pytest.raises(BackendUnavailable) as refused:
                commands.execute("PING")
            assert refused.value.__cause__ is None
            assert time.monotonic() < until
            time.sleep(0.005)
        proxy.pass_through()
        while not _has_answered(commands):
            assert time.monotonic() < until
            time.sleep(0.005)
        commands.close()


async def test_a_link_beside_blocks_alone(redis_url: str, prefix: str) -> None:
    """A command that waits on a link beside holds up nothing on the first, and fails when it closes."""
    link = Redis.from_url(redis_url, max_connections=1)
    beside = link.beside(max_connections=1, timeout=_WITHIN, connect_timeout=_WITHIN, cooldown=0.1)
    waiting = beside.using("async").execute("XREAD", "BLOCK", 60_000, "STREAMS", prefix, "$")
    commands = link.using("async")
    async with asyncio.timeout(_WITHIN):
        await asyncio.gather(*(commands.execute("PING") for _ in range(10)))
        assert not waiting.done()
        await beside.using("async").close()
        with pytest.raises(BackendUnavailable):
            await waiting
    await commands.close()


async def test_beside_a_client_that_was_given_there_is_its_colour(redis_url: str) -> None:
    """A link beside one of an asynchronous client is asynchronous, and says so."""
    async with redis.asyncio.from_url(redis_url) as client:
        beside = Redis(client).beside(max_connections=1, timeout=5, connect_timeout=5, cooldown=1)
        assert beside.colour == "async"
        assert await beside.using("async").execute("PING") == b"PONG"
        await beside.using("async").close()
        with pytest.raises(WrongColour):
            beside.using("sync")
    assert Redis.from_url(redis_url).colour is None


def _has_answered(commands: Any) -> bool:
    try:
        return bool(commands.execute("PING"))
    except BackendError:
        return False


async def _answered(commands: Any) -> bool:
    try:
        return bool(await commands.execute("PING"))
    except BackendError:
        return False

"""Sentinels: the master they name gets the commands, also after a failover."""

import asyncio
import time
import traceback
from typing import Any

import pytest
import redis.asyncio.sentinel
import redis.sentinel

from scalekit._redis import Redis
from scalekit.errors import BackendTimeout, BackendUnavailable
from tests.faults import freeze, kill
from tests.servers import RedisSentinel, wait_until

# Sentinels that have stood still for two seconds do nothing for the next thirty.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


async def call(commands: Any, *args: Any) -> Any:
    """In either colour."""
    reply = commands.execute(*args)
    return await reply if asyncio.isfuture(reply) else reply


async def close(commands: Any) -> None:
    closing = commands.close()
    if closing is not None:
        await closing


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_the_master_is_found(redis_sentinel: RedisSentinel, prefix: str, colour: str) -> None:
    """Writes arrive at the master, whatever Sentinel is asked first."""
    commands: Any = Redis.from_url(redis_sentinel.url).using(colour)  # type: ignore[arg-type]
    assert await call(commands, "SET", prefix, 1) == b"OK"
    assert redis_sentinel.master.call("GET", prefix) == b"1"
    assert (await call(commands, "ROLE"))[0] == b"master"
    if colour == "async":
        assert await asyncio.gather(*(commands.execute("PING") for _ in range(500))) == [b"PONG"] * 500
    await close(commands)


async def test_a_client_from_master_for(redis_sentinel: RedisSentinel, prefix: str) -> None:
    """The user's own Sentinel client works as it is."""
    places = [(each.host, each.port) for each in redis_sentinel.sentinels]
    sentinel = redis.asyncio.sentinel.Sentinel(places)
    async with sentinel.master_for("service") as client:
        commands = Redis(client).using("async")
        assert await commands.execute("SET", prefix, 1) == b"OK"
        await commands.close()
    for each in sentinel.sentinels:
        await each.aclose()


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_sentinel_that_is_gone_or_hangs(prefix: str, colour: str) -> None:
    """The next one is asked: one dead and one hung Sentinel cost time once, and no error."""
    with RedisSentinel() as service:
        url = service.url
        kill(service.sentinels[0])
        with freeze(service.sentinels[1]):
            commands: Any = Redis.from_url(url, timeout=30, connect_timeout=5).using(colour)  # type: ignore[arg-type]
            assert await call(commands, "SET", prefix, 1) == b"OK"
            await close(commands)


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_no_sentinel_names_a_master(colour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to check, and neither it nor its traceback has a password of the Sentinels."""
    module = redis.sentinel if colour == "sync" else redis.asyncio.sentinel
    # redis-py 7.1 quotes its clients.
    monkeypatch.setattr(module.MasterNotFoundError, "__str__", lambda self: "<Redis(password=s3cret)>")
    url = "redis+sentinel://:s3cret@127.0.0.1:1,127.0.0.1:2/service?sentinel_password=s3cret"
    commands: Any = Redis.from_url(url).using(colour)  # type: ignore[arg-type]
    with pytest.raises(BackendUnavailable, match="no Sentinel names a master") as caught:
        await call(commands, "PING")
    assert "127.0.0.1:2" in str(caught.value)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
    await close(commands)


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_a_failover_with_clients_running(prefix: str, colour: str, fault: str) -> None:
    """The master dies or hangs: errors in bounded time, then the new master serves us as we are."""
    with RedisSentinel(down_after=1000) as service:
        impatient = {"timeout": 0.5, "connect_timeout": 0.5, "cooldown": 0.1}
        commands: Any = Redis.from_url(service.url, **impatient).using(colour)  # type: ignore[arg-type]

        async def until_served() -> int:
            deadline, failures = time.monotonic() + 100, 0
            while True:
                start = time.monotonic()
                try:
                    await call(commands, "SET", prefix, "new")
                except (BackendUnavailable, BackendTimeout):
                    failures += 1
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.02)
                else:
                    return failures
                finally:
                    assert time.monotonic() - start < 30  # no caller is stuck

        await until_served()  # on a machine under load a Sentinel so impatient may see a fault at once
        await asyncio.to_thread(service.wait_ok)
        old = service.master
        if fault == "kill":
            kill(old)
            assert await until_served() > 0
        else:
            with freeze(old):
                assert await until_served() > 0
        wait_until(
            lambda: service.master is not old, timeout=90, what="the Sentinel that the test asks knows, too"
        )
        assert service.master.call("GET", prefix) == b"new"
        await close(commands)

"""A client that was given, with redis-py's own idea of patience: ten retries of five seconds each.

What it would do is counted, not timed: a `blackhole()` accepts each attempt to connect and says nothing.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel

from scalekit._limits import Limits
from scalekit._redis import Redis, clients
from scalekit.errors import BackendTimeout, BackendUnavailable
from tests.faults import FaultProxy, freeze
from tests.servers import RedisCluster, RedisSentinel, RedisServer, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients without a time-out have this one of ours, as five seconds each would take too long here. Whom
    the breaker refuses comes within the cooldown, however busy the machine is."""
    monkeypatch.setattr(clients, "PATIENCE", 0.3)
    monkeypatch.setitem(Limits.__init__.__kwdefaults__, "cooldown", 60.0)


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    with RedisServer() as server, FaultProxy(server.host, server.port) as proxy:
        yield proxy


async def call(commands: Any, *args: Any) -> Any:
    """In either colour."""
    reply = commands.execute(*args)
    return await reply if asyncio.isfuture(reply) else reply


async def failure(commands: Any, *args: Any) -> Exception:
    with pytest.raises((BackendUnavailable, BackendTimeout)) as caught:
        await call(commands, *args)
    return caught.value


async def reached(make: Callable[[], Any], *asked: tuple[Any, ...]) -> Any:
    """Commands that were answered: within a limit so short a busy machine may take several attempts."""
    for _ in range(20):
        commands = make()
        try:
            for args in asked:
                await call(commands, *args)
        except (BackendUnavailable, BackendTimeout):
            await close(commands)
        else:
            return commands
    raise AssertionError("the server does not answer")


async def close(commands: Any) -> None:
    closing = commands.close()
    if closing is not None:
        await closing


def module(colour: str) -> Any:
    return redis.asyncio if colour == "async" else redis


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("timeout", [None, 0.3], ids=["without", "with a time-out"])
async def test_connecting_is_one_attempt(proxy: FaultProxy, colour: Any, timeout: float | None) -> None:
    """27. A server that accepts and hangs costs one attempt and one time-out, however the client retries;
    then the breaker answers, without any attempt."""
    client = module(colour).Redis(
        port=proxy.port, socket_timeout=timeout, socket_connect_timeout=timeout, retry_on_error=[OSError]
    )
    assert client.get_retry().get_retries() >= 3
    proxy.blackhole()
    commands = Redis(client).using(colour)
    assert "circuit breaker" not in str(await failure(commands, "PING"))
    # The proxy may count a connection after its client has given it up.
    await asyncio.to_thread(wait_until, lambda: proxy.accepted == 1, what="the attempt to be counted")
    assert "circuit breaker" in str(await failure(commands, "PING"))
    assert proxy.accepted == 1
    await close(commands)


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_hung_server_costs_one_time_out(colour: Any) -> None:
    """27. Frozen with an open connection: one time-out (ours, as the client has none), then the breaker."""
    with RedisServer() as server:
        client = module(colour).Redis(port=server.port, socket_timeout=None)
        commands = await reached(lambda: Redis(client).using(colour), ("PING",))
        with freeze(server):
            assert "0.3 s" in str(await failure(commands, "PING"))
            assert "circuit breaker" in str(await failure(commands, "PING"))
        await close(commands)


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_sentinels_client(colour: Any, prefix: str) -> None:
    """27. `master_for`: a Sentinel that hangs is passed over after one attempt, and a master that hangs costs
    one time-out."""
    with RedisSentinel(replicas=1) as service, ExitStack() as stack:
        first, proxies = service.sentinels[0], list[FaultProxy]()

        def make() -> Any:
            proxies.append(stack.enter_context(FaultProxy(first.host, first.port)))
            proxies[-1].blackhole()
            others = [(each.host, each.port) for each in service.sentinels[1:]]
            places = [(proxies[-1].host, proxies[-1].port), *others]
            sentinel = getattr(module(colour), "sentinel").Sentinel(places, socket_timeout=None)  # noqa: B009
            return Redis(sentinel.master_for("service", client_name="theirs")).using(colour)

        commands = await reached(make, ("SET", prefix, 1), ("CLIENT", "INFO"))
        await asyncio.to_thread(
            wait_until, lambda: proxies[-1].accepted == 1, what="the attempt to be counted"
        )
        assert b"name=theirs" in await call(commands, "CLIENT", "INFO")
        with freeze(service.master):
            assert "0.3 s" in str(await failure(commands, "PING"))
            assert "circuit breaker" in str(await failure(commands, "PING"))
        await close(commands)


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_clusters_client(colour: Any, prefix: str) -> None:
    """27. A node that hangs costs its keys one time-out, whatever retries the client has."""
    with RedisCluster() as cluster:
        node = cluster.masters[0]
        client = module(colour).RedisCluster(host=node.host, port=node.port, socket_timeout=None)
        key = next(key for key in (f"{prefix}{n}" for n in range(99)) if cluster.owner(key) is node)
        commands = await reached(lambda: Redis(client).using(colour), ("SET", key, 1))
        with freeze(node):
            assert "0.3 s" in str(await failure(commands, "GET", key))
            assert "circuit breaker" in str(await failure(commands, "GET", key))
        await close(commands)
        closing = client.close() if colour == "sync" else client.aclose()
        if closing is not None:
            await closing


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_the_time_outs_are_the_clients(colour: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """27. What the client says stays; what it does not say is five seconds."""
    monkeypatch.undo()
    client = module(colour).Redis(socket_timeout=0.7, socket_connect_timeout=0.2, max_connections=7)
    limits = clients.Given(client).limits
    assert (limits.timeout, limits.connect_timeout, limits.max_connections) == (0.7, 0.2, 7)
    limits = clients.Given(module(colour).Redis(socket_timeout=None, socket_connect_timeout=None)).limits
    assert (limits.timeout, limits.connect_timeout) == (5, 5)
    limits = clients.Given(module(colour).Redis()).limits
    assert limits.timeout <= 5
    assert limits.connect_timeout <= 5


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_the_settings_are_the_clients(colour: Any, prefix: str, tmp_path: Path) -> None:
    """Password, database, name and socket of the client are used, and a pool of the user's own."""
    with RedisServer(password="s3cret") as server:
        pool = module(colour).BlockingConnectionPool(
            connection_class=module(colour).UnixDomainSocketConnection,
            path=str(server.directory / "socket"),
            password="s3cret",
            db=3,
            client_name="theirs",
            max_connections=1,
        )
        client = module(colour).Redis(connection_pool=pool)
        commands = await reached(lambda: Redis(client).using(colour), ("SET", prefix, 1))
        info = await call(commands, "CLIENT", "INFO")
        assert b"name=theirs" in info
        assert b"db=3" in info
        await close(commands)

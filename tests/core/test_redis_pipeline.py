"""Several commands in one trip, in both colours: one server and a Cluster."""

import asyncio
import contextlib
import gc
import threading
import uuid
from typing import Any

import pytest
from redis.exceptions import ResponseError

from scalekit._redis import Redis, Request, Script, cluster_sync
from scalekit.errors import BackendError, BackendTimeout, BackendUnavailable
from tests.faults import FaultProxy, freeze
from tests.faults.scripted import scripted
from tests.servers import RedisCluster, RedisServer

COLOURS = pytest.mark.parametrize("colour", ["sync", "async"])
ECHO = Script("return {KEYS[1], ARGV[1]}")


async def finish(step: Any) -> Any:
    """In either colour."""
    return await step if hasattr(step, "__await__") else step


async def answers(commands: Any) -> bool:
    try:
        return bool(await finish(commands.execute("PING")))
    except BackendError:
        return False


@COLOURS
@pytest.mark.parametrize("servers", ["redis_server", "redis_cluster"])
async def test_replies_come_in_the_order_of_the_commands(
    servers: str, colour: Any, request: pytest.FixtureRequest, prefix: str
) -> None:
    """Whichever nodes they come from, and whether the servers know the scripts or not."""
    server = request.getfixturevalue(servers)
    commands = Redis.from_url(server.url).using(colour)
    keys = [f"{prefix}{number}" for number in range(20)]
    script = Script(f"return {{KEYS[1], ARGV[1], '{uuid.uuid4()}'}}")
    asked = [Request(("SET", key, key)) for key in keys]
    asked += [script.request([key], [number]) for number, key in enumerate(keys)]
    asked += [Request(("GET", key)) for key in [*keys, prefix]]
    for _ in range(2):
        replies = await finish(commands.pipeline(asked))
        assert replies[:20] == [b"OK"] * 20
        assert [reply[:2] for reply in replies[20:40]] == [
            [key.encode(), b"%d" % number] for number, key in enumerate(keys)
        ]
        assert replies[40:] == [*(key.encode() for key in keys), None]
    assert await finish(commands.pipeline([])) == []
    await finish(commands.close())


@COLOURS
async def test_one_that_is_refused_keeps_no_other_from_running(
    redis_url: str, prefix: str, colour: Any
) -> None:
    """The first refusal in order is raised, after all have been answered; the connection goes on."""
    commands = Redis.from_url(redis_url, max_connections=1).using(colour)
    before = await finish(commands.execute("CLIENT", "ID"))
    asked = [("SET", prefix, "x"), ("INCR", prefix), ("LPUSH", prefix, 1), ("SET", prefix + "b", "y")]
    with pytest.raises(ResponseError, match="not an integer"):
        await finish(commands.pipeline([Request(args) for args in asked]))
    assert await finish(commands.execute("GET", prefix + "b")) == b"y"
    assert await finish(commands.execute("CLIENT", "ID")) == before
    await finish(commands.close())


@COLOURS
async def test_a_connection_that_breaks_between_replies_is_dropped(colour: Any, prefix: str) -> None:
    """Half of the replies are none; what comes after is nobody else's."""
    with scripted(lambda sock: sock.sendall(b"$1\r\na\r\n:1\r"), to=b"GET") as server:
        commands = Redis.from_url(server.url, timeout=0.2, cooldown=0.01).using(colour)
        async with asyncio.timeout(30):
            while not await answers(commands):  # in time, on a busy machine
                await asyncio.sleep(0.02)
        with pytest.raises(BackendTimeout):
            await finish(commands.pipeline([Request(("GET", "a")), Request(("GET", "b"))]))
        await finish(commands.close())


def test_one_trip_to_each_node_of_a_cluster(
    redis_cluster: RedisCluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread sends to all nodes before it reads from any."""
    steps: list[str] = []

    class Watched(cluster_sync.Trip):
        def __init__(self, *args: Any, **options: Any) -> None:
            steps.append("send")
            super().__init__(*args, **options)

        def replies(self, *args: Any, **options: Any) -> list[Any]:
            steps.append("read")
            return super().replies(*args, **options)

    commands = Redis.from_url(redis_cluster.url).using("sync")
    commands.execute("PING")
    monkeypatch.setattr(cluster_sync, "Trip", Watched)
    commands.pipeline([Request(("GET", f"{prefix}{number}")) for number in range(60)])
    assert steps == ["send"] * 3 + ["read"] * 3
    commands.close()


@pytest.mark.slow
@COLOURS
async def test_a_node_that_hangs_fails_its_own_commands(prefix: str, colour: Any) -> None:
    """Those to the other nodes are carried out; two that hang cost no more than one time-out."""
    with RedisCluster() as cluster:
        commands = Redis.from_url(cluster.url, timeout=1, cooldown=0.1).using(colour)
        keys = [f"{prefix}{number}" for number in range(60)]
        async with asyncio.timeout(30):
            while True:  # within a limit so short a busy machine may take several attempts
                with contextlib.suppress(BackendUnavailable, BackendTimeout):
                    await finish(commands.pipeline([Request(("SET", key, 0)) for key in keys]))
                    break
                await asyncio.sleep(0.02)
        with (
            freeze(cluster.masters[0]),
            freeze(cluster.masters[1]),
            pytest.raises((BackendTimeout, BackendUnavailable)),
        ):
            await finish(commands.pipeline([Request(("INCR", key)) for key in keys]))
        reached = cluster.masters[2].call("KEYS", prefix + "*")
        assert reached
        assert {cluster.masters[2].call("GET", key.decode()) for key in reached} == {b"1"}
        await finish(commands.close())


def test_moved_and_asked_for_elsewhere(prefix: str, redis_cluster: RedisCluster) -> None:
    """A thread whose map is wrong is sent on, for each of its commands."""
    commands: Any = Redis.from_url(redis_cluster.url).using("sync")
    keys = [f"{prefix}{number}" for number in range(30)]
    commands.pipeline([Request(("SET", key, key)) for key in keys])
    topology = commands._router._topology
    places = sorted(topology.places())
    for slot in list(topology._owners):
        topology.move(slot, places[0])
    replies = commands.pipeline([Request(("GET", key)) for key in keys])
    assert replies == [key.encode() for key in keys]
    commands.close()


async def test_a_caller_that_is_cancelled(redis_server: RedisServer, prefix: str) -> None:
    """It leaves no error that nobody retrieves, and the next caller gets its own replies."""
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    with FaultProxy(redis_server.host, redis_server.port) as proxy:
        commands = Redis.from_url(proxy.url(redis_server.url), timeout=10).using("async")
        await commands.execute("PING")
        await asyncio.to_thread(proxy.blackhole)
        asked = [Request(("SET", prefix + "a", 1)), Request(("INCR", prefix + "a"))]
        task = asyncio.create_task(commands.pipeline(asked))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(proxy.cut)  # what is on its way fails
        await asyncio.to_thread(proxy.pass_through)
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(BackendUnavailable, BackendTimeout):
                    assert await commands.execute("GET", prefix + "b") is None
                    break
        await commands.close()
    gc.collect()
    assert not complaints


def test_threads_share_the_connections(redis_url: str, prefix: str) -> None:
    """Each thread gets the replies to its own commands."""
    commands = Redis.from_url(redis_url, max_connections=2).using("sync")
    wrong: list[Any] = []

    def work(name: int) -> None:
        for number in range(50):
            asked = [ECHO.request([f"{prefix}{name}"], [number * 3 + at]) for at in range(3)]
            expected = [[f"{prefix}{name}".encode(), b"%d" % (number * 3 + at)] for at in range(3)]
            if commands.pipeline(asked) != expected:
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    commands.close()

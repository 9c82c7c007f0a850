"""A Redis Cluster: commands gathered for each node, redirections followed, failovers survived."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.crc import key_slot
from redis.exceptions import ResponseError

from scalekit._redis import Commands, Redis, Script, cluster_sync
from scalekit.errors import BackendTimeout, BackendUnavailable
from tests.faults import freeze, kill
from tests.servers import RedisCluster, wait_until
from tests.servers.redis_cluster import RedisClusterNode

pytestmark = pytest.mark.slow

COUNT = Script("return redis.call('INCR', KEYS[1]) + tonumber(ARGV[1])")


async def call(commands: Any, *args: Any) -> Any:
    """In either colour."""
    reply = commands.execute(*args)
    return await reply if asyncio.isfuture(reply) else reply


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("given", [False, True])
async def test_commands_go_where_their_key_lives(
    redis_cluster: RedisCluster, prefix: str, colour: str, given: bool
) -> None:
    """Keys of all nodes, scripts, and commands without a key; from a URL and with a client as given."""
    first = redis_cluster.masters[0]
    client: Any = None
    if given:
        module = redis if colour == "sync" else redis.asyncio
        client = module.RedisCluster(host=first.host, port=first.port)
    commands: Any = (Redis(client) if given else Redis.from_url(redis_cluster.url)).using(colour)  # type: ignore[arg-type]
    for number in range(30):
        assert await call(commands, "SET", f"{prefix}{number}", number, "PX", 60_000) == b"OK"
        assert await call(commands, "GET", f"{prefix}{number}") == b"%d" % number
    assert await call(commands, "PING") == b"PONG"
    assert await call(commands, "MGET", f"{{{prefix}}}1", f"{{{prefix}}}2") == [None, None]
    with pytest.raises(ResponseError):  # the caller's own mistake
        await call(commands, "MGET", *(f"{prefix}{number}" for number in range(30)))
    for number in range(10):
        reply = commands.script(COUNT, [f"{prefix}s{number}"], [10])
        assert (await reply if colour == "async" else reply) == 11
    closing = commands.close()
    if colour == "async":
        await closing
    if client is not None:
        await client.aclose() if colour == "async" else client.close()


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_the_nodes_that_have_none_of_some_keys(redis_cluster: RedisCluster, colour: Any) -> None:
    """They are called what errors call them; nobody is asked, and before anything was, none is known."""
    link = Redis.from_url(redis_cluster.url)
    commands: Any = link.using(colour)
    assert not commands.elsewhere(["k"])
    await call(commands, "PING")
    keys = {redis_cluster.owner(key).port: key for key in map(str, range(30))}
    assert len(keys) == 3
    for number in range(1, 4):
        asked = [*keys][:number]
        left = {f"{link.name} node {redis_cluster.masters[0].host}:{port}" for port in [*keys][number:]}
        assert set(commands.elsewhere([keys[port] for port in asked])) == left
    closing = commands.close()
    if colour == "async":
        await closing


async def test_commands_are_gathered_for_each_node(redis_cluster: RedisCluster, prefix: str) -> None:
    """A thousand concurrent commands: at most two connections to each node."""
    commands = Redis.from_url(redis_cluster.url).using("async")
    await commands.execute("PING")

    def connections() -> list[int]:
        return [int(node.info("clients")["connected_clients"]) for node in redis_cluster.masters]

    before = connections()
    values = await asyncio.gather(*(commands.execute("INCR", f"{prefix}{number}") for number in range(1000)))
    assert values == [1] * 1000
    assert all(now - then <= 2 for now, then in zip(connections(), before, strict=True))
    await commands.close()


def migrate(
    source: RedisClusterNode, target: RedisClusterNode, slot: int, *, finish: bool
) -> Callable[[], None]:
    """Begin to move a slot (``ASK`` for keys that are not there), and with `finish` end it (``MOVED``)."""
    target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", source.node_id)
    source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", target.node_id)

    def end() -> None:
        for node in (target, source):
            node.call("CLUSTER", "SETSLOT", slot, "NODE", target.node_id)

    if finish:
        end()
    return end


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_redirections_are_followed(prefix: str, colour: str) -> None:
    """ASK while a slot is being moved, MOVED when it has been: no caller sees either."""
    with RedisCluster() as cluster:
        commands: Any = Redis.from_url(cluster.url).using(colour)  # type: ignore[arg-type]
        key = f"{{{prefix}}}"
        await call(commands, "SET", key + "before", 1)
        source = cluster.owner(key)
        target = next(node for node in cluster.masters if node is not source)
        source.call("DEL", key + "before")
        finish = migrate(source, target, key_slot(key.encode()), finish=False)
        replies = [await call(commands, "SET", f"{key}{number}", number) for number in range(5)]
        if colour == "async":
            replies += await asyncio.gather(*(commands.execute("SET", f"{key}{n}", n) for n in range(50)))
        assert set(replies) == {b"OK"}
        finish()
        assert [await call(commands, "GET", f"{key}{number}") for number in range(5)] == [
            b"%d" % number for number in range(5)
        ]
        if colour == "async":
            values = await asyncio.gather(*(commands.execute("GET", f"{key}{number}") for number in range(5)))
            assert values == [b"%d" % number for number in range(5)]
            await commands.close()
        else:
            commands.close()


async def outcome(commands: Commands, *args: Any) -> Any:
    try:
        return await commands.execute(*args)
    except (BackendUnavailable, BackendTimeout) as error:
        return error


def is_down(error: Exception) -> bool:
    """A cluster that lacks slots declines every key, by default, until a replica has taken over."""
    return isinstance(error, BackendUnavailable) and "cluster is down" in str(error).lower()


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_a_failover_with_clients_running(prefix: str, fault: str) -> None:
    """A master dies or hangs: its keys fail in bounded time, others only while all is declined."""
    with RedisCluster() as cluster:
        commands = Redis.from_url(cluster.url, timeout=5, cooldown=0.1).using("async")
        keys = [f"{prefix}{number}" for number in range(60)]
        await asyncio.gather(*(commands.execute("SET", key, 0) for key in keys))
        victim = cluster.masters[1]
        lost = [key for key in keys if cluster.owner(key) is victim]
        others = [key for key in keys if key not in lost]
        assert lost
        assert others
        victim_port = victim.port
        cluster.hurry()

        async def until_served() -> None:
            deadline = time.monotonic() + 60
            failures = 0
            while True:
                start = time.monotonic()
                mine, theirs = await asyncio.gather(
                    asyncio.gather(*(outcome(commands, "INCR", key) for key in lost)),
                    asyncio.gather(*(outcome(commands, "INCR", key) for key in others)),
                )
                assert [value for value in theirs if not isinstance(value, int) and not is_down(value)] == []
                assert time.monotonic() - start < 30  # no caller is stuck
                if all(isinstance(value, int) for value in mine):
                    break
                failures += 1
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
            assert failures > 0

        if fault == "kill":
            await asyncio.to_thread(kill, victim)
            await until_served()
        else:
            with freeze(victim):
                await until_served()
        # The node that the test asks may hear of it after the clients.
        await asyncio.to_thread(
            wait_until,
            lambda: all(cluster.owner(key).port != victim_port for key in lost),
            what="another node to have all of its keys",
        )
        await commands.close()


@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_a_failover_with_threads_running(prefix: str, fault: str) -> None:
    """The same for threads: errors while the master is gone, no thread stuck, then all are served."""
    with RedisCluster() as cluster, contextlib.ExitStack() as faults:
        commands = Redis.from_url(cluster.url, timeout=5, cooldown=0.1).using("sync")
        keys = [f"{prefix}{number}" for number in range(60)]
        for key in keys:
            commands.execute("SET", key, 0)
        victim = cluster.masters[1]
        others = [key for key in keys if cluster.owner(key) is not victim]
        cluster.hurry()
        if fault == "kill":
            kill(victim)
        else:
            faults.enter_context(freeze(victim))
        deadline = time.monotonic() + 60

        def until_served(key: str) -> int:
            failures = 0
            while True:
                try:
                    commands.execute("INCR", key)
                except (BackendUnavailable, BackendTimeout) as error:
                    failures += not is_down(error)
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                else:
                    return failures

        with ThreadPoolExecutor(8) as pool:
            failures = dict(zip(keys, pool.map(until_served, keys), strict=True))
        assert all(failures[key] == 0 for key in others)
        assert any(failures.values())
        commands.close()


@pytest.fixture
def hangs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A thread's id for each time that it waited for a node of a Cluster in vain."""
    waited: list[int] = []

    @contextlib.contextmanager
    def noted() -> Iterator[None]:
        try:
            yield
        except (BackendTimeout, BackendUnavailable) as error:
            if isinstance(error.__cause__, TimeoutError | redis.TimeoutError):
                waited.append(threading.get_ident())
            raise

    class Watched(cluster_sync.Trip):
        def __init__(self, *args: Any, **options: Any) -> None:
            with noted():
                super().__init__(*args, **options)

        def replies(self, *args: Any, **options: Any) -> list[Any]:
            with noted():
                return super().replies(*args, **options)

    monkeypatch.setattr(cluster_sync, "Trip", Watched)
    return waited


def test_a_cluster_that_hangs_costs_a_thread_one_timeout(prefix: str, hangs: list[int]) -> None:
    """Whichever node its key is on, nobody waits for a second node; all is fine when they answer again."""
    with RedisCluster() as cluster, contextlib.ExitStack() as frozen:
        commands = Redis.from_url(cluster.url, timeout=1, cooldown=0.1).using("sync")
        keys = [f"{prefix}{number}" for number in range(6)]

        def done(*command: Any, expected: bytes) -> bool:
            """Whether this is the answer; within a limit so short there may be none on a busy machine."""
            with contextlib.suppress(BackendTimeout, BackendUnavailable):
                return bool(commands.execute(*command) == expected)
            return False

        for key in keys:
            wait_until(lambda key=key: done("SET", key, 0, expected=b"OK"), what="an answer")  # type: ignore[misc]
        for node in cluster.servers:
            frozen.enter_context(freeze(node))
        for key in keys:
            hangs.clear()
            with pytest.raises((BackendTimeout, BackendUnavailable)):
                commands.execute("GET", key)
            assert len(hangs) <= 1
        frozen.close()
        for key in keys:
            wait_until(lambda key=key: done("GET", key, expected=b"0"), what="its node is found")  # type: ignore[misc]
        commands.close()


def test_a_cluster_that_hangs_from_the_start(prefix: str, hangs: list[int]) -> None:
    """With nothing known yet one thread asks one node; those who wait for it share the outcome."""
    with RedisCluster() as cluster, contextlib.ExitStack() as frozen:
        places = ",".join(f"{node.host}:{node.port}" for node in cluster.servers)
        commands = Redis.from_url(f"redis+cluster://{places}", timeout=1).using("sync")
        for node in cluster.servers:
            frozen.enter_context(freeze(node))

        start = threading.Barrier(8)

        def unavailable(_: int) -> None:
            start.wait()
            with pytest.raises(BackendUnavailable, match=r"no node (tells|is known)"):
                commands.execute("GET", prefix)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(unavailable, range(8)))
        assert hangs
        assert len(hangs) == len(set(hangs))
        commands.close()


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_no_node_can_be_reached(colour: str) -> None:
    """BackendUnavailable, at once from the second call on, and fine again when the cluster is back."""
    with RedisCluster() as cluster:
        url = cluster.url
        for node in cluster.servers:
            await asyncio.to_thread(node.stop)
        commands: Any = Redis.from_url(url, cooldown=0.1).using(colour)  # type: ignore[arg-type]
        for _ in range(3):
            with pytest.raises(BackendUnavailable):
                await call(commands, "GET", "k")
        for node in cluster.servers:
            node.launch()
        for node in cluster.servers:
            await asyncio.to_thread(node.wait_ready)
        await asyncio.to_thread(cluster.wait_ok)
        deadline = time.monotonic() + 30
        while True:
            try:
                assert await call(commands, "GET", "k") is None
                break
            except BackendUnavailable:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
        if colour == "async":
            await commands.close()
        else:
            commands.close()

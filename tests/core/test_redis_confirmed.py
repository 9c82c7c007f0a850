"""Scripts that count when replicas have what they wrote, in both colours: a server, a pair, a Cluster."""

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from redis.crc import key_slot
from redis.exceptions import ResponseError

from scalekit._redis import Confirm, Redis, Script
from tests.core.test_redis_cluster import migrate
from tests.core.test_redis_pipeline import COLOURS, finish
from tests.faults import freeze
from tests.servers import RedisCluster, RedisServer, wait_until

SET = Script("redis.call('SET', KEYS[1], ARGV[1]) return ARGV[1]")
AT_ONCE, PATIENT = Confirm(1, 0.05), Confirm(1, 20)


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[RedisServer, RedisServer]]:
    """A primary and its replica, in step."""
    with (
        RedisServer(repl_diskless_sync_delay=0) as primary,
        RedisServer(replicaof=f"{primary.host} {primary.port}") as replica,
    ):
        wait_until(lambda: replica.info("replication")["master_link_status"] == "up", what="a replica")
        yield primary, replica


@COLOURS
async def test_how_many_have_it(
    pair: tuple[RedisServer, RedisServer], redis_url: str, prefix: str, colour: Any
) -> None:
    """The script's reply, and how many replicas have what it wrote: 1, or 0 if it hangs or there is none."""
    primary, replica = pair
    commands: Any = Redis.from_url(primary.url, timeout=30).using(colour)
    assert await finish(commands.confirmed(SET, [prefix], ["a"], PATIENT)) == [b"a", 1]
    assert replica.call("GET", prefix) == b"a"
    with freeze(replica):
        assert await finish(commands.confirmed(SET, [prefix], ["b"], AT_ONCE)) == [b"b", 0]
    assert primary.call("GET", prefix) == b"b"
    await finish(commands.close())
    alone: Any = Redis.from_url(redis_url).using(colour)
    assert await finish(alone.confirmed(SET, [prefix], ["c"], AT_ONCE)) == [b"c", 0]
    await finish(alone.close())


@COLOURS
async def test_a_script_that_is_not_known(
    pair: tuple[RedisServer, RedisServer], prefix: str, colour: Any
) -> None:
    """It is sent again as a whole, with what waits behind it; an error of the script is the caller's."""
    commands: Any = Redis.from_url(pair[0].url, timeout=30).using(colour)
    mark = uuid.uuid4().hex
    new = Script(f"redis.call('SET', KEYS[1], '{mark}') return '{mark}'")
    assert await finish(commands.confirmed(new, [prefix], [], PATIENT)) == [mark.encode(), 1]
    broken = Script(f"return redis.call('INCR', KEYS[1]) -- {mark}")
    for _ in range(2):
        with pytest.raises(ResponseError, match="not an integer"):
            await finish(commands.confirmed(broken, [prefix], [], PATIENT))
    assert await finish(commands.execute("GET", prefix)) == mark.encode()  # and the connection goes on
    await finish(commands.close())


async def test_among_others_on_the_same_connections(
    pair: tuple[RedisServer, RedisServer], prefix: str
) -> None:
    """Each caller gets its own reply, whichever commands travel together, and whoever gives up."""
    commands = Redis.from_url(pair[0].url, timeout=30).using("async")

    async def confirmed(number: int) -> None:
        assert await commands.confirmed(SET, [f"{prefix}{number}"], [number], PATIENT) == [
            b"%d" % number, 1,
        ]  # fmt: skip

    async def plain(number: int) -> None:
        assert await commands.execute("ECHO", f"plain {number}") == b"plain %d" % number

    async def gives_up(number: int) -> None:
        commands.confirmed(SET, [f"{prefix}x{number}"], [number], PATIENT).cancel()

    for _ in range(5):
        await asyncio.gather(*(call(n) for n in range(100) for call in (confirmed, plain, gives_up)))
    await commands.close()


async def test_those_that_travel_together_wait_together(
    pair: tuple[RedisServer, RedisServer], prefix: str
) -> None:
    """One `WAIT` is for all of a batch that want the same of it. An error of one is its caller's alone."""
    primary, _ = pair
    commands = Redis.from_url(primary.url, timeout=30).using("async")
    broken = Script("return redis.call('INCR', KEYS[1])")

    for script in (SET, broken):
        await asyncio.gather(commands.script(script, [prefix], ["a"]), return_exceptions=True)  # known now

    async def outcomes() -> list[Any]:
        scripts = [
            (SET, PATIENT),
            (SET, Confirm(2, 0.05)),
            (broken, PATIENT),
            (broken, Confirm(2, 0.05)),
        ] * 25
        asked = [
            commands.confirmed(script, [prefix], ["a"], confirm)
            for script, confirm in [*scripts, (SET, PATIENT)]
        ]
        return await asyncio.gather(*asked, return_exceptions=True)

    before = waits(primary)
    got = await outcomes()
    assert waits(primary) == before + 2
    assert got[0::4] == [[b"a", 1]] * 26
    assert all(each in ([b"a", 0], [b"a", 1]) for each in got[1::4])  # the replica may not be so quick
    errors = [*got[2::4], *got[3::4]]
    assert all(isinstance(each, ResponseError) and "not an integer" in str(each) for each in errors)
    assert len({id(each) for each in errors}) == 50
    await commands.close()


async def test_a_wait_that_is_refused(prefix: str) -> None:
    """A replica waits for nobody: each of those that wait together hears so, by an error of its own."""
    with RedisServer() as server:
        commands = Redis.from_url(server.url, timeout=30).using("async")
        await commands.execute("PING")
        server.call("REPLICAOF", server.host, 1)
        server.call("CONFIG", "SET", "replica-read-only", "no")
        asked = [commands.confirmed(SET, [prefix], ["a"], PATIENT) for _ in range(3)]
        got = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(each, ResponseError) and "WAIT" in str(each) for each in got)
        assert len({id(each) for each in got}) == 3
        await commands.close()


def waits(server: RedisServer) -> int:
    text = server.info("commandstats").get("cmdstat_wait", "calls=0,")
    return int(text.partition("calls=")[2].partition(",")[0])


@COLOURS
@pytest.mark.slow
async def test_in_a_cluster(prefix: str, colour: Any) -> None:
    """The node that has the key waits, also where the script is sent elsewhere while its slot is moved."""
    with RedisCluster() as cluster:
        commands: Any = Redis.from_url(cluster.url, timeout=30).using(colour)
        key = f"{{{prefix}}}"
        assert await finish(commands.confirmed(SET, [key], ["a"], PATIENT)) == [b"a", 1]
        source = cluster.owner(key)
        source.call("DEL", key)
        target = next(node for node in cluster.masters if node is not source)
        end = migrate(source, target, key_slot(key.encode()), finish=False)
        assert await finish(commands.confirmed(SET, [key], ["b"], PATIENT)) == [b"b", 1]  # after ASK
        end()
        assert await finish(commands.confirmed(SET, [key], ["c"], PATIENT)) == [b"c", 1]  # after MOVED
        assert target.call("GET", key) == b"c"
        await finish(commands.close())

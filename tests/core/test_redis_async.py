"""The asynchronous colour on one server: together, in few connections, and apart where it matters."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis
import redis.asyncio
from redis.exceptions import ResponseError

from scalekit._redis import Commands, Redis, Script
from scalekit.errors import BackendUnavailable, ConfigurationError, WrongColour
from tests.faults import FaultProxy
from tests.servers import RedisServer


@pytest.fixture
async def commands(redis_url: str) -> AsyncIterator[Commands]:
    commands = Redis.from_url(redis_url).using("async")
    yield commands
    await commands.close()


def connections(server: RedisServer) -> int:
    """Clients of the server, without the one that asks."""
    return len(server.call("CLIENT", "LIST", "TYPE", "normal").splitlines()) - 1


async def test_replies_are_raw(commands: Commands, prefix: str) -> None:
    """Bytes, integers, None and lists, whatever redis-py would make of a command."""
    assert await commands.execute("SET", prefix + "a", b"\x00\xff", "PX", 60_000) == b"OK"
    assert await commands.execute("GET", prefix + "a") == b"\x00\xff"
    assert await commands.execute("GET", prefix + "none") is None
    assert await commands.execute("HSET", prefix + "h", "f", 1.5) == 1
    assert await commands.execute("HGETALL", prefix + "h") == [b"f", b"1.5"]
    assert await commands.execute("EXISTS", prefix + "a") == 1


async def test_a_given_client_that_decodes_still_gives_bytes(redis_url: str, prefix: str) -> None:
    """A client's own decode_responses and RESP3 do not change what a piece reads."""
    async with redis.asyncio.from_url(redis_url, decode_responses=True) as client:
        commands = Redis(client).using("async")
        await commands.execute("SET", prefix + "a", b"\xff")
        assert await commands.execute("GET", prefix + "a") == b"\xff"
        await commands.close()
        assert await client.exists(prefix + "a") == 1  # closing ours leaves theirs open


async def test_a_thousand_concurrent_commands_use_at_most_four_connections(
    redis_url: str, prefix: str
) -> None:
    """Where redis-py's default pool raises MaxConnectionsError, all are served, over two connections."""
    with RedisServer() as server:
        commands = Redis.from_url(server.url).using("async")
        most = 0

        async def one(number: int) -> bytes:
            nonlocal most
            await commands.execute("SET", f"{prefix}{number}", number)
            value: bytes = await commands.execute("GET", f"{prefix}{number}")
            if number % 100 == 0:
                most = max(most, (await commands.execute("CLIENT", "LIST")).count(b"\n"))
            return value

        values = await asyncio.gather(*(one(number) for number in range(1000)))
        assert values == [b"%d" % number for number in range(1000)]
        assert 1 <= most <= 4
        assert connections(server) <= 2
        await commands.close()
        assert connections(server) == 0


async def test_commands_of_one_turn_travel_in_one_pipeline(redis_url: str, prefix: str) -> None:
    """A hundred commands asked for in one turn of the loop are one write and one read, not a hundred."""
    with RedisServer() as server:
        commands = Redis.from_url(server.url).using("async")
        await commands.execute("PING")
        before = int(server.info("stats")["total_reads_processed"])
        await asyncio.gather(*(commands.execute("INCR", prefix) for _ in range(100)))
        # server.info() itself reads once
        assert int(server.info("stats")["total_reads_processed"]) - before <= 4
        await commands.close()


async def test_order_within_one_caller(commands: Commands, prefix: str) -> None:
    """What one caller awaits one after the other happens in that order."""

    async def caller(name: str) -> None:
        for number in range(20):
            await commands.execute("RPUSH", prefix + name, number)
        assert await commands.execute("LRANGE", prefix + name, 0, -1) == [
            b"%d" % number for number in range(20)
        ]

    await asyncio.gather(*(caller(f"c{number}") for number in range(30)))


async def test_an_error_reaches_only_its_own_caller(commands: Commands, prefix: str) -> None:
    """WRONGTYPE inside a pipeline is raised for the one who asked; the others have their replies."""
    await commands.execute("SET", prefix + "text", "x")
    outcomes = await asyncio.gather(
        *(
            commands.execute("LPUSH", prefix + "text", "y")
            if number == 5
            else commands.execute("INCR", f"{prefix}{number}")
            for number in range(10)
        ),
        return_exceptions=True,
    )
    assert isinstance(outcomes.pop(5), ResponseError)
    assert outcomes == [1] * 9


async def test_a_bad_argument_is_the_callers_own(commands: Commands, prefix: str) -> None:
    """It is refused before anything is queued."""
    good = commands.execute("SET", prefix + "a", 1)
    with pytest.raises(TypeError):
        await commands.execute("SET", prefix + "b", None)  # type: ignore[arg-type]
    assert await good == b"OK"


async def test_a_cancelled_caller_harms_no_other(redis_url: str, prefix: str) -> None:
    """Callers cancelled while they wait and in flight: all others get their own reply."""
    with RedisServer() as server:
        commands = Redis.from_url(server.url, timeout=10).using("async")
        for number in range(200):
            await commands.execute("SET", f"{prefix}{number}", number)

        async def get(number: int) -> bytes:
            value: bytes = await commands.execute("GET", f"{prefix}{number}")
            return value

        slow = [asyncio.ensure_future(commands.execute("DEBUG", "SLEEP", 0.2)) for _ in range(2)]
        await asyncio.sleep(0)
        tasks = [asyncio.create_task(get(number)) for number in range(100)]
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(get(number)) for number in range(100, 200)]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for number, outcome in enumerate(outcomes):
            if number % 3 == 0:
                assert isinstance(outcome, asyncio.CancelledError)
            else:
                assert outcome == b"%d" % number
        await asyncio.gather(*slow)
        assert await get(7) == b"7"
        await commands.close()


async def test_scripts_are_sent_once(commands: Commands, redis_server: RedisServer, prefix: str) -> None:
    """By digest; by text when the server does not know it, also after SCRIPT FLUSH."""
    script = Script("return {KEYS[1], ARGV[1], redis.call('INCR', KEYS[1])}")
    key = prefix + "n"
    assert await commands.script(script, [key], ["x"]) == [key.encode(), b"x", 1]
    assert await commands.script(script, [key], ["x"]) == [key.encode(), b"x", 2]
    await commands.execute("SCRIPT", "FLUSH")
    assert await commands.script(script, [key], [b"x"]) == [key.encode(), b"x", 3]


async def test_a_unix_socket(redis_server: RedisServer, prefix: str) -> None:
    """unix:// goes over the socket, and db= chooses the database."""
    path = redis_server.directory / "socket"
    commands = Redis.from_url(f"unix://{path}?db=5").using("async")
    await commands.execute("SET", prefix + "a", 1)
    assert b"db=5" in await commands.execute("CLIENT", "INFO")
    await commands.execute("DEL", prefix + "a")
    await commands.close()


async def test_credentials_and_database(prefix: str) -> None:
    """User and password of the URL are used, and a wrong password is said to be one without being quoted."""
    with RedisServer(password="open sesame/%") as server:
        place = f"{server.host}:{server.port}/4"
        commands = Redis.from_url(f"redis://:open%20sesame%2F%25@{place}").using("async")
        assert b"db=4" in await commands.execute("CLIENT", "INFO")
        await commands.close()
        commands = Redis.from_url(f"redis://:tarantula@{place}").using("async")
        with pytest.raises(ConnectionError, match=r"(?i)wrongpass|invalid") as caught:
            await commands.execute("PING")
        assert "tarantula" not in str(caught.value)
        await commands.close()


async def test_wrong_colour(redis_url: str) -> None:
    """A client of the other colour is an error that says which one is wanted."""
    with (
        redis.from_url(redis_url) as client,
        pytest.raises(
            WrongColour, match=r"wants an asynchronous client.*pass a redis\.asyncio\.Redis, or use"
        ),
    ):
        Redis(client).using("async")
    async with redis.asyncio.from_url(redis_url) as client:
        with pytest.raises(WrongColour, match=r"wants a synchronous client.*pass a redis\.Redis, or use"):
            Redis(client).using("sync")


def test_something_else_than_a_client() -> None:
    """Anything that is no redis-py client is refused at start-up, by its type."""
    with pytest.raises(ConfigurationError, match="a str is no redis-py client"):
        Redis("redis://localhost")


async def test_close_may_be_followed_by_use(commands: Commands, prefix: str) -> None:
    """Closing releases what there is; the next command connects again."""
    await commands.execute("SET", prefix + "a", 1)
    await commands.close()
    assert await commands.execute("GET", prefix + "a") == b"1"


async def test_close_fails_what_is_in_flight(redis_server: RedisServer) -> None:
    """Nobody waits for a reply that will not come."""
    async with FaultProxy(redis_server.host, redis_server.port) as proxy:
        commands = Redis.from_url(proxy.url(redis_server.url), timeout=60).using("async")
        await commands.execute("PING")
        proxy.blackhole()
        waiting = [commands.execute("PING") for _ in range(3)]
        await asyncio.sleep(0)
        await commands.close()
        for reply in waiting:
            with pytest.raises(BackendUnavailable):
                await reply

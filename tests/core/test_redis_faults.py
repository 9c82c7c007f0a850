"""Broken for real: cut, hung, refused, killed, restarted. Both colours."""

import asyncio
import time
from typing import Any

import pytest
from redis.exceptions import ResponseError

from scalekit._patience import Alarm, Patience
from scalekit._redis import Commands, Redis
from scalekit.errors import BackendTimeout, BackendUnavailable
from tests.faults import FaultProxy, freeze, kill
from tests.servers import RedisServer, wait_until

pytestmark = pytest.mark.slow


async def outcome(commands: Commands, *args: str | int) -> object:
    """The reply, or the error."""
    try:
        return await commands.execute(*args)
    except (BackendUnavailable, BackendTimeout) as error:
        return error


async def reached(url: str, colour: Any, **limits: float) -> Any:
    """Commands that were answered: within a limit that is short on purpose a busy machine may take several
    attempts for that."""
    for _ in range(20):
        commands: Any = Redis.from_url(url, **limits).using(colour)  # type: ignore[arg-type]
        try:
            reply = commands.execute("PING")
            assert (await reply if colour == "async" else reply) == b"PONG"
        except (BackendUnavailable, BackendTimeout):
            closing = commands.close()
            if colour == "async":
                await closing
        else:
            return commands
    raise AssertionError("the server does not answer")


async def test_a_lost_connection_fails_what_was_in_flight_once(prefix: str) -> None:
    """Replies cut off: every INCR in flight raises, none is sent again, and the next command works."""
    with RedisServer() as server, FaultProxy(server.host, server.port) as proxy:
        commands = Redis.from_url(proxy.url(server.url), timeout=30, connect_timeout=30).using("async")
        await commands.execute("PING")
        proxy.cut()
        outcomes = await asyncio.gather(*(outcome(commands, "INCR", f"{prefix}{n}") for n in range(50)))
        assert all(isinstance(error, BackendUnavailable) for error in outcomes)
        # In flight means: one batch a connection; what waited for a connection was never sent.
        values = [server.call("GET", f"{prefix}{number}") for number in range(50)]
        assert set(values) <= {b"1", None}
        assert b"1" in values
        proxy.pass_through()
        assert await commands.execute("INCR", prefix + "after") == 1
        await commands.close()


def test_a_lost_connection_fails_a_threads_command_once(prefix: str) -> None:
    """The same for threads."""
    with RedisServer() as server, FaultProxy(server.host, server.port) as proxy:
        commands = Redis.from_url(proxy.url(server.url), timeout=30, connect_timeout=30).using("sync")
        commands.execute("PING")
        proxy.cut()
        with pytest.raises(BackendUnavailable):
            commands.execute("INCR", prefix)
        assert server.call("GET", prefix) == b"1"
        proxy.pass_through()
        assert commands.execute("INCR", prefix) == 2
        commands.close()


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_server_that_was_restarted_while_idle_fails_nobody(colour: str, prefix: str) -> None:
    """Connections that the server closed meanwhile are noticed before a command is sent on them."""
    with RedisServer() as server:
        link = Redis.from_url(server.url, timeout=30, connect_timeout=30)
        if colour == "sync":
            sync = link.using("sync")
            sync.execute("PING")
            server.stop()
            server.start()
            assert sync.execute("PING") == b"PONG"
            sync.close()
        else:
            commands = link.using("async")
            await asyncio.gather(*(commands.execute("PING") for _ in range(10)))
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)
            assert await asyncio.gather(*(commands.execute("PING") for _ in range(10))) == [b"PONG"] * 10
            await commands.close()


async def test_a_hung_server_costs_one_timeout_then_nothing() -> None:
    """SIGSTOP: who is waiting gets BackendTimeout after one time-out, who comes later is refused at once."""
    with RedisServer() as server:
        commands = await reached(server.url, "async", timeout=1, cooldown=60)
        with freeze(server):
            first = await asyncio.gather(*(outcome(commands, "PING") for _ in range(500)))
            assert {type(error) for error in first} <= {BackendTimeout, BackendUnavailable}
            assert BackendTimeout in {type(error) for error in first}
            later = await asyncio.gather(*(outcome(commands, "PING") for _ in range(500)))
            # Nobody waited for a time-out of their own: they did not even try.
            assert {type(error) for error in later} == {BackendUnavailable}
            assert all("circuit breaker" in str(error) for error in later)
        await commands.close()


async def test_a_hung_server_costs_a_thread_one_timeout_then_nothing() -> None:
    """The same for threads."""
    with RedisServer() as server:
        commands = await reached(server.url, "sync", timeout=1, cooldown=60)
        with freeze(server):
            with pytest.raises(BackendTimeout, match="may have been applied"):
                commands.execute("PING")
            with pytest.raises(BackendUnavailable, match="circuit breaker"):
                commands.execute("PING")
        commands.close()


async def test_a_server_that_accepts_and_says_nothing() -> None:
    """A connection that gets no further than TCP is given up after connect_timeout."""
    with RedisServer() as server, FaultProxy(server.host, server.port) as proxy:
        proxy.blackhole()
        commands = Redis.from_url(proxy.url(server.url), connect_timeout=0.2, timeout=60).using("async")
        error = await outcome(commands, "PING")
        assert isinstance(error, BackendUnavailable)
        assert "no connection within 0.2 s" in str(error)
        await commands.close()


async def test_the_breaker_closes_when_the_server_is_back(prefix: str) -> None:
    """Refused while it is away; one probe finds it again, and then everybody is served."""
    with RedisServer() as server:
        commands = Redis.from_url(server.url, timeout=30, connect_timeout=30, cooldown=0.2).using("async")
        await commands.execute("PING")
        await asyncio.to_thread(kill, server)
        assert isinstance(await outcome(commands, "PING"), BackendUnavailable)
        assert isinstance(await outcome(commands, "PING"), BackendUnavailable)
        await asyncio.to_thread(server.start)
        deadline = time.monotonic() + 30
        while isinstance(await outcome(commands, "PING"), BackendUnavailable):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        assert await asyncio.gather(*(commands.execute("PING") for _ in range(100))) == [b"PONG"] * 100
        await commands.close()


async def test_one_probe_while_the_server_hangs() -> None:
    """Of many callers one probes; the rest are refused while it does, and no second connection is tried."""
    with RedisServer() as server, FaultProxy(server.host, server.port) as proxy:
        commands = Redis.from_url(proxy.url(server.url), connect_timeout=0.2, cooldown=0.1).using("async")
        proxy.blackhole()
        assert isinstance(await outcome(commands, "PING"), BackendUnavailable)
        # The proxy may count a connection after its client has given it up.
        await asyncio.to_thread(wait_until, lambda: proxy.accepted == 1, what="the first to be counted")
        await asyncio.sleep(0.15)  # the cooldown; a longer one changes nothing
        outcomes = await asyncio.gather(*(outcome(commands, "PING") for _ in range(100)))
        assert sum("circuit breaker" not in str(error) for error in outcomes) == 1
        await asyncio.to_thread(wait_until, lambda: proxy.accepted > 1, what="the probe to be counted")
        assert proxy.accepted == 2
        await commands.close()


async def test_an_error_reply_never_opens_the_breaker() -> None:
    """An error reply is an answer."""
    with RedisServer() as server:
        commands = Redis.from_url(server.url, cooldown=60).using("async")
        for _ in range(5):
            with pytest.raises(ResponseError):
                await commands.execute("NOSUCHCOMMAND", "k")
        assert await commands.execute("PING") == b"PONG"
        await commands.close()


async def test_a_primary_that_became_a_replica_is_unavailable(prefix: str) -> None:
    """READONLY: this server cannot serve. The connection is made anew, as its name may have moved."""
    with RedisServer() as server:
        commands = Redis.from_url(server.url).using("async")
        await commands.execute("SET", prefix, 1)
        server.call("REPLICAOF", "127.0.0.1", 1)
        assert isinstance(await outcome(commands, "SET", prefix, 2), BackendUnavailable)
        server.call("REPLICAOF", "NO", "ONE")
        assert await commands.execute("SET", prefix, 3) == b"OK"
        await commands.close()


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_primary_whose_replicas_have_left_is_unavailable(prefix: str, colour: str) -> None:
    """NOREPLICAS (`min-replicas-to-write`): they may follow another primary by now, which only a new
    connection can find; nothing is wrong with the command."""
    with RedisServer() as server:
        commands: Any = Redis.from_url(server.url).using(colour)  # type: ignore[arg-type]

        async def call(*args: Any) -> Any:
            reply = commands.execute(*args)
            return await reply if asyncio.isfuture(reply) else reply

        first = await call("CLIENT", "ID")
        server.call("CONFIG", "SET", "min-replicas-to-write", 1)
        with pytest.raises(BackendUnavailable, match="NOREPLICAS"):
            await call("SET", prefix, 2)
        server.call("CONFIG", "SET", "min-replicas-to-write", 0)
        assert await call("SET", prefix, 3) == b"OK"
        assert await call("CLIENT", "ID") != first
        closing = commands.close()
        if closing is not None:
            await closing


async def test_an_error_names_the_server_and_no_password() -> None:
    """Whom it concerns is in the message; what opens it is not."""
    with RedisServer(password="s3cret-word") as server:
        url = server.url
        commands = Redis.from_url(url).using("async")
        await asyncio.to_thread(kill, server)
        error = await outcome(commands, "PING")
        assert isinstance(error, BackendUnavailable)
        assert str(server.port) in error.backend
        assert "s3cret" not in f"{error} {error.backend} {commands!r}"
        await commands.close()


async def test_a_held_up_event_loop_is_not_a_dead_server(prefix: str) -> None:
    """A handler that blocks the loop for longer than the limits, while commands are in flight or a connection
    is being made: the server has answered, so nobody fails and the breaker stays closed."""
    with RedisServer() as server:
        commands = Redis.from_url(server.url, timeout=0.1, connect_timeout=0.1, cooldown=60).using("async")
        for _ in range(2):  # not connected, and connected
            waiting = [asyncio.ensure_future(outcome(commands, "SET", f"{prefix}{n}", n)) for n in range(600)]
            while not all(task.done() for task in waiting):
                time.sleep(0.15)
                server.call("PING", timeout=60)  # it has answered what it was sent before, however busy it is
                await asyncio.sleep(0)  # a turn of the loop
            assert await asyncio.gather(*waiting) == [b"OK"] * 600
        await commands.close()


async def test_a_server_that_keeps_answering_does_not_hang(prefix: str) -> None:
    """A batch may take longer than the limit, as long as no answer does."""
    with RedisServer() as server:
        commands = await reached(server.url, "async", timeout=3, cooldown=60)
        waiting = []
        for _ in range(20):
            waiting.append(commands.execute("DEBUG", "SLEEP", 0.2))
            # More than Redis reads at once, so that it sends the answer to what came before.
            waiting.append(commands.execute("SET", prefix, b"x" * 20_000))
        assert await asyncio.gather(*waiting) == [b"OK"] * 40
        await commands.close()


async def test_large_commands_travel_in_small_batches(prefix: str) -> None:
    """Of 100 commands of 200 KB a lost connection takes a few along; the others were not sent yet."""
    with RedisServer() as server, FaultProxy(server.host, server.port) as proxy:
        commands = await reached(proxy.url(server.url), "async", timeout=1, cooldown=60)
        proxy.blackhole()
        data = b"x" * 200_000
        outcomes = await asyncio.gather(*(outcome(commands, "SET", f"{prefix}{n}", data) for n in range(100)))
        assert 1 <= sum(isinstance(error, BackendTimeout) for error in outcomes) <= 20
        await commands.close()


async def test_patience_is_bounded() -> None:
    """The limit holds although the loop is held up again and again."""

    async def held_up() -> None:
        async with Patience(0.2):
            for _ in range(100):
                time.sleep(0.2)
                await asyncio.sleep(0)

    with pytest.raises(TimeoutError):
        await held_up()


async def test_patience_begins_again_with_every_sign_of_life() -> None:
    """Renewed it lasts for as long as the block does; from then on it is as bounded as before."""
    signs = 0

    async def falls_silent() -> None:
        nonlocal signs
        async with Patience(0.2) as patience:
            for _ in range(20):
                await asyncio.sleep(0.05)
                patience.renew()
                signs += 1
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        await falls_silent()
    assert signs == 20


async def test_patience_leaves_a_cancellation_alone() -> None:
    """Who is cancelled from outside sees that, not a time-out; afterwards no timer is left to strike."""
    entered = asyncio.Event()

    async def wait() -> None:
        async with Patience(0.05):
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.ensure_future(wait())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with Patience(0.01):
        pass
    await asyncio.sleep(0.03)


async def test_an_alarm_strikes_once_after_the_last_beginning() -> None:
    """Begun again it waits for as long as each time; ended it does not strike; it may begin after that."""
    struck: list[int] = []
    heard = asyncio.Event()

    def strike() -> None:
        struck.append(len(begun))
        heard.set()

    alarm = Alarm(0.1, strike)
    begun: list[None] = []
    for _ in range(10):
        alarm.begin()
        begun.append(None)
        await asyncio.sleep(0.03)
    alarm.end()
    await asyncio.sleep(0.2)
    assert struck == []
    for _ in range(2):
        heard.clear()
        alarm.begin()
        begun.append(None)
        await heard.wait()
    assert struck == [11, 12]


async def test_an_alarm_is_no_matter_of_a_held_up_loop() -> None:
    """What comes in after a standstill comes before the alarm, and keeps it from striking."""
    struck: list[None] = []
    alarm = Alarm(0.1, lambda: struck.append(None))
    alarm.begin()
    for _ in range(3):
        time.sleep(0.2)
        await asyncio.sleep(0)
    alarm.end()
    await asyncio.sleep(0.2)
    assert struck == []


async def test_a_reply_that_nobody_asked_for_is_nobodys() -> None:
    """It is not taken for the answer to what is asked next; that is asked over a new connection."""
    heard, left = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = not heard.is_set()
        while data := await reader.read(65536):
            writer.write(b"+OK\r\n" * data.count(b"*"))  # an array each
            if b"PING" in data and first:
                await heard.wait()
                writer.write(b"+STRAY\r\n")
        writer.close()
        left.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        commands = Redis.from_url(f"redis://127.0.0.1:{port}").using("async")
        assert await commands.execute("PING") == b"OK"
        heard.set()
        await asyncio.wait_for(left.wait(), 20)
        assert await commands.execute("PING") == b"OK"
        await commands.close()

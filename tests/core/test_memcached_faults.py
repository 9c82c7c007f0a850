"""Broken for real: cut, hung, refused, killed, restarted. Both colours."""

import asyncio
import contextlib
import socket
import time
from typing import Any

import pytest

from scalekit._memcached import Commands, Memcached
from scalekit._memcached.stream import Stream
from scalekit.errors import BackendTimeout, BackendUnavailable
from scalekit.types import Colour
from tests.core.test_memcached import answer, colour
from tests.faults import FaultProxy, freeze, kill
from tests.servers import Memcached as Server

pytestmark = pytest.mark.slow

__all__ = ["colour"]  # a fixture


async def outcome(value: Any) -> object:
    """The answer, or the error."""
    try:
        return await value
    except (BackendUnavailable, BackendTimeout) as error:
        return error


async def caught(commands: Commands, key: str) -> object:
    """The answer to a question, or the error."""
    try:
        return await answer(commands.gets(key))
    except (BackendUnavailable, BackendTimeout) as error:
        return error


async def reached(server: Server, colour: Colour, **limits: float) -> Commands:
    """Commands that were answered: within a limit that is short on purpose a busy machine may take several
    attempts for that."""
    for _ in range(20):
        commands = Memcached.from_url(server.url, **limits).using(colour)  # type: ignore[arg-type]
        if await caught(commands, "k") is None:
            return commands
        await answer(commands.close())
    raise AssertionError("the server does not answer")


async def test_a_lost_connection_fails_what_was_in_flight_once(colour: Colour, prefix: str) -> None:
    """Its reply cut off, a write raises and was made; it is not sent again, and the next command works."""
    with Server() as server, FaultProxy(server.host, server.port) as proxy:
        commands = Memcached.from_url(proxy.url(server.url), timeout=30, connect_timeout=30).using(colour)
        await answer(commands.gets("k"))
        proxy.cut()
        with pytest.raises(BackendUnavailable):
            await answer(commands.add(prefix, b"v", seconds=60))
        assert server.call(f"get {prefix}")[1] == "v"
        assert server.stats()["cmd_set"] == "1"
        proxy.pass_through()
        assert await answer(commands.add(prefix, b"v", seconds=60)) is False
        await answer(commands.close())


async def test_a_lost_connection_fails_everybody_on_it(prefix: str) -> None:
    """Each caller gets an error of its own."""
    with Server() as server, FaultProxy(server.host, server.port) as proxy:
        commands = Memcached.from_url(proxy.url(server.url), timeout=30, connect_timeout=30).using("async")
        await commands.gets("k")
        proxy.cut()
        errors = await asyncio.gather(*(outcome(commands.gets(f"{prefix}{n}")) for n in range(50)))
        assert {type(error) for error in errors} == {BackendUnavailable}
        assert len(set(map(id, errors))) == 50
        await commands.close()


async def test_a_server_that_was_restarted_while_idle_fails_nobody(colour: Colour) -> None:
    """Connections that the server closed meanwhile are noticed before a command is sent on them."""
    with Server() as server:
        commands = Memcached.from_url(server.url, timeout=30, connect_timeout=30).using(colour)
        await answer(commands.add("k", b"v", seconds=60))
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        assert await answer(commands.gets("k")) is None
        await answer(commands.close())


async def test_a_hung_server_costs_one_timeout_then_nothing(colour: Colour) -> None:
    """27. SIGSTOP: who waits gets BackendTimeout after one time-out, who comes later is refused at once."""
    with Server() as server:
        commands = await reached(server, colour, timeout=1, cooldown=60)
        with freeze(server):
            with pytest.raises(BackendTimeout, match="may have been applied"):
                await answer(commands.gets("k"))
            for _ in range(100):
                with pytest.raises(BackendUnavailable, match="circuit breaker"):
                    await answer(commands.gets("k"))
        await answer(commands.close())


async def test_a_hung_server_costs_all_who_wait_one_timeout() -> None:
    """27. However many are on their way: none of them waits for a time-out after another's."""
    with Server() as server:
        commands = await reached(server, "async", timeout=1, cooldown=60)
        with freeze(server):
            errors = await asyncio.gather(*(outcome(commands.gets("k")) for _ in range(500)))
            assert {type(error) for error in errors} == {BackendTimeout}
        await commands.close()


@pytest.mark.parametrize("spare", [False, True])
async def test_a_server_that_is_not_reached_in_time(colour: Colour, spare: bool) -> None:
    """A host that lets no connection in is given up after connect_timeout."""
    # A listener whose backlog is full answers no more than a host that is off.
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        url = f"memcached://127.0.0.1:{full.getsockname()[1]}"
        commands = Memcached.from_url(
            url, connect_timeout=0.2, timeout=60, cooldown=60, spare_callers=spare
        ).using(colour)
        with pytest.raises(BackendUnavailable, match=r"no connection within 0\.2 s"):
            await answer(commands.gets("k"))
        with pytest.raises(BackendUnavailable, match="circuit breaker"):
            await answer(commands.gets("k"))
        await answer(commands.close())


async def test_the_breaker_closes_when_the_server_is_back(colour: Colour) -> None:
    """27. Refused while it is away; one probe finds it again, and then everybody is served."""
    with Server() as server:
        commands = Memcached.from_url(server.url, timeout=30, connect_timeout=30, cooldown=0.2).using(colour)
        await answer(commands.gets("k"))
        await asyncio.to_thread(kill, server)
        for _ in range(3):
            assert isinstance(await caught(commands, "k"), BackendUnavailable)
        await asyncio.to_thread(server.start)
        deadline = time.monotonic() + 30
        while await caught(commands, "k") is not None:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        for _ in range(100):
            assert await answer(commands.gets("k")) is None
        await answer(commands.close())


async def test_one_probe_while_the_server_hangs() -> None:
    """Of many callers one probes; the rest are refused while it does."""
    with Server() as server:
        commands = await reached(server, "async", timeout=1, connect_timeout=1, cooldown=0.1)
        with freeze(server):
            assert isinstance(await outcome(commands.gets("k")), BackendTimeout)
            await asyncio.sleep(0.15)  # the cooldown; a longer one changes nothing
            errors = await asyncio.gather(*(outcome(commands.gets("k")) for _ in range(100)))
            assert sum("circuit breaker" not in str(error) for error in errors) == 1
        await commands.close()


async def test_a_refusal_never_opens_the_breaker(colour: Colour, memcached_server: Server) -> None:
    """It is an answer, though the connection ends with it."""
    commands = Memcached.from_url(memcached_server.url, timeout=30, cooldown=60).using(colour)
    for _ in range(3):
        with pytest.raises(BackendUnavailable, match="CLIENT_ERROR"):
            await answer(commands.gets("k" * 251))
    assert await answer(commands.gets("k")) is None
    await answer(commands.close())


async def test_a_held_up_event_loop_is_not_a_dead_server(prefix: str) -> None:
    """A handler that blocks the loop for longer than the limits, while commands are in flight or a connection
    is being made: the server has answered, so nobody fails and the breaker stays closed."""
    with Server(options=["-t", "1"]) as server:  # one thread: what it answers last it was asked last
        limits = {"timeout": 0.1, "connect_timeout": 0.1, "cooldown": 60.0}
        commands = Memcached.from_url(server.url, **limits).using("async")  # type: ignore[arg-type]
        for turn in range(2):  # not connected, and connected
            waiting = [
                asyncio.ensure_future(outcome(commands.add(f"{prefix}{turn}-{n}", b"v", seconds=60)))
                for n in range(100)
            ]
            while not all(task.done() for task in waiting):
                time.sleep(0.15)
                server.stats(timeout=60)  # it has answered what it was sent before, however busy it is
                await asyncio.sleep(0)  # a turn of the loop
            assert await asyncio.gather(*waiting) == [True] * 100
        await commands.close()


async def test_what_is_no_memcached_is_unavailable(colour: Colour) -> None:
    """A server of another kind behind the port: told, and what it says is nobody's answer."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"VALUE k 0 1 1\r\nabc\r\nEND\r\n" if await_value else b"x" * 5000)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for await_value in (True, False):
            commands = Memcached.from_url(f"memcached://127.0.0.1:{port}", timeout=30).using(colour)
            ask = asyncio.to_thread(commands.gets, "k") if colour == "sync" else commands.gets("k")
            error = await outcome(ask)
            assert isinstance(error, BackendUnavailable)
            assert "a VALUE that" in str(error) if await_value else "does not end" in str(error)
            await answer(commands.close())


async def test_a_timer_runs_only_while_there_is_something_to_wait_for(memcached_server: Server) -> None:
    """An idle connection wakes nobody up."""
    link = Memcached.from_url(memcached_server.url, timeout=5)
    commands = link.using("async")
    await commands.gets("k")
    stream: Stream = commands._home().peers[link._source.servers[0]]._stream  # type: ignore[attr-defined]
    deadline = time.monotonic() + 30
    while stream._timer is not None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    assert await commands.gets("k") is None
    await commands.close()


async def test_a_server_that_was_restarted_while_the_loop_was_held_up(prefix: str) -> None:
    """The loop had no turn to see that its connection was closed: it is looked at before it is used."""
    with Server() as server:
        commands = Memcached.from_url(server.url, timeout=30, connect_timeout=30).using("async")
        await commands.add(prefix, b"v", seconds=60)
        server.stop()
        server.start()
        assert await commands.gets(prefix) is None
        await commands.close()

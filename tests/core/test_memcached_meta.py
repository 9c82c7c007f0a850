"""Meta commands: several at a time, in both colours; what is no answer to them; probes."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from typing import Any

import pytest

from scalekit._memcached import Commands, Delete, Get, Memcached, Refused, Set
from scalekit._memcached.aio import Peer
from scalekit._memcached.stream import Stream
from scalekit.errors import BackendTimeout, BackendUnavailable
from scalekit.types import Colour
from tests.core.test_memcached import answer, colour, url_of
from tests.faults import FaultProxy
from tests.servers import Memcached as Server

__all__ = ["colour"]  # a fixture

PATIENT: dict[str, float] = {"timeout": 30, "connect_timeout": 30}


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Server]]:
    """Two, which share the keys."""
    with ExitStack() as stack:
        yield [stack.enter_context(Server()) for _ in range(2)]


async def ask(commands: Commands, *asked: Any) -> Any:
    return await answer(commands.together(asked))


async def test_commands(colour: Colour, memcached_server: Server, prefix: str) -> None:
    """Each does what it says, on condition; the answers come in the order of the questions."""
    commands = Memcached.from_url(memcached_server.url, **PATIENT).using(colour)
    value = b"a\r\nHD\r\n\xff"
    nothing, first = await ask(commands, Get(prefix), Set(prefix, value, 60))
    assert nothing is None
    assert first > 0
    item, again = await ask(commands, Get(prefix), Set(prefix, b"b", 60))
    assert (item.value, item.version, again) == (value, first, 0)
    assert 30 < item.left <= 60  # memcached counts whole seconds by a clock of its own
    (second,) = await ask(commands, Set(prefix, b"", 0, first))
    assert second > 0
    late, item, removed = await ask(
        commands, Set(prefix, b"late", 60, first), Get(prefix), Delete(prefix, first)
    )
    assert (late, removed) == (0, False)
    assert (item.value, item.version, item.left) == (b"", second, None)
    assert await ask(commands, Delete(prefix, second), Delete(prefix), Set(prefix, b"c", 60, second)) == [
        True,
        False,
        0,
    ]
    assert await ask(commands) == []
    assert await answer(commands.ping()) is None
    await answer(commands.close())


async def test_classic_and_meta_commands_share_a_connection(memcached_server: Server, prefix: str) -> None:
    """A session and a cache on one link: each reply finds its caller, also after some have given up."""
    commands = Memcached.from_url(memcached_server.url, **PATIENT).using("async")
    await commands.add(prefix, b"v", seconds=60)
    asked = [
        asyncio.ensure_future(
            commands.gets(prefix) if n % 2 else commands.together([Get(prefix), Get("nix"), Get(prefix)])
        )
        for n in range(100)
    ]
    await asyncio.sleep(0)
    for task in asked[::5]:
        task.cancel()
    for number, outcome in enumerate(await asyncio.gather(*asked, return_exceptions=True)):
        if number % 5 == 0:
            assert isinstance(outcome, asyncio.CancelledError)
        elif number % 2:
            assert not isinstance(outcome, BaseException)
            assert outcome.value == b"v"
        else:
            assert isinstance(outcome, list)
            assert [item and item.value for item in outcome] == [b"v", None, b"v"]
    await commands.close()


async def test_several_servers(colour: Colour, servers: list[Server], prefix: str) -> None:
    """Each key is asked for where it lies; a server that refuses one command, or is away, fails them all."""
    commands = Memcached.from_url(url_of(servers), **PATIENT).using(colour)
    keys = [f"{prefix}{number}" for number in range(60)]  # of so many each surely has one
    assert all(await ask(commands, *(Set(key, key.encode(), 60) for key in keys)))
    assert [item.value for item in await ask(commands, *map(Get, keys))] == [key.encode() for key in keys]
    held = [sum(server.call(f"mg {key}") == ["HD"] for key in keys) for server in servers]
    assert sum(held) == len(keys)
    assert all(held)
    with pytest.raises(Refused, match="too large for cache; the limit is memcached's option -I"):
        await ask(commands, *(Set(key + "x", b"x" * (1 << 20), 60) for key in keys))
    assert all(await ask(commands, *map(Get, keys)))
    assert await answer(commands.ping()) is None
    await answer(commands.close())


@asynccontextmanager
async def serving(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """The host and port of a server, whose connections end with it."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(ConnectionError):
            await serve(reader, writer)

    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        # Not wait_closed(), which since Python 3.12 waits for whoever is connected, however that ends.
        server.close()
        for _ in range(10):  # turns of the loop: whoever has just been let in has a writer then
            await asyncio.sleep(0)
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


def speaking(speak: Callable[[bytes], bytes]) -> AbstractAsyncContextManager[str]:
    """A server that answers ``speak(line)`` to each line."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(speak(line))

    return serving(serve)


async def test_one_trip_to_each_server(colour: Colour) -> None:
    """All have been sent, to every server, before an answer to any is waited for."""
    # Which server has a key depends on the ports: of so many each surely has one.
    keys = [Get(f"key{number}") for number in range(64)]
    heard: list[bytes] = []
    all_heard = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            heard.append(line)
            if len(heard) == len(keys):
                all_heard.set()
            asked.append(writer)

    async def reply() -> None:
        await all_heard.wait()
        for writer in asked:
            writer.write(b"EN\r\n")

    asked: list[asyncio.StreamWriter] = []
    async with serving(serve) as one, serving(serve) as two:
        replying = asyncio.ensure_future(reply())
        commands = Memcached.from_url(f"memcached://{one},{two}", **PATIENT).using(colour)
        if colour == "sync":
            answers = await asyncio.to_thread(commands.together, keys)
        else:
            answers = await commands.together(keys)
        assert answers == [None] * len(keys)
        assert len(set(map(id, asked))) == 2
        await replying
        await answer(commands.close())


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"ERROR", "1.6.10 or newer"),  # 1.4
        (b"CLIENT_ERROR bad data chunk", "1.6.10 or newer"),  # 1.6.6, to a size without its letter
        (b"OK", "1.6.10 or newer"),
        (b"SERVER_ERROR out of memory storing object", "out of memory"),
        (b"END", "END"),
        (b"VA 1 c1 t5\r\nx", "VA 1"),
        (b"HD", "no version"),
        (b"HD c", "no version"),
        (b"HD cx", "no version"),
        (b"HD c0", "-C"),
        (b"STORED", "STORED"),
        (b"HDc1", "HDc1"),
    ],
)
async def test_what_is_no_answer_to_a_write(said: bytes, told: str) -> None:
    """An error that says what the server said, and the cure."""
    async with speaking(lambda line: said + b"\r\n") as place:
        commands = Memcached.from_url(f"memcached://{place}", **PATIENT).using("async")
        with pytest.raises(BackendUnavailable, match=told):
            await commands.together([Set("k", b"", 60)])
        await commands.close()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"ERROR", "1.6.10 or newer"),
        (b"HD c1 t5", "HD"),
        (b"ENX", "ENX"),
        (b"VA 1 c1\r\nx", "VA 1 c1"),
        (b"VA 1 t5\r\nx", "no version"),
        (b"VA 1 c0 t5\r\nx", "-C"),
        (b"VA 1 c1 t5\r\nxy", "not as long"),
        (b"VA x c1 t5\r\nx", "without a size"),
        (b"VA\r\nx", "without a size"),
        (b"VA 9999999999 c1 t5\r\nx", "larger than any"),
        (b"VALUE k 0 1 7\r\nx\r\nEND", "END"),
    ],
)
async def test_what_is_no_answer_to_a_read(said: bytes, told: str) -> None:
    """An error, and never a value or its absence."""
    async with speaking(lambda line: said + b"\r\n") as place:
        commands = Memcached.from_url(f"memcached://{place}", **PATIENT).using("async")
        with pytest.raises(BackendUnavailable, match=told):
            await commands.together([Get("k")])
        await commands.close()


async def test_servers_that_fail_together() -> None:
    """One error for the caller; of the others asyncio has nothing to tell at the end."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    async with speaking(lambda line: b"VA\r\n") as one, speaking(lambda line: b"VA\r\n") as two:
        commands = Memcached.from_url(f"memcached://{one},{two}", **PATIENT).using("async")
        with pytest.raises(BackendUnavailable, match="without a size"):
            await commands.together([Get(f"key{number}") for number in range(8)])
        await asyncio.sleep(0.01)
        await commands.close()
    gc.collect()
    assert told == []


async def test_flags_that_were_not_asked_for_do_no_harm() -> None:
    """Newer servers tell more."""
    async with speaking(lambda line: b"VA 1 W c7 s1 t-1 h0 X\r\nx\r\n") as place:
        commands = Memcached.from_url(f"memcached://{place}", **PATIENT).using("async")
        assert await commands.together([Get("k")]) == [(b"x", 7, None)]
        await commands.close()


async def test_a_server_without_versions(colour: Colour, prefix: str) -> None:
    """Started with -C it could not tell one write from another."""
    with Server(options=["-C"]) as server:
        commands = Memcached.from_url(server.url, **PATIENT).using(colour)
        with pytest.raises(BackendUnavailable, match="-C"):
            await ask(commands, Set(prefix, b"x", 60))
        with pytest.raises(BackendUnavailable, match="-C"):
            await ask(commands, Get(prefix))
        await answer(commands.close())


@pytest.mark.parametrize("spare", [True, False])
async def test_a_probe_that_is_nobodys_command(colour: Colour, spare: bool) -> None:
    """14. While a server hangs each caller is refused at once, and a question of its own finds it again."""
    heard: list[bytes] = []
    hangs = True

    def speak(line: bytes) -> bytes:
        heard.append(line)
        return b"" if hangs else b"MN\r\n" if line == b"mn\r\n" else b"EN\r\n"

    async with speaking(speak) as place:
        commands = Memcached.from_url(
            f"memcached://{place}", timeout=0.05, connect_timeout=30, cooldown=0.01, spare_callers=spare
        ).using(colour)

        async def get() -> Any:
            asked = [Get("k")]
            try:
                if colour == "sync":
                    return await asyncio.to_thread(commands.together, asked)
                return await commands.together(asked)
            except BackendUnavailable as error:
                return error
            except BackendTimeout as error:
                return error

        assert isinstance(await get(), BackendTimeout)
        late = 0
        async with asyncio.timeout(30):
            while len(heard) < 4:
                late += isinstance(await get(), BackendTimeout)
                await asyncio.sleep(0.001)
        if spare:
            assert late == 0
            assert heard[1:] == [b"mn\r\n"] * (len(heard) - 1)
        else:
            assert late > 0
            assert b"mn\r\n" not in heard
        hangs = False
        async with asyncio.timeout(30):
            while await get() != [None]:
                await asyncio.sleep(0.001)
        await answer(commands.close())


@pytest.mark.parametrize("spare", [False, True])
async def test_a_connection_that_ends_as_it_is_made(spare: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was to use it is told at once, and not when the time-out is over."""
    made = Peer._make

    async def late(peer: Peer) -> Stream:
        stream = await made(peer)
        while not stream.closed:  # as if the loop was busy until then
            await asyncio.sleep(0.001)
        return stream

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    monkeypatch.setattr(Peer, "_make", late)
    async with serving(serve) as place, asyncio.timeout(30):
        url = f"memcached://{place}"
        commands = Memcached.from_url(url, **PATIENT | {"timeout": 60}, spare_callers=spare).using("async")
        with pytest.raises(BackendUnavailable, match="closed"):
            await commands.gets("k")
        await commands.close()


async def test_a_probe_that_is_hung_up_on(colour: Colour, memcached_server: Server) -> None:
    """14. It counts as one that failed: the next is due after the cooldown, however long a time-out is."""
    async with FaultProxy(memcached_server.host, memcached_server.port) as proxy:
        commands = Memcached.from_url(
            f"memcached://{proxy.host}:{proxy.port}", timeout=60, cooldown=0.01, spare_callers=True
        ).using(colour)

        async def get() -> Any:
            try:
                if colour == "sync":
                    return await asyncio.to_thread(commands.together, [Get("k")])
                return await commands.together([Get("k")])
            except BackendUnavailable as error:
                return error

        await asyncio.to_thread(proxy.refuse)
        assert isinstance(await get(), BackendUnavailable)
        await asyncio.to_thread(proxy.reset)
        accepted = proxy.accepted
        async with asyncio.timeout(30):
            while proxy.accepted < accepted + 3:
                assert isinstance(await get(), BackendUnavailable)
                await asyncio.sleep(0.001)
            await asyncio.to_thread(proxy.pass_through)
            while await get() != [None]:
                await asyncio.sleep(0.001)
        await answer(commands.close())

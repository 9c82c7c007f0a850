"""The commands in both colours, on one server and on several; threads, event loops and children."""

import asyncio
import gc
import inspect
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient

from scalekit._memcached import Commands, Memcached, Refused
from scalekit.errors import BackendUnavailable
from scalekit.types import Colour
from tests.faults import FaultProxy
from tests.servers import Memcached as Server
from tests.servers import wait_until

COLOURS: list[Colour] = ["sync", "async"]


async def answer(value: Any) -> Any:
    """In either colour."""
    return await value if inspect.isawaitable(value) else value


@pytest.fixture(params=COLOURS)
def colour(request: pytest.FixtureRequest) -> Colour:
    colour: Colour = request.param
    return colour


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Server]]:
    """Three, which share the keys."""
    with ExitStack() as stack:
        yield [stack.enter_context(Server()) for _ in range(3)]


def url_of(servers: list[Server]) -> str:
    return "memcached://" + ",".join(f"{server.host}:{server.port}" for server in servers)


async def check_commands(commands: Commands, key: str) -> None:
    """What each command answers."""
    assert await answer(commands.gets(key)) is None
    assert await answer(commands.cas(key, b"x", 1, seconds=60)) is None
    assert await answer(commands.add(key, b"a\r\n\xff", seconds=60)) is True
    assert await answer(commands.add(key, b"b", seconds=60)) is False
    value, version = await answer(commands.gets(key))
    assert value == b"a\r\n\xff"
    assert await answer(commands.cas(key, b"", version, seconds=60)) is True
    assert await answer(commands.cas(key, b"c", version, seconds=60)) is False
    value, version = await answer(commands.gets(key))
    assert value == b""
    large = b"\r\n" * 500_000
    assert await answer(commands.cas(key, large, version, seconds=60)) is True
    assert (await answer(commands.gets(key))).value == large
    assert await answer(commands.delete(key)) is True
    assert await answer(commands.delete(key)) is False
    assert await answer(commands.add(key, b"d", seconds=-1)) is True
    assert await answer(commands.gets(key)) is None
    await answer(commands.pause(0))


@pytest.mark.parametrize("over", ["tcp", "tls", "unix"])
async def test_commands(over: Any, colour: Colour, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over whatever the server listens on, one URL serves both colours."""
    with Server(over=over) as server:
        if over == "tls":  # a system that trusts it
            monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
        commands = Memcached.from_url(server.url).using(colour)
        await check_commands(commands, prefix)
        await answer(commands.close())


async def test_tls_is_not_optional(colour: Colour) -> None:
    """A server whose certificate this system does not trust is unavailable."""
    with Server(over="tls") as server:
        commands = Memcached.from_url(server.url).using(colour)
        with pytest.raises(BackendUnavailable, match="certificate"):
            await answer(commands.gets("k"))
        await answer(commands.close())


@pytest.mark.parametrize("kind", [Client, PooledClient])
async def test_a_client_that_was_given(kind: Any, memcached_server: Server, prefix: str) -> None:
    """Its key prefix is kept; what it does to values is left out: it could unpickle what others stored."""

    class Tampering:
        def serialize(self, key: str, value: bytes) -> tuple[bytes, int]:
            raise AssertionError("was called")

        def deserialize(self, key: str, value: bytes, flags: int) -> bytes:
            raise AssertionError("was called")

    client = kind(
        (memcached_server.host, memcached_server.port), key_prefix=prefix.encode(), serde=Tampering()
    )
    commands = Memcached(client).using("sync")
    await check_commands(commands, "key")
    commands.add("key", b"v", seconds=60)
    assert memcached_server.call(f"get {prefix}key")[1] == "v"
    commands.close()


async def test_the_servers_that_have_none_of_some_keys(colour: Colour) -> None:
    """They are called what errors call them; nobody is asked, so none has to be there."""
    one, several = (Memcached.from_url(f"memcached://{hosts}").using(colour) for hosts in ("a", "a,b,c"))
    assert not one.elsewhere(["k"])
    names = {f"memcached://{host}:11211" for host in "abc"}
    assert {len(several.elsewhere([str(number)])) for number in range(30)} == {2}
    assert set().union(*(several.elsewhere([str(number)]) for number in range(30))) == names
    assert not several.elsewhere([str(number) for number in range(30)])
    await answer(one.close())
    await answer(several.close())


async def test_several_servers_share_the_keys(servers: list[Server], prefix: str) -> None:
    """Both colours, and pymemcache, look for a key on the same server."""
    link = Memcached.from_url(url_of(servers))
    theirs = HashClient([(server.host, server.port) for server in servers])
    sync, other, given = link.using("sync"), link.using("async"), Memcached(theirs).using("sync")
    keys = [f"{prefix}{number}" for number in range(60)]
    for key in keys:
        assert sync.add(key, key.encode(), seconds=60)
    for key in keys:
        assert (await other.gets(key)).value == given.gets(key).value == theirs.get(key) == key.encode()
    held = [sum(len(server.call(f"get {key}")) > 1 for key in keys) for server in servers]
    assert sum(held) == len(keys)
    assert all(held)
    theirs.close()
    given.close()
    sync.close()
    await other.close()


async def test_one_server_away_is_one_server_away(colour: Colour, prefix: str) -> None:
    """Its keys are unavailable and go nowhere else; the others are as before. Back, it has lost them."""
    with Server() as lost, Server() as left:
        commands = Memcached.from_url(url_of([lost, left]), cooldown=0.1).using(colour)
        keys = [f"{prefix}{number}" for number in range(60)]  # of so many each surely has one
        for key in keys:
            await answer(commands.add(key, b"v", seconds=60))
        there = [key for key in keys if len(left.call(f"get {key}")) > 1]
        gone = [key for key in keys if key not in there]
        assert there
        assert gone
        await asyncio.to_thread(lost.kill)
        for key in gone:
            with pytest.raises(BackendUnavailable, match=str(lost.port)):
                await answer(commands.add(key, b"w", seconds=60))
        for key in there:
            assert (await answer(commands.gets(key))).value == b"v"
        await asyncio.to_thread(lost.start)

        async def back() -> bool:
            try:
                return await answer(commands.gets(gone[0])) is None
            except BackendUnavailable:
                return False

        async with asyncio.timeout(20):
            while not await back():
                await asyncio.sleep(0.02)
        assert all(len(left.call(f"get {key}")) == 1 for key in gone)
        await answer(commands.close())


async def test_what_a_server_refuses(colour: Colour, memcached_server: Server, prefix: str) -> None:
    """Said as the server says it, with the cure; nothing was stored, and the next command works."""
    commands = Memcached.from_url(memcached_server.url, timeout=30, cooldown=60).using(colour)
    with pytest.raises(Refused, match="too large for cache; the limit is memcached's option -I"):
        await answer(commands.add(prefix, b"x" * (1 << 20), seconds=60))
    assert await answer(commands.gets(prefix)) is None
    with pytest.raises(Refused, match="CLIENT_ERROR"):
        await answer(commands.gets("k" * 251))
    assert await answer(commands.add(prefix, b"x", seconds=60)) is True
    await answer(commands.close())


async def test_a_server_without_versions(colour: Colour, prefix: str) -> None:
    """Started with -C it could not tell one write from another: an error, where it would never succeed."""
    with Server(options=["-C"]) as server:
        commands = Memcached.from_url(server.url).using(colour)
        await answer(commands.add(prefix, b"x", seconds=60))
        with pytest.raises(BackendUnavailable, match="-C"):
            await answer(commands.gets(prefix))
        await answer(commands.close())


async def test_replies_find_their_callers(prefix: str) -> None:
    """A thousand commands at a time on one connection, a third of the callers give up: each gets its own."""
    with Server() as server:
        commands = Memcached.from_url(server.url, timeout=30).using("async")
        await asyncio.gather(*(commands.add(f"{prefix}{n}", b"%d" % n, seconds=60) for n in range(1000)))
        before = made(server)
        tasks = [asyncio.ensure_future(commands.gets(f"{prefix}{number}")) for number in range(1000)]
        for _ in range(2):  # turns of the loop: the commands have left
            await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for number, outcome in enumerate(outcomes):
            if isinstance(outcome, BaseException):
                assert isinstance(outcome, asyncio.CancelledError)
                assert number % 3 == 0
            else:
                assert outcome.value == b"%d" % number
        assert made(server) - before == 1  # the question's own
        await commands.close()


async def test_who_gives_up_connecting_harms_no_other(memcached_server: Server, prefix: str) -> None:
    """The first caller's connection is everybody's: cancelled, the others still get it."""
    commands = Memcached.from_url(memcached_server.url, timeout=30, connect_timeout=30).using("async")
    tasks = [asyncio.ensure_future(commands.gets(prefix)) for _ in range(5)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert outcomes[1:] == [None] * 4
    await commands.close()


def test_more_threads_than_connections_wait(prefix: str) -> None:
    """64 threads, four connections, no error, and never a fifth connection."""
    with Server() as server:
        commands = Memcached.from_url(server.url, max_connections=4, timeout=30).using("sync")

        def work(number: int) -> bytes:
            key = f"{prefix}{number}"
            assert commands.add(key, b"%d" % number, seconds=60)
            for _ in range(10):
                value: bytes = commands.gets(key).value
            return value

        before = made(server)
        with ThreadPoolExecutor(64) as pool:
            assert list(pool.map(work, range(64))) == [b"%d" % number for number in range(64)]
        assert 1 <= made(server) - before - 1 <= 4  # one is the question's own
        commands.close()
        wait_for(0, server)


def test_waiting_for_a_connection_is_bounded(memcached_server: Server) -> None:
    """When all connections stay in use for the time-out, the error says so and how to cure it."""
    link = Memcached.from_url(memcached_server.url, max_connections=1)
    commands: Any = link.using("sync")
    commands.gets("k")
    (pool,) = commands._pools.values()
    patient = pool._limits
    with pool.turn():  # in use for longer than any command may take
        pool._limits = replace(patient, timeout=0.2)  # not before: the server may have no turn for so long
        for _ in range(2):
            with pytest.raises(BackendUnavailable, match=r"in use for 0\.2 s; raise max_connections"):
                commands.gets("k")
        pool._limits = patient
    commands.gets("k")
    commands.close()


def made(server: Server) -> int:
    """How many connections there were so far, the question's own included."""
    return int(server.stats()["total_connections"])


def wait_for(count: int, server: Server) -> None:
    """Return when there are so many connections besides the question's own: memcached counts one that it has
    closed, such as that of an earlier question, until its thread has another turn."""
    wait_until(
        lambda: int(server.stats()["curr_connections"]) - 1 == count, what=f"connections to be {count}"
    )


def test_a_link_that_is_dropped_closes_its_connections() -> None:
    """Whoever forgets a link leaves no connection open until the garbage collector finds its socket."""
    with Server() as server:
        link = Memcached.from_url(server.url)
        link.using("sync").gets("k")
        wait_for(1, server)
        del link
        gc.collect()
        wait_for(0, server)


def test_loops_one_after_the_other() -> None:
    """A loop that ends takes its connection along without close(), also with commands in flight."""
    with Server() as server, FaultProxy(server.host, server.port) as proxy:
        link = Memcached.from_url(proxy.url(server.url), timeout=60)
        tasks: list[asyncio.Task[Any]] = []

        async def main() -> None:
            commands = link.using("async")
            assert await asyncio.gather(*(commands.gets("k") for _ in range(50))) == [None] * 50
            wait_for(1, server)
            proxy.blackhole()
            tasks.extend(asyncio.ensure_future(commands.gets("k")) for _ in range(5))
            await asyncio.sleep(0)

        for _ in range(3):
            asyncio.run(main())
            proxy.pass_through()
            wait_for(0, server)
        assert all(task.cancelled() for task in tasks)


def test_loops_in_threads_at_the_same_time(prefix: str) -> None:
    """One link, four loops in four threads; close() of one closes what the others have too."""
    with Server() as server:
        link = Memcached.from_url(server.url, timeout=30)
        ready, done = threading.Barrier(5), threading.Event()

        async def main(number: int) -> None:
            commands = link.using("async")
            keys = [f"{prefix}{number}-{n}" for n in range(100)]
            assert all(await asyncio.gather(*(commands.add(key, b"", seconds=60) for key in keys)))
            await asyncio.to_thread(ready.wait)
            await asyncio.to_thread(done.wait)

        with ThreadPoolExecutor(4) as threads:
            futures = [threads.submit(asyncio.run, main(number)) for number in range(4)]
            try:
                ready.wait(30)
                wait_for(4, server)

                async def close() -> None:
                    await link.using("async").close()

                asyncio.run(close())
                wait_for(0, server)
            except BaseException:
                ready.abort()  # not after it was passed: who has not woken yet would take that for a failure
                raise
            finally:
                done.set()
            for future in futures:
                future.result()


FORK = """
    import asyncio, os, signal, sys
    from contextlib import ExitStack
    from scalekit._memcached import Memcached

    link = Memcached.from_url(sys.argv[1], timeout=30, connect_timeout=30)
    prefix = sys.argv[2]

    def use_sync(name, count):
        commands = link.using("sync")
        for number in range(count):
            key = f"{prefix}{name}{number}"
            commands.add(key, key.encode(), seconds=60)
            assert commands.gets(key).value == key.encode()

    async def use_async(name, count):
        commands = link.using("async")
        for number in range(count):
            key = f"{prefix}{name}{number}"
            await commands.add(key, key.encode(), seconds=60)
            assert (await commands.gets(key)).value == key.encode()

    def sockets():
        (pool,) = link.using("sync")._pools.values()
        return {os.fstat(connection._socket.fileno()).st_ino for connection in pool._idle}

    async def parent():
        # Connections of both colours are open, a loop is running, and other threads hold every lock there is,
        # when the children are made.
        use_sync("p", 1)
        await use_async("q", 1)
        own = sockets()
        children = []
        for child in "ab":
            with ExitStack() as stack:
                held = [link.using("async")._lock, link._lock]  # the first while the second is free
                for lock in held:
                    stack.enter_context(lock)
                pid = os.fork()
                if pid == 0:
                    stack.pop_all()  # they are nobody's here
            if pid == 0:
                signal.alarm(30)
                asyncio._set_running_loop(None)
                asyncio.set_event_loop(None)
                assert own and not sockets()
                use_sync(child, 200)
                assert sockets() and not own & sockets()
                asyncio.run(use_async(child + "x", 200))
                link.using("sync").close()
                os._exit(0)
            children.append(pid)
        use_sync("p", 200)
        await use_async("q", 200)
        for pid in children:
            assert os.waitpid(pid, 0)[1] == 0
        use_sync("r", 1)
        await use_async("s", 1)
        print("ok")

    asyncio.run(parent())
    link.using("sync").close()
"""


def test_children_share_no_socket_with_their_parent(
    memcached_server: Server, prefix: str, tmp_path: Path
) -> None:
    """Forked while connections are open (gunicorn --preload): everybody reads only their own replies."""
    path = tmp_path / "fork.py"
    path.write_text(textwrap.dedent(FORK))
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(path), memcached_server.url, prefix],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("ok\n", "")

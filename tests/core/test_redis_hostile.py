"""Servers that answer with what no Redis says, or as slowly as they can. Both colours, both parsers."""

import asyncio
import itertools
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis.exceptions import InvalidResponse

from scalekit._redis import Redis, exchange, lane, replies
from scalekit._redis.topology import Topology
from scalekit.errors import BackendError, BackendTimeout, BackendUnavailable
from tests.faults.scripted import scripted


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=["hiredis", "python"], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With hiredis and without it."""
    if request.param == "python":
        for module in (exchange, lane):
            monkeypatch.setattr(module, "make_replies", replies.PythonReplies)
    name: str = request.param
    return name


class Client:
    """A link in either colour, asked the same way."""

    def __init__(self, url: str, colour: Any, **options: float) -> None:
        self._commands: Any = Redis.from_url(url, connect_timeout=5, cooldown=0.01, **options).using(colour)

    async def ask(self, *args: str) -> Any:
        if not self._is_async:
            return await asyncio.to_thread(self._commands.execute, *args)
        return await asyncio.wait_for(self._commands.execute(*args), 20)  # or it would hang

    async def connects(self) -> None:
        """Within a limit that is short on purpose, a busy machine may take several attempts for it."""
        ends = time.monotonic() + 20
        while True:
            try:
                await self.ask("PING")
            except BackendError:
                assert time.monotonic() < ends
                await asyncio.sleep(0.02)
            else:
                return

    async def close(self) -> None:
        closing = self._commands.close()
        if self._is_async:
            await closing

    def kept(self) -> Any:
        """The one connection, of threads, while nobody uses it."""
        (connection,) = self._commands._pool._kept
        return connection

    @property
    def _is_async(self) -> bool:
        return asyncio.iscoroutinefunction(self._commands.close)


@pytest.fixture
def complaints() -> Iterator[Callable[[], list[Any]]]:
    """What the event loop complains about from now on."""
    found: list[Any] = []

    def listen() -> list[Any]:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context))
        return found

    yield listen
    assert found == []


async def test_a_piece_of_a_reply_that_nobody_asked_for(colour: Any, complaints: Any) -> None:
    """It comes while nothing is in flight: the connection is given up, and who asks next has an answer."""
    sent = asyncio.Event()
    loop = asyncio.get_running_loop()
    go = threading.Event()
    numbers = itertools.count(1)

    def answer(sock: socket.socket) -> None:
        number = next(numbers)
        sock.sendall(b":%d\r\n" % number)
        if number == 1:
            go.wait(20)
            sock.sendall(b"+PAR")
            loop.call_soon_threadsafe(sent.set)

    complaints()
    with scripted(answer) as server:
        client = Client(server.url, colour)
        assert await client.ask("GET", "k") == 1
        go.set()
        await asyncio.wait_for(sent.wait(), 20)
        if colour == "async":
            assert await asyncio.to_thread(server.left.wait, 20)
        else:  # it has left the server; wait until it has arrived
            assert select.select([client.kept()._sock], [], [], 20)[0]
        for number in (2, 3, 4):
            assert await client.ask("GET", "k") == number
        await client.close()


async def test_a_piece_of_a_reply_behind_a_whole_one(colour: Any, complaints: Any) -> None:
    """It is not taken for the beginning of the answer to what is asked next."""
    numbers = itertools.count(1)
    complaints()
    with scripted(lambda sock: sock.sendall(b"+%d\r\n+PAR" % next(numbers))) as server:
        client = Client(server.url, colour)
        for number in range(1, 5):
            assert await client.ask("GET", "k") == b"%d" % number
        await client.close()


async def test_an_answer_that_trickles_is_none(colour: Any) -> None:
    """A byte now and then does not keep the caller waiting: it is given up after the time-out."""

    def answer(sock: socket.socket) -> None:
        sock.sendall(b"*2\r\n$500000\r\n")
        for _ in range(150):
            sock.sendall(b"a")
            time.sleep(0.02)
        sock.close()

    with scripted(answer) as server:
        client = Client(server.url, colour, timeout=0.2)
        await client.connects()
        with pytest.raises(BackendTimeout):
            await client.ask("GET", "k")
        await client.close()


async def test_a_large_answer_may_take_longer_than_the_limit(colour: Any) -> None:
    """Over a slow link: the limit begins again with every 64 KiB."""

    def answer(sock: socket.socket) -> None:
        sock.sendall(b"$%d\r\n" % (12 << 16))
        for _ in range(12):
            sock.sendall(b"x" * (1 << 16))
            time.sleep(0.1)  # twelve of them are more than the limit
        sock.sendall(b"\r\n")

    with scripted(answer) as server:
        client = Client(server.url, colour, timeout=1)
        for attempt in range(5):  # a machine that stands still for a second makes a piece of it late
            try:
                assert await client.ask("GET", "k") == b"x" * (12 << 16)
                break
            except BackendError:
                assert attempt < 4
                await asyncio.sleep(0.02)
        await client.close()


async def test_a_large_answer_takes_no_more_than_so_many_limits(
    colour: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that has 64 KiB ready whenever the limit is about to pass holds nobody for hours."""
    monkeypatch.setattr(replies, "_LONGEST", 4)

    def answer(sock: socket.socket) -> None:
        sock.sendall(b"$%d\r\n" % (30 << 16))
        for _ in range(30):
            sock.sendall(b"x" * (1 << 16))
            time.sleep(0.03)
        sock.sendall(b"\r\n")

    with scripted(answer) as server:
        client = Client(server.url, colour, timeout=0.1)
        await client.connects()
        with pytest.raises(BackendTimeout):
            await client.ask("GET", "k")
        await client.close()


async def test_an_answer_without_end_is_given_up(colour: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends more than any value of Redis has does not fill the memory."""
    monkeypatch.setattr(replies, "_LARGEST", 4 << 20)

    def answer(sock: socket.socket) -> None:
        sock.sendall(b"$2000000000\r\n")
        for _ in range(1000):
            sock.sendall(b"a" * (1 << 16))
        sock.close()

    with scripted(answer) as server:
        client = Client(server.url, colour, timeout=10)
        with pytest.raises(BackendUnavailable, match="a reply of more than 4 MiB"):
            await client.ask("GET", "k")
        await client.close()


@pytest.mark.parametrize(
    "data",
    [
        b"-MOVED garbage\r\n",
        b"-ASK x y z\r\n",
        b"-MOVED 1 host:port\r\n",
        b"%1\r\n*0\r\n+b\r\n",
        b"*1\r\n" * 5000 + b":1\r\n",
        b"*-7\r\n",
    ],
)
async def test_what_no_server_says_is_no_answer(colour: Any, data: bytes, complaints: Any) -> None:
    """BackendUnavailable, in no other words than ours, and over a new connection the next is asked."""
    answers = iter([data, b"+OK\r\n"])
    complaints()
    with scripted(lambda sock: sock.sendall(next(answers))) as server:
        client = Client(server.url, colour)
        with pytest.raises(BackendUnavailable):
            await client.ask("GET", "k")
        assert await client.ask("GET", "k") == b"OK"
        await client.close()


async def test_a_list_of_more_items_than_can_be(colour: Any, parser: str, complaints: Any) -> None:
    """hiredis has no memory for it: an outage. Without it no more is said, and the time-out passes."""
    complaints()
    with scripted(lambda sock: sock.sendall(b"*4294967295\r\n")) as server:
        error, timeout = (BackendUnavailable, 30.0) if parser == "hiredis" else (BackendTimeout, 0.2)
        client = Client(server.url, colour, timeout=timeout)
        await client.connects()
        with pytest.raises(error):
            await client.ask("GET", "k")
        await client.close()


@pytest.mark.parametrize("data", [b":1\r\n", b"*1\r\n:1\r\n", b"*1\r\n*3\r\n+a\r\n+b\r\n*0\r\n", b"+OK\r\n"])
async def test_a_node_that_tells_no_topology(colour: Any, data: bytes, complaints: Any) -> None:
    """What is no reply to CLUSTER SLOTS makes the Cluster unavailable, and nobody waits for ever."""
    complaints()
    with scripted(lambda sock: sock.sendall(data), to=b"SLOTS") as server:
        client = Client(server.url.replace("redis://", "redis+cluster://"), colour)
        with pytest.raises(BackendUnavailable):
            await client.ask("GET", "k")
        await client.close()


def test_a_node_that_tells_of_more_slots_than_there_are() -> None:
    """It costs no more than the slots that there are."""
    topology = Topology([])
    with pytest.raises(InvalidResponse):
        topology.read([[0, 16383, [b"h"]]], ("h", 1), _Same())
    topology.read([[0, 10**15, [b"h", 1]]], ("h", 1), _Same())
    assert topology.owner(("GET", "k")) == ("h", 1)


class _Same:
    def remap(self, place: Any) -> Any:
        return place

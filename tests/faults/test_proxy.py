"""FaultProxy: each mode as a client sees it."""

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest

from tests.faults import FaultProxy
from tests.servers import RedisServer, wait_until

PING, PONG = b"PING\r\n", b"+PONG\r\n"


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[FaultProxy]:
    with FaultProxy(redis_server.host, redis_server.port) as proxy:
        yield proxy


def connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection((proxy.host, proxy.port), timeout=10)


def ping(client: socket.socket) -> bytes:
    client.sendall(PING)
    return client.recv(100)


def knock(proxy: FaultProxy) -> bytes:
    """Connect, and wait to hear something. A RST may arrive while still connecting."""
    with connect(proxy) as client:
        return client.recv(100)


def silent(client: socket.socket) -> bool:
    """Nothing arrives for 0.2 s, and the connection stays open."""
    client.settimeout(0.2)
    try:
        client.recv(100)
    except TimeoutError:
        return True
    finally:
        client.settimeout(10)
    return False


def test_pass_through(proxy: FaultProxy, redis_server: RedisServer) -> None:
    """Bytes pass both ways; connections are counted; the URL leads through the proxy."""
    with connect(proxy) as first, connect(proxy) as second:
        assert ping(first) == ping(second) == PONG
        assert (proxy.accepted, proxy.connections) == (2, 2)
    wait_until(lambda: proxy.connections == 0, what="the proxy hangs up when its clients do")
    assert proxy.url(redis_server.url) == f"redis://127.0.0.1:{proxy.port}/0"


def test_large_replies_pass_whole(proxy: FaultProxy) -> None:
    """Eight megabytes that the client is slow to read arrive complete and in order."""
    size = 8 << 20
    with connect(proxy) as client:
        client.sendall(b"EVAL \"return string.rep('x', %d)\" 0\r\n" % size)
        with client.makefile("rb") as replies:
            assert replies.readline() == b"$%d\r\n" % size
            assert replies.read(size) == b"x" * size


def test_refuse(proxy: FaultProxy) -> None:
    """An open connection is reset, a new one refused; afterwards the same port serves again."""
    with connect(proxy) as client:
        assert ping(client) == PONG
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.pass_through()
    with connect(proxy) as client:
        assert ping(client) == PONG


def test_reset(proxy: FaultProxy) -> None:
    """Open connections are reset; new ones are accepted and then reset."""
    with connect(proxy) as old:
        assert ping(old) == PONG
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            old.recv(100)
    with pytest.raises(ConnectionResetError):
        knock(proxy)


def test_blackhole(proxy: FaultProxy) -> None:
    """Open and new connections stay open and silent; what was held passes when the mode ends."""
    with connect(proxy) as old:
        assert ping(old) == PONG
        proxy.blackhole()
        with connect(proxy) as new:
            old.sendall(PING)
            new.sendall(PING)
            assert silent(old)
            assert silent(new)
            proxy.pass_through()
            assert old.recv(100) == new.recv(100) == PONG


def test_a_blackhole_holds_replies_too(proxy: FaultProxy, redis_server: RedisServer, prefix: str) -> None:
    """A reply that the server sends after the network has gone does not come through."""
    with connect(proxy) as client:
        client.sendall(f"BLPOP {prefix}key 0\r\n".encode())
        wait_until(lambda: b"cmd=blpop" in redis_server.call("CLIENT", "LIST"), what="a client that waits")
        proxy.blackhole()
        redis_server.call("RPUSH", f"{prefix}key", "value")
        wait_until(lambda: not redis_server.call("EXISTS", f"{prefix}key"), what="the reply is sent")
        assert silent(client)


def test_cut_loses_the_reply_only(proxy: FaultProxy, redis_server: RedisServer, prefix: str) -> None:
    """The request is carried out, the reply never comes, the connection is closed."""
    with connect(proxy) as client:
        proxy.cut()
        client.sendall(f"SET {prefix}key value\r\n".encode())
        assert client.recv(100) == b""
    assert redis_server.call("GET", f"{prefix}key") == b"value"


def test_cut_after_some_bytes(proxy: FaultProxy) -> None:
    """So many bytes of replies pass on each connection, counted from the call."""
    with connect(proxy) as old:
        assert ping(old) == PONG
        proxy.cut(after=3)
        for client in (old, connect(proxy)):
            with client, client.makefile("rb") as replies:
                client.sendall(PING)
                assert replies.read() == PONG[:3]


def test_delay(proxy: FaultProxy) -> None:
    """A reply takes at least so much longer; replies in flight together are late together."""
    proxy.delay(0.2)
    with connect(proxy) as client, client.makefile("rb") as replies:
        start = time.monotonic()
        client.sendall(PING)
        assert replies.readline() == PONG
        assert time.monotonic() - start >= 0.2


def test_what_is_late_flows_when_the_delay_ends(proxy: FaultProxy) -> None:
    """A reply that waits for its time is held no longer than the mode lasts."""
    proxy.delay(600)
    with connect(proxy) as client:
        client.sendall(PING)
        patience = client.gettimeout()
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(patience)
        proxy.pass_through()
        assert client.recv(len(PONG)) == PONG


def test_a_server_that_is_down_looks_down() -> None:
    """When nobody listens behind the proxy the client is reset, not left waiting."""
    with FaultProxy("127.0.0.1", 1) as proxy, pytest.raises(ConnectionResetError):
        knock(proxy)


async def test_in_an_event_loop(redis_server: RedisServer) -> None:
    """It serves a test that runs in an event loop, and ends with clients still connected."""
    async with FaultProxy(redis_server.host, redis_server.port) as proxy:
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        writer.write(PING)
        assert await reader.readline() == PONG
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    with pytest.raises(ConnectionResetError):
        await writer.wait_closed()


@pytest.mark.parametrize("mode", ["pass_through", "refuse", "reset", "blackhole", "cut"])
def test_it_ends_in_every_mode(mode: str, redis_server: RedisServer) -> None:
    """With connections open and a reply that nobody reads, the proxy ends at once."""
    with FaultProxy(redis_server.host, redis_server.port) as proxy:
        client = connect(proxy)
        client.sendall(b"EVAL \"return string.rep('x', 8388608)\" 0\r\n")
        getattr(proxy, mode)()
    client.close()

"""Commands of an event loop over each kind of connection, on both event loops that servers use."""

import asyncio
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from scalekit._redis import Redis
from scalekit.errors import BackendUnavailable
from tests.faults import FaultProxy
from tests.servers import RedisServer
from tests.servers.ports import HOST, free_port

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Any], Any]]:
    """Runs a coroutine on each kind of loop."""
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        yield runner.run


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For 127.0.0.1, with its key in the same file."""
    directory = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-keyout", "key.pem", "-out", "certificate.pem"),
            *("-subj", "/CN=localhost", "-addext", f"subjectAltName=IP:{HOST}"),
        ],
        cwd=directory,
        check=True,
        capture_output=True,
    )
    both = directory / "both.pem"
    both.write_text((directory / "certificate.pem").read_text() + (directory / "key.pem").read_text())
    return both


@contextmanager
def tls_front(port: int, certificate: Path) -> Iterator[int]:
    """A port that speaks TLS and passes on to ``port``: what a managed Redis looks like."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    loop, front, done = asyncio.new_event_loop(), free_port(), threading.Event()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(HOST, port)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(1 << 16):
                    sink.write(data)
                    await sink.drain()
            except OSError:
                pass  # either side may go away at any time
            finally:
                sink.close()

        try:
            await asyncio.gather(pump(reader, back), pump(there, writer))
        finally:
            await asyncio.gather(back.wait_closed(), writer.wait_closed(), return_exceptions=True)

    async def serve() -> None:
        nonlocal stop
        stop = asyncio.Event()
        server = await asyncio.start_server(pass_on, HOST, front, ssl=context)
        done.set()
        await stop.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    stop: asyncio.Event | None = None
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert done.wait(30)
        yield front
    finally:
        assert stop is not None
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.fixture(params=["tcp", "unix", "tls"])
def url(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[str]:
    """One server, reached in each way."""
    if request.param == "tls":
        certificate = request.getfixturevalue("certificate")
        with tls_front(redis_server.port, certificate) as front:
            yield f"rediss://{HOST}:{front}/0?ssl_ca_certs={certificate}"
    else:
        yield redis_server.url if request.param == "tcp" else redis_server.unix_url


def test_commands_travel(run: Callable[[Any], Any], url: str, prefix: str) -> None:
    """Alone, 500 at a time, a mebibyte there and back; a caller that gives up harms no other."""

    async def body() -> None:
        link = Redis.from_url(url, timeout=30)
        commands = link.using("async")
        big = bytes(range(256)) * 4096
        assert await commands.execute("SET", f"{prefix}big", big) == b"OK"
        assert await commands.execute("GET", f"{prefix}big") == big
        numbers = await asyncio.gather(*[commands.execute("INCR", f"{prefix}n") for _ in range(500)])
        assert sorted(numbers) == list(range(1, 501))
        lost = asyncio.ensure_future(commands.execute("GET", f"{prefix}big"))
        others = [asyncio.ensure_future(commands.execute("GET", f"{prefix}n")) for _ in range(10)]
        await asyncio.sleep(0)
        lost.cancel()
        assert await asyncio.gather(*others) == [b"500"] * 10
        assert lost.cancelled()
        await commands.close()

    run(body())


def test_a_broken_connection(run: Callable[[Any], Any], redis_server: RedisServer, prefix: str) -> None:
    """What was on its way fails, once; the next command opens a connection of its own."""

    async def body(proxy: FaultProxy) -> None:
        commands = Redis.from_url(proxy.url(redis_server.url), timeout=30).using("async")
        await commands.execute("SET", f"{prefix}n", 0)
        proxy.cut()
        with pytest.raises(BackendUnavailable):
            await commands.execute("INCR", f"{prefix}n")
        proxy.pass_through()
        assert await commands.execute("GET", f"{prefix}n") == b"1"
        await commands.close()

    with FaultProxy(HOST, redis_server.port) as proxy:
        run(body(proxy))


def test_a_certificate_that_nobody_vouches_for(
    run: Callable[[Any], Any], redis_server: RedisServer, certificate: Path
) -> None:
    """Nothing is said to a server whose certificate this system does not trust."""

    async def body(port: int) -> None:
        commands = Redis.from_url(f"rediss://{HOST}:{port}/0", timeout=30).using("async")
        with pytest.raises(BackendUnavailable, match="certificate"):
            await commands.execute("PING")
        await commands.close()

    with tls_front(redis_server.port, certificate) as front:
        run(body(front))


def test_a_lane_that_has_just_ended_is_not_used(run: Callable[[Any], Any], redis_server: RedisServer) -> None:
    """The transport tells it a turn of the loop later; who asks in between is served over another lane."""

    async def main() -> None:
        commands: Any = Redis.from_url(redis_server.url).using("async")
        await commands.execute("PING")
        (lane,) = commands._last._dispatcher._free
        asked = commands.execute("PING")
        lane._transport.abort()
        assert await asyncio.wait_for(asked, 20) == b"PONG"
        await commands.close()

    run(main())

"""Streams that have no end of their own, under real servers that drain."""

import contextlib
import signal
from collections.abc import Iterator

import httpx
import pytest

from tests import plain
from tests.ops.child import PATIENCE, wait_until
from tests.ops.fleet import serving
from tests.ops.kinds import KINDS
from tests.servers.ports import free_port

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["uvicorn", "gunicorn, asgi", "hypercorn -w 0", "granian"])
def test_streams_hear_of_the_drain(name: str) -> None:
    """Server-sent events end with a last one, and WebSockets are closed with 1012, "service restart", by the
    signal already; the server ends without waiting for its grace."""
    client = pytest.importorskip("websockets.sync.client")
    kind, port = KINDS[name], free_port()
    kind.skip_without()
    with serving(kind, port) as server:
        wait_until(lambda: plain.answers(f"http://127.0.0.1:{port}/health/ready"), "up")
        with (
            client.connect(f"ws://127.0.0.1:{port}/chat", open_timeout=PATIENCE) as socket,
            plain.stream("GET", f"http://127.0.0.1:{port}/events") as events,
        ):
            socket.send("hello")
            assert socket.recv(timeout=PATIENCE) == "hello"
            lines: Iterator[str] = events.iter_lines()
            assert next(lines) == "data: hello"
            server.send(signal.SIGTERM)
            assert [line for line in lines if line] == ["event: bye", "data: please reconnect"]
            with pytest.raises(Exception, match="1012") as closed:
                socket.recv(timeout=PATIENCE)
            assert closed.value.rcvd.code == 1012  # type: ignore[attr-defined]
        with contextlib.suppress(httpx.TransportError):  # it may end before it has answered in full
            plain.post(f"http://127.0.0.1:{port}/taken-out")
        assert server.process.wait(PATIENCE) in (0, -signal.SIGTERM)

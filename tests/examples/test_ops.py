"""The ops examples, as real processes."""

import os
import signal

import httpx
import pytest

from tests import plain
from tests.ops.child import child, wait_until
from tests.servers.ports import free_port

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("framework", ["fastapi", "flask"])
def test_it_serves_drains_and_ends(framework: str) -> None:
    """Ready, then SIGTERM: readiness 503 while pages are served, then the process ends by the signal."""
    port, nobody = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    env = {**os.environ, "PORT": str(port), "DRAIN_DELAY": "10", "REDIS_URL": f"redis://127.0.0.1:{nobody}/0"}

    def status() -> str:
        try:
            return str(plain.get(f"{url}/health/ready").json()["status"])
        except httpx.TransportError:
            return "down"

    def redis() -> object:
        return plain.get(f"{url}/health/ready").json()["checks"]["redis"]["ok"]

    with child("-m", f"examples.ops_{framework}", env=env) as server:
        wait_until(lambda: status() == "ready", "ready")
        wait_until(lambda: redis() is False, "the check, for which no probe waits long")
        assert plain.get(url).json() == {"server": server.process.pid}
        server.send(signal.SIGTERM)
        wait_until(lambda: status() == "draining", "draining")
        assert plain.get(url).status_code == 200
        server.process.wait(60)
        assert server.process.returncode == -signal.SIGTERM


def test_a_stream_says_goodbye() -> None:
    """A browser that listens to events is told to reconnect as soon as the drain begins."""
    port = free_port()
    env = {**os.environ, "PORT": str(port), "DRAIN_DELAY": "60"}
    with child("-m", "examples.ops_fastapi", env=env) as server:
        wait_until(lambda: plain.answers(f"http://127.0.0.1:{port}/"), "up")
        with plain.stream("GET", f"http://127.0.0.1:{port}/events") as response:
            lines = response.iter_lines()
            assert next(lines) == f"data: hello from {server.process.pid}"
            server.send(signal.SIGTERM)
            assert "event: bye" in list(lines)

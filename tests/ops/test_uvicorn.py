"""Under real uvicorn: servers come and go, and no visitor notices."""

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import plain
from tests.ops.child import PATIENCE, wait_until
from tests.ops.fleet import fleet, uvicorn
from tests.servers.ports import free_port

pytestmark = pytest.mark.slow


def ask(port: int, path: str, *, method: str = "GET") -> httpx.Response:
    """An answer on a connection of its own."""
    return plain.request(method, f"http://127.0.0.1:{port}{path}")


def up(port: int) -> bool:
    return plain.answers(f"http://127.0.0.1:{port}/health/ready")


def is_draining(port: int) -> bool:
    return bool(ask(port, "/health/ready").json()["status"] == "draining")


def state(port: int) -> Any:
    return ask(port, "/state").json()


def test_a_server_whose_drain_cannot_be_does_not_start(tmp_path: Path) -> None:
    """It ends, and says what is wrong: served without a drain, it would lose requests at each deployment."""
    with uvicorn(free_port(), DRAIN_FILE=str(tmp_path / "none/drain")) as server:
        said = "\n".join(server.rest())
        assert server.process.returncode not in (0, None)
    assert "the server can write nothing there" in said


async def test_a_rolling_restart_under_load_fails_no_request() -> None:
    """Every server is stopped with SIGTERM and started again while visitors post: 0 failed requests."""
    async with fleet(2) as servers:
        for port in servers.servers:
            assert await servers.stop(port) == -signal.SIGTERM
            servers.start(port)
            await servers.settle(2)
    assert servers.failed == []
    assert len(set(servers.served)) == 4  # two servers, each before and after


async def test_without_the_middleware_requests_do_fail() -> None:
    """Restarts of the bare application lose requests, so the test above can fail. One alone may be lucky: the
    balancer happens to look before a visitor comes."""
    async with fleet(2, BARE="1") as servers, asyncio.timeout(PATIENCE):
        port = next(iter(servers.servers))
        while not servers.failed:
            assert await servers.stop(port) == -signal.SIGTERM
            servers.start(port)
            await servers.settle(2)


async def test_a_request_in_flight_outlives_the_delay() -> None:
    """A request that takes longer than the delay is answered in full; the server ends after it."""
    port = free_port()
    with uvicorn(port) as server:
        await asyncio.to_thread(wait_until, lambda: up(port), "uvicorn up")
        slow = asyncio.create_task(asyncio.to_thread(ask, port, "/slow"))
        # And the request that asks.
        await asyncio.to_thread(wait_until, lambda: state(port)["in flight"] == 2, "in flight")
        server.send(signal.SIGTERM)
        await asyncio.to_thread(wait_until, lambda: is_draining(port), "draining")
        assert ask(port, "/taken-out", method="POST").json() is True
        response = await slow
        assert response.json() == {"draining": True}
        assert response.headers["connection"] == "close"
        await asyncio.to_thread(server.process.wait, PATIENCE)


async def test_readiness_turns_while_liveness_stays() -> None:
    """Between the signal and the end: readiness 503, liveness 200, requests served with Connection: close."""
    port = free_port()
    with uvicorn(port) as server:
        await asyncio.to_thread(wait_until, lambda: up(port), "uvicorn up")
        server.send(signal.SIGTERM)
        await asyncio.to_thread(wait_until, lambda: is_draining(port), "draining")
        assert ask(port, "/health/ready").status_code == 503
        assert ask(port, "/health/live").status_code == 200
        served = ask(port, "/work", method="POST")
        assert (served.status_code, served.headers["connection"]) == (200, "close")
        server.send(signal.SIGINT)  # Ctrl-C waits for nothing; uvicorn takes it for a good end
        assert await asyncio.to_thread(server.process.wait, PATIENCE) == 0


def test_the_workers_of_one_uvicorn_drain_too() -> None:
    """Under `uvicorn --workers` the supervisor passes SIGTERM on, each worker drains, and all of them end."""
    port = free_port()
    with uvicorn(port, "--workers", "2", "--timeout-worker-healthcheck", "60") as server:
        wait_until(lambda: up(port), "uvicorn up")
        seen: dict[int, bool] = {}  # worker: whether it drains; now the one answers and now the other

        def see() -> dict[int, bool]:
            said = state(port)
            seen[said["pid"]] = said["draining"]
            return seen

        # One that has answered nothing would not wait.
        wait_until(lambda: len(see()) == 2, "both workers up")
        server.send(signal.SIGTERM)
        wait_until(lambda: all(see().values()), "both workers draining")
        assert ask(port, "/work", method="POST").status_code == 200

        def has_ended() -> bool:
            with contextlib.suppress(httpx.TransportError):  # of the worker that is just about to end
                ask(port, "/taken-out", method="POST")
            return server.process.poll() is not None

        wait_until(has_ended, "the end of all")
        assert not up(port)

"""Under real uvicorn: servers come and go, and no visitor notices."""

import asyncio
import signal
from typing import Any

import httpx
import pytest

from tests.ops.child import wait_until
from tests.ops.fleet import fleet, uvicorn
from tests.servers.ports import free_port

pytestmark = pytest.mark.slow


def up(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def readiness(port: int) -> Any:
    return httpx.get(f"http://127.0.0.1:{port}/health/ready").json()["status"]


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
    """The same restart of the bare application loses requests, so the test above can fail."""
    async with fleet(2, BARE="1") as servers:
        assert await servers.stop(next(iter(servers.servers))) == -signal.SIGTERM
        await servers.settle(1)
    assert servers.failed


async def test_a_request_in_flight_outlives_the_delay() -> None:
    """A request that takes longer than the delay is answered in full; the server ends after it."""
    port = free_port()
    with uvicorn(port, DRAIN_DELAY="0.2") as server:
        await asyncio.to_thread(wait_until, lambda: up(port), "uvicorn up")
        async with httpx.AsyncClient(timeout=20) as http:
            slow = asyncio.create_task(http.get(f"http://127.0.0.1:{port}/slow"))
            while (await http.get(f"http://127.0.0.1:{port}/in-flight")).json() < 2:
                await asyncio.sleep(0.01)
            server.send(signal.SIGTERM)
            response = await slow
        assert response.json() == {"draining": True}
        assert response.headers["connection"] == "close"
        await asyncio.to_thread(server.process.wait, 30)


async def test_readiness_turns_while_liveness_stays() -> None:
    """Between the signal and the end: readiness 503, liveness 200, requests served with Connection: close."""
    port = free_port()
    with uvicorn(port, DRAIN_DELAY="60") as server:
        await asyncio.to_thread(wait_until, lambda: up(port), "uvicorn up")
        server.send(signal.SIGTERM)
        await asyncio.to_thread(wait_until, lambda: readiness(port) == "draining", "draining")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            assert (await http.get("/health/live")).status_code == 200
            served = await http.post("/work")
            assert (served.status_code, served.headers["connection"]) == (200, "close")
        server.send(signal.SIGINT)  # Ctrl-C waits for nothing; uvicorn takes it for a good end
        assert await asyncio.to_thread(server.process.wait, 30) == 0


async def test_the_workers_of_one_uvicorn_drain_too() -> None:
    """Under `uvicorn --workers` the supervisor passes SIGTERM on, each worker drains, and all of them end."""
    port = free_port()
    with uvicorn(port, "--workers", "2", DRAIN_DELAY="1") as server:
        await asyncio.to_thread(wait_until, lambda: up(port), "uvicorn up")
        server.send(signal.SIGTERM)
        await asyncio.to_thread(wait_until, lambda: readiness(port) == "draining", "draining")
        assert httpx.post(f"http://127.0.0.1:{port}/work").status_code == 200
        await asyncio.to_thread(server.process.wait, 30)
        assert not up(port)

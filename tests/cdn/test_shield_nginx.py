"""The origin shield of several servers, with nginx as their CDN."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.ops.balancer import follow, reload, upstream
from tests.ops.child import PATIENCE
from tests.ops.fleet import Fleet
from tests.servers import Nginx

pytestmark = pytest.mark.slow

OLD, NEW = "the-secret-of-last-year-0123", "the-secret-of-this-year-4567"

CDN = """keepalive_timeout 0;
location / {{
    proxy_pass http://fleet;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header X-Origin-Secret "{secret}";
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_next_upstream off;  # nothing is repeated, so that nothing is hidden
}}"""


@contextlib.asynccontextmanager
async def under_load(servers: Fleet, nginx: Nginx) -> AsyncIterator[None]:
    """Visitors through nginx, all the time, which follows what is ready."""
    servers.routed, servers.front = set(servers.servers), nginx.url
    with contextlib.ExitStack() as stack:
        for port, server in servers.servers.items():
            stack.push(server)
            servers.start(port)
        probe = asyncio.create_task(servers.probe())
        async with asyncio.timeout(PATIENCE):
            while len(servers.ready) < len(servers.servers):
                await asyncio.sleep(0.01)
        tasks = [asyncio.create_task(servers.visit(b"")) for _ in range(8)]
        controller = asyncio.create_task(follow(servers, nginx))
        try:
            await servers.settle(len(servers.servers))
            yield
        finally:
            for task in (*tasks, controller, probe):
                task.cancel()
            await asyncio.gather(*tasks, controller, probe, return_exceptions=True)


@pytest.fixture
def servers() -> Fleet:
    return Fleet(2, app="tests.cdn.shielded_fleet:app", SECRETS=OLD)


async def restart(servers: Fleet, secrets: str) -> None:
    """One server after the other, with other secrets."""
    servers.env["SECRETS"] = secrets
    for port in servers.servers:
        await servers.settle(2)
        assert await servers.stop(port) == -signal.SIGTERM
        servers.start(port)
    await servers.settle(2)


def asked(servers: Fleet, **headers: str) -> list[int]:
    """What the servers answer to somebody who has found their addresses."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return [
        httpx.get(f"http://127.0.0.1:{port}/state", headers=named, timeout=PATIENCE).status_code
        for port in servers.servers
    ]


async def test_a_secret_is_changed_without_a_gap(servers: Fleet) -> None:
    """Old, both, the CDN says the new one, new: no visitor hears of it, and the old one is worth nothing."""
    with Nginx(CDN.format(secret=OLD), http=upstream(sorted(servers.servers))) as nginx:
        async with under_load(servers, nginx):
            assert asked(servers) == asked(servers, x_origin_secret=NEW) == [403, 403]

            await restart(servers, f"{OLD} {NEW}")
            assert asked(servers, x_origin_secret=OLD) == asked(servers, x_origin_secret=NEW) == [200, 200]

            nginx.server = CDN.format(secret=NEW)
            await reload(nginx)
            await servers.settle(2)

            await restart(servers, NEW)
            assert asked(servers, x_origin_secret=OLD) == [403, 403]
            assert asked(servers, x_origin_secret=NEW) == [200, 200]
        assert servers.failed == []
        assert len(set(servers.served)) == 6

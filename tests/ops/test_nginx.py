"""Behind nginx, whose upstreams follow readiness as a controller of a fleet would have it."""

import asyncio
import signal

import pytest

from tests.ops.balancer import follow, upstream
from tests.ops.fleet import fleet
from tests.ops.kinds import KINDS
from tests.servers import Nginx

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", KINDS)
async def test_a_rolling_restart_behind_nginx_fails_no_request(name: str) -> None:
    """Servers that drain are taken out by readiness while they still answer: 0 failed requests, slow ones and
    posts among them. Most drain by the signal that stops them; one whose signal nothing can delay is drained
    by `scalekit drain` before it, as a pre-stop hook does."""
    kind = KINDS[name]
    kind.skip_without()
    # Visitors get a connection for each request: a reload closes idle ones, which browsers cope with
    # and the visitors of this test would count.
    location = """keepalive_timeout 0;
    location / {
        proxy_pass http://fleet;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_next_upstream off;  # nothing is repeated, so that nothing is hidden
    }"""
    async with fleet(2, kind=kind) as servers:
        with Nginx(location, http=upstream(sorted(servers.servers))) as nginx:
            servers.routed = set(servers.servers)
            servers.front = nginx.url
            controller = asyncio.create_task(follow(servers, nginx))
            for port in servers.servers:
                await servers.settle(2)
                assert await servers.stop(port) in (0, -signal.SIGTERM)
                servers.start(port)
            await servers.settle(2)
            controller.cancel()
            # Before nginx goes, and not through it any more.
            servers.front = None
            await servers.settle(2)
    assert servers.failed == []
    assert len(set(servers.served)) == 4

"""nginx as the balancer of a fleet: it sends to the servers that are ready."""

import asyncio
import os
import signal

from tests.ops.fleet import Fleet
from tests.servers import Nginx
from tests.servers.processes import tree


def upstream(ports: list[int]) -> str:
    return "upstream fleet { " + " ".join(f"server 127.0.0.1:{port};" for port in ports) + " keepalive 8; }"


def workers(nginx: Nginx) -> set[int]:
    assert nginx.pid
    return set(tree(nginx.pid)) - {nginx.pid}


async def reload(nginx: Nginx) -> None:
    """Have nginx read its configuration anew, and wait until nobody works by the one before."""
    before = workers(nginx)
    nginx.prepare()
    assert nginx.pid
    os.kill(nginx.pid, signal.SIGHUP)
    while before & workers(nginx):
        await asyncio.sleep(0.01)


async def follow(servers: Fleet, nginx: Nginx) -> None:
    """Reload nginx with the servers that are ready, each time they change. A reload breaks no request: the
    workers from before end when they have answered theirs, and then what they knew is sent nothing more."""
    while True:
        if servers.ready and servers.ready != servers.routed:
            known = set(servers.ready)
            servers.routed |= known
            nginx.http = upstream(sorted(known))
            await reload(nginx)
            servers.routed = known
        await asyncio.sleep(0.05)

"""An overload of real servers, by a crowd that does not wait for answers."""

import asyncio
import contextlib

import pytest

from tests import plain
from tests.ops.child import wait_until
from tests.ops.fleet import uvicorn
from tests.ops.open_loop import crowd
from tests.servers.ports import free_port

pytestmark = pytest.mark.slow

SECONDS = 20.0
RATE = 100.0
"""Requests a second, twice of what a whole processor can do (20 ms each): on a busy machine it is more."""

PATIENCE = 5.0


async def test_goodput_survives_what_the_bare_application_does_not() -> None:
    """Two servers, with the same crowd in front: after a while the bare one answers nobody before they give
    up. Ours goes on answering, turns the others away in time, and lets probes through.
    """
    with contextlib.ExitStack() as stack:
        ports = {}
        for kind in ("bare", "ours"):
            port = ports[kind] = free_port()
            options = ("--loop", "asyncio", "--no-access-log")
            stack.enter_context(uvicorn(port, *options, app="tests.ops.busy_app:app", KIND=kind))
        for port in ports.values():
            url = f"http://127.0.0.1:{port}/health/live"
            await asyncio.to_thread(wait_until, lambda url=url: plain.answers(url), "uvicorn up")
        bare, ours, probes = await asyncio.gather(
            crowd(ports["bare"], RATE, SECONDS, patience=PATIENCE),
            crowd(ports["ours"], RATE, SECONDS, patience=PATIENCE),
            crowd(ports["ours"], 1.0, SECONDS, patience=PATIENCE, path="/health/live"),
        )
    later = (SECONDS / 2, SECONDS + PATIENCE)
    assert ours.goodput(*later) > 2 * bare.goodput(*later)
    assert bare.failed > bare.sent / 2
    assert ours.failed < bare.failed / 2
    assert len(ours.shed) > ours.sent / 4
    assert len(probes.answered) > probes.sent / 2
    assert probes.shed == []

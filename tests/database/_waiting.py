"""Waiting for a condition, with a deadline that a busy machine keeps."""

import asyncio
from collections.abc import Callable

from scalekit.database import AsyncCluster, Cluster
from tests.servers.waiting import wait_until

_SECONDS = 60.0


async def until(condition: Callable[[], object]) -> None:
    """Return when ``condition()`` holds."""
    async with asyncio.timeout(_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


def wait(condition: Callable[[], object]) -> None:
    """As :func:`until`, in a thread."""
    wait_until(condition, timeout=_SECONDS, what="what the test waits for")


async def until_roles(cluster: AsyncCluster, *wanted: str) -> None:
    """Return when the members have these roles."""
    try:
        await until(lambda: _roles(cluster) == wanted)
    except TimeoutError:
        raise AssertionError(f"{wanted} were expected: {cluster.status()}") from None


def wait_for_roles(cluster: AsyncCluster | Cluster, *wanted: str) -> None:
    """As :func:`until_roles`, in a thread."""
    try:
        wait(lambda: _roles(cluster) == wanted)
    except TimeoutError:
        raise AssertionError(f"{wanted} were expected: {cluster.status()}") from None


def _roles(cluster: AsyncCluster | Cluster) -> tuple[str, ...]:
    return tuple(member.role for member in cluster.status().members)

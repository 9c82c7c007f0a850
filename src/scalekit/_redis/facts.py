"""What Redis servers say of themselves: whether they keep what they are given. Nothing is changed."""

import asyncio
from dataclasses import dataclass
from typing import Any

from redis import exceptions

from scalekit._limits import Limits
from scalekit._redis.clients import Source
from scalekit._redis.link import Redis
from scalekit._redis.masters import ask, masters
from scalekit._steps import Steps, run, run_async
from scalekit.errors import BackendUnavailable
from scalekit.types import Colour


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """One server, a master of a Cluster for example.

    Args:
        name: of the server, without credentials.
        replica: whether it is one, which takes no writes.
        replicas: how many follow it, and are online.
        policy: its ``maxmemory-policy``.
        max_memory: bytes; 0 for any number.
        evicted: keys that it has thrown away since it started.
        log: whether it writes each change to a file (AOF).
        snapshots: whether it writes all to a file now and then (RDB); ``None`` if it does not tell.
    """

    name: str
    replica: bool
    replicas: int
    policy: str
    max_memory: int
    evicted: int
    log: bool
    snapshots: bool | None


def facts(link: Redis, *, timeout: float = 2.0) -> list[Facts]:
    """What the server at ``link`` says, or each master of its Cluster. Blocks.

    Args:
        timeout: seconds for each answer.

    Raises:
        BackendUnavailable: it cannot be reached, or tells nothing about itself.
    """
    limits = Limits(timeout=timeout, connect_timeout=timeout, max_connections=2)
    source, colour = link._source.limited(limits), link.colour or "sync"
    asking = _all(source, colour)
    try:
        return run(asking) if colour == "sync" else asyncio.run(_within(asking, 3 * timeout))
    except (exceptions.RedisError, OSError, LookupError, ValueError) as error:
        reason = str(error) or "no answer in time"
        raise BackendUnavailable(f"{link.name}: {reason}", backend=link.name) from error


async def _within(steps: Steps[list[Facts]], seconds: float) -> list[Facts]:
    async with asyncio.timeout(seconds):  # the connections of an event loop have no time-out of their own
        return await run_async(steps)


def _all(source: Source, colour: Colour) -> Steps[list[Facts]]:
    found: list[Facts] = []
    for name, pool in (yield from masters(source, colour)):
        found.append((yield from _one(pool, name)))
    return found


def _one(pool: Any, name: str) -> Steps[Facts]:
    info, saving = yield from ask(pool, ("INFO",), ("CONFIG", "GET", "save"))
    if isinstance(info, Exception):
        raise info
    said = _read(info)
    return Facts(
        name=name,
        replica=said["role"] == "slave",
        replicas=sum("state=online" in said.get(f"slave{number}", "") for number in range(100)),
        policy=said.get("maxmemory_policy", ""),
        max_memory=int(said.get("maxmemory", 0)),
        evicted=int(said.get("evicted_keys", 0)),
        log=said.get("aof_enabled") == "1",
        # Where others run the server, CONFIG is often forbidden.
        snapshots=None if isinstance(saving, Exception) else bool(_text(saving[1])),
    )


def _read(info: Any) -> dict[str, str]:
    lines = (line.partition(":") for line in _text(info).splitlines() if ":" in line)
    return {name: value for name, _, value in lines}


def _text(reply: Any) -> str:
    return reply.decode("utf-8", "replace") if isinstance(reply, bytes) else str(reply)

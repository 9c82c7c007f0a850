"""The keys of a Redis and what they take, a batch at a time: for people who look into it, not for requests.

Rules:

* Each command is short, so that others get their turn in between, and everything is read only.
* ``SCAN`` goes through all keys of a database, whatever they are called, and may show one twice. Whoever asks
  says how many are gone through at most.
"""

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from redis import exceptions

from scalekit._limits import Limits
from scalekit._redis.link import Redis
from scalekit._redis.masters import masters
from scalekit._steps import Steps
from scalekit.errors import BackendUnavailable
from scalekit.types import Colour

_BATCH = 500
_GLOB = re.compile(r"[\\*?\[\]]")

Batch: TypeAlias = Sequence[tuple[bytes, int | None]]
"""Keys, each with the bytes that it takes in memory, all told; ``None`` where the server does not say."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """How far it is: of ``keys`` that there are, of any name, ``looked_at`` have been gone through."""

    keys: int = 0
    looked_at: int = 0


def scan(
    link: Redis,
    colour: Colour,
    *,
    prefix: str,
    at_most: int,
    batch: Callable[[Batch, Scanned], None],
    timeout: float = 5.0,
) -> Steps[Scanned]:
    """Hand ``batch`` the keys that begin with ``prefix``.

    Args:
        at_most: keys of any name to go through, on each master of a Cluster as many.
        timeout: seconds for each answer.

    Raises:
        BackendUnavailable: the server cannot be reached, or refuses.
    """
    source = link._source.limited(Limits(timeout=timeout, connect_timeout=timeout, max_connections=2))
    pattern = _GLOB.sub(r"\\\g<0>", prefix) + "*"
    before = Scanned()

    def told(found: Batch, now: Scanned) -> None:
        batch(found, Scanned(before.keys + now.keys, before.looked_at + now.looked_at))

    try:
        for _, pool in (yield from masters(source, colour)):
            try:
                connection = _Connection((yield _within(pool.get_connection(), timeout)), timeout)
                now = yield from _one(connection, pattern, at_most, told)
            finally:
                yield pool.disconnect()
            before = Scanned(before.keys + now.keys, before.looked_at + now.looked_at)
    except (exceptions.RedisError, OSError, LookupError, ValueError, TypeError) as error:
        reason = str(error) or "no answer in time"
        raise BackendUnavailable(f"{link.name}: {reason}", backend=link.name) from error
    return before


def _one(
    connection: "_Connection", pattern: str, at_most: int, batch: Callable[[Batch, Scanned], None]
) -> Steps[Scanned]:
    """The keys of one server."""
    size = int(_sure((yield from connection.ask(("DBSIZE",)))[0]))
    now, cursor, calls = Scanned(size), b"0", 0
    while calls * _BATCH < at_most:
        (reply,) = yield from connection.ask(("SCAN", cursor, "MATCH", pattern, "COUNT", _BATCH))
        cursor, found = _sure(reply)
        calls += 1
        sizes = yield from connection.ask(*[("MEMORY", "USAGE", key) for key in found])
        now = Scanned(size, size if cursor == b"0" else min(calls * _BATCH, size))
        known = [bytes_ if isinstance(bytes_, int) else None for bytes_ in sizes]
        batch(list(zip(found, known, strict=True)), now)
        if cursor == b"0":
            break
    return now


class _Connection:
    """One of redis-py's, of either colour."""

    def __init__(self, connection: Any, timeout: float) -> None:
        self._connection, self._timeout = connection, timeout

    def ask(self, *commands: Sequence[Any]) -> Steps[list[Any]]:
        """The replies to ``commands``, in one trip; in place of one its ``ResponseError``."""
        if not commands:
            return []
        yield self._connection.send_packed_command(self._connection.pack_commands(commands))
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append((yield _within(self._connection.read_response(), self._timeout)))
            except exceptions.ResponseError as error:
                replies.append(error)
        return replies


def _sure(reply: Any) -> Any:
    if isinstance(reply, Exception):
        raise reply
    return reply


def _within(answer: Any, seconds: float) -> Any:
    """An event loop's connections have no time-out of their own."""
    return _awaited(answer, seconds) if inspect.isawaitable(answer) else answer


async def _awaited(answer: Awaitable[Any], seconds: float) -> Any:
    # Not wait_for(), which on Python 3.11 loses a cancellation that comes with the answer.
    async with asyncio.timeout(seconds):
        return await answer

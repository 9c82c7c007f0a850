"""Fills a Redis with sessions and results, many at once, as their pieces would have written them.

A session is written by the script, and with the arguments, of :class:`RedisStore`: its own code makes them,
over commands that are not sent one by one but kept. An entry of the cache is a copy of one that the cache has
stored, under a key that it has made, with a new version of its tag. ``tests/benchmarks`` proves both.
"""

import re
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

from scalekit._redis import Script
from scalekit._redis.wire import pack
from scalekit._steps import run
from scalekit.cache import versions
from scalekit.sessions._counts import Counts
from scalekit.sessions.codec import Codec
from scalekit.sessions.owner import encode_user
from scalekit.sessions.redis_bound import BoundRedisStore
from scalekit.sessions.redis_scripts import CREATE
from scalekit.sessions.tokens import store_id
from tests.servers import RedisServer

IDLE, LIFETIME = 7 * 24 * 3600 * 1000, 30 * 24 * 3600 * 1000  # milliseconds; as by default
CART = {"cart": ["sku-1042", "sku-7", "sku-99"], "currency": "EUR", "theme": "dark", "seen": list(range(8))}
"""What a visitor of a shop has in a session, who is logged in besides."""

KILOBYTE = {f"key-{number:02}": f"{number:044}" for number in range(20)}
"""20 values, 1 KB in all, as in ``./dev bench sessions``."""

_AT_ONCE = 2_000
_REPLY = 1 << 20
_KEEP = 30 * 24 * 3600 * 1000


class _Kept:
    """Stands in for a connection: keeps the commands that it is given, as they go over the wire."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []

    def script(self, script: Script, keys: Sequence[str | bytes], args: Sequence[Any] = ()) -> list[bytes]:
        self.commands.append(pack(script.request(keys, args).args))
        return [b"0", b"1", b"1"]  # of the shape of CREATE's


def token(number: int) -> str:
    """What the browser of a visitor holds."""
    return f"{number:043}"


def load_sessions(
    server: RedisServer, numbers: Iterable[int], *, data: dict[str, Any] = CART, prefix: str = "session:"
) -> None:
    """Begin a session for each of these visitors, who are all logged in.

    Raises:
        RuntimeError: the server refused one.
    """
    kept, codec = _Kept(), Codec()
    store = BoundRedisStore(
        kept,  # type: ignore[arg-type]  # as much of it as the store asks for
        "loader",
        prefix,
        cluster=False,
        confirm=None,
        drive=run,
        counts=Counts(),
    )
    fields = {name.encode(): codec.encode(name, value) for name, value in data.items()}
    server.call("SCRIPT", "LOAD", CREATE.source)

    def commands() -> Iterator[bytes]:
        for number in numbers:
            id, user = store_id.__wrapped__(token(number)), encode_user(f"user-{number}")
            store.create(id, fields=fields, user=user, idle=IDLE, lifetime=LIFETIME)
            yield kept.commands.pop()

    send(server, commands())


def load_entries(
    server: RedisServer, key: Callable[[int], str], numbers: Iterable[int], *, tag: str, prefix: str = "c:"
) -> None:
    """Store a result for each of these numbers, under a tag of its own.

    Args:
        key: of the cached function. What it has stored for the number 0 is what is copied: an entry with one
            tag.
        tag: how the tag's name begins, before the number.

    Raises:
        LookupError: there is nothing to copy.
        RuntimeError: the server refused one.
    """
    stored = server.call("GET", prefix + key(0))
    if not stored or stored[:2] != b"E\x02":
        raise LookupError("the result for 0 is not stored, or has not one tag")
    generation, rest = stored[2:10], stored[18:]
    left = server.call("PTTL", prefix + key(0))

    def commands() -> Iterator[bytes]:
        for number in numbers:
            version = versions.new_version()
            record = versions.pack(version, int(time.time() * 1000))
            yield pack(("SET", f"{prefix}t:{tag}{number}", record, "PX", _KEEP))
            yield pack(("SET", prefix + key(number), b"E\x02" + generation + version + rest, "PX", left))

    send(server, commands())


def send(server: RedisServer, commands: Iterable[bytes]) -> None:
    """Send these commands in large pieces, and read what comes back: the next piece is made meanwhile.

    Raises:
        RuntimeError: the server refused one.
    """
    waiting, marks = iter(commands), deque[bytes]()
    with closing(socket.create_connection((server.host, server.port), timeout=60)) as connection:
        received = b""
        while (some := list(islice(waiting, _AT_ONCE))) or marks:
            if some:
                marks.append(secrets.token_hex().encode() + b"\r\n")
                connection.sendall(b"".join(some) + pack(("ECHO", marks[-1][:-2])))
                if len(marks) == 1:
                    continue
            mark = marks.popleft()
            while mark not in received:
                more = connection.recv(_REPLY)
                if not more:
                    raise RuntimeError("the server has closed the connection")
                received += more
            answers, _, received = received.partition(mark)
            # What they answer when they succeed has no line that begins so.
            refused = re.search(rb"^-.*", answers, re.MULTILINE)
            if refused:
                raise RuntimeError(refused[0].decode(errors="replace"))

"""A server that answers the cache's commands with what Redis never gives. Both colours."""

from typing import Any

import pytest

from scalekit._steps import run, run_async
from scalekit.cache import Cache
from scalekit.cache.backend import Lease, Lookup
from scalekit.cache.entry import Found
from scalekit.cache.redis import RedisBackend
from scalekit.errors import BackendUnavailable
from tests.faults.scripted import scripted

LEASE = Lease(key="f:1", token=b"t" * 16, versions=b"v" * 8, mine=True, left=5)
CALLS: dict[str, Any] = {
    "read": lambda entries: entries.read([Lookup("f:1")]),
    "read two": lambda entries: entries.read([Lookup("f:1"), Lookup("f:2")]),
    "acquire": lambda entries: entries.acquire(Lookup("f:1"), Found(None, (None,)), ttl=5),
    "renew": lambda entries: entries.renew(LEASE, ttl=5),
    "fill": lambda entries: entries.fill(LEASE, b"entry", ttl=60),
    "release": lambda entries: entries.release(LEASE),
    "drop": lambda entries: entries.drop(["f:1"]),
    "drop_tags": lambda entries: entries.drop_tags(["books"]),
    "mark": lambda entries: entries.mark(["books"], b"w" * 8, ttl=30),
    "bump": lambda entries: entries.bump(["books"], b"w" * 8),
    "renew_generation": lambda entries: entries.renew_generation(older_than=1),
}

RECORD = b"$17\r\nV" + bytes(16) + b"\r\n"
MALFORMED = [
    *(("read", data) for data in (b":1\r\n", b"$-1\r\n", b"+OK\r\n", b"*0\r\n", b"*1\r\n$-1\r\n")),
    *(("read", data) for data in (b"*2\r\n$-1\r\n:1\r\n", b"*2\r\n-ERR in\r\n+a\r\n")),
    *(("read two", data) for data in (b"*2\r\n$-1\r\n$-1\r\n", b"*3\r\n$-1\r\n:1\r\n$-1\r\n")),
    *(("acquire", data) for data in (b":1\r\n", b"$-1\r\n", b"*1\r\n+a\r\n", b"+OK\r\n", b"*0\r\n")),
    # As it should be, but for one thing: no time, no record, a record that is none, another reply.
    ("acquire", b"*3\r\n*2\r\n+mine\r\n:1\r\n$-1\r\n*1\r\n" + RECORD),
    ("acquire", b"*3\r\n*2\r\n+mine\r\n:1\r\n:1\r\n*0\r\n"),
    ("acquire", b"*3\r\n*2\r\n+mine\r\n:1\r\n:1\r\n*1\r\n$1\r\nD\r\n"),
    ("acquire", b"*3\r\n*2\r\n+mine\r\n:1\r\n:1\r\n*1\r\n:1\r\n"),
    ("acquire", b"*3\r\n*2\r\n+held\r\n:1\r\n:1\r\n*1\r\n" + RECORD),
    ("acquire", b"*3\r\n*2\r\n+found\r\n:1\r\n:1\r\n*1\r\n" + RECORD),
    *(
        (call, data)
        for call in ("renew", "fill", "release", "drop", "drop_tags", "mark", "bump", "renew_generation")
        for data in (b"+OK\r\n", b"$-1\r\n", b"*1\r\n:1\r\n")
    ),
]


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize(("call", "data"), MALFORMED)
async def test_a_reply_of_another_shape_is_an_outage(colour: Any, call: str, data: bytes) -> None:
    """It is told as the server's fault, not as an error of the program's."""
    with scripted(
        lambda sock: sock.sendall(data), to=b"GET" if call.startswith("read") else b"EVAL"
    ) as server:
        entries = RedisBackend.from_url(server.url, timeout=10).using(colour)
        steps = CALLS[call](entries)
        with pytest.raises(BackendUnavailable, match="of another shape"):
            run(steps) if colour == "sync" else await run_async(steps)
        closing = entries.close()
        if colour == "async":
            await closing


async def test_a_server_that_makes_no_sense_is_none() -> None:
    """14. The query runs as without a cache, and its caller gets the result."""
    with scripted(lambda sock: sock.sendall(b"*1\r\n:1\r\n")) as server:
        cache = Cache(RedisBackend.from_url(server.url, timeout=10))

        @cache.query(ttl=60)
        async def answer() -> int:
            return 42

        assert [await answer(), await answer()] == [42, 42]
        await cache.close()

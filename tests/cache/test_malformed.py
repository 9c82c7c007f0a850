"""A server that answers the cache's commands with what Redis never gives. Both colours."""

from typing import Any

import pytest

from scalekit._steps import run, run_async
from scalekit.cache import Cache
from scalekit.cache.backend import Lease, Miss
from scalekit.cache.redis import RedisBackend
from scalekit.errors import BackendUnavailable
from tests.faults.scripted import scripted

CALLS: dict[str, Any] = {
    "read": lambda entries: entries.read("f:1", []),
    "read with a tag": lambda entries: entries.read("f:1", ["books"]),
    "lease": lambda entries: entries.lease("f:1", [], Miss()),
    "fill": lambda entries: entries.fill("f:1", Lease(b"L", b"V\0"), b"payload", 60),
}

MALFORMED = [
    *(("read", data) for data in (b":1\r\n", b"*0\r\n", b"*1\r\n+a\r\n")),
    *(("read with a tag", data) for data in (b":1\r\n", b"$-1\r\n", b"+OK\r\n", b"*0\r\n", b"*1\r\n$-1\r\n")),
    *(("read with a tag", data) for data in (b"*2\r\n$-1\r\n:1\r\n", b"*2\r\n-ERR in\r\n+a\r\n")),
    *(("lease", data) for data in (b":1\r\n", b"*1\r\n+a\r\n", b"+OK\r\n")),
    *(("fill", data) for data in (b"+OK\r\n", b"$-1\r\n", b"*1\r\n:1\r\n")),
]


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize(("call", "data"), MALFORMED)
async def test_a_reply_of_another_shape_is_an_outage(colour: Any, call: str, data: bytes) -> None:
    """It is told as the server's fault, not as an error of the program's."""
    with scripted(
        lambda sock: sock.sendall(data), to=b"EVAL" if call in ("lease", "fill") else b"GET"
    ) as server:
        entries = RedisBackend.from_url(server.url, timeout=10).using(colour)
        steps = CALLS[call](entries)
        with pytest.raises(BackendUnavailable, match="of another shape"):
            run(steps) if colour == "sync" else await run_async(steps)
        closing = entries.close()
        if colour == "async":
            await closing


async def test_a_server_that_makes_no_sense_is_none() -> None:
    """The query runs as without a cache, and its caller gets the result."""
    with scripted(lambda sock: sock.sendall(b"*1\r\n:1\r\n")) as server:
        cache = Cache(RedisBackend.from_url(server.url, timeout=10))

        @cache.query(ttl=60)
        async def answer() -> int:
            return 42

        assert [await answer(), await answer()] == [42, 42]
        await cache.close()

"""Leases and rights to replace that have no end, as a mistake or another program leaves them."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scalekit._steps import run
from scalekit.cache import Cache, leading
from scalekit.cache.backend import Backend, Lookup
from scalekit.cache.entry import COOLING, Hit, judge, pack_refresh
from scalekit.cache.memcached import MemcachedBackend
from scalekit.cache.redis import RedisBackend
from tests.servers import Memcached

Put = Callable[[str, bytes | None], None]
"""Have what is under a key of the cache, or this in its place, stay for ever."""


@pytest.fixture(params=["redis_server", "redis_cluster", "memcached_server"])
def place(request: pytest.FixtureRequest, prefix: str) -> Iterator[tuple[Backend, Put]]:
    """A back end on a real server, and how others write there."""
    server = request.getfixturevalue(request.param)
    backend: Any
    if isinstance(server, Memcached):
        backend = MemcachedBackend.from_url(server.url, prefix=prefix)

        def put(key: str, value: bytes | None) -> None:
            if value is None:
                assert server.call(f"touch {prefix}{key} 0") == ["TOUCHED"]
            else:
                with server.connect(5.0) as connection, connection.makefile("rb") as replies:
                    connection.sendall(b"set %b%b 0 0 %d\r\n" % (prefix.encode(), key.encode(), len(value)))
                    connection.sendall(value + b"\r\n")
                    assert replies.readline() == b"STORED\r\n"
    else:
        backend = RedisBackend.from_url(server.url, prefix=prefix)

        def put(key: str, value: bytes | None) -> None:
            words = ("PERSIST", prefix + key) if value is None else ("SET", prefix + key, value)
            assert backend.using("sync")._commands.execute(*words) in (1, b"OK")

    yield backend, put
    backend.using("sync").close()


def test_a_lease_that_stays_for_ever(place: tuple[Backend, Put], monkeypatch: pytest.MonkeyPatch) -> None:
    """2. Nobody will give it back: whoever asks for it has it, waits for nobody, and stores its result."""
    backend, put = place
    cache, entries, runs = Cache(backend), backend.using("sync"), list[int]()
    monkeypatch.setattr(leading, "LONGEST_WAIT", 0.0)  # or the test would last as long, where it fails

    @cache.query(ttl=60, tags=["t"])
    def answer() -> int:
        runs.append(1)
        return len(runs)

    lookup = Lookup(answer.key(), ("t",))
    lease: Any = run(entries.acquire(lookup, run(entries.read([lookup]))[0], ttl=5))
    assert lease.mine
    put(lookup.key, None)
    assert [answer(), answer()] == [1, 1]
    stats = cache.stats()
    assert (stats.waits, stats.fills, stats.hits) == (0, 1, 1)
    assert run(entries.renew(lease, ttl=5)) is None  # whoever had it has it no more
    cache.close_sync()


@pytest.mark.parametrize("whose", ["somebody's", "nobody's"])
def test_a_right_to_replace_that_stays_for_ever(
    place: tuple[Backend, Put], whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """21. Whoever asks for it has it; but where nobody is to try, nobody does, however long that lasts."""
    backend, put = place
    cache, entries, runs = Cache(backend), backend.using("sync"), list[int]()
    monkeypatch.setattr(leading, "LONGEST_WAIT", 0.0)

    @cache.query(ttl=60, tags=["t"], stale_if_error=3600)
    def answer() -> int:
        runs.append(1)
        return len(runs)

    assert answer() == 1
    lookup = Lookup(answer.key(), ("t",))
    value = run(entries.read([lookup]))[0].value or b""
    year = 365 * 24 * 3600
    token = COOLING if whose == "nobody's" else b"t" * 16
    put(lookup.key, pack_refresh(token, int((time.time() + year) * 1000), value))
    cache._core.clock = lambda: time.time() + 600
    wanted = 1 if whose == "nobody's" else 2
    assert [answer(), answer()] == [wanted, wanted]
    assert (cache.stats().waits, cache.stats().fills) == (0, wanted)
    judged = judge(run(entries.read([lookup]))[0], cache._core.now())
    assert isinstance(judged, Hit)
    assert judged.cooling is (whose == "nobody's")
    cache.close_sync()

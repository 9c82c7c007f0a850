"""Another program has put something of its own where the cache keeps something in Redis."""

import hashlib
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from scalekit._steps import run, run_async
from scalekit.cache import Cache
from scalekit.cache.backend import Lease, Lookup
from scalekit.cache.redis import RedisBackend
from tests.servers import wait_until

KEYS = {"entry": "answer", "tag": "t:t", "generation": "g", "stream": "m"}


@pytest.fixture(params=["redis_server", "redis_cluster"])
def backend(request: pytest.FixtureRequest, prefix: str) -> Iterator[RedisBackend]:
    made = RedisBackend.from_url(request.getfixturevalue(request.param).url, prefix=prefix)
    yield made
    made.using("sync").close()


def put(backend: RedisBackend, key: str, *kind: str) -> str:
    """Have something else there, for ever; what the log is to call it."""
    commands: Any = backend.using("sync")._commands
    commands.execute("DEL", key)
    commands.execute(kind[0], key, *kind[1:])
    return hashlib.blake2b(key.encode(), digest_size=8).hexdigest()


@pytest.mark.parametrize("where", KEYS)
def test_another_type(
    backend: RedisBackend, prefix: str, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """12, 14. It is a miss, and replaced: what carries it is cached and dropped as if it had been missing.

    The log says so once, without the name or what was there.
    """
    cache, runs = Cache(backend), list[int]()

    @cache.query(ttl=60, tags=["t"])
    def answer() -> int:
        runs.append(1)
        return len(runs)

    @cache.query(ttl=60, tags=["elsewhere"])
    def other() -> int:
        return 7

    assert (answer(), other()) == (1, 7)
    name = prefix + (answer.key() if where == "entry" else KEYS[where])
    missing = where in ("entry", "tag", "generation")
    with caplog.at_level(logging.INFO, logger="scalekit.cache"):
        for turn in range(2):
            digest = put(backend, name, "RPUSH", "a-secret")
            computed = len(runs)
            assert [answer(), answer()] == [computed + missing] * 2
            cache.invalidate_tags_sync("t")
            assert [answer(), answer(), other()] == [computed + missing + 1] * 2 + [7]
            assert cache.stats().errors == 0, turn
    (message,) = caplog.messages
    assert f"is {digest})" in message
    assert "held a list" in message
    assert prefix not in message
    assert "a-secret" not in message


@pytest.mark.parametrize(
    "step", ["mark", "bump", "drop_tags", "drop", "renew_generation", "fill", "renew", "release"]
)
def test_whatever_stumbles_over_it(backend: RedisBackend, prefix: str, step: str) -> None:
    """12. Whoever marks, bumps and drops goes on, and others are told; a lease that was there is none."""
    entries: Any = backend.using("sync")
    lookup, writer = Lookup("f:1", ("t",)), b"w" * 8
    lease: Lease = run(entries.acquire(lookup, run(entries.read([lookup]))[0], ttl=5))
    for key in ("t:t", "g", "m", "f:1"):
        put(backend, prefix + key, "HSET", "field", "value")
    steps = {
        "mark": lambda: entries.mark(["t"], writer, ttl=60),
        "bump": lambda: entries.bump(["t"], writer),
        "drop_tags": lambda: entries.drop_tags(["t"]),
        "drop": lambda: entries.drop(["f:1"]),
        "renew_generation": lambda: entries.renew_generation(older_than=1),
        "fill": lambda: entries.fill(lease, b"E", ttl=60),
        "renew": lambda: entries.renew(lease, ttl=60),
        "release": lambda: entries.release(lease),
    }
    assert not run(steps[step]())
    kinds = {key: entries._commands.execute("TYPE", prefix + key) for key in ("t:t", "g", "m", "f:1")}
    tag, generation, stream = b"string", b"string", b"stream"
    expected = {
        "mark": {"t:t": tag, "m": stream},
        "bump": {"t:t": tag, "m": stream},
        "drop_tags": {"t:t": tag, "m": stream},
        "drop": {"f:1": b"none", "m": stream},
        "renew_generation": {"g": generation, "m": stream},
    }.get(step, {"f:1": b"none"})
    assert kinds == dict.fromkeys(kinds, b"hash") | expected


async def test_of_several_questions_in_one_trip(backend: RedisBackend, prefix: str) -> None:
    """26. One of a batch stumbles: it has its answer, and so have the others."""
    entries: Any = backend.using("async")
    lookups = [Lookup(f"f:{number}", (f"t{number}",)) for number in range(4)]
    put(backend, prefix + "f:1", "RPUSH", "x")
    put(backend, prefix + "t:t2", "RPUSH", "x")
    found = await run_async(entries.read(lookups))
    leases = await run_async(
        entries.together(
            [lambda own, at=at: own.acquire(lookups[at], found[at], ttl=5) for at in range(len(lookups))]
        )
    )
    assert [isinstance(lease, Lease) and lease.mine for lease in leases] == [True] * 4
    await entries.close()


def test_where_the_channel_was(backend: RedisBackend, prefix: str) -> None:
    """16. The stream begins anew, and this process's memory is used."""
    put(backend, prefix + "m", "RPUSH", "x")
    cache = Cache(backend, local_entries=10)

    @cache.query(ttl=600)
    def query() -> int:
        return 1

    def is_local() -> bool:
        before = cache.stats().local_hits
        assert query() == 1
        return cache.stats().local_hits > before

    wait_until(is_local, what="a hit in this process")
    assert cache.stats().losses == 0
    cache.close_sync()


def test_a_text_of_another_program(backend: RedisBackend, prefix: str) -> None:
    """12. As an entry or a tag's record it is none: what carries it is computed once, and stored."""
    cache, runs = Cache(backend), list[int]()

    @cache.query(ttl=60, tags=["t"])
    def answer() -> int:
        runs.append(1)
        return len(runs)

    for value in ("", "V", "hello", "L" * 100, "E" * 100, "R" * 20, "D", "V" * 16):
        for key in (answer.key(), "t:t", "g"):
            put(backend, prefix + key, "SET", value)
            computed = len(runs)
            assert [answer(), answer()] == [computed + 1] * 2, (key, value)
    cache.invalidate_tags_sync("t")

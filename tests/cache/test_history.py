"""15. A server that has lost what the cache was told is known by itself, whoever was there or not.

Quick tests: the replica is promoted by hand, and nobody asks meanwhile.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import redis
import redis.asyncio

from scalekit._steps import run, run_async
from scalekit.cache import Cache
from scalekit.cache.redis import RedisBackend
from scalekit.types import Colour
from tests.faults import kill
from tests.servers import RedisServer, wait_until

NO_INFO = "~* &* +@all -info"


class Shop:
    """One process: a cache of its own, and a query of ``source``. Each counts what it has run."""

    def __init__(self, url: str, prefix: str) -> None:
        self.source, self.runs = 1, 0
        self.cache = Cache(RedisBackend.from_url(url, prefix=prefix, timeout=10))

        @self.cache.query(ttl=3600, tags=["product"], name="query")
        def query() -> int:
            self.runs += 1
            return self.source

        self.query = query

    def close(self) -> None:
        self.cache._backend.using("sync").close()


@contextmanager
def shop(server: RedisServer | str, prefix: str) -> Iterator[Shop]:
    made = Shop(server if isinstance(server, str) else server.url, prefix)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def promoted(server: RedisServer, **options: Any) -> Iterator[RedisServer]:
    """A replica that is promoted with what ``server`` has now, and hears no more of it."""
    with RedisServer(
        repl_diskless_sync_delay=0, replicaof=f"{server.host} {server.port}", **options
    ) as replica:
        wait_until(
            lambda: replica.info("replication")["master_link_status"] == "up", timeout=30, what="the replica"
        )
        offset = int(server.info("replication")["master_repl_offset"])
        wait_until(
            lambda: int(replica.info("replication")["slave_repl_offset"]) >= offset,
            timeout=30,
            what="the data",
        )
        replica.call("REPLICAOF", "NO", "ONE")
        yield replica


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer(repl_diskless_sync_delay=0) as server:
        yield server


def test_a_replica_that_has_missed_an_invalidation(
    server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that is new, and knows of nothing, does not serve what was invalidated. Then all is cached
    again, and further processes find it. The log says it once."""
    caplog.set_level(logging.INFO, "scalekit.cache")
    with shop(server, prefix) as here:
        assert (here.query(), here.query(), here.runs) == (1, 1, 1)
        with promoted(server) as replica, shop(replica, prefix) as there, shop(replica, prefix) as other:
            here.cache.invalidate_tags_sync("product")
            there.source = 2
            assert (there.query(), there.query(), there.runs) == (2, 2, 1)
            assert (other.query(), other.runs) == (2, 0)
            said = replica.call("XRANGE", prefix + "m", "-", "+")
            assert [fields[2:] for _, fields in said] == [[b"g", b"1"]]  # for the memory of each process
    assert [record.getMessage() for record in caplog.records] == [
        f"redis://127.0.0.1:{replica.port}/0: another server has taken over, or it has started again: "
        "what was cached is dropped"
    ]


async def test_asynchronous_code(server: RedisServer, prefix: str) -> None:
    """The same."""

    def process(server: RedisServer, source: int) -> tuple[Cache, Callable[[], Awaitable[int]]]:
        cache = Cache(RedisBackend.from_url(server.url, prefix=prefix, timeout=10))

        @cache.query(ttl=3600, tags=["product"], name="query")
        async def query() -> int:
            return source

        return cache, query

    here, query = process(server, 1)
    assert await query() == 1
    with promoted(server) as replica:
        await here.invalidate_tags("product")
        there, query = process(replica, 2)
        assert [await query(), await query()] == [2, 2]
        assert there.stats().hits == 1
        await there.close()
    await here.close()


@pytest.mark.parametrize("again", [False, True], ids=["a new process", "one that was there"])
def test_a_server_that_starts_with_older_data(server: RedisServer, prefix: str, again: bool) -> None:
    """What it had saved is from before an invalidation. Nobody asked while it was away."""
    with ExitStack() as stack:
        here = stack.enter_context(shop(server, prefix))
        assert here.query() == 1
        server.call("SAVE")
        here.cache.invalidate_tags_sync("product")
        kill(server)
        server.start()
        assert server.call("EXISTS", prefix + here.query.key()) == 1
        there = here if again else stack.enter_context(shop(server, prefix))
        there.source = 2
        assert (there.query(), there.query()) == (2, 2)


def test_a_server_that_goes_on(server: RedisServer, prefix: str) -> None:
    """New connections, of new processes too, find what was cached; also after everything was dropped by
    hand, and after Redis has thrown the generation away and somebody has made another one."""
    with shop(server, prefix) as here:
        for step in range(3):
            here.query()
            with shop(server, prefix) as there:
                assert (there.query(), there.runs) == (1, 0), step
            here.cache.clear_sync()
        server.call("DEL", prefix + "g")
        here.query()  # which makes one: nobody has asked the server which it is
        with shop(server, prefix) as there, shop(server, prefix) as other:
            assert (there.query(), there.runs) == (1, 1)
            assert (other.query(), other.runs) == (1, 0)


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_replica(server: RedisServer, prefix: str, colour: Colour) -> None:
    """It is not read from: it may be behind, and a connection from before its promotion would not ask again
    after it. The query runs, until it has been promoted."""
    with (
        shop(server, prefix) as here,
        RedisServer(repl_diskless_sync_delay=0, replicaof=f"{server.host} {server.port}") as replica,
    ):
        here.query()
        wait_until(lambda: replica.call("EXISTS", prefix + here.query.key()), timeout=30, what="the data")
        backend = RedisBackend.from_url(replica.url, prefix=prefix, timeout=10)
        cache, source = Cache(backend), 1

        def query() -> int:
            return source

        async def query_async() -> int:
            return source

        function = query if colour == "sync" else query_async
        asked = cache.query(ttl=3600, tags=["product"], name="query")(function)

        async def ask() -> int:
            found = asked()
            return await found if colour == "async" else found  # type: ignore[misc, return-value]

        assert await ask() == 1
        replica.call("REPLICAOF", "127.0.0.1", "1")
        here.cache.invalidate_tags_sync("product")
        source = 2
        assert await ask() == 2
        replica.call("REPLICAOF", "NO", "ONE")
        while not cache.stats().hits:
            assert await ask() == 2
            await asyncio.sleep(0.01)
        closing = backend.using(colour).close()
        if colour == "async":
            await closing


def test_a_full_server(server: RedisServer, prefix: str) -> None:
    """It drops everything too, though it has no memory for anything else."""
    with shop(server, prefix) as here:
        here.query()
        with promoted(server) as replica:
            replica.call("CONFIG", "SET", "maxmemory", "1")
            with shop(replica, prefix) as there:
                there.source = 2
                assert (there.query(), there.query()) == (2, 2)
                assert replica.call("GETRANGE", prefix + "g", 0, 8) != server.call(
                    "GETRANGE", prefix + "g", 0, 8
                )


def test_a_server_that_refuses_what_it_is_to_drop(server: RedisServer, prefix: str) -> None:
    """A connection that leads there is not used, and the query runs, until the server takes writes."""
    with shop(server, prefix) as here:
        here.query()
        with promoted(server, min_replicas_to_write=1) as replica, shop(replica, prefix) as there:
            there.source = 2
            assert (there.query(), there.query()) == (2, 2)
            assert (there.cache.stats().hits, there.cache.stats().errors > 0) == (0, True)
            replica.call("CONFIG", "SET", "min-replicas-to-write", "0")
            wait_until(lambda: there.query() == 2 and there.cache.stats().hits, timeout=30, what="a hit")


def test_a_user_who_may_not_ask(server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    """Without the permission for ``INFO`` the cache works; the log says once what it does not know then."""
    server.call("ACL", "SETUSER", "shop", "on", ">secret", *NO_INFO.split())
    url = server.url.replace("redis://", "redis://shop:secret@")
    caplog.set_level(logging.INFO, "scalekit.cache")
    with shop(url, prefix) as here:
        assert (here.query(), here.query(), here.runs) == (1, 1, 1)
        here.close()
        assert (here.query(), here.runs) == (1, 1)
        (said,) = [record.getMessage() for record in caplog.records]
        assert "Allow its user INFO" in said
        assert "secret" not in said


@pytest.mark.parametrize("value", ["text", "list"])
def test_another_programs_key(server: RedisServer, prefix: str, value: str) -> None:
    """In the generation's place: it is thrown away, as anywhere."""
    server.call(*(("RPUSH", prefix + "g", "x") if value == "list" else ("SET", prefix + "g", "x")))
    with shop(server, prefix) as here:
        assert (here.query(), here.query(), here.runs) == (1, 1, 1)


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_client_with_something_to_do_first(server: RedisServer, prefix: str, colour: Colour) -> None:
    """``redis_connect_func`` of a client that was given is called, once a connection, and logs in."""
    called = []

    def begin(connection: Any) -> Any:
        called.append(connection)
        return connection.on_connect()

    client: Any = (redis.asyncio if colour == "async" else redis).Redis(
        port=server.port, db=3, redis_connect_func=begin
    )
    entries = RedisBackend(client, prefix=prefix).using(colour)
    for _ in range(2):
        steps = entries.ping()
        await run_async(steps) if colour == "async" else run(steps)
    assert len(called) == 1
    assert server.call(
        "EVAL", "redis.call('SELECT', 3) return redis.call('EXISTS', KEYS[1])", 1, prefix + "g"
    )
    closing = entries.close()
    if colour == "async":
        await closing

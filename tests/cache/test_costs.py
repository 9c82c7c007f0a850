"""What calls cost, as docs/howto/cache-guarantees.md says it: round trips, counted on the wire."""

import contextlib
import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, create_engine, update
from sqlalchemy.orm import sessionmaker
from sqlalchemy.pool import StaticPool

from scalekit.cache import Cache
from scalekit.cache.redis import RedisBackend
from tests.cache._shop import Base, Product
from tests.faults import FaultProxy
from tests.servers import RedisServer, wait_until


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    Base.metadata.create_all(made)
    yield made
    made.dispose()


@contextlib.contextmanager
def counted(
    server: RedisServer, prefix: str
) -> Iterator[tuple[Cache, Callable[[Callable[[], object]], int]]]:
    """A cache, and how many round trips a call of it takes."""
    with FaultProxy(server.host, server.port) as proxy:
        url = proxy.url(server.url)
        backend = RedisBackend.from_url(url, prefix=prefix)
        cache = Cache(backend, local_entries=10, local_ttl=3600, channel=False)

        def trips(call: Callable[[], object]) -> int:
            before = proxy.round_trips
            call()
            return proxy.round_trips - before

        yield cache, trips
        cache.close_sync()


def test_calls_and_commits(redis_server: RedisServer, prefix: str, engine: Engine) -> None:
    """8, 13. One for a hit with any number of tags, three for a miss, one to drop tags, two for a commit."""
    maker = sessionmaker(engine)
    with counted(redis_server, prefix) as (cache, trips):
        cache.watch(maker)

        @cache.query(ttl=60, reads=[Product], tags=["a", "b", "number:{number}"])
        def query(number: int) -> int:
            return number

        def end(how: str, *, change: bool) -> int:
            with maker() as session:
                if change:
                    session.execute(update(Product).values(price=2))
                return trips(getattr(session, how))

        query(0)  # scripts are sent in full the first time
        query.invalidate(0)
        cache.invalidate_tags_sync("a")
        cache.clear_sync()
        end("commit", change=True)
        assert [trips(lambda: query(1)) for _ in range(2)] == [3, 0]
        cache._core.local.flush()
        assert trips(lambda: query(1)) == 1
        assert trips(lambda: query.invalidate(1)) == 2
        assert trips(lambda: cache.invalidate_tags_sync("a", "b", Product)) == 1
        assert trips(cache.clear_sync) == 1
        assert end("commit", change=True) == 2
        assert [end("rollback", change=True), end("commit", change=False)] == [0, 0]
        assert trips(lambda: query(2)) == 3  # though the tags have no versions by now


def test_a_refresh(redis_server: RedisServer, prefix: str) -> None:
    """21. One more than a miss; who is served the stale result waits for the first of them alone."""
    with counted(redis_server, prefix) as (cache, trips):

        @cache.query(ttl=60, jitter=0, stale_while_revalidate=600)
        def query() -> int:
            return 1

        def refreshed() -> None:
            fills = cache.stats().fills
            query()
            wait_until(lambda: cache.stats().fills > fills, what="a refresh")

        query()
        spent = []
        for ahead in (100, 200):  # the first time a script is sent in full
            cache._core.clock = lambda ahead=ahead: time.time() + ahead  # type: ignore[misc]
            cache._core.local.flush()
            spent.append(trips(refreshed))
        assert spent[-1] == 4


def test_the_stream_of_what_was_dropped_stays_short(redis_server: RedisServer, prefix: str) -> None:
    """16. Of many messages it keeps the last thousand, and what Redis cannot cut off without effort."""
    many = "for i = 1, 5000 do redis.call('XADD', KEYS[1], '*', 'n', i, 'k', 'x') end"
    redis_server.call("EVAL", many, 1, prefix + "m")
    cache = Cache(RedisBackend.from_url(redis_server.url, prefix=prefix))
    cache.invalidate_tags_sync("a")
    assert 1_000 <= redis_server.call("XLEN", prefix + "m") <= 1_200
    cache.close_sync()


def test_a_user_who_may_no_more_of_streams_than_is_said(redis_server: RedisServer, prefix: str) -> None:
    """16. XADD, XREAD and XREVRANGE: with these the channel keeps this process's memory right."""
    name, here = prefix.strip(":"), redis_server
    allowed = ("+@all", "-@stream", "+xadd", "+xread", "+xrevrange")
    redis_server.call("ACL", "SETUSER", name, "on", ">secret", "~*", "&*", *allowed)
    try:
        url = f"redis://{name}:secret@{here.host}:{here.port}"
        cache = Cache(RedisBackend.from_url(url, prefix=prefix), local_entries=10, local_ttl=0.2)
        there = Cache(RedisBackend.from_url(redis_server.url, prefix=prefix))
        source = 1

        @cache.query(ttl=600, tags=["a"])
        def query() -> int:
            return source

        def is_local() -> bool:
            before = cache.stats().local_hits
            assert query() == source
            return cache.stats().local_hits > before

        wait_until(is_local, what="a hit in this process")
        known = cache._core.local.horizon
        wait_until(lambda: cache._core.local.horizon > known, what="silence")
        there.invalidate_tags_sync("a")
        source = 2
        wait_until(lambda: query() == 2, what="the message")
        wait_until(is_local, what="a hit in this process")
        assert (cache.stats().losses, cache.stats().errors) == (0, 0)
        cache.close_sync()
        there.close_sync()
    finally:
        redis_server.call("ACL", "DELUSER", name)

"""What ``./dev bench scale`` fills a Redis with is what the pieces would have written."""

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import _scale_load as loader
from benchmarks.bench_scale_cache import query
from scalekit._redis.wire import pack
from scalekit.cache import Cache
from scalekit.cache.redis import RedisBackend
from scalekit.sessions.redis import RedisStore
from scalekit.sessions.tokens import Tokens, store_id
from tests.servers import RedisServer
from tests.sessions.shells import SECRET, ASGIShell, Visitor

_MOMENTS = {b"\0created", b"\0deadline", b"\0seen", b"\0version"}
"""Fields whose values differ from one session to another."""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A server of our own: the prefixes are those of applications."""
    with RedisServer() as server:
        yield server


def fields(server: RedisServer, key: str) -> dict[bytes, bytes]:
    flat = server.call("HGETALL", key)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def visitor_of(server: RedisServer, number: int) -> Visitor:
    cookie = Tokens(SECRET).sign(loader.token(number))
    return Visitor(ASGIShell(RedisStore.from_url(server.url)), cookie)


@pytest.mark.parametrize("data", [loader.CART, loader.KILOBYTE], ids=["cart", "kilobyte"])
def test_sessions_are_those_of_the_store(server: RedisServer, data: dict[str, Any]) -> None:
    """A session of the loader has the fields, the expiry, the size and the list of one that the middleware
    has begun."""
    server.call("FLUSHALL")
    shell = ASGIShell(RedisStore.from_url(server.url))
    theirs = shell.visitor()

    def begin(session: Any) -> None:
        session.login("user-1")
        session.update(data)

    theirs.visit(begin)
    assert theirs.cookie is not None
    before = set(server.call("KEYS", "*"))
    expected = "session:" + store_id(theirs.cookie.partition(".")[0])
    listed = next(key for key in before if b":user:" in key)
    about_the_list = [server.call(*words, listed) for words in (("TYPE",), ("ZCARD",))]

    server.call("DEL", listed)  # of the same user, so that there is one to compare
    loader.load_sessions(server, [1], data=data)
    found = "session:" + store_id(loader.token(1))
    assert set(server.call("KEYS", "*")) - before == {found.encode()}
    ours, own = fields(server, found), fields(server, expected)
    assert ours.keys() == own.keys()
    assert {name: ours[name] for name in ours.keys() - _MOMENTS} == {
        name: own[name] for name in own.keys() - _MOMENTS
    }
    assert [server.call(*words, listed) for words in (("TYPE",), ("ZCARD",))] == about_the_list
    assert abs(server.call("PTTL", found) - server.call("PTTL", expected)) < 60_000
    spans = [int(each[b"\0deadline"]) - int(each[b"\0created"]) for each in (ours, own)]
    assert spans[0] == spans[1]
    sizes = [server.call("MEMORY", "USAGE", key) for key in (found, expected)]
    assert sizes[0] == pytest.approx(sizes[1], abs=64)  # versions have more digits or fewer


def test_sessions_are_loaded(server: RedisServer) -> None:
    """Who comes with the token of a loaded session is who was logged in, has the cart, and can change it."""
    server.call("FLUSHALL")
    loader.load_sessions(server, range(3_000))
    assert server.call("DBSIZE") == 6_000
    for number in (0, 1_999, 2_000, 2_999):
        visitor = visitor_of(server, number)
        assert visitor(lambda session: [session.user_id, dict(session)]) == [f"user-{number}", loader.CART]
        visitor(lambda session: session["cart"].append("sku-8"))
        assert visitor(lambda session: session["cart"])[-1] == "sku-8"


def test_what_redis_refuses_is_told(server: RedisServer) -> None:
    """Where the server refuses a command the loader stops: else it would measure what is not there."""
    with pytest.raises(RuntimeError, match="wrong number of arguments"):
        loader.send(server, [pack(("SET", "a", "1")), pack(("SET", "b")), pack(("SET", "c", "1"))])


async def test_entries_are_those_of_the_cache(server: RedisServer) -> None:
    """A loaded result is a hit, as large as one that the cache has stored, and is gone with its tag."""
    server.call("FLUSHALL")
    cache = Cache(RedisBackend.from_url(server.url, timeout=30, connect_timeout=30), channel=False)
    product = query(cache)
    result = await product(0)
    await product(10)  # by the cache itself
    loader.load_entries(server, product.key, range(1, 4), tag="product:")
    for loaded, own in (
        (f"c:{product.key(1)}", f"c:{product.key(10)}"),
        ("c:t:product:1", "c:t:product:10"),
    ):
        assert server.call("STRLEN", loaded) == server.call("STRLEN", own)
        assert server.call("GET", loaded)[:2] == server.call("GET", own)[:2] or loaded.startswith("c:t:")
    # The cache spreads the ends of its results; a loaded one ends with the one that it is a copy of.
    assert server.call("PTTL", f"c:{product.key(1)}") == pytest.approx(86_400_000, rel=0.15)
    left = [server.call("PTTL", f"c:t:product:{number}") for number in (1, 10)]
    assert left[0] == pytest.approx(left[1], rel=0.01)
    assert server.call("GET", "c:t:product:1")[:1] == server.call("GET", "c:t:product:10")[:1] == b"V"

    async def ran() -> list[int]:
        """Which of the calls are misses."""
        before = cache.stats().misses
        missed = []
        for number in range(1, 4):
            assert await product(number) == result
            if cache.stats().misses > before:
                missed.append(number)
                before = cache.stats().misses
        return missed

    assert await ran() == []
    await cache.invalidate_tags("product:2")
    assert await ran() == [2]
    assert await ran() == []
    await cache.close()


async def test_there_must_be_one_to_copy(server: RedisServer) -> None:
    """Without a result that the cache has stored there is nothing to load."""
    server.call("FLUSHALL")
    cache = Cache(RedisBackend.from_url(server.url, timeout=30, connect_timeout=30), channel=False)
    with pytest.raises(LookupError, match="not stored"):
        loader.load_entries(server, query(cache).key, [1], tag="product:")
    await cache.close()

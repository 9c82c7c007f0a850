"""The stores keep the contract, and the contract notices stores that do not."""

import asyncio
import hashlib
import re
import time
from dataclasses import replace
from typing import Any

import pytest
import redis
import redis.asyncio

from scalekit.errors import ConfigurationError, SessionValueError, WrongColour
from scalekit.sessions import Inherited, MemoryStore
from scalekit.sessions.redis import RedisStore
from scalekit.testing import check_store, check_store_async
from tests.servers import RedisServer
from tests.sessions.shells import Shell, Visitor, WSGIShell

pytestmark = pytest.mark.slow


def test_memory_keeps_the_contract() -> None:
    """From threads, and from tasks."""
    check_store(MemoryStore())
    asyncio.run(check_store_async(MemoryStore()))


def test_redis_keeps_the_contract(redis_url: str, prefix: str) -> None:
    """One store from a URL serves both colours."""
    store = RedisStore.from_url(redis_url, prefix=prefix)
    check_store(store)
    asyncio.run(check_store_async(store))


@pytest.mark.parametrize("servers", ["redis_cluster", "redis_sentinel"])
def test_clusters_and_sentinels_keep_the_contract(
    servers: str, request: pytest.FixtureRequest, prefix: str
) -> None:
    """30. Every operation is on one key, so it works on any slot and on whichever server is the master."""
    store = RedisStore.from_url(request.getfixturevalue(servers).url, prefix=prefix)
    check_store(store)
    asyncio.run(check_store_async(store))


@pytest.mark.parametrize("servers", ["redis_cluster", "redis_sentinel"])
def test_rotations_on_clusters_and_sentinels(
    servers: str, request: pytest.FixtureRequest, prefix: str, shell_type: type[Shell]
) -> None:
    """30. A log-in moves a session to another slot; what was there comes along."""
    store = RedisStore.from_url(request.getfixturevalue(servers).url, prefix=prefix)
    visitor = shell_type(store).visitor()
    visitor(lambda session: session.update(a=[1]))
    for number in range(5):
        old = visitor.cookie
        visitor(lambda session, number=number: session.login(number))
        assert visitor(lambda session: [session.user_id, session.get("a")]) == [
            number,
            None if number else [1],
        ]
        assert Visitor(visitor.shell, old)(dict) == {}


def test_a_synchronous_client_keeps_the_contract(redis_url: str, prefix: str) -> None:
    """A client that was given, synchronous."""
    with redis.Redis.from_url(redis_url) as client:
        check_store(RedisStore(client, prefix=prefix))


async def test_an_asynchronous_client_keeps_the_contract(redis_url: str, prefix: str) -> None:
    """A client that was given, asynchronous; also one that decodes its replies for others."""
    async with redis.asyncio.Redis.from_url(redis_url, decode_responses=True) as client:
        await check_store_async(RedisStore(client, prefix=prefix))


def test_other_clients_are_refused() -> None:
    """What is no redis-py client is an error at start-up; so is a bad URL, without its password."""
    with pytest.raises(ConfigurationError, match="redis-py"):
        RedisStore(object())
    with pytest.raises(ConfigurationError) as caught:
        RedisStore.from_url("http://:hunter2@localhost")
    assert "hunter2" not in str(caught.value)


def test_the_wrong_colour_is_refused(redis_url: str) -> None:
    """Each client serves one colour."""
    with redis.Redis.from_url(redis_url) as client, pytest.raises(WrongColour):
        RedisStore(client).using("async")
    with pytest.raises(WrongColour):
        RedisStore(redis.asyncio.Redis.from_url(redis_url)).using("sync")


class Standing(MemoryStore):
    """Keeps the contract, and stands still for longer than what soon expires lasts, as machines may."""

    stood = False

    def create(self, id: str, **options: Any) -> Any:
        created = super().create(id, **options)
        if options["lifetime"] < 500 or (options["idle"] < 500 and not self.stood):
            self.stood |= options["idle"] < 500
            time.sleep(0.5)
        return created


def test_a_machine_that_stands_still_breaks_no_contract() -> None:
    """What had expired before it could be extended or inherited says nothing of the store."""
    store = Standing()
    check_store(store)
    assert store.stood


class Hasty(MemoryStore):
    """Keeps the contract, and drops what soon expires sooner, as Memcached may: it counts seconds."""

    def _entry(self, id: str) -> Any:
        entry = super()._entry(id)
        if entry is None or entry.session.ended or entry.session.deadline - entry.session.created > 500:
            return entry
        return entry if time.time() * 1000 - entry.session.created < 200 else None


def test_what_is_dropped_early_breaks_no_contract() -> None:
    """That a session has gone says nothing of its deadline, which others may inherit until it has passed."""
    check_store(Hasty())


class Adopting(MemoryStore):
    """Brings sessions into being by saving."""

    def save(self, id: str, **options: Any) -> bool:
        self.create(id, fields={}, user=None, idle=options["idle"], lifetime=10**9)
        return super().save(id, **options)


class Overwriting(MemoryStore):
    """Saves the whole session, as it knew it."""

    def save(self, id: str, *, changed: Any, removed: Any, idle: int) -> bool:
        last = self.destroy(id, grace=0)
        if last is None:
            return False
        self.create(
            id,
            fields=changed,
            user=last.user,
            idle=idle,
            lifetime=0,
            inherit=Inherited(last.created, last.deadline, last.origin),
        )
        return True


class Immortal(MemoryStore):
    """Forgets the deadline."""

    def create(self, id: str, **options: Any) -> Any:
        created = super().create(id, **{**options, "lifetime": 10**9})
        assert created is not None
        return created._replace(deadline=created.created + options["lifetime"], left=options["lifetime"])


class Eager(MemoryStore):
    """Extends nothing."""

    def load(self, id: str, **options: Any) -> Any:
        return super().load(id, **{**options, "step": 10**15})


class Chatty(MemoryStore):
    """Says that everything went well."""

    def save(self, id: str, **options: Any) -> bool:
        return super().save(id, **options) or True


class Forgetful(MemoryStore):
    """Does not remember that a session ended."""

    def destroy(self, id: str, **options: Any) -> Any:
        return super().destroy(id, grace=0)


class Aimless(MemoryStore):
    """Does not remember where a session went on."""

    def destroy(self, id: str, **options: Any) -> Any:
        return super().destroy(id, **{**options, "successor": None})


class Deaf(MemoryStore):
    """Does not notice which id the browser came with."""

    def load(self, id: str, **options: Any) -> Any:
        return super().load(id, **{**options, "own": False})


class Curious(MemoryStore):
    """Takes every look for the browser's."""

    def load(self, id: str, **options: Any) -> Any:
        return super().load(id, **{**options, "own": True})


class Shared(MemoryStore):
    """Changes what it has given out."""

    def save(self, id: str, *, changed: Any, removed: Any, idle: int) -> bool:
        entry = self._entries.get(id)
        if entry is not None:
            fields: Any = entry.session.fields
            for name in removed:
                fields.pop(name, None)
            fields.update(changed)
        return super().save(id, changed={}, removed=(), idle=idle)


class Careless(MemoryStore):
    """Swaps whatever is there."""

    def swap(self, id: str, name: bytes, **options: Any) -> Any:
        loaded = self.load(id, idle=0, step=10**15)
        found = loaded.fields.get(name) if loaded is not None else None
        return super().swap(id, name, **{**options, "expected": found})


class Unlisted(MemoryStore):
    """Knows the first session of a user only."""

    def listed(self, user: bytes) -> list[str]:
        return super().listed(user)[:1]


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (Adopting, "save: an unknown id"),
        (Overwriting, "exactly the given fields"),
        (Immortal, "the times must be those"),
        (Eager, "must be extended"),
        (Chatty, "save: an unknown id must give False"),
        (Forgetful, "must answer that it ended"),
        (Aimless, "must name its successor"),
        (Deaf, "is heard of, and forgets its token"),
        (Curious, "not heard of until"),
        (Shared, "stays as it is"),
        (Careless, "must be told as it is"),
        (Unlisted, "every session that lives|still listed"),
    ],
)
def test_a_broken_store_is_found(broken: type[MemoryStore], rule: str) -> None:
    """`check_store` names the rule that a store breaks."""
    with pytest.raises(AssertionError, match=rule):
        check_store(broken())
    with pytest.raises(AssertionError, match=rule):
        asyncio.run(check_store_async(broken()))


class Unlocked(MemoryStore):
    """Reads, waits, and writes back: two at the same time lose one."""

    def using(self, colour: Any) -> Any:
        return self

    async def load(self, *args: Any, **options: Any) -> Any:
        return super().load(*args, **options)

    async def create(self, *args: Any, **options: Any) -> Any:
        return super().create(*args, **options)

    async def destroy(self, *args: Any, **options: Any) -> Any:
        return super().destroy(*args, **options)

    async def save(self, id: str, *, changed: Any, removed: Any, idle: int) -> Any:
        entry = self._entries.get(id)
        before = dict(entry.session.fields) if entry is not None else {}
        await asyncio.sleep(0)
        if not super().save(id, changed={}, removed=(), idle=idle):
            return False
        for name in removed:
            before.pop(name, None)
        entry = self._entries[id]
        entry.session = replace(entry.session, fields={**before, **changed})
        return True


def test_a_store_that_loses_updates_is_found() -> None:
    """The contract is checked with concurrent callers."""
    with pytest.raises(AssertionError, match="concurrent changes must all survive"):
        asyncio.run(check_store_async(Unlocked()))


def test_memory_forgets_what_has_expired() -> None:
    """Sessions that nobody comes back for do not pile up."""
    now = 0.0
    store = MemoryStore(clock=lambda: now)
    for number in range(5000):
        now += 1
        store.create(f"{number}", fields={}, user=None, idle=100_000, lifetime=100_000)
    assert store.count() == 100
    assert len(store._entries) == 100


def test_the_layout_in_redis(prefix: str) -> None:
    """One hash a session, one field a key, metadata behind a NUL, an expiry on everything."""
    with RedisServer() as server:
        store = RedisStore.from_url(server.url, prefix=prefix).using("sync")
        store.create("1" * 64, fields={b"a": b"1"}, user=b"ann", idle=100_000, lifetime=500_000)
        key = f"{prefix}{'1' * 64}"
        flat = server.call("HGETALL", key)
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        assert fields.keys() == {b"a", b"\0created", b"\0deadline", b"\0seen", b"\0version", b"\0user"}
        assert int(fields[b"\0deadline"]) - int(fields[b"\0created"]) == 500_000
        assert 0 < server.call("PTTL", key) <= 100_000
        index = f"{prefix}user:{hashlib.sha256(b'ann').hexdigest()}"
        assert server.call("ZRANGE", index, "0", "-1", "WITHSCORES") == [b"1" * 64, fields[b"\0deadline"]]
        assert 100_000 < server.call("PTTL", index) <= 500_000
        store.destroy("1" * 64, grace=500_000, successor="2" * 64, user=b"ann")
        assert server.call("HGETALL", key) == [b"\0ended", b"2" * 64]
        assert 100_000 < server.call("PTTL", key) <= 500_000
        assert server.call("KEYS", f"{prefix}*") == [key.encode()]
        inherit = Inherited(1, 10**14, "1" * 64, b"sealed")
        store.create("3" * 64, fields={}, user=None, idle=100_000, lifetime=1, inherit=inherit)
        key = f"{prefix}{'3' * 64}"
        rotated = server.call("HGET", key, "\0rotated")
        assert re.fullmatch(rb"0:\d{13}:sealed", rotated)
        store.destroy("3" * 64, grace=500_000, successor="4" * 64, alias=True)
        assert server.call("HGETALL", key) == [b"\0ended", b"4" * 64, b"\0alias", rotated]


def test_a_value_that_is_garbage(redis_url: str, redis_server: RedisServer, prefix: str) -> None:
    """One value that cannot be read is an error that names its key; the others are kept."""
    visitor = WSGIShell(RedisStore.from_url(redis_url, prefix=prefix)).visitor()
    visitor(lambda session: session.update(a=1, b=2))
    (key,) = redis_server.call("KEYS", f"{prefix}*")
    redis_server.call("HSET", key.decode(), "b", "\x7f\x7f garbage")
    with pytest.raises(SessionValueError, match="'b'"):
        visitor(lambda session: session["b"])
    assert visitor(lambda session: session["a"]) == 1
    visitor(lambda session: session.update(b=3))
    assert visitor(dict) == {"a": 1, "b": 3}

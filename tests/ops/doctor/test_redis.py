"""A Redis that loses sessions, on real servers."""

from collections.abc import Iterator
from typing import Any

import pytest

from scalekit.ops.doctor import Around
from tests.faults import freeze
from tests.ops.doctor.apps import codes, look
from tests.servers import RedisCluster, RedisServer, wait_until

pytest.importorskip("redis")

import redis
import redis.asyncio

from scalekit.cache import Cache
from scalekit.cache.redis import RedisBackend
from scalekit.sessions.redis import RedisStore


@pytest.fixture(scope="module")
def kept() -> Iterator[RedisServer]:
    """A Redis that keeps what it is given: a log, and a replica."""
    with RedisServer(appendonly="yes", password="hush-hush", repl_diskless_sync_delay=0) as master:
        options: dict[str, Any] = {"replicaof": f"{master.host} {master.port}", "password": "hush-hush"}
        with RedisServer(**options):
            wait_until(
                lambda: "state=online" in master.info("replication").get("slave0", ""), what="a replica"
            )
            yield master


@pytest.fixture(scope="module")
def evicting() -> Iterator[RedisServer]:
    """A Redis that was made for a cache."""
    with RedisServer(maxmemory="8mb", maxmemory_policy="allkeys-lru") as server:
        yield server


def test_nothing_is_wrong_with_a_redis_that_keeps(kept: RedisServer) -> None:
    """With a log and a replica, and without eviction, no finding: whatever it is asked with."""
    stores = [
        RedisStore.from_url(kept.url),
        RedisStore(redis.Redis.from_url(kept.url)),
        RedisStore(redis.asyncio.Redis.from_url(kept.url)),
    ]
    for store in stores:
        assert look(store=store) == []


def test_sessions_that_are_thrown_away(evicting: RedisServer) -> None:
    """An evicting policy, no file and no replica are three findings, each with its cure; the password is in
    none."""
    found = look(store=RedisStore.from_url(evicting.url))
    assert codes(found) == ["redis-alone", "redis-evicts", "redis-not-kept"]
    evicts = next(one for one in found if one.code == "redis-evicts")
    assert evicts.severity == "error"
    assert "maxmemory-policy allkeys-lru" in evicts.what
    assert "maxmemory-policy noeviction" in evicts.cure
    assert evicts.where == "shop:app, store"


def test_a_policy_without_a_limit_is_a_warning(evicting: RedisServer) -> None:
    """Without a maxmemory nothing is thrown away yet."""
    evicting.call("CONFIG", "SET", "maxmemory", "0")
    try:
        found = look(store=RedisStore.from_url(evicting.url))
    finally:
        evicting.call("CONFIG", "SET", "maxmemory", "8mb")
    assert {one.severity for one in found if one.code == "redis-evicts"} == {"warning"}


def test_sessions_that_wait_for_replicas(kept: RedisServer) -> None:
    """Waiting for more replicas than there are is an error; for as many, a warning: one may be away."""
    for waits, severity in ((2, "error"), (1, "warning")):
        (found,) = look(store=RedisStore.from_url(kept.url, wait_replicas=waits))
        assert (found.code, found.severity) == ("redis-waits", severity)


def test_a_cache_may_evict(evicting: RedisServer) -> None:
    """For a cache the same server is right; but not one that throws away first what ends soonest."""
    cache = Cache(RedisBackend.from_url(evicting.url))
    assert look(cache=cache) == []
    evicting.call("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
    try:
        assert codes(look(cache=cache)) == ["redis-ends-soonest"]
    finally:
        evicting.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")


def test_a_replica_takes_no_writes(kept: RedisServer) -> None:
    """The URL of a replica is told from that of its master."""
    replica = kept.info("replication")["slave0"].partition("port=")[2].partition(",")[0]
    found = look(store=RedisStore.from_url(f"redis://:hush-hush@{kept.host}:{replica}/0"))
    assert codes(found) == ["redis-is-replica"]


def test_a_redis_that_does_not_answer(kept: RedisServer) -> None:
    """Nobody there, and a wrong password: one finding, without the password in it."""
    for url in ("redis://:hush-hush@127.0.0.1:1/0", f"redis://:hash-hash@{kept.host}:{kept.port}/0"):
        (found,) = look(store=RedisStore.from_url(url))
        assert found.code == "redis-unreachable"
        assert "does not answer: " in found.what
        assert "hush" not in str(found)
        assert "hash-" not in str(found)


def test_an_asynchronous_redis_that_hangs(kept: RedisServer) -> None:
    """A client of an event loop, whose connections have no time-out, ends in time as well."""
    client = redis.asyncio.Redis.from_url(kept.url)
    with freeze(kept):
        (found,) = look(store=RedisStore(client), around=Around(timeout=1.5))
    assert found.code == "redis-unreachable"


def test_each_master_of_a_cluster(redis_cluster: RedisCluster) -> None:
    """A Cluster's masters are asked one by one."""
    for store in (
        RedisStore.from_url(redis_cluster.url),
        RedisStore(redis.asyncio.RedisCluster.from_url(redis_cluster.url.replace("redis+cluster", "redis"))),
    ):
        found = look(store=store)
        assert codes(found) == ["redis-not-kept"] * 3
        assert len({one.what for one in found}) == 3

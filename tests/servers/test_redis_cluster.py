"""RedisCluster."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.faults import kill
from tests.servers import RedisCluster, resp, wait_until
from tests.servers.processes import alive

pytestmark = pytest.mark.slow


def test_every_node_says_ok(redis_cluster: RedisCluster) -> None:
    """Six nodes know each other, all slots are held, each replica follows its master."""
    for node in redis_cluster.servers:
        info = node.call("CLUSTER", "INFO").decode().split()
        assert {
            "cluster_state:ok",
            "cluster_slots_ok:16384",
            "cluster_known_nodes:6",
            "cluster_size:3",
        } <= set(info)
    for master, replica in zip(redis_cluster.masters, redis_cluster.replicas, strict=True):
        assert replica.info("replication")["master_port"] == str(master.port)


def test_a_key_lives_on_its_owner(redis_cluster: RedisCluster, prefix: str) -> None:
    """Its owner takes it, another master points there."""
    key = f"{prefix}key"
    owner = redis_cluster.owner(key)
    assert owner.call("SET", key, "value") == b"OK"
    other = next(node for node in redis_cluster.masters if node is not owner)
    with pytest.raises(resp.ReplyError, match=rf"MOVED \d+ 127\.0\.0\.1:{owner.port}"):
        other.call("GET", key)


def test_a_replica_takes_over() -> None:
    """When a master is killed its replica takes its slots, with the data; the old master comes back as a
    replica; afterwards nothing is left."""
    with RedisCluster() as cluster:
        owner = cluster.owner("key")
        owner.call("SET", "key", "value")
        assert owner.call("WAIT", 1, 5000) == 1
        cluster.hurry()
        kill(owner)
        cluster.wait_ok()  # not before somebody has noticed
        assert cluster.owner("key") is not owner
        assert cluster.owner("key").call("GET", "key") == b"value"
        owner.start()
        wait_until(lambda: owner.info("replication")["role"] == "slave", what="the old master follows")
        pids = [node.pid for node in cluster.servers]
    assert not alive(pids)


class FakeNode:
    """A node that names these masters, one for each half of the slots."""

    def __init__(self, port: int, *masters: int) -> None:
        self.port, self.masters, self.state, self.running = port, masters, "ok", True

    def info(self, section: str) -> dict[str, str]:
        assert self.running
        return {"role": "master"}

    def call(self, *command: str) -> Any:
        assert self.running
        if command == ("CLUSTER", "INFO"):
            return f"cluster_state:{self.state}\r\ncluster_current_epoch:7\r\n".encode()
        assert command == ("CLUSTER", "SLOTS")
        return [
            [8192 * half, 8192 * half + 8191, [b"127.0.0.1", port, b"id"]]
            for half, port in enumerate(self.masters)
        ]


def test_a_failover_is_over_when_all_nodes_say_so() -> None:
    """Until they miss it all nodes call a cluster whole whose master has just died, and one that was promoted
    knows it before the others do."""
    dead, other, promoted = FakeNode(1, 1, 2), FakeNode(2, 1, 2), FakeNode(3, 1, 2)
    cluster: Any = SimpleNamespace(servers=[dead, other, promoted])
    assert RedisCluster._is_ok(cluster)
    dead.running = False
    assert not RedisCluster._is_ok(cluster), "they have not missed it yet"
    promoted.masters = (3, 2)
    assert not RedisCluster._is_ok(cluster), "one of them does not know"
    other.masters, other.state = (3, 2), "fail"
    assert not RedisCluster._is_ok(cluster), "one of them answers nobody"
    other.state = "ok"
    assert RedisCluster._is_ok(cluster)
    dead.running = True
    assert not RedisCluster._is_ok(cluster), "the old one is back and does not know"

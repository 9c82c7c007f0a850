"""RedisCluster."""

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
    with RedisCluster(node_timeout=1000) as cluster:
        owner = cluster.owner("key")
        owner.call("SET", "key", "value")
        assert owner.call("WAIT", 1, 5000) == 1
        kill(owner)
        cluster.wait_ok()  # not before somebody has noticed
        assert cluster.owner("key") is not owner
        assert cluster.owner("key").call("GET", "key") == b"value"
        owner.start()
        wait_until(lambda: owner.info("replication")["role"] == "slave", what="the old master follows")
        pids = [node.pid for node in cluster.servers]
    assert not alive(pids)

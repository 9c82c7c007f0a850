"""When Redis counts as having a master again."""

from types import SimpleNamespace
from typing import Any

import pytest

from examples.bigevent.redises import Cluster, Sentinel


class Fake:
    """A Sentinel that names these masters, one after the other; the last one again and again."""

    def __init__(self, *ports: int) -> None:
        self.ports = list(ports)

    def call(self, *command: str) -> list[bytes]:
        port = self.ports.pop(0) if len(self.ports) > 1 else self.ports[0]
        assert command == ("SENTINEL", "MASTER", "service")  # what redis-py goes by
        return [b"ip", b"127.0.0.1", b"port", b"%d" % port, b"flags", b"master"]


def test_a_fail_over_is_over_when_all_sentinels_say_so() -> None:
    """One that still names the old master would send applications there as soon as it is back, empty."""
    late = Fake(1, 1, 2)
    servers: Any = SimpleNamespace(
        sentinels=[Fake(2), late, Fake(2)], master=SimpleNamespace(running=True, port=2)
    )
    redis = Sentinel()
    redis._servers = servers
    assert not redis._agreed()
    redis.wait()
    assert late.ports == [2]
    assert redis._agreed()
    servers.master.running = False
    assert not redis._agreed()


class FakeNode:
    """A node of a cluster that names these masters, one for each half of the slots."""

    def __init__(self, port: int, *masters: int, state: str = "ok") -> None:
        self.port, self.masters, self.state, self.running = port, masters, state, True

    def call(self, *command: str) -> Any:
        assert self.running
        if command == ("CLUSTER", "INFO"):
            return f"cluster_state:{self.state}".encode()
        assert command == ("CLUSTER", "SLOTS")
        return [
            [8192 * half, 8192 * half + 8191, [b"127.0.0.1", port, b"id"]]
            for half, port in enumerate(self.masters)
        ]


def test_a_cluster_has_failed_over_when_all_nodes_say_so() -> None:
    """Until they miss it all nodes call a cluster whole whose master has just died, and one that was promoted
    knows it before the others do."""
    dead, other, promoted = FakeNode(1, 1, 2), FakeNode(2, 1, 2), FakeNode(3, 1, 2)
    redis = Cluster()
    redis._servers = SimpleNamespace(servers=[dead, other, promoted])  # type: ignore[assignment]
    assert redis._agreed()
    dead.running = False
    assert not redis._agreed(), "they have not missed it yet"
    promoted.masters = (3, 2)
    assert not redis._agreed(), "one of them does not know"
    other.masters, other.state = (3, 2), "fail"
    assert not redis._agreed(), "one of them answers nobody"
    other.state = "ok"
    assert redis._agreed()
    dead.running = True
    assert not redis._agreed(), "the old one is back and does not know"
    dead.masters = (3, 2)
    assert redis._agreed()


@pytest.mark.slow
def test_a_real_cluster() -> None:
    """When it is waited for, nobody names the master that was killed."""
    redis = Cluster(down_after=10_000)
    with redis.group:
        killed = redis.kill_master()
        redis.promote(killed)
        for node in redis._servers.servers:
            if node.running:
                assert killed.port not in [port for _, _, (_, port, *_), *_ in node.call("CLUSTER", "SLOTS")]
        killed.start()
        redis.wait()
        assert killed.info("replication")["role"] == "slave"

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

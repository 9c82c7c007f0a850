"""RedisSentinel."""

import pytest

from tests.faults import kill
from tests.servers import RedisSentinel
from tests.servers.processes import alive

# Sentinels that have stood still for two seconds do nothing for the next thirty.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_the_sentinels_know_everybody(redis_sentinel: RedisSentinel) -> None:
    """Each knows the master, both replicas and the other two; the replicas have what the master has."""
    assert redis_sentinel.master is redis_sentinel.data[0]
    for sentinel in redis_sentinel.sentinels:
        flat = sentinel.call("SENTINEL", "MASTER", "service")
        seen = dict(zip(flat[::2], flat[1::2], strict=True))
        assert (seen[b"num-slaves"], seen[b"num-other-sentinels"], seen[b"quorum"]) == (b"2", b"2", b"2")
    redis_sentinel.master.call("SET", "key", "value")
    assert redis_sentinel.master.call("WAIT", 2, 5000) == 2
    assert [replica.call("GET", "key") for replica in redis_sentinel.replicas] == [b"value", b"value"]


def test_failover() -> None:
    """When the master is killed, the sentinels make a replica master, with the data, and the other one
    follows it; afterwards nothing is left."""
    with RedisSentinel(down_after=1000) as group:
        old = group.master
        old.call("SET", "key", "value")
        assert old.call("WAIT", 2, 5000) == 2
        kill(old)
        new = group.wait_failover(old)
        assert new.call("GET", "key") == b"value"
        assert new.call("SET", "key", "other") == b"OK"
        pids = [server.pid for server in group.servers if server.running]
    assert not alive(pids)

"""Redis in the two ways in which it survives the loss of a master. Everything here blocks."""

from typing import Protocol

from tests.servers import RedisCluster, RedisSentinel, wait_until
from tests.servers.group import Group
from tests.servers.redis import RedisServer
from tests.servers.redis_sentinel import SERVICE


class Redis(Protocol):
    """Args:
    group: the servers, as a context manager.
    """

    group: Group

    @property
    def url(self) -> str:
        """For sessions and cache."""
        ...

    def kill_master(self) -> RedisServer:
        """Kill a master, and return at once; the killed one."""
        ...

    def promote(self, killed: RedisServer) -> None:
        """Have a replica promoted now, however patient the others are."""
        ...

    def wait(self) -> None:
        """Return when there is a master for everything."""
        ...


class Sentinel:
    """A master, two replicas, three Sentinels.

    Args:
        down_after: milliseconds without an answer after which a master counts as dead: most of what a
            fail-over takes. Much shorter than two seconds, a busy machine counts as a dead one.
    """

    def __init__(self, *, down_after: int = 2_000) -> None:
        self.group = self._servers = RedisSentinel(down_after=down_after)

    @property
    def url(self) -> str:
        return self._servers.url

    def kill_master(self) -> RedisServer:
        master = self._servers.master
        master.kill()
        return master

    def promote(self, killed: RedisServer) -> None:
        self._servers.fail_over(killed)

    def wait(self) -> None:
        wait_until(self._agreed, what="Redis fails over")

    def _agreed(self) -> bool:
        """Whether all Sentinels name one master, which runs: some learn of a new one later than others.

        By the command that redis-py asks them: the one that has promoted a replica goes on to name the old
        master there until the other replicas follow.
        """
        named = set()
        for sentinel in self._servers.sentinels:
            said = sentinel.call("SENTINEL", "MASTER", SERVICE)
            master = dict(zip(said[::2], said[1::2], strict=True))
            named.add((int(master[b"port"]), master[b"flags"]))
        return named == {(self._servers.master.port, b"master")} and self._servers.master.running


class Cluster:
    """Three masters, a replica of each.

    Args:
        down_after: as for `Sentinel`.
    """

    def __init__(self, *, down_after: int = 2_000) -> None:
        self.group = self._servers = RedisCluster(node_timeout=down_after)

    @property
    def url(self) -> str:
        """With all of them: whoever starts while the first is dead asks another one."""
        nodes = ",".join(f"{node.host}:{node.port}" for node in self._servers.servers)
        return f"redis+cluster://{nodes}"

    def kill_master(self) -> RedisServer:
        """That of some slot: one is as good as another."""
        master = self._servers.owner("session")
        master.kill()
        return master

    def promote(self, killed: RedisServer) -> None:
        replica = next(
            node
            for node in self._servers.servers
            if node.running and node.info("replication").get("master_port") == str(killed.port)
        )
        replica.call("CLUSTER", "FAILOVER", "TAKEOVER")
        self.wait()

    def wait(self) -> None:
        self._servers.wait_ok()

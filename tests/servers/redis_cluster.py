"""Redis Cluster: three masters and a replica of each."""

import secrets
from pathlib import Path
from typing import Any

from tests.servers import resp
from tests.servers.group import Group
from tests.servers.ports import BUS_OFFSET, free_port
from tests.servers.redis import RedisServer
from tests.servers.waiting import wait_until

_SLOTS = 16_384


class RedisClusterNode(RedisServer):
    """One node; its state file survives a restart, so that it comes back as the member it was."""

    def __init__(self, **options: str | int) -> None:
        super().__init__(cluster_enabled="yes", **options)  # type: ignore[arg-type]  # no option is called port
        self.node_id = secrets.token_hex(20)

    def choose_port(self) -> int:
        return free_port(bus=True)

    @property
    def state_file(self) -> Path:
        return self.directory / "nodes.conf"


class RedisCluster(Group):
    """``.masters`` (of the start) and ``.replicas``, replica *i* of master *i*; ``.url`` and ``.ports``.

    A node counts as failed after `node_timeout` milliseconds; the default is patient, so that a machine
    under load sees no failover that nobody asked for. To see one: `hurry()`, `kill` a master, `wait_ok()`.
    """

    def __init__(self, *, masters: int = 3, node_timeout: int = 15_000) -> None:
        self._count, self._node_timeout = masters, node_timeout
        super().__init__()

    def _make(self) -> None:
        options: dict[str, Any] = {
            "cluster_node_timeout": self._node_timeout,
            "cluster_replica_validity_factor": 0,  # a replica may take over however late it noticed
            "cluster_allow_replica_migration": "no",
            "repl_diskless_sync_delay": 0,
        }
        self.masters = [RedisClusterNode(**options) for _ in range(self._count)]
        self.replicas = [RedisClusterNode(**options) for _ in range(self._count)]

    @property
    def servers(self) -> list[RedisClusterNode]:
        return [*self.masters, *self.replicas]

    @property
    def ports(self) -> list[int]:
        return [node.port for node in self.servers]

    @property
    def url(self) -> str:
        """``redis+cluster://127.0.0.1:port``, of the first node."""
        return f"redis+cluster://{self.masters[0].host}:{self.masters[0].port}"

    def _bring_up(self) -> None:
        # As if they had met before: CLUSTER MEET would take seconds of gossip.
        for node in self.servers:
            node.state_file.write_text(self._state(node))
        for node in self.servers:
            node.launch()
        for node in self.servers:
            node.wait_ready()
        self.wait_ok()

    def _state(self, myself: RedisClusterNode) -> str:
        lines = []
        for number, (master, replica) in enumerate(zip(self.masters, self.replicas, strict=True)):
            first, last = (_SLOTS * n // self._count for n in (number, number + 1))
            for node, flags, of, slots in (
                (master, "master", "-", f" {first}-{last - 1}"),
                (replica, "slave", master.node_id, ""),
            ):
                address = f"{node.host}:{node.port}@{node.port + BUS_OFFSET}"
                role = f"myself,{flags}" if node is myself else flags
                lines.append(f"{node.node_id} {address} {role} {of} 0 0 {number + 1} connected{slots}\n")
        return "".join([*lines, f"vars currentEpoch {self._count} lastVoteEpoch 0\n"])

    def hurry(self) -> None:
        """From now on a node counts as failed after a second.

        Not from the start: on a machine under load there may be a failover before the fault.
        """
        for node in self.servers:
            node.call("CONFIG", "SET", "cluster-node-timeout", 1000)

    def wait_ok(self) -> None:
        """Return when every running node says the cluster is whole, all of them name the same masters, which
        run, and every running replica is in step. After a `kill` that is after the failover."""
        wait_until(self._is_ok, what="the cluster is ok")

    def _is_ok(self) -> bool:
        running = [node for node in self.servers if node.running]
        try:
            if not all(map(_is_in_step, running)):
                return False
            views = {_view(node) for node in running}
        except (OSError, resp.ReplyError):
            return False
        # One that has not heard of a failover yet goes on to say that all is well.
        return len(views) == 1 and all(_masters(view) <= {node.port for node in running} for view in views)

    def owner(self, key: str) -> RedisClusterNode:
        """The master that holds `key` now, by the word of the first node that answers."""
        witness = next(node for node in self.servers if node.running)
        slot = witness.call("CLUSTER", "KEYSLOT", key)
        for first, last, (_, port, *_), *_ in witness.call("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.servers if node.port == port)
        raise LookupError(f"nobody holds slot {slot}")


def _is_in_step(node: RedisClusterNode) -> bool:
    replication = node.info("replication")
    return b"cluster_state:ok" in node.call("CLUSTER", "INFO") and (
        replication["role"] == "master" or replication["master_link_status"] == "up"
    )


_View = tuple[int, frozenset[tuple[int, int]]]
"""The epoch of the last election, and for each run of slots its first one and its master's port."""


def _view(node: RedisClusterNode) -> _View:
    """What one node has heard."""
    epoch = node.call("CLUSTER", "INFO").partition(b"cluster_current_epoch:")[2].split()[0]
    slots = node.call("CLUSTER", "SLOTS")
    return int(epoch), frozenset((first, port) for first, _, (_, port, *_), *_ in slots)


def _masters(view: _View) -> set[int]:
    return {port for _, port in view[1]}

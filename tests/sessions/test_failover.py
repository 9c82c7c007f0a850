"""Standalone, Sentinel and Cluster, while they fail or move, with clients running (issue 3, line 30).

Two server processes, one of each colour, serve visitors without a pause (see `busy.py`, which also checks
each answer). What holds everywhere: no wrong answer, 503 while there is no primary, and everybody is served
again once there is one. What was acknowledged is there afterwards, unless the primary dies before replication
has carried it; `in_step` makes sure of that for what came before.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from redis.crc import key_slot

from tests.faults import freeze, kill
from tests.servers import RedisCluster, RedisSentinel, RedisServer, wait_until
from tests.servers.redis_cluster import RedisClusterNode

# Sentinels that have stood still for two seconds do nothing for the next thirty.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Busy:
    """One process of `busy.py`."""

    def __init__(self, url: str, prefix: str, colour: str, options: dict[str, Any]) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.sessions.busy", url, prefix, colour, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def order(self, what: str) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(what + "\n")
        self.popen.stdin.flush()

    def hear(self) -> Any:
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert line, "the process has ended"
        return json.loads(line)

    def close(self) -> None:
        self.popen.kill()
        self.popen.wait()
        for stream in (self.popen.stdin, self.popen.stdout):
            assert stream is not None
            stream.close()


class Crowd:
    """Clients of both colours at once."""

    def __init__(self, processes: list[Busy]) -> None:
        self._processes = processes

    def all(self, what: str) -> list[Any]:
        for process in self._processes:
            process.order(what)
        return [process.hear() for process in self._processes]

    def settle(self) -> None:
        """Everybody is served, from now on."""
        assert self.all("settle") == [True, True], "somebody is not served again"

    def miss(self) -> None:
        """Each process notices that the server is away, which one that has not had its turn has not."""
        assert self.all("miss") == [True, True], "somebody is served by a server that is not there"

    def report(self) -> list[Any]:
        """What each process has seen; nothing wrong, in any case."""
        reports = self.all("stop")
        assert [report["wrong"] for report in reports] == [[], []]
        return reports


@pytest.fixture
def crowd(prefix: str) -> Iterator[Callable[..., Crowd]]:
    with ExitStack() as stack:

        def start(url: str, **options: Any) -> Crowd:
            options = {"timeout": 0.5, "cooldown": 0.1, **options}
            processes = []
            for colour in ("sync", "async"):
                processes.append(Busy(url, prefix, colour, options))
                stack.callback(processes[-1].close)
            crowd = Crowd(processes)
            crowd.settle()
            return crowd

        yield start


def in_step(crowd: Crowd, *masters: RedisServer) -> None:
    """Mark what has been acknowledged, and wait until every replica has it."""
    crowd.all("mark")
    for master in masters:
        offset = int(master.info("replication")["master_repl_offset"])
        wait_until(
            lambda master=master, offset=offset: carried(master) >= offset,  # type: ignore[misc]
            what="the replicas have what was acknowledged",
        )


def carried(master: RedisServer) -> int:
    """How far every replica of a master has come; -1 if there is none."""
    replicas = [text for name, text in master.info("replication").items() if name.startswith("slave")]
    offsets = [int(dict(part.split("=") for part in text.split(","))["offset"]) for text in replicas]
    return min(offsets, default=-1)


def test_a_standalone_server_that_is_killed(crowd: Callable[..., Crowd]) -> None:
    """30. Killed and started again, with a log that it writes at once: 503 meanwhile, and nothing is lost."""
    with RedisServer(appendonly="yes", appendfsync="always") as server:
        clients = crowd(server.url)
        kill(server)
        clients.miss()
        server.start()
        clients.settle()
        for report in clients.report():
            assert report["refused"]
            assert report["lost"] == []


@pytest.fixture
def sentinels() -> Iterator[RedisSentinel]:
    """For a failover that somebody orders."""
    with RedisSentinel(replicas=1) as service:
        yield service


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    """For failovers that somebody orders; all of it is there afterwards."""
    with RedisCluster() as cluster:
        yield cluster


def masters_port(sentinel: RedisServer) -> int:
    """Where clients are sent; this sentinel may name the new master to other sentinels already."""
    (flat,) = sentinel.call("SENTINEL", "MASTERS")
    return int(dict(zip(flat[::2], flat[1::2], strict=True))[b"port"])


def test_a_planned_failover_of_sentinels(sentinels: RedisSentinel, crowd: Callable[..., Crowd]) -> None:
    """30. Planned: writes wait, the replicas have caught up, another one becomes the master. Nothing that was
    acknowledged is missing, also of sessions that change their ids all the time."""
    clients = crowd(sentinels.url, rotates=True)
    old = sentinels.master
    old.call("CLIENT", "PAUSE", 60_000, "WRITE")
    in_step(clients, old)
    sentinels.sentinels[0].call("SENTINEL", "FAILOVER", "service")
    for sentinel in sentinels.sentinels:
        wait_until(lambda each=sentinel: masters_port(each) != old.port, what="a failover")  # type: ignore[misc]
    old.call("CLIENT", "KILL", "TYPE", "normal")  # what still waits there must not be acknowledged
    old.call("CLIENT", "UNPAUSE")
    clients.settle()
    for report in clients.report():
        assert report["lost"] == []


def test_a_failover_that_sentinels_are_told_to_make(
    sentinels: RedisSentinel, crowd: Callable[..., Crowd]
) -> None:
    """30. `SENTINEL FAILOVER` and nothing else: the old master goes on to take what is sent to it, which will
    be lost. Nobody goes on to send it long before it becomes a replica, some ten seconds later."""
    clients = crowd(sentinels.url)
    old = sentinels.master
    in_step(clients, old)
    sentinels.sentinels[0].call("SENTINEL", "FAILOVER", "service")
    wait_until(lambda: b"cmd=evalsha" not in old.call("CLIENT", "LIST"), what="nobody asks the old master")
    assert old.info("replication")["role"] == "master"
    clients.settle()
    clients.report()


def test_a_planned_failover_of_a_cluster(cluster: RedisCluster, crowd: Callable[..., Crowd]) -> None:
    """30. `CLUSTER FAILOVER` of every master in turn: nothing that was acknowledged is missing, also of
    sessions that change their ids, and so their nodes, all the time."""
    clients = crowd(cluster.url, rotates=True)
    for replica in cluster.replicas:
        replica.call("CLUSTER", "FAILOVER")
        wait_until(lambda node=replica: node.info("replication")["role"] == "master", what="a failover")  # type: ignore[misc]
        cluster.wait_ok()
    clients.settle()
    for report in clients.report():
        assert report["lost"] == []


def move(slot: int, source: RedisClusterNode, target: RedisClusterNode, nodes: list[RedisClusterNode]) -> int:
    """Move a slot with its keys, as `redis-cli --cluster reshard` does; how many keys there were."""
    target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", source.node_id)
    source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", target.node_id)
    moved = 0
    while keys := source.call("CLUSTER", "GETKEYSINSLOT", slot, 10):
        source.call("MIGRATE", target.host, target.port, "", 0, 5000, "KEYS", *(key.decode() for key in keys))
        moved += len(keys)
    for node in (target, source, *(node for node in nodes if node not in (target, source))):
        node.call("CLUSTER", "SETSLOT", slot, "NODE", target.node_id)
    return moved


def test_slots_that_move(cluster: RedisCluster, crowd: Callable[..., Crowd], prefix: str) -> None:
    """30. The slots of sessions in use move to another node and back: nobody notices, not even by a 503."""
    clients = crowd(cluster.url, timeout=10, connect_timeout=10)
    masters = [node for node in cluster.servers if node.info("replication")["role"] == "master"]
    keys = {node: node.call("KEYS", f"{prefix}*") for node in masters}
    # Of a dozen sessions a node may have none, or two in one slot, which moves once.
    source, target, *_ = sorted(masters, key=lambda node: len(keys[node]), reverse=True)
    slots = {key_slot(key) for key in keys[source]}
    assert slots
    moved = 0
    for here, there in ((source, target), (target, source)):
        for slot in slots:
            moved += move(slot, here, there, masters)
        clients.settle()
    assert moved >= 2 * len(slots)
    for report in clients.report():
        assert (report["refused"], report["lost"]) == (0, [])


@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_a_master_that_fails_under_sentinels(fault: str, crowd: Callable[..., Crowd]) -> None:
    """30. The master dies or hangs: 503 until there is a new one, then everybody is served, and nobody goes
    back behind what replication had carried. A master that wakes up again changes nothing."""
    with RedisSentinel(replicas=1) as service, ExitStack() as frozen:
        clients = crowd(service.url)
        old = service.master
        in_step(clients, old)
        for sentinel in service.sentinels:  # now: on a machine under load they would see a fault before
            sentinel.call("SENTINEL", "SET", "service", "down-after-milliseconds", 1000)
        if fault == "kill":
            kill(old)
        else:
            frozen.enter_context(freeze(old))
        wait_until(lambda: service.master is not old, timeout=90, what="a failover")
        clients.settle()
        frozen.close()
        clients.settle()
        for report in clients.report():
            assert report["refused"]


@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_a_master_that_fails_in_a_cluster(fault: str, crowd: Callable[..., Crowd]) -> None:
    """30. The same in a Cluster."""
    with RedisCluster() as cluster, ExitStack() as frozen:
        clients = crowd(cluster.url)
        victim, heir = cluster.masters[1], cluster.replicas[1]
        in_step(clients, *cluster.masters)
        for node in cluster.servers:
            node.call("CONFIG", "SET", "cluster-node-timeout", 1000)
        if fault == "kill":
            kill(victim)
        else:
            frozen.enter_context(freeze(victim))
        wait_until(lambda: heir.info("replication")["role"] == "master", what="a failover")
        clients.settle()
        frozen.close()
        clients.settle()
        for report in clients.report():
            assert report["refused"]

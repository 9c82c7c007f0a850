"""How a master fails in ``./dev bench failover``."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks._failover_service import Service
from tests.faults import freeze, kill
from tests.servers import RedisServer, processes

LINK = 0.02
"""Seconds on the way to each replica, where the link is slow."""
LAG = 0.2
"""Seconds that one replica is behind, where one lags."""

Fault = Callable[[Service, float], None]
"""Breaks the master, and returns when another one has taken over for so many seconds and what was broken, but
for what is dead, is whole again."""


@dataclass(frozen=True)
class Kind:
    """A way to fail.

    Args:
        name: for the table.
        fault: see `Fault`.
        delays: see :func:`benchmarks._failover_service.service`.
        cost: which column of the table of costs its quiet part counts in, if any.
    """

    name: str
    fault: Fault
    delays: dict[int, float] = field(default_factory=dict)
    cost: str | None = None


def killed(service: Service, seconds: float) -> None:
    """The process dies. What it had handed to the system still arrives."""
    old = service.nodes[0]
    kill(old)
    service.taken_over(old)
    time.sleep(seconds)


def frozen(service: Service, seconds: float) -> None:
    """It hangs, and is a master that takes writes when it wakes up."""
    old = service.nodes[0]
    with freeze(old):
        service.taken_over(old)
        time.sleep(seconds)


def cut_off(service: Service, seconds: float) -> None:
    """It goes on to serve the near side, alone with it: the network between them and the others is gone."""
    old = service.nodes[0]
    for link in service.links.values():
        link.blackhole()  # the master hears nothing of that
    for door in service.doors:
        door.refuse()
    old.shut_out("sentinel", "far")
    service.taken_over(old)
    time.sleep(seconds)
    old.let_in("sentinel", "far")
    for proxy in [*service.doors, *service.links.values()]:
        proxy.pass_through()


def gone(service: Service, seconds: float) -> None:
    """The machine dies, and with it what is on its way to the replicas that have a link."""
    die(service, service.nodes[0])
    service.taken_over(service.nodes[0])
    time.sleep(seconds)


def gone_with_its_replica(service: Service, seconds: float) -> None:
    """The replica without a link dies as well, and comes back later."""
    old, quick = service.nodes[:2]
    die(service, old, quick)
    new = service.taken_over(old)
    time.sleep(seconds)
    quick.start()
    quick.call("REPLICAOF", new.host, new.port)


def die(service: Service, *servers: RedisServer) -> None:
    processes.send([server.pid for server in servers], signal.SIGKILL)
    for link in service.links.values():
        link.refuse()
    for server in servers:
        kill(server)


LOOPBACK, SLOW = "over loopback", f"over {LINK * 1000:g} ms"

KINDS = {
    "killed": Kind("its process is killed", killed, cost=LOOPBACK),
    "frozen": Kind("it freezes and wakes up later", frozen, cost=LOOPBACK),
    "cut": Kind("it is cut off with half of the processes", cut_off, {1: 0.0, 2: 0.0}),
    "gone": Kind(f"its machine dies, replicas {LINK * 1000:g} ms away", gone, {1: LINK, 2: LINK}, cost=SLOW),
    "lagging": Kind(f"its machine dies, one replica {LAG * 1000:g} ms behind", gone, {2: LAG}),
    "both": Kind("the same, and the other replica dies with it", gone_with_its_replica, {2: LAG}),
}

"""What is wrong with the servers of a cluster, and with the pools that lead to them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from scalekit.ops.doctor.findings import Finding, finding

if TYPE_CHECKING:
    from scalekit.database.examine import ClusterFacts, ServerFacts

CLUSTERS = ("scalekit.database.cluster.Cluster", "scalekit.database.cluster.AsyncCluster")


def judge(facts: "ClusterFacts", *, processes: int | None, where: str) -> Iterator[Finding]:
    """What is wrong. Pure.

    Args:
        processes: how many of the application run at the most; ``None``: nobody has said.
    """
    for server in facts.servers:
        if server.state == "silent":
            yield unreachable(server.name, server.reason or "no answer in time", where=where)
        elif server.state == "misplaced":
            yield finding(
                "database-left-out",
                what=f"{server.name} gets neither reads nor writes: {server.reason}",
                cure="make it a replica of the primary, which refuses writes, or take it out of replicas=",
                where=where,
            )
        elif server.state == "lags":
            yield finding(
                "database-lag",
                what=f"{server.name} has not replayed, {server.reason}, what the primary had",
                cure="is its replay paused, its disk slower? SELECT * FROM pg_stat_replication, or "
                "SHOW REPLICA STATUS, tells",
                where=where,
            )
        yield from _connections(server, processes, where)
    if facts.primary is None and any(server.state != "silent" for server in facts.servers):
        yield finding(
            "database-no-primary",
            what=f"none of {', '.join(server.name for server in facts.servers)} takes writes",
            cure="promote one, or give the URL of the one that is primary",
            where=where,
        )


def _connections(server: "ServerFacts", processes: int | None, where: str) -> Iterator[Finding]:
    if server.limit is None:
        return
    if server.wanted is None:
        yield finding(
            "database-connections",
            what=f"one process may open any number of connections to {server.name}, which has {server.limit}",
            cure="give the cluster pool_size= and max_overflow=, and no pool without a limit",
            where=where,
            severity="warning",
        )
        return
    total = server.wanted * (processes or 1)
    if total > server.limit:
        fits = server.limit // server.wanted
        who = "one process wants" if (processes or 1) == 1 else f"{processes} processes want"
        room = f"room for {fits} of them" if fits else "no room for one"
        yield finding(
            "database-connections",
            what=f"{who} up to {total} connections of {server.name} ({server.wanted} each, with a probe), "
            f"which has {server.limit}: {room}",
            cure="a smaller pool_size= and max_overflow=, a larger max_connections there, or a pooler "
            "such as PgBouncer between",
            where=where,
        )


def unreachable(name: str, reason: str, *, where: str) -> Finding:
    """A server, or a whole cluster, that did not answer."""
    return finding(
        "database-unreachable",
        what=f"{name} does not answer: {reason}",
        cure="is the address right, is it up, and does a firewall let this machine in?",
        where=where,
    )

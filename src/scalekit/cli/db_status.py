"""Show the servers of CLUSTER as the application would see them: which is the primary, and what is wrong.

CLUSTER is the application's, such as shop:cluster or shop.py:cluster. It is loaded and asks its servers, and
is not written to. A replica gets --max-lag to replay what the primary has.

The exit status is 0 if every server does what it is there for; and 1 if one is down, left out or too far
behind, or none takes writes.
"""

import argparse
from typing import TYPE_CHECKING, Any

from scalekit.cli._objects import add_loading, load_object, quiet
from scalekit.cli._stop import drive
from scalekit.cli._values import duration

if TYPE_CHECKING:
    from scalekit.cli._terminal import Terminal
    from scalekit.database.examine import ClusterFacts, ServerFacts
    from scalekit.database.status import MemberStatus
    from scalekit.types import Colour

SUMMARY = "show the servers of a cluster, and what is wrong"

_WORDS = {"silent": "down", "misplaced": "left out", "lags": "behind"}
"""For people, of a server that does not do what it is there for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cluster", metavar="CLUSTER", help="module:cluster, or path/file.py:cluster")
    add_loading(parser, target="CLUSTER", returns="it")
    parser.add_argument(
        "--max-lag",
        type=duration,
        default=5.0,
        metavar="TIME",
        help="how far behind a replica may be, such as 30s (5s); for so long it is waited for at most",
    )


def run(arguments: argparse.Namespace, terminal: "Terminal") -> int:
    cluster = load_object(arguments.cluster, arguments, wanted="cluster", fits=_is_cluster, option="CLUSTER")
    from scalekit.database import Cluster
    from scalekit.database.examine import examining

    colour: Colour = "sync" if isinstance(cluster, Cluster) else "async"
    with terminal.activity() as show, quiet():
        show(f"asking the servers; replicas have {arguments.max_lag:g} s to catch up")
        facts = drive(examining(cluster, patience=arguments.max_lag), colour)
    problems = list(_problems(facts, arguments.max_lag))
    members = {member.name: member for member in facts.status.members}
    for server in facts.servers:
        terminal.record(_facts(server, members[server.name]))
    terminal.record({"done": True, "healthy": not problems, "primary": facts.primary})
    terminal.table(
        ["role", "lag", "timeline", "pool", "server"],
        [_row(server, members[server.name], arguments.max_lag) for server in facts.servers],
    )
    for problem in problems:
        terminal.problem(problem)
    if not problems:
        terminal.say("all is well", style="green")
    return 1 if problems else 0


def _problems(facts: "ClusterFacts", max_lag: float) -> "list[str]":
    found = []
    for server in facts.servers:
        if server.state == "silent":
            found.append(f"{server.name} does not answer: {server.reason or 'nothing in time'}")
        elif server.state == "misplaced":
            found.append(f"{server.name} gets neither reads nor writes: {server.reason}")
        elif server.state == "lags":
            found.append(f"{server.name} has not replayed what the primary had {max_lag:g} s ago")
    if facts.primary is None and any(server.state != "silent" for server in facts.servers):
        found.append("none of them takes writes")
    if facts.status.lookup_failure is not None:
        found.append(f"the replicas cannot be looked up: {facts.status.lookup_failure}")
    return found


def _facts(server: "ServerFacts", member: "MemberStatus") -> dict[str, Any]:
    return {
        "server": server.name,
        "state": server.state,
        "reason": server.reason,
        "notice": member.notice,
        "lag": member.lag,
        "timeline": member.timeline,
        "position": member.position,
        "pool": server.wanted,
        "connections": server.limit,
    }


def _row(server: "ServerFacts", member: "MemberStatus", max_lag: float) -> list[str]:
    lag = "" if member.lag is None else f"{member.lag:g} s"
    if server.state == "lags":
        lag = f"over {max_lag:g} s"
    of = "" if server.limit is None else f" of {server.limit}"
    pool = "any number" if server.wanted is None else str(server.wanted)
    return [
        _WORDS.get(server.state, server.state),
        lag if server.state in ("replica", "lags") else "",
        "" if member.timeline is None else str(member.timeline),
        f"{pool}{of}",
        f"{server.name}  ({member.notice})" if member.notice else server.name,
    ]


def _is_cluster(thing: Any) -> bool:
    from scalekit.database import AsyncCluster, Cluster

    return isinstance(thing, Cluster | AsyncCluster)

"""What the servers of a cluster say of themselves, once and for who asks; nothing is changed.

Rules:

* Roles, and why a server is left out, are what every process of the application would decide: the cluster is
  asked like by a first transaction.
* A replica lags if, after a while, it has not what the primary had when it was asked.
* Connections are counted as the pools may open them: all of one process to a server, and its probe's.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from sqlalchemy.exc import SQLAlchemyError

from scalekit._steps import Steps, run, run_async
from scalekit.database.cluster import AsyncCluster, Cluster
from scalekit.database.engines import describe
from scalekit.database.levels import ANY
from scalekit.database.member import Member
from scalekit.database.reasons import CatchingUp, Silence
from scalekit.database.status import Status
from scalekit.errors import BackendError, DatabaseError

State: TypeAlias = Literal["primary", "replica", "single", "silent", "lags", "misplaced"]
"""``"silent"`` does not answer, ``"misplaced"`` is no replica of the primary."""

# Without superusers' connections, and since PostgreSQL 16 those of pg_use_reserved_connections.
_POSTGRESQL = (
    "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    " - coalesce(current_setting('reserved_connections', true)::int, 0)"
)
_LIMITS = {
    "postgresql": _POSTGRESQL,
    "mysql": "SELECT @@max_connections",
    "mariadb": "SELECT @@max_connections",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerFacts:
    """One server of a cluster.

    Args:
        name: host, port and database.
        state: what it is, or what is wrong.
        reason: why it gets nothing, or what the driver said; ``None`` otherwise.
        wanted: connections that one process may open to it; ``None`` for any number.
        limit: connections that it has for all; ``None`` where that is not known.
    """

    name: str
    state: State
    reason: str | None
    wanted: int | None
    limit: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterFacts:
    """All servers of a cluster, the configured primary first; ``primary`` is the name of the one that is.

    ``status`` is what a process that has just begun knows of them.
    """

    primary: str | None
    servers: tuple[ServerFacts, ...]
    status: Status


def examine(cluster: Cluster | AsyncCluster, *, patience: float = 3.0) -> ClusterFacts:
    """Ask the servers. Blocks for some seconds, and ends with the cluster disposed of.

    Args:
        patience: seconds that a replica gets for what the primary had when it was asked.
    """
    steps = examining(cluster, patience=patience)
    return run(steps) if isinstance(cluster, Cluster) else asyncio.run(run_async(steps))


def examining(cluster: Any, *, patience: float) -> Steps[ClusterFacts]:
    """:func:`examine` as steps, for who drives them: those of a cluster of the same colour."""
    sleep = time.sleep if isinstance(cluster, Cluster) else asyncio.sleep
    try:
        failure = yield from _begin(cluster)
        fleet = cluster._fleet
        states = {member: _state(fleet, member, failure) for member in fleet.members}
        if fleet.primary is not None and not fleet.single:
            states |= yield from _laggards(fleet, patience, sleep)
        status = cluster.status()
        servers = []
        for member in fleet.members:
            state, reason = states[member]
            limit = None if state == "silent" else (yield from _limit(member))
            wanted = None if member.capacity is None else member.capacity + (not fleet.single)
            servers.append(
                ServerFacts(name=member.name, state=state, reason=reason, wanted=wanted, limit=limit)
            )
        primary = fleet.primary.name if fleet.primary is not None else None
        return ClusterFacts(primary=primary, servers=tuple(servers), status=status)
    finally:
        yield cluster.dispose()


def _begin(cluster: Any) -> Steps[str | None]:
    """Have the servers be asked; why nobody could be read from."""
    try:
        read = not cluster.is_single
        connection = yield cluster.connection(read=read, consistency=ANY if read else None)
        yield connection.close()
    except (SQLAlchemyError, DatabaseError, BackendError, OSError) as error:
        return describe(error)
    return None


def _state(fleet: Any, member: Member, failure: str | None) -> tuple[State, str | None]:
    if fleet.single:
        return ("single", None) if failure is None else ("silent", failure)
    if member.health.report is None or member.health.failure is not None:
        return "silent", member.health.failure or failure
    if member is fleet.primary:
        return "primary", None
    reason = fleet.reasons.get(member)
    if reason is None or isinstance(reason, CatchingUp):
        return "replica", None
    return "silent" if isinstance(reason, Silence) else "misplaced", str(reason)


def _laggards(fleet: Any, patience: float, sleep: Any) -> Steps[dict[Member, tuple[State, str | None]]]:
    report = fleet.primary.health.report
    token = report.written if report is not None else None
    waiting = [one for one in fleet.members if _state(fleet, one, None)[0] == "replica"]
    deadline = time.monotonic() + patience
    while token is not None and waiting:
        waiting = [member for member in waiting if not member.reached.covers(token)]
        if time.monotonic() > deadline:
            break
        yield sleep(0.05)
    else:
        return {}
    return {member: ("lags", f"for {patience:g} s") for member in waiting}


def _limit(member: Member) -> Steps[int | None]:
    question = _LIMITS.get(member.url.get_backend_name())
    if question is None:
        return None
    try:
        connection = yield member.probe.pool.engine.connect()
        try:
            result = yield connection.exec_driver_sql(question)
            return int(result.scalar_one())
        finally:
            yield connection.close()
    except (SQLAlchemyError, OSError):
        return None  # it may be full at this moment, which is no word on how many it has

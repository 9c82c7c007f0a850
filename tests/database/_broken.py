"""Connections to replicas that break, without a server dying, for the tests."""

from typing import Any

from sqlalchemy import event

from scalekit.database import AsyncCluster, Cluster
from tests.conftest import Database


def end_backend(items: Database, pid: int) -> None:
    """Returns when it is gone; another server's process of that number is none of the database's."""
    for replica in items.cluster.replicas:
        replica.sql(
            f"SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE pid = {pid}",
            database=items.name,
        )


def pid_of(connection: Any) -> int:
    """The server process of a driver's connection."""
    asks = getattr(connection, "get_server_pid", None)
    pid: int = connection.info.backend_pid if asks is None else asks()
    return pid


def end_at(cluster: AsyncCluster | Cluster, items: Database, *, statement: int) -> list[int]:
    """End the server process of the first connection for reading when it begins its nth ``statement``.

    Returns the processes that statements were sent to, as they are.
    """
    backends: list[int] = []
    ended: list[int] = []

    def before(connection: Any, *_: Any) -> None:
        pid = pid_of(connection.connection.driver_connection)
        backends.append(pid)
        if backends.count(pid) == statement and not ended:
            ended.append(pid)
            end_backend(items, pid)

    for member in cluster._fleet.members:
        event.listen(member.reader, "before_cursor_execute", before)
    return backends

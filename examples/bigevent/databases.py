"""PostgreSQL: three servers, of which one is the primary today. Everything here blocks.

A commit is acknowledged when a replica has it too, so that losing the primary loses no commit: with
asynchronous replication nothing in front of the database could promise that.
"""

import shutil
from types import TracebackType
from typing import Self

from tests.servers import PostgresCluster, wait_until
from tests.servers.postgres import USER, PostgresServer, conninfo
from tests.servers.postgres_binaries import postgres_bin
from tests.servers.programs import run

DATABASE = "shop"


class Databases:
    """A `PostgresCluster` whose roles move."""

    def __init__(self) -> None:
        self._cluster = PostgresCluster(replicas=2, synchronous_standby_names="ANY 1 (*)")

    def __enter__(self) -> Self:
        self._cluster.start()
        self.primary, self.replicas = self._cluster.primary, list(self._cluster.replicas)
        self.primary.sql(f"CREATE DATABASE {DATABASE}")
        self._cluster.wait_caught_up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cluster.close()

    def url(self, node: PostgresServer) -> str:
        return node.url(database=DATABASE)

    def start_replica(self, node: PostgresServer) -> None:
        """Bring back a replica that was killed."""
        node.launch()
        node.wait_ready()
        self._wait_streaming(node)

    def delay(self, node: PostgresServer, seconds: float) -> None:
        """A replica shows each commit so many seconds after it was made."""
        node.sql(f"ALTER SYSTEM SET recovery_min_apply_delay = '{int(seconds * 1000)} ms'")
        node.sql("SELECT pg_reload_conf()")

    def fail_over(self) -> PostgresServer:
        """Kill the primary and promote the replica that has received most; the old primary."""
        old = self.primary
        old.kill()
        received = "SELECT pg_last_wal_receive_lsn() - '0/0'::pg_lsn"
        new = max(self.replicas, key=lambda replica: int(replica.sql(received)))
        new.promote()
        self.primary = new
        self.replicas.remove(new)
        for replica in self.replicas:
            replica.follow(new)
        return old

    def rejoin(self, node: PostgresServer) -> None:
        """Make the old primary a replica of the new one, by a fresh copy: it may have what nobody has."""
        shutil.rmtree(node.data)
        run(
            str(postgres_bin() / "pg_basebackup"), "-D", str(node.data), "-h", self.primary.host,
            "-p", str(self.primary.port), "-U", USER, "-c", "fast", "--no-sync", cwd=node.directory,
        )  # fmt: skip
        node.options["primary_conninfo"] = conninfo(self.primary, node)
        (node.data / "standby.signal").touch()
        self.start_replica(node)
        self.replicas.append(node)

    def _wait_streaming(self, node: PostgresServer) -> None:
        query = f"SELECT count(*) FROM pg_stat_replication WHERE application_name = 'replica_{node.port}'"
        wait_until(lambda: self.primary.sql(query) != "0", what="a replica follows")

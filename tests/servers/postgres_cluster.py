"""PostgreSQL: a primary and its streaming replicas."""

from typing import Any

from tests.servers.group import Group
from tests.servers.postgres import PostgresServer
from tests.servers.waiting import wait_until

_DROP_ALL = (
    """
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema$)' LOOP
            EXECUTE format('DROP SCHEMA %I CASCADE', name);
        END LOOP;
    END $$
    """,
    "CREATE SCHEMA public AUTHORIZATION pg_database_owner",
    "GRANT USAGE ON SCHEMA public TO PUBLIC",
    # Or reads of these would tidy them up later, and write to the log when nobody expects that.
    "VACUUM pg_attrdef, pg_attribute, pg_class, pg_constraint, pg_depend, pg_index, pg_namespace, pg_proc,"
    " pg_sequence, pg_shdepend, pg_type",
)


class PostgresCluster(Group):
    """``.primary`` and ``.replicas``, all streaming when `start()` returns; each is a `PostgresServer`.

    `options` are lines of postgresql.conf for all of them.
    """

    def __init__(self, *, replicas: int = 2, **options: str | int) -> None:
        self._count = replicas
        self._options: dict[str, Any] = options
        super().__init__()

    def _make(self) -> None:
        self.primary = PostgresServer(**self._options)
        self.replicas = [PostgresServer(**self._options) for _ in range(self._count)]

    @property
    def servers(self) -> list[PostgresServer]:
        return [*self.replicas, self.primary]

    def _bring_up(self) -> None:
        self.primary.launch()
        for replica in self.replicas:
            replica.make_standby(self.primary)
        self.primary.wait_ready()
        for replica in self.replicas:
            replica.launch()
        for replica in self.replicas:
            replica.wait_ready()
        self.wait_streaming()

    def wait_streaming(self) -> None:
        """Return when every replica receives from the primary."""
        query = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
        count = str(len(self.replicas))
        wait_until(lambda: self.primary.sql(query) == count, what="replicas stream")

    def empty(self, database: str) -> None:
        """End the connections to a database, and drop all that is in it."""
        others = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{database}'"
        for replica in self.replicas:  # one with a lock would keep the replica from dropping anything
            replica.sql(others)
        prepared = f"SELECT gid FROM pg_prepared_xacts WHERE database = '{database}'"
        ended = f"SELECT count(*) FROM ({others}) AS ended"
        rollbacks = [
            f"ROLLBACK PREPARED '{gid}'" for gid in self.primary.sql(ended, prepared).splitlines()[1:]
        ]
        self.primary.sql(*rollbacks, *_DROP_ALL, f"ALTER DATABASE {database} RESET ALL", database=database)

    def wait_caught_up(self) -> None:
        """Return when every replica shows all that the primary has written until now."""
        position = self.primary.position()
        for replica in self.replicas:
            replica.wait_for(position)

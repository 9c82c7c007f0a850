"""PostgreSQL: a primary and its streaming replicas."""

from typing import Any

from tests.servers.group import Group
from tests.servers.postgres import PostgresServer
from tests.servers.waiting import wait_until


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

    def wait_caught_up(self) -> None:
        """Return when every replica shows all that the primary has written until now."""
        position = self.primary.position()
        for replica in self.replicas:
            replica.wait_for(position)

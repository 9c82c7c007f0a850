"""PostgreSQL: a primary and its streaming replicas."""

from types import TracebackType
from typing import Any, Self

from tests.servers.base import PortTaken
from tests.servers.postgres import PostgresServer, conninfo
from tests.servers.waiting import wait_until


class PostgresCluster:
    """``.primary`` and ``.replicas``, all streaming when `start()` returns; each is a `PostgresServer`.

    `options` are lines of postgresql.conf for all of them.
    """

    def __init__(self, *, replicas: int = 2, **options: str | int) -> None:
        self._options: dict[str, Any] = options
        self._make_servers(replicas)

    def _make_servers(self, replicas: int) -> None:
        self.primary = PostgresServer(**self._options)
        self.replicas = [PostgresServer(**self._options) for _ in range(replicas)]

    @property
    def servers(self) -> list[PostgresServer]:
        return [self.primary, *self.replicas]

    def start(self) -> Self:
        for attempts_left in (2, 1, 0):
            try:
                self._start()
            except PortTaken:
                self.close()
                if not attempts_left:
                    raise
                self._make_servers(len(self.replicas))  # with other ports
            except BaseException:
                self.close()
                raise
            else:
                break
        return self

    def _start(self) -> None:
        self.primary.prepare()
        for replica in self.replicas:
            self.primary.copy_to(replica)
        self.primary.launch()
        self.primary.wait_ready()
        for replica in self.replicas:
            replica.options["primary_conninfo"] = conninfo(self.primary, replica)
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

    def close(self) -> None:
        for server in reversed(self.servers):
            server.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

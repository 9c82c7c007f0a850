"""MariaDB: a primary and a replica that follows it by GTID."""

from tests.servers.group import Group
from tests.servers.mariadb import MariaDBServer


class MariaDBPair(Group):
    """``.primary`` and ``.replica``; replication runs when `start()` returns."""

    def _make(self) -> None:
        self.primary = MariaDBServer(server_id=1)
        self.replica = MariaDBServer(server_id=2)

    @property
    def servers(self) -> list[MariaDBServer]:
        return [self.replica, self.primary]

    def _bring_up(self) -> None:
        for server in self.servers:
            server.launch()
        for server in self.servers:
            server.wait_ready()
        self.replica.follow(self.primary)

    def wait_caught_up(self) -> None:
        """Return when the replica shows all that the primary has written until now."""
        self.replica.wait_for(self.primary.position())

"""The databases of the demo: three PostgreSQL servers, of which one is the primary today.

Everything here blocks, for a second or two; the supervisor calls it in a thread. Names stay, roles move:
``db-1`` begins as the primary.
"""

from typing import Literal, TypeAlias

from tests.servers import PostgresCluster
from tests.servers.postgres import PostgresServer, conninfo
from tests.servers.waiting import wait_until

State: TypeAlias = Literal["running", "paused", "down", "starting", "switching"]

DATABASE = "shop"


class Refused(Exception):
    """What was asked for cannot be done now; the message says why, for people."""


class Unknown(Refused):
    """What it was asked for does not exist."""


class Databases:
    """A `PostgresCluster` with names and roles."""

    def __init__(self, cluster: PostgresCluster) -> None:
        self.nodes: dict[str, PostgresServer] = {
            f"db-{number}": server for number, server in enumerate([cluster.primary, *cluster.replicas], 1)
        }
        self.primary = "db-1"
        self.state: dict[str, State] = dict.fromkeys(self.nodes, "running")
        self._node(self.primary).sql(f"CREATE DATABASE {DATABASE}")
        cluster.wait_caught_up()

    def urls(self) -> dict[str, str]:
        return {name: node.url(database=DATABASE) for name, node in self.nodes.items()}

    def pause(self, name: str) -> None:
        """The replica goes on receiving and shows nothing new."""
        self._replica(name, "running").pause_replay()
        self.state[name] = "paused"

    def resume(self, name: str) -> None:
        self._replica(name, "paused").resume_replay()
        self.state[name] = "running"

    def kill(self, name: str) -> None:
        """As a machine that loses its power."""
        self._replica(name, "running", "paused").kill()
        self.state[name] = "down"

    def start(self, name: str) -> None:
        """Bring a replica back, behind whoever is the primary now."""
        node = self._replica(name, "down")
        self.state[name] = "starting"
        try:
            self._start_replica(name, node)
        except BaseException:
            self.state[name] = "down"
            raise

    def promote(self, name: str) -> None:
        """Make a replica the primary, and the primary a replica, without losing a commit.

        The primary is stopped in good order: it hands over all it has written before it ends. For a second
        or two nobody takes writes, and whoever wants to write waits.
        """
        new = self._replica(name, "running", "paused")
        old_name, old = self.primary, self._node(self.primary)
        if self.state[name] == "paused":
            self.resume(name)
        streaming = f"SELECT count(*) FROM pg_stat_replication WHERE application_name = 'replica_{new.port}'"
        if old.sql(streaming) == "0":
            raise Refused(f"{name} does not follow {old_name} yet; try again in a moment")
        self.state[name] = self.state[old_name] = "switching"
        try:
            old.stop()
            new.promote()
            self.primary = name
            self.state[name] = "running"
            for other, node in self.nodes.items():
                if other not in (name, old_name) and self.state[other] in ("running", "paused"):
                    node.follow(new)
            # It had handed over everything, so it can follow without a copy.
            self._start_replica(old_name, old)
        finally:
            for each in (name, old_name):
                self.state[each] = "running" if self.nodes[each].running else "down"

    def _start_replica(self, name: str, node: PostgresServer) -> None:
        primary = self._node(self.primary)
        (node.data / "standby.signal").touch()
        node.options["primary_conninfo"] = conninfo(primary, node)
        node.launch()
        node.wait_ready()
        query = f"SELECT count(*) FROM pg_stat_replication WHERE application_name = 'replica_{node.port}'"
        wait_until(lambda: primary.sql(query) != "0", what=f"{name} follows")
        self.state[name] = "running"

    def _node(self, name: str) -> PostgresServer:
        if name not in self.nodes:
            raise Unknown(f"there is no database {name}")
        return self.nodes[name]

    def _replica(self, name: str, *states: State) -> PostgresServer:
        node = self._node(name)
        if name == self.primary:
            raise Refused(f"{name} is the primary; promote another one first")
        if self.state[name] not in states:
            raise Refused(f"{name} is {self.state[name]}")
        return node

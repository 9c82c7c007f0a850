"""MySQL, by its manual: what is sent to it, with a server that answers from a script."""

from collections.abc import Callable
from typing import Any

import pytest

from scalekit.database import AsyncCluster, Cluster
from scalekit.database.backends.mysql import POSITION
from scalekit.database.drivers.mysql_common import MySQLDriver
from scalekit.errors import ConfigurationError, NoServerAvailable
from tests.database.conftest import PATIENT
from tests.database.mariadb.conftest import WHERE
from tests.servers import MariaDBPair

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"


class Driver(MySQLDriver):
    errors: tuple[type[Exception], ...] = (OSError,)

    def parameters(self, given: dict[str, Any], *, read_only: bool, timeout: float) -> dict[str, Any]:
        return given

    def is_closed(self, connection: Any) -> bool:
        return False

    def cut(self, connection: Any) -> None:
        raise AssertionError("nothing hangs here")


class Connection:
    """A driver's connection, and its cursor, to a server that says what it is told to."""

    def __init__(self, *, executed: str, version: str = "8.4.0") -> None:
        self.executed, self.version, self.sent = executed, version, list[str]()

    def get_server_info(self) -> str:
        return self.version

    def cursor(self) -> "Connection":
        return self

    def execute(self, sql: str) -> None:
        self.sent.append(sql)

    def fetchone(self) -> tuple[str]:
        return (self.executed,)

    def close(self) -> None:
        pass


def opened(connection: Connection, *, read_only: bool = False) -> Driver:
    driver = Driver(is_mariadb=False)
    driver.opened(connection, read_only=read_only)
    return driver


def test_connections_for_reading_are_read_only() -> None:
    """19. Each of their transactions is, whatever the user may."""
    connection = Connection(executed="")
    opened(connection, read_only=True)
    assert connection.sent == ["SET SESSION TRANSACTION READ ONLY"]


def test_a_commit_is_followed_by_a_question() -> None:
    """1. MySQL has no statement that commits and answers; what was executed is asked for afterwards."""
    connection = Connection(executed=f"{UUID}:1-5")
    driver = opened(connection)
    assert driver.commit(connection, lambda: connection.execute("COMMIT"), wrote=True, position="x") is None
    assert driver.position(connection, f"SELECT {POSITION}") == (True, f"{UUID}:1-5")
    assert connection.sent == ["COMMIT", "SELECT @@GLOBAL.gtid_executed"]
    # Nobody has committed anything since, so nor has this connection.
    assert driver.position(connection, f"SELECT {POSITION}") == (False, f"{UUID}:1-5")
    connection.executed = f"{UUID}:1-6"
    assert driver.position(connection, f"SELECT {POSITION}") == (True, f"{UUID}:1-6")


def test_without_gtid_mode_every_commit_may_have_written() -> None:
    """1. The set is empty before and after; that must not look like a transaction that only read."""
    connection = Connection(executed="")
    assert opened(connection).position(connection, f"SELECT {POSITION}") == (True, "")


@pytest.mark.parametrize(
    ("version", "is_mariadb", "cure"),
    [
        ("8.4.0", True, "MySQL server.*mysql"),
        ("5.5.5-10.11.19-MariaDB-log", False, "MariaDB server.*mariadb"),
    ],
)
def test_the_url_names_the_other_kind(version: str, is_mariadb: bool, cure: str) -> None:
    """The connection is refused, and the error says how the URL has to begin."""
    driver = Driver(is_mariadb=is_mariadb)
    with pytest.raises(OSError, match=cure):
        driver.opened(Connection(executed="", version=version), read_only=False)


def test_a_mysql_url_of_a_real_mariadb(mariadb: MariaDBPair) -> None:
    """Nothing is read or written in the wrong way: the error names each member, and the cure."""
    urls = [server.url("pymysql") for server in (mariadb.primary, mariadb.replica)]
    told = pytest.raises(NoServerAvailable, match=r"this is a MariaDB server, whose URLs .* mariadb\+")
    with (
        Cluster(urls[0], replicas=urls[1:], failover_wait=0.1, **PATIENT) as cluster,
        cluster.session() as session,
        told,
    ):
        session.execute(WHERE)


@pytest.mark.parametrize("kind", ["mariadb", "mysql"])
def test_drivers_that_cannot_route(kind: str) -> None:
    """The error names those that can."""
    url = f"{kind}+mysqldb://host/shop"
    clusters: list[Callable[..., object]] = [Cluster, AsyncCluster]
    for cluster in clusters:
        with pytest.raises(ConfigurationError, match=r"mariadb\+asyncmy://.*mariadb\+pymysql://.* not"):
            cluster(url, replicas=[f"{kind}+mysqldb://other/shop"])

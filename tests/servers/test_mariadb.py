"""MariaDBPair."""

import uuid
from collections.abc import Iterator

import pytest

from tests.faults import kill, pause_replay, promote
from tests.servers import MariaDBPair, ServerFailed
from tests.servers.processes import alive


@pytest.fixture
def table(mariadb: MariaDBPair) -> Iterator[str]:
    """The name of a table in a database of its own."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    mariadb.primary.sql(f"CREATE DATABASE {name}", f"CREATE TABLE {name}.t (id int PRIMARY KEY)")
    mariadb.wait_caught_up()
    yield f"{name}.t"
    mariadb.primary.sql(f"DROP DATABASE {name}")


def test_the_replica_follows(mariadb: MariaDBPair, table: str) -> None:
    """What the application commits on the primary is on the replica, which takes no writes from it."""
    mariadb.primary.sql(f"INSERT INTO {table} VALUES (42)", user="app")
    mariadb.wait_caught_up()
    assert mariadb.replica.sql(f"SELECT id FROM {table}", user="app") == "42"
    with pytest.raises(ServerFailed, match="read-only"):
        mariadb.replica.sql(f"INSERT INTO {table} VALUES (43)", user="app")
    assert mariadb.primary.position() == mariadb.replica.position()


def test_a_paused_replica_shows_the_past(mariadb: MariaDBPair, table: str) -> None:
    """It answers without the change, and catches up afterwards."""
    with pause_replay(mariadb.replica):
        mariadb.primary.sql(f"INSERT INTO {table} VALUES (1)")
        assert mariadb.replica.sql(f"SELECT count(*) FROM {table}") == "0"
    mariadb.wait_caught_up()
    assert mariadb.replica.sql(f"SELECT count(*) FROM {table}") == "1"


def test_failover() -> None:
    """The replica is promoted when the primary is killed, with what was committed; nothing is left."""
    with MariaDBPair() as pair:
        pair.primary.sql("CREATE DATABASE shop", "CREATE TABLE shop.t (id int PRIMARY KEY)")
        pair.wait_caught_up()
        pids = [server.pid for server in pair.servers]
        kill(pair.primary)
        promote(pair.replica)
        pair.replica.sql("INSERT INTO shop.t VALUES (1)", user="app")
        pair.primary.start()
        assert pair.primary.sql("SHOW TABLES FROM shop") == "t"
        pids += [pair.primary.pid]
    assert not alive(pids)

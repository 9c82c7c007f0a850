"""Database servers that are no help on the day, on real ones."""

from collections.abc import Iterator
from typing import Any

import pytest

from scalekit.ops.doctor import Around, examine
from tests.faults import pause_replay
from tests.ops.doctor.apps import bare, codes, loaded, look
from tests.servers import MariaDBPair, PostgresServer, wait_until

pytest.importorskip("sqlalchemy")
pytest.importorskip("asyncpg")
pytest.importorskip("psycopg")

from scalekit.database import AsyncCluster, Cluster

QUICK = Around(timeout=3)
"""A second for a replica to replay, and three for all that is asked."""

PATIENT: dict[str, Any] = {"probe_timeout": 30, "connect_timeout": 30}
"""A server that is well may have no turn for a while."""


@pytest.fixture(scope="module")
def stranger() -> Iterator[PostgresServer]:
    """A server that is nobody's replica, and writes."""
    with PostgresServer(max_connections="20") as server:
        yield server


@pytest.mark.parametrize(("kind", "driver"), [(AsyncCluster, "asyncpg"), (Cluster, "psycopg")])
def test_nothing_is_wrong_with_replicas_that_follow(kind: Any, driver: str, database: Any) -> None:
    """A primary and two replicas with room for all: no finding, and the cluster is closed afterwards."""
    cluster = kind(database.primary_url(driver), replicas=database.replica_urls(driver), **PATIENT)
    assert look(cluster=cluster, around=Around(servers=8)) == []
    open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    # The server may notice a moment later.
    wait_until(lambda: database.cluster.primary.sql(open, database=database.name) == "1", what="it is closed")


def test_pools_that_want_too_much(database: Any) -> None:
    """Pool sizes times servers times workers is more than a server has: each server, and how many fit."""
    cluster = AsyncCluster(database.primary_url(), replicas=database.replica_urls()[:1], **PATIENT)
    around = Around(servers=4, command="uvicorn shop:app --workers 4")
    found = look(cluster=cluster, around=around)
    assert codes(found) == ["database-connections"] * 2
    assert "16 processes want up to 256 connections" in found[0].what  # 5, 10 more, and a probe's
    assert "room for 12 of them" in found[0].what  # 200, without 3 for superusers


def test_a_pool_without_a_limit(database: Any) -> None:
    """Nobody can say what it wants."""
    cluster = AsyncCluster(database.primary_url(), max_overflow=-1, **PATIENT)
    (found,) = look(cluster=cluster)
    assert (found.code, found.severity) == ("database-connections", "warning")


def test_one_process_that_wants_too_much(stranger: PostgresServer) -> None:
    """A pool that is larger than its server is found without --servers; a lone server is looked at too."""
    (found,) = look(cluster=AsyncCluster(stranger.url(), pool_size=30, **PATIENT))
    assert found.code == "database-connections"
    assert "no room for one" in found.what


def test_a_replica_that_lags(database: Any) -> None:
    """One whose replay is paused has not what the primary has."""
    replica = database.cluster.replicas[0]

    def found() -> list[tuple[str, bool]]:
        cluster = AsyncCluster(database.primary_url(), replicas=database.replica_urls(), **PATIENT)
        findings = look(cluster=cluster, around=QUICK)
        return [(one.code, f":{replica.port}/" in one.what) for one in findings]

    with pause_replay(replica):
        database.cluster.primary.sql("CREATE TABLE later (id int)", database=database.name)
        # On a busy machine the other one may need more than a second as well.
        wait_until(lambda: found() == [("database-lag", True)], what="that one alone is found")


def test_a_replica_that_is_writable(database: Any, stranger: PostgresServer) -> None:
    """A server in the list that is no replica is an error, with the reason that every process would have."""
    stranger.sql(f"CREATE DATABASE {database.name}")
    cluster = AsyncCluster(database.primary_url(), replicas=[stranger.url(database=database.name)], **PATIENT)
    found = look(cluster=cluster)
    assert codes(found) == ["database-left-out"]
    assert "writable" in found[0].what


def test_servers_that_do_not_answer(database: Any) -> None:
    """Who does not answer is named, without the password; the others are looked at all the same."""
    url = f"postgresql+asyncpg://app:hush@127.0.0.1:1/{database.name}"
    (found,) = look(cluster=AsyncCluster(database.primary_url(), replicas=[url], **PATIENT))
    assert found.code == "database-unreachable"
    assert found.what.startswith(f"127.0.0.1:1/{database.name} does not answer: ")
    assert codes(look(cluster=AsyncCluster(url, **PATIENT))) == ["database-unreachable"]
    assert "hush" not in str(found)


def test_only_replicas(database: Any) -> None:
    """Where nobody takes writes, that is said as well."""
    first, second = database.replica_urls()
    found = look(cluster=AsyncCluster(first, replicas=[second], **PATIENT))
    assert codes(found) == ["database-no-primary"]


def test_what_was_not_looked_at(database: Any) -> None:
    """Without --servers nobody knows how many connections are wanted, which is said."""
    cluster = AsyncCluster(database.primary_url(), **PATIENT)
    unchecked = examine(loaded(bare, cluster=cluster)).unchecked
    assert any("--servers N" in text for text in unchecked)


@pytest.mark.slow
def test_mariadb(mariadb: MariaDBPair) -> None:
    """MariaDB's servers are asked alike."""
    pytest.importorskip("pymysql")
    primary, replica = (
        server.url("pymysql").replace("mysql+", "mariadb+", 1)
        for server in (mariadb.primary, mariadb.replica)
    )
    cluster = Cluster(primary, replicas=[replica], **PATIENT)
    assert look(cluster=cluster, around=Around(servers=2)) == []
    assert codes(look(cluster=cluster, around=Around(servers=1000))) == ["database-connections"] * 2

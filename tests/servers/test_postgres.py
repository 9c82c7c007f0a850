"""PostgresCluster."""

import pytest

from tests.conftest import Database
from tests.servers import PostgresCluster, PostgresServer, ServerFailed
from tests.servers.processes import alive, tree


def test_replicas_stream(postgres: PostgresCluster, database: Database) -> None:
    """What is committed on the primary is there on both replicas, which take no writes."""
    postgres.primary.sql("CREATE TABLE t (id int)", "INSERT INTO t VALUES (42)", database=database.name)
    postgres.wait_caught_up()
    for replica in postgres.replicas:
        assert replica.in_recovery
        assert replica.sql("SELECT id FROM t", database=database.name) == "42"
        with pytest.raises(ServerFailed, match="read-only"):
            replica.sql("INSERT INTO t VALUES (1)", database=database.name)


def test_settings(postgres: PostgresCluster) -> None:
    """Commits are acknowledged as in production; options reach the servers."""
    assert postgres.primary.sql("SHOW synchronous_commit") == "on"
    assert postgres.primary.sql("SHOW listen_addresses") == "127.0.0.1"
    with PostgresServer(synchronous_commit="off") as server:
        assert server.sql("SHOW synchronous_commit") == "off"


def test_urls(postgres: PostgresCluster, database: Database) -> None:
    """URLs for any driver; a replica's is the primary's with another port."""
    port = postgres.primary.port
    assert postgres.primary.url() == f"postgresql+asyncpg://postgres@127.0.0.1:{port}/postgres"
    assert postgres.primary.url(None, "shop") == f"postgresql://postgres@127.0.0.1:{port}/shop"
    assert (
        database.primary_url("psycopg") == f"postgresql+psycopg://postgres@127.0.0.1:{port}/{database.name}"
    )
    ends = [f":{replica.port}/{database.name}" for replica in postgres.replicas]
    assert all(end in url for end, url in zip(ends, database.replica_urls(), strict=True))


def test_nothing_is_left(postgres: PostgresCluster) -> None:
    """After the context no process of any server lives and no directory is left."""
    with PostgresCluster(replicas=1) as cluster:
        pids = [pid for server in cluster.servers for pid in tree(server.pid)]
        directories = [server.directory for server in cluster.servers]
    assert len(pids) > 8
    assert not alive(pids)
    assert not any(directory.exists() for directory in directories)


def test_a_start_that_fails_half_way_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The primary is up when a replica fails: both are gone afterwards, and the error shows why."""
    cluster = PostgresCluster(replicas=1)
    cluster.replicas[0].options["no_such_setting"] = 1
    started: list[int] = []
    wait_ready = cluster.primary.wait_ready

    def note() -> None:
        wait_ready()
        started.append(cluster.primary.pid)

    monkeypatch.setattr(cluster.primary, "wait_ready", note)
    directories = [server.directory for server in cluster.servers]
    with pytest.raises(ServerFailed, match="no_such_setting"):
        cluster.start()
    assert started
    assert not alive(started)
    assert not any(directory.exists() for directory in directories)


def test_a_stopped_server_keeps_its_data() -> None:
    """stop() and start() are a restart: the same port, the same rows."""
    with PostgresServer() as server:
        server.sql("CREATE TABLE t AS SELECT 1 AS id")
        port = server.port
        server.stop()
        assert not server.running
        server.start()
        assert (server.port, server.sql("SELECT id FROM t")) == (port, "1")


def test_a_database_that_is_emptied() -> None:
    """Nothing of a test stays for the next one: relations, schemas, settings, prepared transactions."""
    with PostgresCluster(replicas=1) as cluster:
        primary = cluster.primary
        primary.sql("CREATE DATABASE shop")
        primary.sql(
            "CREATE TABLE item (id int)",
            "CREATE SCHEMA other CREATE TABLE item (id int)",
            "ALTER DATABASE shop SET default_transaction_isolation = 'serializable'",
            "BEGIN",
            "INSERT INTO item VALUES (1)",
            "PREPARE TRANSACTION 'half done'",
            database="shop",
        )
        cluster.empty("shop")
        cluster.wait_caught_up()
        left = "SELECT count(*) FROM pg_class WHERE relname = 'item'"
        for server in cluster.servers:
            assert server.sql(left, "SHOW transaction_isolation", database="shop") == "0\nread committed"
        assert primary.sql("SELECT count(*) FROM pg_prepared_xacts") == "0"
        primary.sql("CREATE TABLE item (id int)", database="shop")

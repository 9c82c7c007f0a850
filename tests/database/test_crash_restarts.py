"""A replica that loses one process: the server starts anew within itself, and goes back in its replay."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from scalekit.database import ANY, Cluster, Consistency
from scalekit.database.scope import Scope
from tests.database._waiting import wait, wait_for_roles
from tests.database.conftest import ITEMS, PATIENT
from tests.servers import PostgresCluster, PostgresServer

pytestmark = pytest.mark.slow

READ = text("SELECT stock, pg_is_in_recovery() FROM item WHERE id = 1")


def delay_replay(replica: PostgresServer, delay: str) -> None:
    replica.options["recovery_min_apply_delay"] = delay
    replica.prepare()
    replica.sql("SELECT pg_reload_conf()")


def crash(replica: PostgresServer) -> None:
    """End one of its processes, as the kernel does when memory is short; returns when it answers again."""
    engine = create_engine(replica.url("psycopg"), poolclass=NullPool)

    def started() -> str | None:
        try:
            with engine.connect() as connection:
                return str(connection.scalar(text("SELECT pg_postmaster_start_time()")))
        except OperationalError:
            return None

    before = started()
    with engine.connect() as killed, engine.connect() as other:
        os.kill(killed.scalar(text("SELECT pg_backend_pid()")) or 0, signal.SIGKILL)
        # The server goes on for a moment, until it has seen that one is dead: then it ends all others.
        with pytest.raises(OperationalError):
            other.execute(text("SELECT pg_sleep(60)"))
        for connection in killed, other:
            connection.invalidate()
    wait(started)
    assert started() == before, "the server itself was not restarted"


@contextmanager
def gone_back(servers: PostgresCluster) -> Iterator[None]:
    """Inside, the replica has replayed less than it has shown before."""
    replica = servers.replicas[0]
    shown = replica.position()
    delay_replay(replica, "1h")
    crash(replica)
    assert replica.sql(f"SELECT pg_last_wal_replay_lsn() < '{shown}'::pg_lsn") == "t"
    yield
    delay_replay(replica, "0")


def test_what_was_written_and_what_was_seen_is_not_missing() -> None:
    """1, 4. Nobody was asked since. What a visitor wrote or has read is read on the primary, and on the
    replica once it has that again."""
    with PostgresCluster(replicas=1, bgwriter_lru_maxpages=0) as servers:
        replica = servers.replicas[0]
        servers.primary.sql(ITEMS, "INSERT INTO item VALUES (1, 'one')", "CHECKPOINT")
        servers.wait_caught_up()
        replica.sql("CHECKPOINT")  # this is where it goes back to
        cluster = Cluster(
            servers.primary.url("psycopg"),
            replicas=[replica.url("psycopg")],
            probe_interval=3600,
            ramp=0,
            **PATIENT,
        )
        with cluster:

            def read(scope: Scope, level: Consistency | None = None) -> tuple[int, bool]:
                with cluster.scopes.enter(scope), cluster.session(consistency=level) as session:
                    return tuple(session.execute(READ).one())

            def ask() -> None:
                fleet = cluster._fleet
                before = [one.health.report for one in fleet.members]
                fleet.monitor.poke()
                wait(
                    lambda: all(
                        one.health.report is not last for one, last in zip(fleet.members, before, strict=True)
                    )
                )
                with fleet._lock:  # until the roles have been decided by the last of these answers
                    pass

            assert read(Scope(), ANY)[0] == 0
            wait_for_roles(cluster, "primary", "replica")
            writer, reader = Scope(visitor=1), Scope(visitor=2)
            with cluster.scopes.enter(writer), cluster.session() as session:
                session.execute(text("UPDATE item SET stock = 7"))
                session.commit()
            servers.wait_caught_up()
            ask()
            assert read(writer) == read(reader) == (7, True)
            with gone_back(servers):
                assert read(Scope(), ANY) == (0, True)
                assert read(reader) == (7, False)
                later = Scope()
                with cluster.scopes.enter(later), cluster.session() as session:
                    assert session.execute(READ).one() == (0, True)
                    later.advance(writer.token)
                    assert session.execute(READ).one() == (7, False)
                assert read(Scope(writer.token)) == (7, False)
                assert read(writer) == (7, False)
                ask()
                assert read(writer) == read(reader) == (7, False)
            servers.wait_caught_up()
            ask()
            assert read(writer) == read(reader) == (7, True)

"""pause_replay and promote on PostgreSQL."""

from collections.abc import Iterator

import pytest

from tests.faults import kill, pause_replay, promote
from tests.servers import PostgresCluster, ServerFailed


@pytest.fixture(scope="module")
def own() -> Iterator[PostgresCluster]:
    with PostgresCluster() as cluster:
        cluster.primary.sql("CREATE TABLE events (id int)")
        cluster.wait_caught_up()
        yield cluster


def test_a_paused_replica_shows_the_past(own: PostgresCluster) -> None:
    """It receives the change and answers without it; afterwards it catches up. The other one has it."""
    paused, other = own.replicas
    count = "SELECT count(*) FROM events WHERE id = 1"
    with pause_replay(paused):
        own.primary.sql("INSERT INTO events VALUES (1)")
        position = own.primary.position()
        other.wait_for(position)
        assert (paused.sql(count), other.sql(count)) == ("0", "1")
    paused.wait_for(position)
    assert paused.sql(count) == "1"


def test_failover(own: PostgresCluster) -> None:
    """A promoted replica takes writes, the other one can follow it, and the old primary comes back as
    what it was: a primary that does not know."""
    new, other = own.replicas
    with pytest.raises(ServerFailed, match="read-only"):
        new.sql("INSERT INTO events VALUES (2)")
    kill(own.primary)
    promote(new)
    new.sql("INSERT INTO events VALUES (2)")
    other.follow(new)
    other.wait_for(new.position())
    assert other.sql("SELECT count(*) FROM events WHERE id = 2") == "1"
    own.primary.start()
    assert not own.primary.in_recovery
    assert own.primary.sql("SELECT count(*) FROM events WHERE id = 2") == "0"

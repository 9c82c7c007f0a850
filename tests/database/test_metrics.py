"""What a cluster reports."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import text

from scalekit.database import STRONG, AsyncCluster, Cluster
from scalekit.database.promotions import Promotions
from tests.conftest import Database
from tests.faults import pause_replay
from tests.measured import numbers, risen
from tests.servers.waiting import wait_until

READ = text("SELECT stock FROM item WHERE id = 1")
WRITE = text("UPDATE item SET stock = stock + 1 WHERE id = 1")


async def test_reads_writes_and_lag_by_member(
    items: Database, make_async: Callable[..., AsyncCluster]
) -> None:
    """Reads are a replica's transactions, writes the primary's commits; one that stops replaying lags."""
    cluster = make_async(replicas=items.replica_urls()[:1])
    async with cluster.session() as session:
        await session.execute(READ)
    primary, replica = (member.name for member in cluster.status().members)
    before = numbers(cluster)
    assert before[f"scalekit_database_role {primary} primary"] == 1
    assert before[f"scalekit_database_role {replica} replica"] == 1
    assert before[f"scalekit_database_up {replica}"] == 1
    assert before[f"scalekit_database_lag_seconds {primary}"] == 0
    async with cluster.session() as session:
        await session.execute(READ)
        used = risen(before, numbers(cluster))
        assert used[f"scalekit_database_connections_in_use {replica}"] == 1
        assert used[f"scalekit_database_transactions {replica}"] == 1
    with pause_replay(items.cluster.replicas[0]):
        async with cluster.session() as session:
            await session.execute(WRITE)
            await session.commit()
        found = risen(before, numbers(cluster))
        assert found[f"scalekit_database_transactions {primary}"] == 1
        assert found[f"scalekit_database_commits {primary}"] == 1
        assert f"scalekit_database_commits {replica}" not in found

        async def lags() -> bool:
            async with cluster.session() as session:
                await session.execute(READ)
            return numbers(cluster).get(f"scalekit_database_lag_seconds {replica}", 0) > 0

        while not await lags():
            pass
    assert numbers(cluster)["scalekit_database_promotions"] == 0


def test_reads_and_writes_of_the_primary(items: Database, make_sync: Callable[..., Cluster]) -> None:
    """Each transaction counts, whoever begins it; those that changed something count as commits, and what is
    left of the others has read, or was rolled back."""
    cluster = make_sync(replicas=items.replica_urls("psycopg")[:1])
    primary, replica = (member.name for member in cluster.status().members)
    found = [
        f"scalekit_database_{name} {member}"
        for name in ("transactions", "commits")
        for member in (primary, replica)
    ]

    def counted(work: Callable[[], object]) -> list[float]:
        before = numbers(cluster)
        work()
        used = risen(before, numbers(cluster))
        return [used.get(name, 0) for name in found]

    def in_session(*statements: Any, commit: bool = True, **options: Any) -> None:
        with cluster.session(**options) as session:
            for statement in statements:
                session.execute(statement)
            session.commit() if commit else session.rollback()

    def over_connection(*statements: Any, **options: Any) -> None:
        with cluster.connection(**options) as connection:
            for statement in statements:
                connection.execute(statement)
                connection.commit()

    assert counted(lambda: in_session(READ, consistency=STRONG)) == [1, 0, 0, 0]
    assert counted(lambda: in_session(READ, WRITE)) == [1, 1, 1, 0]  # it moves there
    assert counted(lambda: in_session(WRITE, commit=False)) == [1, 0, 0, 0]
    assert counted(lambda: over_connection(READ, WRITE, WRITE)) == [3, 0, 2, 0]
    assert counted(lambda: over_connection(READ, READ, read=True, consistency=STRONG)) == [2, 0, 0, 0]
    assert counted(lambda: over_connection(read=True, consistency=STRONG)) == [0, 0, 0, 0]


def test_one_that_is_away_is_not_up(items: Database, make_sync: Callable[..., Cluster]) -> None:
    """Its role is `out`, its lag unknown, and that it was left out is counted."""
    nowhere = items.replica_urls("psycopg")[0].replace(f":{items.cluster.replicas[0].port}/", ":1/")
    cluster = make_sync(replicas=[nowhere])
    _, replica = (member.name for member in cluster.status().members)
    with cluster.session() as session:
        session.execute(READ)
    wait_until(
        lambda: numbers(cluster)[f"scalekit_database_up {replica}"] == 0, what="the replica to be left out"
    )
    found = numbers(cluster)
    assert found[f"scalekit_database_role {replica} out"] == 1
    assert f"scalekit_database_lag_seconds {replica}" not in found


def test_a_lone_server_reports_as_well() -> None:
    """What is not known is not said; the rest begins at nothing."""
    with Cluster("sqlite://") as cluster:
        with cluster.session() as session:
            session.execute(text("SELECT 1"))
        (member,) = cluster.status().members
        found = numbers(cluster)
        assert found[f"scalekit_database_role {member.name} single"] == 1
        assert found[f"scalekit_database_up {member.name}"] == 1
        assert found["scalekit_database_fallback_reads"] == 0


def test_promotions_are_counted_beyond_those_that_are_remembered() -> None:
    """The list has the last ten; a counter that fell would be read as a restart."""
    promotions = Promotions()
    for number in range(12):
        promotions._remember(object())  # type: ignore[arg-type]
        assert promotions.count == number + 1
    assert len(promotions.known) == 10
    assert Promotions(count=promotions.count).count == 12

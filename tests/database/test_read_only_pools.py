"""Connections for reading never write, whatever is asked of them: not even to a node that was promoted."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from scalekit.database import AsyncCluster, Cluster
from scalekit.database.drivers.protocol import Told
from scalekit.database.member import Member
from tests.conftest import Database
from tests.database._waiting import until

READ = text("SELECT stock, pg_is_in_recovery() FROM item WHERE id = 1")
WRITE = "UPDATE item SET stock = 7 WHERE id = 1"

both = pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])


async def read(cluster: AsyncCluster, **options: Any) -> tuple[int, bool]:
    async with cluster.session(**options) as session:
        return tuple((await session.execute(READ)).one())


async def on(engine: Engine, cluster: AsyncCluster, *statements: str, **options: Any) -> None:
    """Run ``statements`` in a transaction on ``engine``, which is behind an asynchronous one."""

    def run(_: Any) -> None:
        with engine.connect() as connection:
            connection = connection.execution_options(**options)
            for statement in statements:
                connection.exec_driver_sql(statement)
            connection.commit()

    async with cluster.session() as session:
        await session.run_sync(run)


@both
@pytest.mark.parametrize("mode", [True, False])
async def test_the_mode_of_a_transaction_does_not_open_a_pool_for_writes(
    make_async: Callable[..., AsyncCluster], driver: str, mode: bool
) -> None:
    """19. ``postgresql_readonly``, of the engine or of a connection, reaches no connection for reading.

    The reader of the primary stands for that of a replica that was promoted. ``True`` too: SQLAlchemy sets
    the mode back to READ WRITE afterwards, for whoever gets the connection next.
    """
    cluster = make_async(driver, execution_options={"postgresql_readonly": mode})
    await read(cluster)
    reader = cluster._fleet.members[0].reader
    for options in ({}, {"postgresql_readonly": mode}, {}):
        with pytest.raises(DBAPIError, match="read-only transaction"):
            await on(reader, cluster, WRITE, **options)


@both
async def test_a_connection_that_was_set_to_write_is_replaced(
    make_async: Callable[..., AsyncCluster], driver: str
) -> None:
    """19. A function may do that on a standby without a word; the pool does not hand it out again."""
    cluster = make_async(driver)
    await read(cluster)
    reader = cluster._fleet.members[0].reader
    await on(reader, cluster, "SELECT set_config('default_transaction_read_only', 'off', false)")
    with pytest.raises(DBAPIError, match="read-only transaction"):
        await on(reader, cluster, WRITE)


def drop_options(member: Member) -> None:
    """As a pooler does that is told to ignore start-up parameters."""
    driver: Any = member._driver
    whole = driver.parameters
    driver.parameters = lambda given, *, read_only, timeout: whole(given, read_only=False, timeout=timeout)


@both
async def test_a_replica_whose_connections_would_write_is_left_out(
    make_async: Callable[..., AsyncCluster], items: Database, driver: str
) -> None:
    """19. A pooler that drops start-up parameters: reads are on the primary, and the status says why."""
    cluster = make_async(driver, replicas=items.replica_urls(driver)[:1])
    drop_options(cluster._fleet.members[0])  # all members share the driver
    assert await read(cluster) == (0, False)
    await until(lambda: "do not open read-only" in str(cluster.status().members[1].reason))
    assert cluster.status().members[0].role == "primary"
    with pytest.raises(DBAPIError, match="does not open connections read-only"):
        await on(cluster._fleet.members[1].reader, cluster, "SELECT 1")


def test_a_reply_from_a_promoted_node_is_enough_to_ask_everyone(make_sync: Callable[..., Cluster]) -> None:
    """18. It says with its reply that it is no standby any more; nobody waits for the next round."""
    cluster = make_sync(probe_interval=3600)
    with cluster.scope(), cluster.session() as session:
        assert session.execute(READ).one() == (0, True)
    driver: Any = cluster._fleet.members[0]._driver
    before = [member.health.asked for member in cluster._fleet.members]
    driver.told = lambda connection: Told(True, False)
    with cluster.scope(), cluster.session() as session:
        session.execute(READ)
    asked = lambda: [member.health.asked for member in cluster._fleet.members]  # noqa: E731
    cluster._fleet.monitor.wait(lambda: all(new > old for new, old in zip(asked(), before, strict=True)), 20)
    assert all(new > old for new, old in zip(asked(), before, strict=True))


@both
async def test_a_connection_that_is_closed_tells_nothing(
    make_async: Callable[..., AsyncCluster], driver: str
) -> None:
    """12. It is looked at when it is given back too: whoever had read over it gets no error for that."""
    cluster = make_async(driver, isolation_level="AUTOCOMMIT")
    member = cluster._fleet.members[1]
    with cluster.scope():
        async with cluster.session() as session:
            assert (await session.execute(READ)).one() == (0, True)
            (connection,) = [one for busy in cluster._fleet.members[1:] for one in busy.read.links.busy]
            told = member._driver.told  # type: ignore[union-attr]
            assert told(connection) == (True, True)
            await connection.driver_connection.close()
            assert told(connection) == (None, None)

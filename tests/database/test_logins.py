"""Who is not let in is told so at once: no wait will help."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from scalekit.database import STRONG, AsyncCluster, Cluster
from scalekit.errors import NoServerAvailable
from tests.conftest import Database
from tests.database._waiting import until
from tests.database.conftest import PATIENT

both = pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])

# Longer than any test runs: who waits for it, hangs.
FOR_EVER: dict[str, Any] = {"failover_wait": 3600, "probe_interval": 3600, **PATIENT}


@pytest.fixture
def user(database: Database) -> Iterator[str]:
    """A role that may log in."""
    name = f"user_{uuid.uuid4().hex[:12]}"
    database.cluster.primary.sql(f"CREATE ROLE {name} LOGIN")
    database.cluster.wait_caught_up()
    yield name
    database.cluster.primary.sql(f"DROP ROLE {name}")


def urls(database: Database, driver: str, user: str) -> tuple[str, list[str]]:
    known = database.primary_url(driver), database.replica_urls(driver)
    return known[0].replace("postgres@", f"{user}@"), [
        url.replace("postgres@", f"{user}@") for url in known[1]
    ]


@both
async def test_a_wrong_name_is_told_at_once(database: Database, driver: str) -> None:
    """16. Of the user or of the database: nobody waits for a primary that would not let them in either."""
    primary, replicas = urls(database, driver, "nobody_of_this_name")
    for given in ((primary, replicas), _in_database("no_such_database", database, driver)):
        async with AsyncCluster(given[0], replicas=given[1], **FOR_EVER) as cluster:
            session = cluster.session()
            with pytest.raises(NoServerAvailable, match=r"no primary .* does not exist"):
                await session.execute(text("SELECT 1"))
            await session.close()


async def test_an_option_that_the_driver_does_not_know(database: Database) -> None:
    """Bad input: it is told at once, by its name; so in the status."""
    one, *others = [
        f"{url}?colour=blue" for url in (database.primary_url("asyncpg"), *database.replica_urls("asyncpg"))
    ]
    async with AsyncCluster(one, replicas=others, **FOR_EVER) as cluster:
        session = cluster.session()
        with pytest.raises(NoServerAvailable, match="unexpected keyword argument 'colour'"):
            await session.execute(text("SELECT 1"))
        await session.close()
        for member in cluster.status().members:
            assert "'colour'" in (member.reason or "")


def _in_database(name: str, database: Database, driver: str) -> tuple[str, list[str]]:
    primary = database.cluster.primary.url(driver, name)
    return primary, [replica.url(driver, name) for replica in database.cluster.replicas]


@both
async def test_a_user_who_is_shut_out_later(database: Database, user: str, driver: str) -> None:
    """16. The pool needs another connection, and the primary refuses it: the error names it and says why."""
    primary, replicas = urls(database, driver, user)
    async with AsyncCluster(primary, replicas=replicas, **FOR_EVER) as cluster:
        async with cluster.session() as session:
            await session.execute(text("SELECT 1"))
        database.cluster.primary.sql(f"ALTER ROLE {user} NOLOGIN")
        async with cluster.session() as session:
            with pytest.raises(NoServerAvailable, match=r"the primary 127.*not permitted to log in"):
                await session.execute(text("CREATE TABLE t (x int)"))


def test_the_same_in_synchronous_code(database: Database) -> None:
    """16. A thread does not wait either."""
    primary, replicas = urls(database, "psycopg", "nobody_of_this_name")
    with (
        Cluster(primary, replicas=replicas, **FOR_EVER) as cluster,
        cluster.session() as session,
        pytest.raises(NoServerAvailable, match=r"no primary .* does not exist"),
    ):
        session.execute(text("SELECT 1"))


@both
async def test_a_primary_with_no_place_for_a_question(database: Database, user: str, driver: str) -> None:
    """16. The connection that it was asked over is lost, and others took its place: it is there still."""
    primary, replicas = urls(database, driver, user)

    def limit(most: int) -> None:
        database.cluster.primary.sql(f"ALTER ROLE {user} CONNECTION LIMIT {most}")

    async with AsyncCluster(primary, replicas=replicas, probe_interval=0.05, **PATIENT) as cluster:

        async def ask() -> int:
            async with cluster.session(consistency=STRONG) as session:
                found: int = (await session.execute(text("SELECT pg_backend_pid()"))).scalar_one()
                return found

        pid = await ask()
        limit(1)
        ended = (
            f"SELECT count(pg_terminate_backend(pid, 30000)) FROM pg_stat_activity WHERE usename = '{user}'"
        )
        assert database.cluster.primary.sql(f"{ended} AND pid <> {pid}") == "1"
        member = cluster._fleet.members[0]
        await until(lambda: member.told_full)
        report = member.health.report
        assert cluster.status().members[0].role == "primary"
        assert await ask() == pid
        assert member.health.report is report
        limit(9)
        await until(lambda: member.health.report is not report)
        assert not member.told_full


@both
async def test_a_primary_with_no_place_for_one_more_is_not_stormed(
    database: Database, user: str, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16. It answers its probe over a connection that is open. Who waits for a place tries less and less."""
    primary, replicas = urls(database, driver, user)
    database.cluster.primary.sql(f"ALTER ROLE {user} CONNECTION LIMIT 1")
    database.cluster.wait_caught_up()
    # Time enough for a second attempt.
    options = {"probe_interval": 3600, "failover_wait": 3, **PATIENT}
    async with AsyncCluster(primary, replicas=replicas, **options) as cluster:
        attempts = 0
        dialect: Any = cluster._fleet.members[0].writer.dialect
        plain = dialect.connect

        def connect(*arguments: Any, **options: Any) -> Any:
            nonlocal attempts
            attempts += 1
            return plain(*arguments, **options)

        monkeypatch.setattr(dialect, "connect", connect)

        async def ask() -> None:
            async with cluster.session(consistency=STRONG) as session:
                await session.execute(text("SELECT 1"))

        with pytest.raises(NoServerAvailable, match="too many connections for role"):
            await ask()
        assert 1 < attempts < 15
        database.cluster.primary.sql(f"ALTER ROLE {user} CONNECTION LIMIT 9")
        await ask()

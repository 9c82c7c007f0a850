"""A table on the shared PostgreSQL, and clusters over it in both colours."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from scalekit.database import AsyncCluster, Cluster
from tests.conftest import Database

# The servers are well: one that is slow to answer is a busy machine's, and of no interest here.
PATIENT = {"probe_timeout": 30, "connect_timeout": 30}

ITEMS = "CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL, stock int NOT NULL DEFAULT 0)"


@pytest.fixture
def items(database: Database) -> Database:
    """A database with a table ``item`` of three rows, on the primary and on both replicas."""
    database.cluster.primary.sql(
        ITEMS,
        "INSERT INTO item VALUES (1, 'one'), (2, 'two'), (3, 'three')",
        "CREATE SEQUENCE numbers",
        "CREATE FUNCTION place_order(wanted int) RETURNS int LANGUAGE sql AS "
        "'UPDATE item SET stock = stock - 1 WHERE id = wanted RETURNING stock'",
        "CREATE PROCEDURE restock() LANGUAGE sql AS 'UPDATE item SET stock = 10'",
        database=database.name,
    )
    database.cluster.wait_caught_up()
    return database


@pytest.fixture
async def make_async(items: Database) -> AsyncIterator[Callable[..., AsyncCluster]]:
    """Makes clusters over ``items``; they are disposed of after the test."""
    made: list[AsyncCluster] = []

    def make(driver: str = "asyncpg", **options: Any) -> AsyncCluster:
        options.setdefault("replicas", items.replica_urls(driver))
        options.setdefault("probe_interval", 0.1)
        options.setdefault("ramp", 0)  # whoever comes back gets its reads at once
        options = PATIENT | options
        made.append(AsyncCluster(options.pop("primary", items.primary_url(driver)), **options))
        return made[-1]

    yield make
    for cluster in made:
        await cluster.dispose()


@pytest.fixture
def make_sync(items: Database) -> Iterator[Callable[..., Cluster]]:
    """Makes clusters over ``items``; they are disposed of after the test."""
    made: list[Cluster] = []

    def make(**options: Any) -> Cluster:
        options.setdefault("replicas", items.replica_urls("psycopg"))
        options.setdefault("probe_interval", 0.1)
        options.setdefault("ramp", 0)  # whoever comes back gets its reads at once
        made.append(Cluster(items.primary_url("psycopg"), **PATIENT | options))
        return made[-1]

    yield make
    for cluster in made:
        cluster.dispose()

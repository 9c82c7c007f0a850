"""Clusters over MariaDB, driven from synchronous tests in both colours."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeVar

import pymysql
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from scalekit.database import AsyncCluster, Cluster
from tests.database._waiting import wait_for_roles
from tests.database.conftest import PATIENT
from tests.servers import MariaDBPair, MariaDBServer

T = TypeVar("T")

WHERE = text("SELECT @@server_id, CONNECTION_ID()")
READ = text("SELECT stock, @@server_id FROM item WHERE id = 1")
WRITE = text("UPDATE item SET stock = stock + 1 WHERE id = 1")

_BUMP = """
CREATE FUNCTION bump(wanted int) RETURNS int MODIFIES SQL DATA
BEGIN UPDATE item SET stock = stock - 1 WHERE id = wanted; RETURN 1; END
"""


def fill(primary: MariaDBServer, name: str) -> None:
    """Make a database with a table of three rows, and what its statements need."""
    root = pymysql.connect(unix_socket=str(primary.directory / "socket"), user="root")
    with root, root.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        cursor.execute(f"USE {name}")
        cursor.execute(
            "CREATE TABLE item (id int PRIMARY KEY, name varchar(20) NOT NULL, stock int NOT NULL DEFAULT 0)"
        )
        cursor.execute("INSERT INTO item VALUES (1, 'one', 0), (2, 'two', 0), (3, 'three', 0)")
        cursor.execute("CREATE SEQUENCE numbers")
        cursor.execute(_BUMP)
        cursor.execute("CREATE PROCEDURE restock() UPDATE item SET stock = 10")
        cursor.execute("CREATE VIEW counted AS SELECT id, NEXTVAL(numbers) AS number FROM item")
        root.commit()


class Both:
    """A cluster of either colour; what runs over its sessions is written once, for a plain ``Session``."""

    def __init__(self, driver: str, urls: list[str], portal: BlockingPortal, **options: Any) -> None:
        options.setdefault("probe_interval", 0.1)
        options = PATIENT | options
        options.setdefault("ramp", 0)  # whoever comes back gets its reads at once
        self._portal = portal
        self.cluster: Cluster | AsyncCluster
        if driver == "pymysql":
            self.cluster = Cluster(urls[0], replicas=urls[1:], **options)
        else:
            self.cluster = AsyncCluster(urls[0], replicas=urls[1:], **options)

    def run(self, steps: Callable[[Session], T], **options: Any) -> T:
        """Run ``steps`` with a new session, which is closed afterwards."""
        if isinstance(self.cluster, Cluster):
            with self.cluster.session(**options) as session:
                return steps(session)
        cluster = self.cluster

        async def in_async() -> T:
            async with cluster.session(**options) as session:
                return await session.run_sync(steps)

        return self._portal.call(in_async)

    def run_core(self, steps: Callable[[Connection], T], **options: Any) -> T:
        """Run ``steps`` with a new connection of Core's, which is closed afterwards."""
        if isinstance(self.cluster, Cluster):
            with self.cluster.connection(**options) as connection:
                return steps(connection)
        cluster = self.cluster

        async def in_async() -> T:
            async with cluster.connection(**options) as connection:
                return await connection.run_sync(steps)

        return self._portal.call(in_async)

    def call(self, function: Callable[[], object]) -> None:
        """Call ``function`` where the cluster's connections are at home."""
        if isinstance(self.cluster, Cluster):
            function()
        else:
            self._portal.call(function)

    def read(self) -> tuple[int, int]:
        """The stock, and which server told it."""
        return self.run(lambda session: tuple(session.execute(READ).one()))

    def write(self) -> None:
        """Commit one more in stock."""

        def steps(session: Session) -> None:
            session.execute(WRITE)
            session.commit()

        self.run(steps)

    def roles(self) -> list[str]:
        return [member.role for member in self.cluster.status().members]

    def wait_for_roles(self, *wanted: str) -> None:
        """Return when the members have these roles."""
        wait_for_roles(self.cluster, *wanted)

    def dispose(self) -> None:
        if isinstance(self.cluster, Cluster):
            self.cluster.dispose()
        else:
            self._portal.call(self.cluster.dispose)


def url(server: MariaDBServer, driver: str, name: str) -> str:
    return server.url(driver, name).replace("mysql+", "mariadb+", 1)


@pytest.fixture(params=["pymysql", "asyncmy", "aiomysql"])
def driver(request: pytest.FixtureRequest) -> str:
    driver: str = request.param
    return driver


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    """An event loop in a thread of its own."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="module")
def shop(mariadb: MariaDBPair) -> Iterator[str]:
    """The name of a database with the table ``item`` on both shared servers; of one module."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    fill(mariadb.primary, name)
    mariadb.wait_caught_up()
    yield name
    mariadb.primary.sql(f"DROP DATABASE {name}")


@pytest.fixture
def make(driver: str, portal: BlockingPortal) -> Iterator[Callable[..., Both]]:
    """Makes clusters over servers and a database; they are disposed of after the test."""
    with ExitStack() as stack:

        def make(
            servers: list[MariaDBServer | str], name: str, *, wanted: tuple[str, ...] = (), **options: Any
        ) -> Both:
            urls = [one if isinstance(one, str) else url(one, driver, name) for one in servers]
            both = Both(driver, urls, portal, **options)
            stack.callback(both.dispose)
            both.run(lambda session: session.execute(WHERE).one())
            usual = ("primary", *["replica"] * (len(servers) - 1)) if len(servers) > 1 else ("single",)
            both.wait_for_roles(*(wanted or usual))
            return both

        yield make


@pytest.fixture
def both(make: Callable[..., Both], mariadb: MariaDBPair, shop: str) -> Both:
    """A cluster over the shared servers."""
    return make([mariadb.primary, mariadb.replica], shop)

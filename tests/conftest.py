"""Fixtures for all tests: shared servers, started when first asked for, and what a test may own of them.

The servers live for the session and must come out of a test as they went in; a test that kills, freezes
or promotes starts its own from `tests.servers`. A server that is not installed skips the test and says
how to install it; with CI=true or SCALEKIT_REQUIRE_SERVERS=1 it fails the test instead.
"""

import gc
import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NoReturn, Protocol

import pytest
from hypothesis import settings

from tests.servers import (
    LocalStack,
    MariaDBPair,
    Memcached,
    Nginx,
    PostgresCluster,
    RedisCluster,
    RedisSentinel,
    RedisServer,
    S3Server,
    SeaweedFS,
    ServerMissing,
)

# The same examples each time, and no limit of 200 ms for each, which a busy machine breaks.
# To look for others: --hypothesis-profile=default.
settings.load_profile("ci")


def missing(error: ServerMissing) -> NoReturn:
    """The one place that decides what a missing server means."""
    if os.environ.get("CI") == "true" or os.environ.get("SCALEKIT_REQUIRE_SERVERS") == "1":
        raise pytest.fail.Exception(f"{error} (servers are required here)", pytrace=False) from None
    raise pytest.skip.Exception(str(error), _use_item_location=True) from None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """Ten thousand tests are a million objects that live to the end: no collection is to walk them again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    try:
        return (yield)
    except ServerMissing as error:  # by a fixture
        missing(error)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    try:
        return (yield)
    except ServerMissing as error:  # by a test that starts a server of its own
        missing(error)


@pytest.fixture
def prefix() -> str:
    """A prefix for keys that no other test uses."""
    return f"test-{uuid.uuid4().hex[:12]}:"


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The shared Redis (Valkey), standalone."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The shared Redis's URL. Keep to keys below `prefix`."""
    return redis_server.url


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """The shared Redis Cluster: three masters and a replica of each."""
    with RedisCluster() as server:
        yield server


@pytest.fixture(scope="session")
def redis_sentinel() -> Iterator[RedisSentinel]:
    """The shared Redis under Sentinel: a master, two replicas, three sentinels."""
    with RedisSentinel() as server:
        yield server


@pytest.fixture(scope="session")
def memcached_server() -> Iterator[Memcached]:
    """The shared memcached."""
    with Memcached() as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """The shared PostgreSQL: a primary and two streaming replicas."""
    with PostgresCluster() as server:
        yield server


@dataclass(frozen=True)
class Database:
    """A database on the shared PostgreSQL that only one test uses."""

    name: str
    cluster: PostgresCluster

    def primary_url(self, driver: str | None = "asyncpg") -> str:
        return self.cluster.primary.url(driver, self.name)

    def replica_urls(self, driver: str | None = "asyncpg") -> list[str]:
        return [replica.url(driver, self.name) for replica in self.cluster.replicas]


@pytest.fixture(scope="session")
def empty_databases() -> list[str]:
    """Names of databases on the shared PostgreSQL that are empty again."""
    return []


@pytest.fixture
def database(postgres: PostgresCluster, empty_databases: list[str]) -> Iterator[Database]:
    """An empty database, visible on the replicas too; nobody has it afterwards before it is empty again."""
    if empty_databases:
        name = empty_databases.pop()
    else:
        name = f"test_{uuid.uuid4().hex[:12]}"
        postgres.primary.sql(f"CREATE DATABASE {name}")
    postgres.wait_caught_up()
    yield Database(name, postgres)
    # To make one anew costs three servers a hundred times as much.
    postgres.empty(name)
    empty_databases.append(name)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDBPair]:
    """The shared MariaDB: a primary and its GTID replica."""
    with MariaDBPair() as server:
        yield server


class MakeNginx(Protocol):
    def __call__(self, server: str, *, http: str = "") -> Nginx: ...


@pytest.fixture
def nginx() -> Iterator[MakeNginx]:
    """A function that starts an nginx: ``nginx("location / { proxy_pass http://127.0.0.1:8000; }")``."""
    with ExitStack() as stack:

        def make(server: str, *, http: str = "") -> Nginx:
            return stack.enter_context(Nginx(server, http=http))

        yield make


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """The shared S3 server."""
    with LocalStack() as server:
        yield server


@pytest.fixture(scope="session")
def strict_s3_server() -> Iterator[S3Server]:
    """Another shared S3 server, strict where the first is lenient: see tests.servers.seaweedfs."""
    with SeaweedFS() as server:
        yield server


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    """The name of a fresh bucket on the shared S3 server."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3_server.create_bucket(name)
    return name

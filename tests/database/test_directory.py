"""Replicas that come and go: by a function, by a name in the DNS."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import NullPool, make_url, text

from scalekit.database import ANY, AsyncCluster, Cluster, Replica, dns
from scalekit.database.directory import Directory
from scalekit.database.engines import name_of
from scalekit.errors import ConfigurationError, WrongColour
from tests.conftest import Database
from tests.database._waiting import until, wait

READ = text("SELECT stock, inet_server_port() FROM item WHERE id = 1")
PRIMARY = "postgresql+psycopg://app@primary/shop"


def directory(find: Any = list) -> Directory:
    return Directory(find, primary=make_url(PRIMARY), refresh=30, colour="sync")


def test_a_replica_does_not_show_its_password() -> None:
    """24. Its ``repr`` may end up in a log."""
    shown = repr(Replica("postgresql+asyncpg://app:secret@replica:5433/shop", weight=2))
    assert shown == "Replica(replica:5433/shop, weight=2)"
    assert repr(Replica("app:secret", zone="a")) == "Replica(a URL that cannot be parsed, zone='a')"


def test_each_server_once_and_the_primary_not() -> None:
    """24. A name may lead to all servers, and a list may say one twice."""
    one, two = (f"postgresql+psycopg://app@{host}/shop" for host in ("one", "two"))
    found = directory().read([PRIMARY, one, Replica(two, weight=2), Replica(one)])
    assert [(name_of(url), said.weight) for url, said in found] == [("one/shop", 1), ("two/shop", 2)]


@pytest.mark.parametrize("wrong", ["postgresql+psycopg://app@one/other", "postgresql+asyncpg://app@one/shop"])
def test_who_cannot_be_a_replica(wrong: str) -> None:
    """24. What the constructor would refuse is refused here, and the list stays as it is."""
    with pytest.raises(ConfigurationError, match="one/"):
        directory().read([wrong])


async def _nobody() -> list[str]:
    return []


@pytest.mark.parametrize(
    ("find", "message"),
    [
        (lambda: None, "returned no list of URLs, but NoneType$"),
        (lambda: "postgresql+psycopg://app@one/shop", "returned no list of URLs, but str$"),
        (lambda: [PRIMARY, None], r"the URL in replicas\(\)\[1\] is None"),
        (lambda: ["one"], r"the URL in replicas\(\)\[0\] cannot be parsed"),
        (_nobody, "returned a coroutine; with a Cluster it is a plain function"),
    ],
)
def test_what_is_no_list_of_replicas(find: Callable[[], Any], message: str) -> None:
    """24. Said in the log as what it is, and not as what went wrong with it."""
    with pytest.raises(ConfigurationError, match=message):
        directory().read(find())


def test_what_is_no_function_that_finds_replicas() -> None:
    """24. A coroutine in place of its function, and a name that nobody can look up: told at once."""
    with pytest.raises(ConfigurationError, match=r"give the function itself, without \(\)$"):
        Cluster(PRIMARY, replicas=_nobody())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"the URL in dns\(\) cannot be parsed"):
        dns("replicas.internal")
    with pytest.raises(ConfigurationError, match="names no host to look up"):
        dns("sqlite:///shop.db")


def test_addresses_of_a_name() -> None:
    """24. A member for each; psycopg keeps the name, for certificates."""
    asked = []

    def resolve(host: str, port: int | None) -> list[str]:
        asked.append((host, port))
        return ["10.0.0.2", "10.0.0.1", "10.0.0.2", "::1"]

    url = "postgresql+{}://app@replicas.internal:5433/shop"
    found = dns(url.format("psycopg"), resolve=resolve, zone="a")()
    names = ["10.0.0.1:5433/shop", "10.0.0.2:5433/shop", "::1:5433/shop"]
    assert [name_of(make_url(one.url)) for one in found] == names
    assert {make_url(one.url).host for one in found} == {"replicas.internal"}
    assert {one.zone for one in found} == {"a"}
    found = dns(url.format("asyncpg"), resolve=resolve)()
    assert [make_url(one.url).host for one in found] == ["10.0.0.1", "10.0.0.2", "::1"]
    assert asked == [("replicas.internal", 5433)] * 2
    assert [make_url(one.url).host for one in dns(f"postgresql+asyncpg://app@{'127.0.0.1'}/shop")()] == [
        "127.0.0.1"
    ]

    for wrong, message in (({"weigth": 2}, r"did you mean weight=\?"), ({"weight": 0}, "weight=0")):
        with pytest.raises(ConfigurationError, match=message):
            dns(url.format("psycopg"), resolve=resolve, **wrong)


def test_the_function_has_the_colour_of_the_cluster() -> None:
    """24. A coroutine function cannot be asked by threads."""

    async def find() -> list[str]:
        return []

    with pytest.raises(WrongColour, match="wants a synchronous function"):
        Cluster(PRIMARY, replicas=find)


def test_the_primary_is_never_removed() -> None:
    """24. After a failover it is one of those that a list of replicas leaves out."""
    one, two = (f"postgresql+psycopg://app@{host}/shop" for host in ("one", "two"))
    fleet = Cluster(PRIMARY, replicas=list)._fleet
    found = directory().read([one, two])
    assert fleet.set_replicas(found) == []
    primary, kept, gone = fleet.members
    fleet._previous = kept
    assert fleet.set_replicas([]) == [gone]
    assert fleet.members == (primary, kept)
    fleet._previous = primary
    fleet.set_replicas(directory().read([Replica(one, weight=5)]))
    assert (fleet.members[1], kept.weight) == (kept, 5)
    assert fleet.set_replicas(directory().read([Replica(one, pool_size=3)])) == [kept]


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_replica_is_added_and_removed_without_an_error(
    items: Database, make_async: Callable[..., AsyncCluster], driver: str
) -> None:
    """24. One that is added is used; one that is removed drains: its open transaction goes on, and then
    none of our connections is left there."""
    first, second = items.cluster.replicas
    urls = items.replica_urls(driver)
    listed = [urls[0]]

    async def find() -> list[str]:
        return list(listed)

    cluster = make_async(driver, replicas=find, refresh=0.05)
    ports: list[int] = []
    stop = asyncio.Event()

    async def read() -> int:
        async with cluster.session(consistency=ANY) as session:
            port: int = (await session.execute(READ)).one()[1]
            return port

    async def visitor() -> None:
        while not stop.is_set():
            ports.append(await read())

    assert await read() == first.port, "the first transaction waits for the list"
    async with asyncio.timeout(30):
        async with cluster.session(consistency=ANY) as session:
            assert (await session.execute(READ)).one()[1] == first.port
            visitors = [asyncio.create_task(visitor()) for _ in range(4)]
            listed.append(urls[1])
            await until(lambda: second.port in ports)
            del listed[0]
            await until(lambda: len(cluster.status().members) == 2)
            for _ in range(20):
                assert await read() == second.port
            assert (await session.execute(READ)).one()[1] == first.port
        stop.set()
        await asyncio.gather(*visitors)
        ours = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{items.name}'"
        await until(lambda: first.sql(ours) == "0")
    await cluster.dispose()
    assert await read() == second.port, "the list is kept over dispose()"


def test_synchronous_lists(
    items: Database, make_sync: Callable[..., Cluster], caplog: pytest.LogCaptureFixture
) -> None:
    """24. The same in threads; while the function fails, what is known stays, and that is said once."""
    first, second = items.cluster.replicas
    urls = items.replica_urls("psycopg")
    listed: list[str] | None = [urls[0]]
    failures = 0

    def find() -> list[str]:
        nonlocal failures
        if listed is None:
            failures += 1
            raise LookupError("no such service")
        return list(listed)

    cluster = make_sync(replicas=find, refresh=0.05)

    def read() -> int:
        with cluster.session(consistency=ANY) as session:
            port: int = session.execute(READ).one()[1]
            return port

    assert read() == first.port
    with caplog.at_level(logging.WARNING, "scalekit.database"):
        listed = None
        wait(lambda: failures > 2)
    assert caplog.text.count("the list of replicas stays as it is") == 1
    assert "no such service" in caplog.text
    assert cluster.status().lookup_failure == "LookupError: no such service"
    assert read() == first.port
    listed = [urls[1]]
    wait(lambda: cluster.status().lookup_failure is None)
    wait(lambda: [member.name.split("/")[0] for member in cluster.status().members][1:] == [
        f"{second.host}:{second.port}"
    ])  # fmt: skip
    wait(lambda: read() == second.port)
    listed = []
    wait(lambda: read() == items.cluster.primary.port)
    wait(lambda: len(cluster._fleet.monitor._watchers) == 1)  # type: ignore[attr-defined]
    cluster.dispose()


def _counting(find: Callable[[], Any]) -> tuple[Callable[[], Any], list[None]]:
    calls: list[None] = []

    def counting() -> Any:
        calls.append(None)
        return find()

    return counting, calls


async def test_a_list_that_no_engine_can_be_made_of(
    items: Database, make_async: Callable[..., AsyncCluster], caplog: pytest.LogCaptureFixture
) -> None:
    """24. What is known stays, and asking goes on; any function that leads to an answer will do."""
    first = items.cluster.replicas[0]
    wrong = True

    class Service:
        async def __call__(self) -> list[str | Replica]:
            url = items.replica_urls()[0]
            return [Replica(url, pool_size=3) if wrong else url]

    cluster = make_async(replicas=Service(), refresh=0.05, poolclass=NullPool)
    async with cluster.session(consistency=ANY) as session:
        assert (await session.execute(READ)).one()[1] == items.cluster.primary.port
    async with asyncio.timeout(20):
        await until(lambda: "pool_size" in caplog.text)
        asked = cluster._fleet.directory
        assert asked is not None
        asked.find, find = _counting(asked.find)
        await until(lambda: len(find) > 2)
        assert caplog.text.count("the list of replicas stays as it is") == 1
        wrong = False
        port = 0
        while port != first.port:
            async with cluster.session(consistency=ANY) as session:
                port = (await session.execute(READ)).one()[1]

"""One name may lead to several servers: each connection is judged by who is at its own end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import text

from scalekit._steps import run_async
from scalekit.database import ANY, STRONG, AsyncCluster, Bounded, Cluster, Consistency
from scalekit.database.identity import Identity, objection
from scalekit.database.report import Report
from scalekit.database.tokens import Reached
from scalekit.errors import NoServerAvailable
from tests.conftest import Database
from tests.database._waiting import until, wait_for_roles
from tests.database.conftest import PATIENT
from tests.faults import FaultProxy, pause_replay
from tests.servers import postgres
from tests.servers.waiting import wait_until

REPORT = Report(
    asked=10.0,
    writable=False,
    reached=Reached("pg:1", {"2": 7}),
    epoch=2,
    order=7,
    written=None,
    flushed=None,
    flush_delay=0.6,
    server="a",
    shown="0/7",
)
READ = text("SELECT stock, inet_server_port() FROM item WHERE id = 1")
WRITE = text("UPDATE item SET stock = stock + 1 WHERE id = 1 RETURNING stock")


@pytest.mark.parametrize(
    ("report", "read_only", "expected"),
    [
        (REPORT, True, None),
        (REPORT, False, "led to a replica, where the primary was to be"),
        (replace(REPORT, writable=True), False, None),
        (replace(REPORT, epoch=3), True, None),
        (replace(REPORT, epoch=1), True, "led to a server on timeline 1; the current one is 2"),
        (
            replace(REPORT, reached=Reached("pg:9", {"2": 7})),
            True,
            "led to another database system (pg:9, and ours is pg:1)",
        ),
    ],
)
def test_who_is_not_used(report: Report, read_only: bool, expected: str | None) -> None:
    """18. A connection to the wrong server is refused, in words that say which it is."""
    assert objection(report, read_only=read_only, system="pg:1", epoch=2) == expected


def test_nobody_is_refused_while_nothing_is_known() -> None:
    """The first connections of a process are how it finds out."""
    assert objection(REPORT, read_only=True, system=None, epoch=0) is None


def test_two_servers_are_told_from_one_that_was_restarted() -> None:
    """Only a server that was there before and after another one answered is not that one's successor."""
    restarted = Identity()
    restarted.met(replace(REPORT, server="b", asked=11.0), last=REPORT)
    assert not restarted.probed(replace(REPORT, server="b", asked=12.0))
    assert not restarted.several

    two = Identity()
    two.met(replace(REPORT, server="b", asked=11.0), last=REPORT)
    assert not two.probed(replace(REPORT, asked=10.5)), "asked before the other one answered"
    assert two.probed(replace(REPORT, asked=12.0))
    assert two.several
    assert not two.probed(replace(REPORT, asked=13.0)), "no news any more"


def test_a_crash_is_told_from_statistics_that_were_reset() -> None:
    """15. One that starts anew within itself has to catch up; no connection outlives that."""
    before = replace(REPORT, since=1.0, run="a 1")
    later = replace(before, asked=12.0)
    assert not before.is_restarted(later)
    assert before.is_restarted(replace(later, server="b"))
    assert before.is_restarted(replace(later, since=11.0, run="a 2"))
    assert not before.is_restarted(replace(later, run="a 2")), "said over the same connection"
    assert not before.is_restarted(replace(later, since=11.0)), "only the connection was lost"
    assert not before.is_restarted(replace(later, since=11.0, run="")), "nobody can tell"


@pytest.fixture
async def way(items: Database) -> AsyncIterator[FaultProxy]:
    """A name, so to say: it leads to the first replica, until a test changes its ``target``."""
    replica = items.cluster.replicas[0]
    async with FaultProxy(replica.host, replica.port) as proxy:
        yield proxy


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_one_name_two_servers_never_stale(
    items: Database, way: FaultProxy, make_async: Callable[..., AsyncCluster], driver: str
) -> None:
    """1. The probe's server has what the visitor wrote and the one that is read from has not: not stale."""
    paused = items.cluster.replicas[1]
    cluster = make_async(driver, replicas=[way.url(items.replica_urls(driver)[0])])
    member = cluster._fleet.members[1]

    async def read(level: Consistency | None = None) -> tuple[int, int]:
        async with cluster.session(consistency=level) as session:
            stock, port = (await session.execute(READ)).one()
            return stock, port

    async with cluster.session(consistency=STRONG) as session:
        await session.execute(text("SELECT 1"))  # the probes run
    await until(lambda: cluster.status().members[1].role == "replica")
    way.target = paused.host, paused.port
    with pause_replay(paused):
        for expected in range(1, 6):
            with cluster.scope() as scope:
                async with cluster.session() as session:
                    await session.execute(WRITE)
                    await session.commit()
                token = scope.token
                assert token is not None
                await until(lambda token=token: member.reached.covers(token))  # type: ignore[misc]
                assert await read() == (expected, items.cluster.primary.port)
                assert await read(Bounded(60)) == (expected, items.cluster.primary.port)
        assert await read(ANY) == (0, paused.port), "there is a connection to the other one"
        await until(lambda: "several servers" in str(cluster.status().members[1].notice))
    # Once it has replayed, its own answers count.
    await asyncio.to_thread(items.cluster.wait_caught_up)
    with cluster.scope(token):
        assert await read() == (5, paused.port)


async def test_writes_never_begin_on_a_replica(items: Database, way: FaultProxy) -> None:
    """18. The primary's name leads elsewhere, for a moment: those who want to write wait, or are told why."""
    primary, replica = items.cluster.primary, items.cluster.replicas[0]
    way.target = primary.host, primary.port
    cluster = AsyncCluster(
        way.url(items.primary_url()),
        replicas=items.replica_urls(),
        probe_interval=0.1,
        failover_wait=0.5,
        **PATIENT,
    )
    async with cluster:

        async def write() -> int:
            async with cluster.session() as session:
                stock: int = (await session.execute(WRITE)).scalar_one()
                await session.commit()
                return stock

        async with cluster.session() as session:
            await session.execute(READ)
        await until(lambda: cluster.status().members[0].role == "primary")
        await run_async(cluster._fleet.members[0].dispose())  # what is in its pools leads there already
        way.target = replica.host, replica.port
        with pytest.raises(NoServerAvailable, match="led to a replica, where the primary was to be"):
            await write()
        cluster._fleet.failover_wait = 30
        waiting = asyncio.create_task(write())
        way.target = primary.host, primary.port
        assert await waiting == 1


async def test_disposal_under_a_transaction_that_begins(make_async: Callable[..., AsyncCluster]) -> None:
    """What the members said is forgotten meanwhile; the transaction runs, or says who does not answer."""
    cluster = make_async()
    stop = asyncio.Event()
    done = [0] * 4

    async def visitor(number: int) -> None:
        while not stop.is_set():
            async with cluster.session() as session:
                await session.execute(WRITE if done[number] % 2 else READ)
                await session.rollback()
            done[number] += 1

    visitors = [asyncio.create_task(visitor(number)) for number in range(4)]
    for times in range(1, 4):
        await until(partial(lambda times: min(done) >= 5 * times, times))
        await cluster.dispose()
    stop.set()
    await asyncio.gather(*visitors)


def test_the_primary_under_a_second_name(
    items: Database, make_sync: Callable[..., Cluster], caplog: pytest.LogCaptureFixture
) -> None:
    """Known by its answers, not by its name: it is no replica, and people are told once."""
    again = items.primary_url("psycopg").replace("127.0.0.1", "localhost")
    cluster = make_sync(replicas=[again, *items.replica_urls("psycopg")[:1]])
    asked: list[float] = []
    with cluster.session() as session:
        session.execute(text("UPDATE item SET stock = 5 WHERE id = 1"))
        session.commit()
    wrong = next(member for member in cluster._fleet.members[:2] if member is not cluster._fleet.primary)
    while len(asked) < 3:
        before = wrong.health.asked
        cluster._fleet.monitor.poke()
        cluster._fleet.monitor.wait(lambda before=before: wrong.health.asked > before, 20)  # type: ignore[misc]
        asked.append(wrong.health.asked)

    def warnings() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]

    wait_until(warnings, what="people are told, which follows")
    told = warnings()
    # Whichever of the names answers first is the primary's.
    option = "replicas[0]" if wrong is cluster._fleet.members[0] else "primary="
    assert [line.partition(", ")[0] for line in told] == [
        f"{wrong.name} is left out: the same server as {option}"
    ]
    assert sorted(member.role for member in cluster.status().members) == ["out", "primary", "replica"]


def test_a_replica_of_another_system(
    items: Database,
    make_sync: Callable[..., Cluster],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is neither read from nor written to, alone or beside a good one, and people are told why. Nor is it
    when the name of the primary comes to lead there."""
    # Made like the others, it would be a copy of them.
    monkeypatch.setattr(postgres, "_fresh_data", postgres._fresh_data.__wrapped__)
    system = text("SELECT system_identifier::text FROM pg_control_system()")
    with postgres.PostgresServer() as foreign:
        foreign.sql(f"CREATE DATABASE {items.name}")
        wrong = foreign.url("psycopg", items.name)
        ours = items.cluster.primary.sql(str(system))
        for replicas in ([wrong], [wrong, items.replica_urls("psycopg")[0]]):
            cluster = make_sync(replicas=replicas)
            for level in (ANY, STRONG):
                with cluster.session(consistency=level) as session:
                    assert session.execute(system).scalar_one() == ours
            found = cluster.status().members[1]
            assert (found.role, found.transactions) == ("out", 0)
            assert f"than the primary (pg:{ours}); is its URL right?" in str(found.reason)
        line = f"{found.name} is left out: belongs to another database system"
        wait_until(lambda: line in caplog.text, what="the warning")
        # And a name that leads there later.
        primary = items.cluster.primary
        with FaultProxy(primary.host, primary.port) as name:
            url = name.url(items.primary_url("psycopg"))
            with Cluster(
                url,
                replicas=items.replica_urls("psycopg"),
                probe_interval=0.1,
                failover_wait=0.1,
                **PATIENT,
            ) as cluster:
                with cluster.session(consistency=STRONG) as session:
                    assert session.execute(system).scalar_one() == ours
                wait_for_roles(cluster, "primary", "replica", "replica")
                name.refuse()
                name.target = foreign.host, foreign.port
                name.pass_through()
                wait_until(
                    lambda: "and gets nothing" in str(cluster.status().members[0].reason),
                    timeout=60,
                    what="the reason",
                )
                with cluster.session(consistency=STRONG) as session, pytest.raises(NoServerAvailable) as no:
                    session.execute(system)
                assert f"than ours (pg:{ours}), and gets nothing" in str(no.value)
                wait_for_roles(cluster, "out", "replica", "replica")
                with cluster.session(consistency=ANY) as session:
                    assert session.execute(system).scalar_one() == ours

"""Amazon Aurora: the rules, and a PostgreSQL that plays one.

Its functions are written in SQL here. What it says of positions is nonsense on purpose: nothing may be
concluded from that.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import make_url, text

from scalekit.database import CAUSAL, AsyncCluster, Bounded, Cluster, Token, TokenSigner
from scalekit.database.backends import backend_for
from scalekit.database.backends.aurora import Aurora
from scalekit.database.descent import Descent
from scalekit.database.history import History
from scalekit.database.report import Health, Report
from scalekit.database.topology import survey
from scalekit.errors import ConfigurationError, NoServerAvailable
from tests.conftest import Database
from tests.database._lag import lagging, meet
from tests.database._waiting import until
from tests.database.conftest import ITEMS
from tests.faults import kill, pause_replay, promote
from tests.servers import PostgresCluster

URL = "postgresql+psycopg://db-1.abc.eu-west-1.rds.amazonaws.com/shop"
LAST = Aurora().report((True, "90", "90", None, "db-2", "db-1 db-2", 17.0, "on"), asked=0.0)


def writer(end: int, *, asked: float = 1.0, name: str = "db-1", under_way: int = 0) -> Report:
    row = (False, "1", str(end), end + under_way, name, "db-1 db-2", 17.0, "off")
    return Aurora().report(row, asked=asked)


def reader(start: int, end: int, *, asked: float = 1.0, servers: str | None = "db-1 db-2") -> Report:
    return Aurora().report((True, str(start), str(end), None, "db-2", servers, 17.0, "on"), asked=asked)


def token(end: int) -> Token:
    return Aurora().token(str(end), last=writer(end))


def covers(report: Report | None, wanted: Token) -> bool:
    assert report is not None
    return report.reached.covers(wanted)


def test_a_reader_has_what_ended_before_its_snapshot_starts() -> None:
    """1, 20. Nothing below the number is under way; what it may have shown of later ones promises nothing."""
    assert covers(reader(100, 100), token(100))
    assert not covers(reader(99, 100), token(100))
    assert not covers(reader(99, 400), token(100))
    inline = Aurora().inline_report
    assert covers(inline((True, "100", "101"), asked=2.0, last=LAST), token(100))
    assert not covers(inline((True, "99", "101"), asked=2.0, last=LAST), token(100))
    # No reader any more, or never one: the long question tells.
    assert inline((False, "100", "101"), asked=2.0, last=LAST) is None
    assert inline((True, "100", "101"), asked=2.0, last=writer(90)) is None
    assert covers(writer(100), token(100))


def test_what_a_reader_may_have_shown_is_asked_of_the_next_one() -> None:
    """4. A snapshot shows some of what lies between its start and its end; who saw it is promised all."""
    seen = reader(50, 100).reached.token(0)
    assert seen == token(100)
    assert not covers(reader(99, 120), seen)
    # Without a later answer of its own it is all that the writer had begun.
    busy = writer(100, under_way=5)
    assert busy.most == token(105)
    assert busy.written == token(100)
    assert covers(busy, token(100))
    assert not covers(busy, token(101))


def test_a_later_commit_takes_the_place_of_an_earlier_one() -> None:
    """16. Also on the next writer, which goes on counting; only ever forward where nobody knows the order."""
    assert token(100).followed_by(token(120)) == token(120)
    assert token(120).merge(token(100)) == token(120)
    assert Token.unknown("aurora", 0).followed_by(token(120)) == token(120)
    signer = TokenSigner("a secret of sixteen bytes")
    assert signer.loads(signer.dumps(token(2**40))) == token(2**40)


def test_an_open_transaction_is_no_lag() -> None:
    """5. It holds back what a reader has for certain, and with it Bounded; not how far behind it seems."""
    history = History()
    for moment in range(60):
        history.add(writer(100 + moment, asked=float(moment)))
    held = reader(100, 159).reached
    assert (history.lag(held), history.complete_until(held)) == (0.0, 0.0)
    assert history.lag(reader(100, 129).reached) == 30.0
    one, two = Health(), Health()
    one.answered(writer(159, asked=59.0))
    two.answered(reader(100, 159, asked=59.0))
    assert survey([one, two], history=history, max_lag=30, epoch=0, previous=0).readers == (1,)
    # One that was restarted meanwhile is not kept out by it either, once it shows what it came back to.
    for shows, readers in ((130, ()), (159, (1,))):
        two.restarted(reader(100, 131, asked=31.5))
        two.answered(reader(100, shows, asked=59.0))
        found = survey([one, two], history=history, max_lag=30, readmit_lag=30, epoch=0, previous=0)
        assert found.readers == readers


def test_a_failover_moves_the_writer() -> None:
    """16. The old one is a reader now, or silent; nothing of what it acknowledged is missed."""
    old, new = Health(), Health()
    new.answered(writer(120, asked=3.0, name="db-2"))
    old.answered(reader(120, 120, asked=3.0))
    assert survey([old, new], history=History(), max_lag=30, epoch=0, previous=0).primary == 1
    old.failed("refused", asked=4.0)
    assert survey([old, new], history=History(), max_lag=30, epoch=0, previous=0).primary == 1
    assert new.report is not None
    assert covers(new.report, token(120))


@pytest.mark.parametrize(
    ("servers", "reason"),
    [
        ("db-1 db-2", None),
        ("db-2 db-7", "does not know the primary, db-1, but db-2, db-7: it belongs to another cluster"),
        (None, None),
    ],
)
def test_a_reader_of_another_cluster(servers: str | None, reason: str | None) -> None:
    """Bad input: a clone counts transactions too. Its list of servers tells; without one nothing is said."""
    descent = Descent()
    descent.heard(reader(10, 10, servers=servers), arrived=2.0)
    descent.compare(writer(100, asked=3.0))
    assert (descent.foreign or "").startswith(reason or "")
    assert (descent.foreign is None) is (reason is None)
    # Questions before a read do not ask for the list; an old one must not tell.
    inline = Aurora().inline_report((True, "10", "10"), asked=4.0, last=reader(10, 10, servers="db-7"))
    assert inline is not None
    quiet = Descent()
    quiet.heard(inline, arrived=5.0)
    quiet.compare(writer(100, asked=6.0))
    assert quiet.foreign is None


def test_it_is_said_and_not_guessed() -> None:
    """The URLs of RDS and of Aurora look the same."""
    assert type(backend_for(make_url(URL), "aurora")) is Aurora
    assert type(backend_for(make_url(URL))) is not Aurora
    wrong: Any = "auroral"
    with pytest.raises(ConfigurationError, match="server='auroral'; use 'aurora', or leave it out"):
        Cluster(URL, server=wrong)
    with pytest.raises(
        ConfigurationError, match=r"begin with postgresql\+psycopg:// .* not mysql\+pymysql://"
    ):
        Cluster("mysql+pymysql://db/shop", server="aurora")


# The played Aurora.

FUNCTIONS = (
    "CREATE FUNCTION aurora_db_instance_identifier() RETURNS text LANGUAGE sql AS "
    "$$SELECT 'db-' || current_setting('port')$$",
    "CREATE TABLE servers (server_id text PRIMARY KEY, session_id text, durable_lsn int8, "
    "current_read_lsn int8)",
    "CREATE FUNCTION aurora_replica_status() RETURNS SETOF servers LANGUAGE sql AS 'SELECT * FROM servers'",
)


@pytest.fixture
def aurora(items: Database) -> Database:
    """``items`` on three servers that answer as an Aurora's do."""
    play(items.cluster, items.name)
    return items


def play(servers: PostgresCluster, database: str) -> None:
    rows = [f"('db-{servers.primary.port}', 'MASTER_SESSION_ID', 1, NULL)"]
    rows += [f"('db-{one.port}', gen_random_uuid()::text, {2**40}, {2**40})" for one in servers.replicas]
    servers.primary.sql(*FUNCTIONS, f"INSERT INTO servers VALUES {', '.join(rows)}", database=database)
    servers.wait_caught_up()


WHERE = text("SELECT stock, pg_is_in_recovery() FROM item WHERE id = 1")
WRITE = text("UPDATE item SET stock = stock + 1 WHERE id = 1 RETURNING stock")


async def write(cluster: AsyncCluster, *, fast: bool = False) -> tuple[int, Token]:
    """The stock after a sale, and what its buyer is promised."""
    with cluster.scope() as scope:
        async with cluster.session() as session:
            if fast:
                await session.execute(text("SET LOCAL synchronous_commit = off"))
            stock = await session.scalar(WRITE)
            await session.commit()
    assert stock is not None
    assert scope.token is not None
    return stock, scope.token


async def read(cluster: AsyncCluster, promised: Token | None, **options: Any) -> tuple[int, bool]:
    """The stock, and whether it came from a replica."""
    with cluster.scope(promised):
        async with cluster.session(**options) as session:
            stock, replica = (await session.execute(WHERE)).one()
            return stock, replica


async def from_a_replica(cluster: AsyncCluster, promised: Token | None, **options: Any) -> int:
    """The stock, as soon as a replica may tell."""
    async with asyncio.timeout(60):
        while True:
            stock, replica = await read(cluster, promised, **options)
            if replica:
                return stock
            await asyncio.sleep(0.02)


def begun(cluster: AsyncCluster, number: int) -> bool:
    """Whether the writer has said that it has begun that transaction."""
    primary = cluster._fleet.primary
    report = primary.health.report if primary is not None else None
    return report is not None and report.most is not None and report.most.marks[0][1] > number


def certain_age(cluster: AsyncCluster) -> float:
    """Seconds since the replicas had all for certain; 0 while none is read from."""
    fleet = cluster._fleet
    moments = [fleet.history.complete_until(member.reached) for member in fleet.readers]
    now = time.monotonic()
    return now - max((moment for moment in moments if moment is not None), default=now)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_own_writes_are_read(
    driver: str, aurora: Database, make_async: Callable[..., AsyncCluster]
) -> None:
    """1, 2, 3, 22. From the replica that shows them, else from the primary, whatever the rows of LSNs say."""
    cluster = make_async(driver, server="aurora", ramp=0)
    await from_a_replica(cluster, None)

    with lagging(aurora):
        for fast in (False, True):
            stock, promised = await write(cluster, fast=fast)
            assert await read(cluster, promised) == (stock, False)
        # Who was promised nothing may have what there is.
        assert (await read(cluster, None))[1]
    assert await from_a_replica(cluster, promised) == stock
    with pause_replay(aurora.cluster.replicas[0]):
        answers = []
        for number in range(40):
            stock, promised = await write(cluster, fast=bool(number % 2))
            answers.append((await read(cluster, promised), stock))
            if number % 10 == 9:
                assert await from_a_replica(cluster, promised) == stock
    assert [found for (found, _), _ in answers] == [stock for _, stock in answers]
    with cluster.scope() as scope:
        async with cluster.session() as session:
            await session.execute(WRITE)
            await session.rollback()
    assert scope.token is None


async def test_an_open_transaction_keeps_later_writes_on_the_primary(
    aurora: Database, make_async: Callable[..., AsyncCluster]
) -> None:
    """1, 5. Nobody can tell whether a replica has what was written after it began; others read on."""
    cluster = make_async(server="aurora", ramp=0, max_lag=1, consistency=CAUSAL)
    await from_a_replica(cluster, None)
    async with cluster.session() as batch:
        await batch.execute(text("UPDATE item SET stock = 7 WHERE id = 3"))
        under_way = int(await batch.scalar(text("SELECT pg_current_xact_id()::text")))
        async with asyncio.timeout(60):
            while not begun(cluster, under_way):
                await asyncio.sleep(0.02)
        with cluster.scope() as scope:
            async with cluster.session() as session:
                stock = await session.scalar(WRITE)
                await session.commit()
        async with asyncio.timeout(60):
            while certain_age(cluster) <= 1:  # max_lag
                assert await read(cluster, scope.token) == (stock, False)
                await asyncio.sleep(0.05)
        # A machine that is busy for a second may have the replicas lag for real, for as long.
        await from_a_replica(cluster, None)
        assert not (await read(cluster, None, consistency=Bounded(1)))[1]
        await until(lambda: all(member.reason is None for member in cluster.status().members))
        await batch.commit()
    assert await from_a_replica(cluster, scope.token) == stock
    await from_a_replica(cluster, None, consistency=Bounded(30))


def test_readers_that_do_not_know_the_writer(aurora: Database, make_sync: Callable[..., Cluster]) -> None:
    """Bad input: they are another cluster's, and the primary serves everybody; the status says why."""
    port = aurora.cluster.primary.port
    aurora.cluster.primary.sql(f"DELETE FROM servers WHERE server_id = 'db-{port}'", database=aurora.name)
    aurora.cluster.wait_caught_up()
    cluster = make_sync(server="aurora")
    with cluster.session() as session:
        assert session.execute(WHERE).one() == (0, False)
    primary, *others = cluster.status().members
    assert primary.role == "primary"
    for other in others:
        assert f"does not know the primary, db-{port}, but db-" in str(other.reason)


def test_what_was_not_said_is_noticed(aurora: Database, make_sync: Callable[..., Cluster]) -> None:
    """Bad input: never read by the functions of PostgreSQL from an Aurora, nor the other way round."""
    kinds = "SET rds.extensions = 'address_standardizer, aurora_stat_utils'"
    aurora.cluster.primary.sql(f"ALTER DATABASE {aurora.name} {kinds}")
    aurora.cluster.wait_caught_up()
    plain = make_sync(failover_wait=0.1)
    with (
        plain.session() as session,
        pytest.raises(NoServerAvailable, match="give the cluster server='aurora'"),
    ):
        session.execute(WHERE)
    said = make_sync(server="aurora")
    meet(said)
    with said.session() as session:
        assert session.execute(WHERE).one() == (0, True)
    aurora.cluster.primary.sql("DROP FUNCTION aurora_replica_status()", database=aurora.name)
    aurora.cluster.wait_caught_up()
    no_aurora = make_sync(server="aurora", failover_wait=0.1)
    with no_aurora.session() as session, pytest.raises(NoServerAvailable, match=r"aurora_replica_status\(\)"):
        session.execute(WHERE)


@pytest.mark.slow
async def test_the_next_writer_goes_on_counting() -> None:
    """16. It has all that was acknowledged; the reader that is left shows what both have written."""
    with PostgresCluster() as servers:
        old, (new, left) = servers.primary, servers.replicas
        old.sql(ITEMS, "INSERT INTO item VALUES (1, 'one')")
        play(servers, "postgres")
        urls = [server.url("asyncpg") for server in (old, new, left)]
        async with AsyncCluster(
            urls[0], replicas=urls[1:], server="aurora", probe_interval=0.1, ramp=0, failover_wait=30
        ) as cluster:
            stock, promised = await write(cluster)
            assert await from_a_replica(cluster, promised) == stock
            servers.wait_caught_up()
            kill(old)
            promote(new)
            left.follow(new)
            assert await from_a_replica(cluster, promised) == stock
            for expected in range(stock + 1, stock + 21):
                stock, promised = await write(cluster)
                assert stock == expected
                assert (await read(cluster, promised))[0] == expected
            assert await from_a_replica(cluster, promised) == stock
            status = cluster.status()
            assert [member.role for member in status.members] == ["out", "primary", "replica"]
            assert [promotion.lost for promotion in status.promotions] == [False]

"""Servers that die, hang, come back and change places. Each test starts a cluster of its own."""

import asyncio
import contextlib
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from scalekit.database import ANY, STRONG, AsyncCluster, Bounded, Cluster, Consistency
from scalekit.errors import NoServerAvailable, OutcomeUnknown
from tests.database._waiting import until, until_roles
from tests.database.conftest import ITEMS, PATIENT
from tests.faults import FaultProxy, freeze, kill, promote
from tests.servers import PostgresCluster

pytestmark = pytest.mark.slow

READ = text("SELECT stock, pg_is_in_recovery(), inet_server_port() FROM item WHERE id = 1")
WRITE = text("UPDATE item SET stock = stock + 1 WHERE id = 1 RETURNING stock")


@pytest.fixture
def servers() -> Iterator[PostgresCluster]:
    """A primary and two replicas with a table, to be broken."""
    with PostgresCluster() as cluster:
        cluster.primary.sql(ITEMS, "INSERT INTO item VALUES (1, 'one')")
        cluster.wait_caught_up()
        yield cluster


def over(servers: PostgresCluster, driver: str = "asyncpg", **options: object) -> AsyncCluster:
    replicas = [replica.url(driver) for replica in servers.replicas]
    # Whoever comes back gets its reads at once.
    options = {**PATIENT, "probe_interval": 0.1, "ramp": 0, **options}
    return AsyncCluster(servers.primary.url(driver), replicas=replicas, **options)  # type: ignore[arg-type]


async def read(cluster: AsyncCluster) -> tuple[int, bool, int]:
    async with cluster.session() as session:
        return tuple((await session.execute(READ)).one())


async def until_on_replica(cluster: AsyncCluster) -> None:
    """Return when a read comes from a replica: one that answers late once is left out for a moment."""
    async with asyncio.timeout(60):
        while not (await read(cluster))[1]:
            await asyncio.sleep(0.01)


async def write(cluster: AsyncCluster) -> int:
    async with cluster.session() as session:
        stock: int = (await session.execute(WRITE)).scalar_one()
        await session.commit()
        return stock


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_replicas_killed_under_load(servers: PostgresCluster, driver: str) -> None:
    """Both replicas die, one after the other, while 16 visitors read, half of them over Core's connections,
    which some keep: no read fails."""
    async with over(servers, driver) as cluster:
        await read(cluster)
        await until_roles(cluster, "primary", "replica", "replica")
        stop = asyncio.Event()
        served = 0

        async def visitor() -> None:
            nonlocal served
            while not stop.is_set():
                await read(cluster)
                served += 1

        async def until_more_served() -> None:
            enough = served + 100
            await until(lambda: served >= enough)

        async def over_core(*, kept: bool) -> None:
            nonlocal served
            while not stop.is_set():
                async with cluster.connection(read=True) as connection:
                    for _ in range(50 if kept else 1):
                        async with connection.begin():
                            await connection.scalar(text("SELECT 1"))
                        served += 1

        visitors = [asyncio.create_task(visitor()) for _ in range(8)]
        visitors += [asyncio.create_task(over_core(kept=number % 2 == 0)) for number in range(8)]
        for replica in servers.replicas:
            await until_more_served()
            await asyncio.to_thread(kill, replica)
        await until_roles(cluster, "primary", "out", "out")
        await until_more_served()
        stop.set()
        await asyncio.gather(*visitors)
        assert (await read(cluster))[1] is False
        assert cluster.status().members[1].reason

        servers.replicas[0].start()
        await until_roles(cluster, "primary", "replica", "out")
        assert (await read(cluster))[1] is True


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_blackholed_replica_costs_the_process_once(servers: PostgresCluster, driver: str) -> None:
    """Reads that wait on it go elsewhere when the probe gives up; later reads do not even try it."""
    async with FaultProxy(servers.replicas[0].host, servers.replicas[0].port) as proxy:
        cluster = AsyncCluster(
            servers.primary.url(driver),
            replicas=[proxy.url(servers.replicas[0].url(driver))],
            probe_interval=0.1,
            probe_timeout=0.5,
            connect_timeout=1,
            ramp=0,
        )
        async with cluster:
            await read(cluster)
            await until_on_replica(cluster)
            proxy.blackhole()
            async with asyncio.timeout(60):
                waiting = await asyncio.gather(*(read(cluster) for _ in range(8)))
            assert [found[1] for found in waiting] == [False] * 8
            await until_roles(cluster, "primary", "out")
            accepted = proxy.accepted
            started = time.monotonic()
            for _ in range(50):
                assert (await read(cluster))[1] is False
            probes = (time.monotonic() - started) / 0.1 + 2
            assert proxy.accepted - accepted <= probes, "only the probe still knocks"
            proxy.pass_through()
            await until_on_replica(cluster)


async def test_a_frozen_replica(servers: PostgresCluster) -> None:
    """SIGSTOP: the kernel accepts for it and nothing is answered; nobody waits longer than the probe."""
    async with over(servers, probe_timeout=2, connect_timeout=5) as cluster:
        await read(cluster)
        await until_roles(cluster, "primary", "replica", "replica")
        with freeze(servers.replicas[0]):
            async with asyncio.timeout(60):
                await asyncio.gather(*(read(cluster) for _ in range(20)))
            await until_roles(cluster, "primary", "out", "replica")
        await until_roles(cluster, "primary", "replica", "replica")


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_promotion(servers: PostgresCluster, driver: str, caplog: pytest.LogCaptureFixture) -> None:
    """The primary is killed -9 and a replica promoted: writes resume without a restart, and none is lost;
    the old primary comes back and gets nothing. The log has each of that once."""
    async with over(servers, driver, failover_wait=60) as cluster:
        with cluster.scope() as scope:
            assert await write(cluster) == 1
            token = scope.token
        await asyncio.to_thread(servers.wait_caught_up)
        await until_roles(cluster, "primary", "replica", "replica")
        kill(servers.primary)
        reading = await read(cluster)
        assert reading[:2] == (1, True), "reads go on while there is no primary"
        waiting = asyncio.create_task(write(cluster))
        await asyncio.to_thread(promote, servers.replicas[0])
        assert await waiting == 2
        assert cluster.status().members[1].role == "primary"
        assert cluster.status().members[1].timeline == 2

        # A token of the old timeline is answered by the primary, never by a replica's position.
        with cluster.scope(token):
            stock, recovering, port = await read(cluster)
            assert (stock, recovering, port) == (2, False, servers.replicas[0].port)

        # The other replica follows the new primary, and is read from again.
        await asyncio.to_thread(servers.replicas[1].follow, servers.replicas[0])
        await asyncio.to_thread(servers.replicas[1].wait_for, servers.replicas[0].position())
        await until_roles(cluster, "out", "primary", "replica")
        with cluster.scope():
            assert (await read(cluster))[:2] == (2, True)

        # The old primary does not know, and takes writes from whoever asks it. Nobody does.
        servers.primary.start()
        await until(lambda: "old primary" in str(cluster.status().members[0].reason))
        for expected in range(3, 13):
            assert await write(cluster) == expected
            assert (await read(cluster))[0] == expected
        assert servers.primary.sql("SELECT stock FROM item") == "1"
        old, new, _ = (member.name for member in cluster.status().members)
        out, instead, still = (one.getMessage() for one in caplog.records if old in one.getMessage())
        assert out.startswith(f"{old} is left out: ")
        assert instead == f"{new} is the primary now, in place of {old}"
        assert still == f"{old} is still left out: an old primary on timeline 1; the current one is 2"


async def test_a_process_that_starts_after_the_failover(servers: PostgresCluster) -> None:
    """The configuration still names the old primary first, and it runs: the new one gets the writes."""
    await asyncio.to_thread(promote, servers.replicas[1])
    async with over(servers) as cluster:
        assert await write(cluster) == 1
    assert servers.replicas[1].sql("SELECT stock FROM item") == "1"
    assert servers.primary.sql("SELECT stock FROM item") == "0"


async def test_no_primary_is_a_clear_error(servers: PostgresCluster) -> None:
    """Without a primary writes fail with the reason for each member, and reads go on."""
    async with over(servers, failover_wait=0.2) as cluster:
        await read(cluster)
        kill(servers.primary)
        await until_roles(cluster, "out", "replica", "replica")
        with pytest.raises(NoServerAvailable, match="no primary") as raised:
            await write(cluster)
        assert str(servers.primary.port) in str(raised.value)
        with cluster.scope():
            assert (await read(cluster))[:2] == (0, True)


async def test_bounded_and_strong_reads_without_a_primary(servers: PostgresCluster) -> None:
    """5. 6. What nobody can vouch for any more is an error in time, not older data; STRONG is one at once."""
    async with over(servers, failover_wait=0.2) as cluster:
        await read(cluster)
        await until_roles(cluster, "primary", "replica", "replica")

        async def at(level: Consistency) -> tuple[int, bool, int]:
            async with cluster.session(consistency=level) as session:
                return tuple((await session.execute(READ)).one())

        async def until_refused(level: Consistency) -> None:
            async with asyncio.timeout(20):
                while True:
                    await at(level)
                    await asyncio.sleep(0.05)

        kill(servers.primary)
        await until_roles(cluster, "out", "replica", "replica")
        with pytest.raises(NoServerAvailable, match="no primary"):
            await at(STRONG)
        assert (await at(Bounded(600)))[1]
        with pytest.raises(NoServerAvailable, match="no primary"):
            await until_refused(Bounded(1))
        assert (await at(ANY))[1]


async def test_never_older_even_without_a_primary(servers: PostgresCluster) -> None:
    """Nobody left holds what the visitor wrote: an error, not older data."""
    async with over(servers, failover_wait=0.2) as cluster:
        await read(cluster)
        for replica in servers.replicas:
            replica.pause_replay()
        with cluster.scope():
            assert await write(cluster) == 1
            kill(servers.primary)
            await until_roles(cluster, "out", "replica", "replica")
            with pytest.raises(NoServerAvailable):
                await read(cluster)
            async with cluster.session(consistency=ANY) as session:
                assert (await session.execute(READ)).one()[0] == 0


async def test_the_primary_restarts(servers: PostgresCluster) -> None:
    """What is in the pools of a server that was restarted is dropped before anyone trips over it."""
    async with over(servers, failover_wait=20) as cluster:
        assert await write(cluster) == 1
        kill(servers.primary)
        await until_roles(cluster, "out", "replica", "replica")
        waiting = asyncio.create_task(write(cluster))
        await asyncio.to_thread(servers.primary.start)
        assert await waiting == 2
        for expected in range(3, 9):
            assert await write(cluster) == expected


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_commit_whose_answer_is_lost(servers: PostgresCluster, driver: str) -> None:
    """The connection dies during COMMIT: OutcomeUnknown, and nothing is repeated."""
    async with FaultProxy(servers.primary.host, servers.primary.port) as proxy:
        cluster = AsyncCluster(
            proxy.url(servers.primary.url(driver)),
            replicas=[servers.replicas[0].url(driver)],
            probe_interval=30,
            **PATIENT,
        )
        async with cluster:
            async with cluster.session() as session:
                await session.execute(WRITE)
                proxy.cut(after=0)
                with pytest.raises(OutcomeUnknown, match="may or may not"):
                    await session.commit()
            proxy.pass_through()
    assert servers.primary.sql("SELECT stock FROM item") == "1"


def test_synchronous_code_survives_the_same(servers: PostgresCluster) -> None:
    """Threads: a frozen replica, a promotion and an old primary that returns."""
    replicas = [replica.url("psycopg") for replica in servers.replicas]
    options = {
        "probe_interval": 0.1,
        "probe_timeout": 0.5,
        "connect_timeout": 1,
        "failover_wait": 30,
        "ramp": 0,
    }
    with Cluster(servers.primary.url("psycopg"), replicas=replicas, **options) as cluster:  # type: ignore[arg-type]

        def read_now() -> tuple[int, bool]:
            with cluster.session() as session:
                return tuple(session.execute(READ).one()[:2])

        def write_now() -> int:
            with cluster.session() as session:
                stock: int = session.execute(WRITE).scalar_one()
                session.commit()
                return stock

        assert write_now() == 1
        servers.wait_caught_up()
        with freeze(servers.replicas[1]), cluster.scope():
            for _ in range(20):
                assert read_now()[0] == 1
        kill(servers.primary)
        promote(servers.replicas[0])
        assert write_now() == 2
        servers.primary.start()
        for expected in range(3, 13):
            assert write_now() == expected
            assert read_now()[0] == expected
    assert servers.primary.sql("SELECT stock FROM item") == "1"


_READY = b"Z\x00\x00\x00\x05I"
_FIELDS = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
_FAREWELL = b"E" + (len(_FIELDS) + 4).to_bytes(4, "big") + _FIELDS


class Farewell:
    """A way to a PostgreSQL that says goodbye to the next ``left`` clients as soon as they have logged in.

    A real server does so when it is shut down in just that moment, too short for a test to meet.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self.left = 0

    async def __aenter__(self) -> "Farewell":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._links: set[asyncio.Task[None]] = set()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        behind, ahead = await asyncio.open_connection(*self._target)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, ahead))
                group.create_task(self._pass(behind, writer, farewells=True))
        finally:
            for sink in (writer, ahead):
                sink.close()
                with contextlib.suppress(ConnectionError):
                    await sink.wait_closed()

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, farewells: bool = False
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                if farewells and self.left and data.endswith(_READY):
                    self.left -= 1
                    data += _FAREWELL
                sink.write(data)
                await sink.drain()
                if data.endswith(_FAREWELL):
                    break
        sink.close()


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_server_that_says_goodbye_to_a_new_connection(servers: PostgresCluster, driver: str) -> None:
    """Shut down between the log-in and the first question: nothing was sent yet, so another try is made."""
    primary = servers.primary
    async with Farewell(primary.host, primary.port) as way:
        url = primary.url(driver).replace(f":{primary.port}/", f":{way.port}/")
        replicas = [servers.replicas[0].url(driver)]
        options = {**PATIENT, "probe_interval": 30, "failover_wait": 20}
        async with AsyncCluster(url, replicas=replicas, **options) as cluster:
            await read(cluster)
            await until_roles(cluster, "primary", "replica")
            way.left = 2
            assert sorted(await asyncio.gather(*(write(cluster) for _ in range(3)))) == [1, 2, 3]
            assert way.left == 0
    assert primary.sql("SELECT stock FROM item") == "3"


async def test_disposal_leaves_nothing(servers: PostgresCluster) -> None:
    """After dispose there are no tasks and no connections of ours, and the cluster can be used again."""
    count = (
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname IS NOT NULL"
    )
    await until(lambda: servers.primary.sql(count) == "1")  # which asks; what was there before is gone
    cluster = over(servers)
    for _ in range(2):
        await read(cluster)
        await write(cluster)
        await cluster.dispose()
        assert len(asyncio.all_tasks()) == 1
        await until(lambda: servers.primary.sql(count) == "1")

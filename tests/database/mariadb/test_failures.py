"""MariaDB servers that die, hang, come back and change places."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from scalekit.database import STRONG
from scalekit.errors import NoServerAvailable, OutcomeUnknown
from tests.database._items import Item
from tests.database._waiting import wait
from tests.database.mariadb.conftest import READ, Both, fill, url
from tests.faults import FaultProxy, freeze, kill, pause_replay, promote
from tests.servers import MariaDBPair, MariaDBServer

pytestmark = pytest.mark.slow

SHOP = "shop"


class Trio:
    """A primary (1) and two replicas (2 and 3), to be broken."""

    def __init__(self, pair: MariaDBPair, third: MariaDBServer) -> None:
        self.pair, self.third = pair, third
        self.servers = [pair.primary, pair.replica, third]

    def wait_caught_up(self) -> None:
        position = self.servers[0].position()
        for replica in self.servers[1:]:
            replica.wait_for(position)


@pytest.fixture(params=["pymysql", "asyncmy"])
def driver(request: pytest.FixtureRequest) -> str:
    """A driver of each colour. aiomysql's connections leave sockets behind when their servers die."""
    driver: str = request.param
    return driver


def wait_for_read(both: Both, server: int) -> None:
    """Return when a read comes from that server: one that answers late once is left out for a moment."""
    wait(lambda: both.read()[1] == server)


@pytest.fixture
def trio() -> Iterator[Trio]:
    with MariaDBPair() as pair, MariaDBServer(server_id=3) as third:
        third.follow(pair.primary)
        fill(pair.primary, SHOP)
        made = Trio(pair, third)
        made.wait_caught_up()
        yield made


def test_a_thousand_reads_with_one_replica_paused(make: Callable[..., Both], trio: Trio) -> None:
    """3. One replica shows nothing new: no read is stale, and the other one still takes reads."""
    both = make(trio.servers, SHOP)
    found = {1: 0, 2: 0, 3: 0}
    written, _ = both.read()
    with pause_replay(trio.servers[1]):
        for _ in range(10):
            with both.cluster.scope():
                both.write()
                written += 1
                if written == 10:  # on a busy machine it may be behind all the time until then
                    trio.third.wait_for(trio.servers[0].position())
                for _ in range(100):
                    stock, server = both.read()
                    assert stock == written
                    found[server] += 1
    assert found[2] == 0
    assert found[3] > 0


def test_one_name_two_servers(make: Callable[..., Both], trio: Trio, driver: str) -> None:
    """1. The probe's server has what the visitor wrote and the one that is read from has not: not stale."""
    fresh, paused = trio.servers[1:]
    with FaultProxy(fresh.host, fresh.port) as way:
        both = make([trio.servers[0], way.url(url(fresh, driver, SHOP))], SHOP)
        member = both.cluster._fleet.members[1]
        both.call(member.cut_reads)  # what is opened from now on leads elsewhere
        way.target = paused.host, paused.port
        with pause_replay(paused):
            for expected in range(1, 6):
                with both.cluster.scope() as scope:
                    both.write()
                    token = scope.token
                    assert token is not None
                    wait(lambda token=token: member.reached.covers(token))  # type: ignore[misc]
                    assert both.read() == (expected, 1)
        trio.wait_caught_up()
        with both.cluster.scope(token):
            assert both.read() == (5, 3)
        both.dispose()


def test_a_replica_killed_under_load(make: Callable[..., Both], trio: Trio) -> None:
    """12. One replica dies while 8 visitors read, half of them over Core, then the other: no read fails."""
    both = make(trio.servers, SHOP)
    stop = threading.Event()
    served = [0] * 9

    def visitor(number: int) -> None:
        while not stop.is_set():
            if number % 2:
                both.read()
            else:
                both.run_core(lambda connection: [read(connection) for _ in range(number)], read=True)
            served[number] += 1

    def read(connection: Connection) -> None:
        connection.execute(READ).one()
        connection.rollback()

    with ThreadPoolExecutor(8) as threads:
        visitors = [threads.submit(visitor, number) for number in range(1, 9)]
        try:
            for replica in trio.servers[1:]:
                before = sum(served)
                wait(lambda before=before: sum(served) > before + 100)  # type: ignore[misc]
                kill(replica)
            both.wait_for_roles("primary", "out", "out")
            before = sum(served)
            wait(lambda: sum(served) > before + 100)
        finally:
            stop.set()
        for one in visitors:
            one.result()
    assert both.read()[1] == 1
    trio.servers[1].start()
    trio.servers[1].sql("START SLAVE")
    both.wait_for_roles("primary", "replica", "out")
    assert both.read()[1] == 2


def test_promotion(make: Callable[..., Both], trio: Trio) -> None:
    """16. The primary is killed -9 and a replica promoted: writes resume without a restart, and what was
    acknowledged and replicated is there; the old primary comes back and gets nothing."""
    both = make(trio.servers, SHOP, failover_wait=60)
    with both.cluster.scope() as scope:
        both.write()
        before = scope.token
    trio.wait_caught_up()
    stock, _ = both.read()
    assert stock == 1
    kill(trio.servers[0])
    assert both.read()[0] == 1, "reads go on while there is no primary"
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(both.write)
        promote(trio.servers[1])
        waiting.result()
    assert both.roles()[1] == "primary"
    (promotion,) = both.cluster.status().promotions
    assert (promotion.lost, promotion.behind) == (False, 0)
    assert promotion.member == both.cluster.status().primary

    # The other replica follows the new primary, and is read from again: what the old one wrote is there.
    trio.third.follow(trio.servers[1])
    both.wait_for_roles("out", "primary", "replica")
    trio.third.wait_for(trio.servers[1].position())
    with both.cluster.scope(before):
        assert both.read() == (2, 3)

    # The old primary does not know, and takes writes from whoever asks it. Nobody does.
    trio.servers[0].start()
    wait(lambda: "second writable" in str(both.cluster.status().members[0].reason))
    for expected in range(3, 13):
        with both.cluster.scope():
            both.write()
            assert both.read()[0] == expected
    assert trio.servers[0].sql("SELECT stock FROM item WHERE id = 1", database=SHOP) == "1"

    # A process that starts now, with the configuration of old, finds the new primary too.
    fresh = make(trio.servers, SHOP, wanted=("out", "primary", "replica"))
    fresh.write()
    assert fresh.run(lambda session: session.execute(READ).one()[1], consistency=STRONG) == 2


def test_a_lost_write_is_never_taken_for_another(
    make: Callable[..., Both], trio: Trio, caplog: pytest.LogCaptureFixture
) -> None:
    """20. The old primary dies with a commit that no replica has. The new one gives its number to another
    change; the visitor of the lost one reads from the primary, not from a replica that has the number."""
    both = make(trio.servers, SHOP, failover_wait=60)
    with pause_replay(trio.servers[1]), pause_replay(trio.servers[2]):
        for server in trio.servers[1:]:
            server.sql("STOP SLAVE IO_THREAD")
        with both.cluster.scope() as scope:
            both.write()
        lost = scope.token
        kill(trio.servers[0])
        promote(trio.servers[1])
    with caplog.at_level("ERROR", logger="scalekit.database"):
        both.write()
        both.write()
    # 16. The loss is reported.
    (promotion,) = both.cluster.status().promotions
    assert (promotion.lost, promotion.behind) == (True, None)
    # It is told after everybody sees it.
    wait(lambda: f"{promotion.member} took the place of the primary without all" in caplog.text)
    trio.third.follow(trio.servers[1])
    trio.third.wait_for(trio.servers[1].position())
    both.wait_for_roles("out", "primary", "replica")
    with both.cluster.scope():
        assert both.read() == (2, 3)
    with both.cluster.scope(lost) as scope:
        assert both.read() == (2, 2)
        both.write()  # what comes after it is known again
        trio.third.wait_for(trio.servers[1].position())
        assert both.read() == (3, 3)


def test_no_acknowledged_commit_is_lost_with_semi_synchronous_replication(
    make: Callable[..., Both], trio: Trio
) -> None:
    """16. Four writers, and kill -9 in the middle: what they were told is on the replica that is promoted."""
    primary, replica = trio.servers[:2]
    primary.sql(
        "SET GLOBAL rpl_semi_sync_master_wait_point = AFTER_SYNC",
        "SET GLOBAL rpl_semi_sync_master_timeout = 60000",
        "SET GLOBAL rpl_semi_sync_master_enabled = 1",
    )
    replica.sql("STOP SLAVE", "SET GLOBAL rpl_semi_sync_slave_enabled = 1", "START SLAVE")
    wait(lambda: primary.sql("SHOW STATUS LIKE 'Rpl_semi_sync_master_clients'").endswith("1"))
    both = make([primary, replica], SHOP, failover_wait=60)
    acknowledged: list[int] = []

    def writer(number: int) -> None:
        for id in range(1_000 * number, 1_000 * number + 1_000):

            def insert(session: Session, id: int = id) -> None:
                session.add(Item(id=id, name="new"))
                session.commit()

            try:
                both.run(insert)
            except (DBAPIError, OutcomeUnknown):
                return
            acknowledged.append(id)

    with ThreadPoolExecutor(4) as threads:
        writers = [threads.submit(writer, number) for number in range(1, 5)]
        wait(lambda: len(acknowledged) >= 100)
        kill(primary)
        wait(lambda: replica.replica_status()["Gtid_IO_Pos"] == replica.sql("SELECT @@gtid_slave_pos"))
        promote(replica)
        for one in writers:
            one.result()
    both.write()
    there = set(map(int, replica.sql("SELECT id FROM item", database=SHOP).split()))
    assert set(acknowledged) <= there
    assert [promotion.lost for promotion in both.cluster.status().promotions] == [False]


def test_a_replica_of_another_database(make: Callable[..., Both], trio: Trio) -> None:
    """Its server ids are the same and its numbers higher: it looks fresh, and is never read from."""
    with MariaDBServer(server_id=2, read_only=1) as other:
        other.sql(
            "SET sql_log_bin = 0",
            f"CREATE DATABASE {SHOP}",
            f"CREATE TABLE {SHOP}.item AS SELECT 1 AS id, 'wrong' AS name, -1 AS stock",
            "SET GLOBAL gtid_slave_pos = '0-1-999'",
        )
        both = make([*trio.servers[:2], other], SHOP, wanted=("primary", "replica", "out"))
        assert "changes that the primary does not have (0-1-999)" in str(
            both.cluster.status().members[2].reason
        )
        assert {both.read()[1] for _ in range(20)} == {2}


def test_a_server_that_accepts_and_says_nothing(make: Callable[..., Both], trio: Trio, driver: str) -> None:
    """13. The handshake has the time that connecting has; the replica is out, and reads go elsewhere."""
    replica = trio.servers[1]
    with FaultProxy(replica.host, replica.port) as proxy:
        primary = url(trio.servers[0], driver, SHOP)
        options = {"connect_timeout": 1, "probe_timeout": 0.5}
        both = make([primary, proxy.url(url(replica, driver, SHOP))], SHOP, **options)
        wait_for_read(both, 2)
        proxy.blackhole()
        with ThreadPoolExecutor(4) as threads:
            assert {found[1] for found in threads.map(lambda _: both.read(), range(4))} == {1}
        both.wait_for_roles("primary", "out")
        proxy.pass_through()
        wait_for_read(both, 2)


def test_a_frozen_replica(make: Callable[..., Both], trio: Trio) -> None:
    """12. Reads that wait for it are repeated elsewhere when the probe gives up."""
    both = make(trio.servers[:2], SHOP, connect_timeout=1, probe_timeout=0.5)
    wait_for_read(both, 2)
    with freeze(trio.servers[1]):
        assert both.read()[1] == 1
        both.wait_for_roles("primary", "out")
    both.wait_for_roles("primary", "replica")


def test_no_primary(make: Callable[..., Both], trio: Trio) -> None:
    """Reads go on; a write and the visitor whose write no replica has are told who is missing, and why."""
    both = make(trio.servers, SHOP, failover_wait=0.2)
    with pause_replay(trio.servers[1]), pause_replay(trio.servers[2]):
        with both.cluster.scope() as scope:
            both.write()
        kill(trio.servers[0])
        with both.cluster.scope():
            assert both.read()[1] in (2, 3)
        with both.cluster.scope(), pytest.raises((NoServerAvailable, DBAPIError)):
            both.write()
        both.wait_for_roles("out", "replica", "replica")
        with both.cluster.scope(scope.token), pytest.raises(NoServerAvailable, match="no primary"):
            both.read()

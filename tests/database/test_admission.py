"""A replica that was out: back when it has caught up, and gradually."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from scalekit.database import ANY, AsyncCluster, Cluster, MemberStatus, Replica
from scalekit.database.admission import lags, settle, share
from scalekit.database.history import History
from scalekit.database.report import Health
from scalekit.errors import ConfigurationError
from tests.conftest import Database
from tests.database._waiting import until, until_roles
from tests.database.test_topology import report
from tests.faults import FaultProxy, pause_replay

READ = text("SELECT stock, pg_is_in_recovery() FROM item WHERE id = 1")
WRITE = text("UPDATE item SET stock = stock + 1 WHERE id = 1")


def busy_primary() -> History:
    """A primary that writes 10 bytes a second, asked each second for a minute."""
    history = History()
    for moment in range(60):
        history.add(report(asked=float(moment), writable=True, position=10 * moment))
    return history


def why(one: Health, *, watched: bool = True) -> str | None:
    return lags(one, history=busy_primary(), watched=watched, max_lag=30, readmit_lag=1)


def replica(position: int, **facts: Any) -> Health:
    one = Health(away=True)
    one.answered(report(asked=59.5, position=position, timeline=facts.pop("timeline", 1)))
    for name, value in facts.items():
        setattr(one, name, value)
    return one


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (replica(590), None),
        (replica(580), None),
        (replica(570), "was out, and catches up: 2.0 s behind, until it is 1 s"),
        (replica(570, away=False), None),
        (replica(280, away=False), "lags more than 30 s behind"),
        (replica(-1), "lags more than 30 s behind"),
        (replica(590, timeline=2), "is behind all that this process has seen of its primary so far"),
        (replica(580, returned=58.0), None),
        (replica(580, returned=58.5), "was out, and has not yet all that was committed before it returned"),
        (replica(580, returned=58.5, away=False), None),
        (Health(), "has not answered yet"),
    ],
)
def test_who_is_read_from_again(one: Health, expected: str | None) -> None:
    """15. At a small lag, and not before it has what was committed while it was out."""
    assert why(one) == expected


def test_a_process_that_has_just_begun() -> None:
    """15. How old what is behind the little that it knows is, it cannot tell; later it can, of an idle one,
    too. Who has to wait for that, and was never out, is not cold."""
    history, one = History(), Health()
    history.add(report(asked=0.0, writable=True, position=10))
    one.answered(report(asked=0.1, position=9))

    def why() -> str | None:
        return lags(one, history=history, watched=True, max_lag=30, readmit_lag=1)

    assert why() == "is behind all that this process has seen of its primary so far"
    settle(one, reads=False)
    history.add(report(asked=30.0, writable=True, position=10))
    assert why() == "lags more than 30 s behind"
    one.answered(report(asked=30.1, position=10))
    assert why() is None
    settle(one, reads=True)
    assert one.admitted == -math.inf
    settle(one, reads=False)
    settle(one, reads=True)
    assert one.admitted == 30.1


def test_nobody_can_catch_up_without_a_primary() -> None:
    """Nor need they: what is there is read, by whoever was promised nothing newer."""
    assert why(replica(570, returned=58.5), watched=False) is None


def test_what_is_remembered() -> None:
    """15. It is out once, however often it is found so, and comes back once; before its first word it is not
    out."""
    one = Health()
    assert not settle(one, reads=False)
    one.failed("refused", asked=1.0)
    assert [settle(one, reads=False) for _ in range(3)] == [True, False, False]
    one.answered(report(asked=7.0))
    assert not settle(one, reads=False), "it catches up"
    assert one.admitted == -math.inf
    settle(one, reads=True)
    assert (one.away, one.admitted) == (False, 7.0)
    one.answered(report(asked=8.0))
    settle(one, reads=True)
    assert one.admitted == 7.0


def test_the_share_of_one_that_came_back() -> None:
    """15. From next to nothing to all."""
    assert [share(0.0, now=now, ramp=10) for now in (0.0, 1.0, 5.0, 10.0, 99.0)] == [0.02, 0.1, 0.5, 1.0, 1.0]
    assert share(-math.inf, now=0.0, ramp=10) == 1
    assert share(5.0, now=5.0, ramp=0) == 1


@pytest.mark.parametrize("wrong", [{"weight": 0}, {"weight": -1.0}, {"weight": math.inf}, {"weight": "2"},
                                   {"weight": True}, {"pool_size": 0}, {"max_overflow": -1}])  # fmt: skip
def test_wrong_replicas(wrong: dict[str, Any]) -> None:
    """27. What cannot be is said by name."""
    with pytest.raises(ConfigurationError, match=f"{next(iter(wrong))}="):
        Replica("postgresql+psycopg://app@replica/shop", **wrong)


def test_what_is_said_of_one_replica() -> None:
    """27. Weight, zone and pool sizes of its own; the rest is the cluster's."""
    urls = [f"postgresql+psycopg://app@{host}/shop" for host in ("primary", "big", "small")]
    special = Replica(urls[1], weight=3, zone="a", pool_size=7, max_overflow=1)
    cluster = Cluster(urls[0], replicas=[special, urls[2]], pool_size=2, max_overflow=2)
    _, big, small = cluster._fleet.members
    assert (big.weight, big.zone, big.capacity) == (3, "a", 8)
    assert (small.weight, small.zone, small.capacity) == (1, None, 4)
    assert big.reader.pool.size() == 7  # type: ignore[attr-defined]


def told(caplog: pytest.LogCaptureFixture, member: MemberStatus) -> list[tuple[str, str]]:
    """What the log says of ``member``, without what its driver said."""
    found = [(one.levelname, one.getMessage()) for one in caplog.records if one.name == "scalekit.database"]
    about = [(level, text.removeprefix(f"{member.name} ")) for level, text in found if member.name in text]
    return [(level, "is left out: refused" if "refused" in text.lower() else text) for level, text in about]


async def test_a_returning_replica_catches_up_first(
    items: Database, make_async: Callable[..., AsyncCluster], caplog: pytest.LogCaptureFixture
) -> None:
    """15. It answers again, but has not replayed what was written while it was out: nobody reads from it. The
    log says so, each change once, and nothing else than the status does."""
    caplog.set_level(logging.INFO, "scalekit.database")
    server = items.cluster.replicas[0]
    async with FaultProxy(server.host, server.port) as way:
        cluster = make_async(replicas=[way.url(items.replica_urls()[0])])

        async def read() -> tuple[int, bool]:
            async with cluster.session(consistency=ANY) as session:
                stock, replica = (await session.execute(READ)).one()
                return stock, replica

        def is_out(reason: str) -> bool:
            found = cluster.status().members[1]
            return found.role == "out" and reason in str(found.reason)

        await read()
        await until_roles(cluster, "primary", "replica")
        way.refuse()
        await until(lambda: is_out(""))
        with pause_replay(server):
            async with cluster.session() as session:
                await session.execute(WRITE)
                await session.commit()
            way.pass_through()
            await until(lambda: is_out("was out, and"))
            member = cluster._fleet.members[1]
            for _ in range(5):
                asked = member.health.asked
                await until(partial(lambda asked: member.health.asked != asked, asked))
                assert cluster.status().members[1].role == "out"
                assert await read() == (1, False)
        await until_roles(cluster, "primary", "replica")
        assert await read() == (1, True)
        found = cluster.status().members[1]
        assert found.ejections == 1
        out, behind, back = told(caplog, found)
        assert out == ("WARNING", "is left out: refused")
        assert behind[0] == "INFO"
        assert behind[1].startswith("is still left out: was out, and ")
        assert back == ("WARNING", "is back, and is read from")


# So long that nobody moves while the test looks: only when it says how long ago the replica came back.
RAMP = 10**9


async def test_the_only_replica_comes_back(items: Database, make_async: Callable[..., AsyncCluster]) -> None:
    """15. Cold: its visitors move to it one by one, and each of them stays. The primary keeps the rest as far
    as it has places for them, and nobody waits for one."""
    cluster = make_async(replicas=items.replica_urls()[:1], fallback_reads=1, ramp=RAMP)
    visitors = [f"visitor {number}" for number in range(100)]

    async def back_since(part: float) -> None:
        """It came back when this part of the ramp is over by now."""
        member = cluster._fleet.members[1]
        member.health.admitted = since = time.monotonic() - part * RAMP
        cluster._fleet.monitor.poke()
        await until(lambda: cluster._fleet.returned == since)

    async def on_replica() -> set[str]:
        found = set()
        for visitor in visitors:
            with cluster.scope(visitor=visitor):
                async with cluster.session() as session:
                    if (await session.execute(READ)).one()[1]:
                        found.add(visitor)
        return found

    await on_replica()
    await until(lambda: cluster.status().members[1].role == "replica")
    assert await on_replica() == set(visitors), "it has never been out"
    await back_since(0.3)
    first = await on_replica()
    assert 0 < len(first) < 65
    await back_since(0.7)
    second = await on_replica()
    assert first < second < set(visitors)
    (last, *_) = set(visitors) - second
    with cluster.scope(visitor=last):
        async with cluster.session() as session:
            assert not (await session.execute(READ)).one()[1]
            assert await on_replica() == set(visitors), "the one place on the primary is taken"
    assert cluster.status().fallback.waits == 0
    await back_since(1)
    assert await on_replica() == set(visitors)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_primary_that_fails_while_replicas_are_cold(
    items: Database, make_async: Callable[..., AsyncCluster], driver: str
) -> None:
    """15, 16. It is asked for their sake only: what it cannot answer they do, and nobody waits."""
    with FaultProxy(items.cluster.primary.host, items.cluster.primary.port) as proxy:
        cluster = make_async(
            driver,
            primary=proxy.url(items.primary_url(driver)),
            ramp=1_000,
            failover_wait=60,
            probe_interval=30,
        )

        primary: Any = cluster._fleet.members[0]

        async def by_session(visitor: str) -> bool:
            with cluster.scope(visitor=visitor):
                async with cluster.session() as session:
                    return bool((await session.execute(READ)).one()[1])

        async def by_connection(visitor: str) -> bool:
            with cluster.scope(visitor=visitor):
                async with cluster.connection(read=True) as connection:
                    return bool((await connection.execute(READ)).one()[1])

        async def at_once(read: Callable[[str], Awaitable[bool]]) -> list[bool]:
            async with asyncio.timeout(30):
                return await asyncio.gather(*(read(f"visitor {number}") for number in range(12)))

        async def come_back() -> None:
            """The replicas, just now; the primary is there."""
            await read("somebody")
            since = time.monotonic()

            def are_back() -> bool:
                for member in cluster._fleet.members[1:]:
                    member.health.admitted = since
                cluster._fleet.monitor.poke()
                return cluster._fleet.returned == since and cluster._fleet.has_primary()

            await until(are_back)

        for read in (by_session, by_connection):
            proxy.pass_through()
            await come_back()
            assert not all(await at_once(read)), "they are cold"
            proxy.refuse()
            await until(lambda: all(map(primary._driver.is_closed, primary.write.links.open)))
            assert all(await at_once(read))


async def test_a_replica_that_lags(
    items: Database, make_async: Callable[..., AsyncCluster], caplog: pytest.LogCaptureFixture
) -> None:
    """27. It is left out and comes back, each told once; its lag is a number that people can read."""
    caplog.set_level(logging.INFO, "scalekit.database")
    cluster = make_async(replicas=items.replica_urls()[:1], max_lag=0.5)

    def has(role: str) -> bool:
        found = cluster.status().members[1]
        assert found.lag is None or found.lag == round(found.lag, 2)
        return found.role == role

    async with cluster.session(consistency=ANY) as session:
        await session.execute(READ)
    await until(lambda: has("replica"))
    with pause_replay(items.cluster.replicas[0]):
        async with cluster.session() as session:
            await session.execute(WRITE)
            await session.commit()
        await until(lambda: has("out"))
        assert cluster.status().members[1].reason == "lags more than 0.5 s behind"
    await until(lambda: has("replica"))
    story = told(caplog, cluster.status().members[1])
    assert [text for _, text in story if "was out" not in text] == [
        "is left out: lags more than 0.5 s behind", "is back, and is read from",
    ]  # fmt: skip

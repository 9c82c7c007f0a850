"""The connections of a member: known, cut when they are dead, and left alone when they are not."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from scalekit._steps import run_async
from scalekit.database import ANY, STRONG, AsyncCluster, Cluster
from scalekit.database.links import Links
from tests.conftest import Database
from tests.database._waiting import until


class Collecting:
    """A driver under which the garbage collector closes forgotten connections at the worst moment."""

    def __init__(self, links: Links, forgotten: list[str]) -> None:
        self._links, self._forgotten = links, forgotten
        self.was_cut: list[str] = []

    def is_closed(self, connection: str) -> bool:
        while self._forgotten:
            self._links.closed(self._forgotten.pop())
        return False

    def cut(self, connection: str) -> None:
        self.is_closed(connection)
        self.was_cut.append(connection)


@pytest.mark.parametrize("during", ["opened", "cut"])
def test_a_connection_may_be_collected_at_any_moment(during: str) -> None:
    """The collector runs in whatever thread allocates: that thread does not wait for itself."""
    links = Links()
    driver: Any = Collecting(links, [])
    for name in ("first", "forgotten", "also forgotten"):
        links.opened(name, driver)
    driver._forgotten += ["forgotten", "also forgotten"]
    action = {"opened": lambda: links.opened("last", driver), "cut": lambda: links.cut(driver)}[during]
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert {"forgotten", "also forgotten"}.isdisjoint(links.open)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_restart_breaks_only_what_is_older(
    make_async: Callable[..., AsyncCluster], driver: str
) -> None:
    """A primary that is up again fast: transactions that began on the new process go on."""
    cluster = make_async(driver, probe_interval=30)
    member = cluster._fleet.members[0]

    async def asked_again() -> None:
        before = member.health.report
        cluster._fleet.monitor.poke()
        await until(lambda: member.health.report is not before)

    write = text("UPDATE item SET stock = 1 WHERE id = :id")
    async with cluster.session() as older, cluster.session() as newer:
        await older.execute(write, {"id": 1})
        await asked_again()
        await newer.execute(write, {"id": 2})
        assert member.health.report is not None
        # The server process that gave the last answer is not the one that gives the next.
        member.health.report = replace(member.health.report, server="another process")
        await asked_again()
        await newer.commit()
        with pytest.raises(DBAPIError, match="before COMMIT was sent"):
            await older.commit()


def test_a_connection_whose_set_up_failed_is_not_in_use(make_sync: Callable[..., Cluster]) -> None:
    """Nobody reports it closed; the member would look busier than the others for ever."""
    cluster = make_sync()
    member = cluster._fleet.members[0]

    def fail(*_: Any) -> None:
        raise asyncio.CancelledError

    event.listen(member.writer, "connect", fail)
    with cluster.session(consistency=STRONG) as session, pytest.raises(asyncio.CancelledError):
        session.execute(text("SELECT 1"))
    assert member.in_flight == 0
    event.remove(member.writer, "connect", fail)
    with cluster.session(consistency=STRONG) as session:
        session.execute(text("SELECT 1"))
        assert member.in_flight == 1


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_who_waited_for_a_pool_that_was_replaced_leaves_nothing_open(
    make_async: Callable[..., AsyncCluster], items: Database, driver: str
) -> None:
    """24. They read on over the old pool, and what they give back to that is closed: nobody else would."""
    cluster = make_async(
        driver,
        replicas=items.replica_urls(driver)[:1],
        pool_size=1,
        max_overflow=0,
        consistency=ANY,
        connect_timeout=60,
    )

    async def read() -> int:
        async with cluster.session() as session:
            count: int = (await session.execute(text("SELECT count(*) FROM item"))).scalar_one()
            return count

    await read()
    member = cluster._fleet.readers[0]
    async with cluster.session() as session:
        await session.execute(text("SELECT 1"))
        waiting = asyncio.create_task(read())
        for _ in range(100):
            await asyncio.sleep(0)  # no answer of a server's stands between it and the queue
        assert not waiting.done()
        await run_async(member.dispose())
    assert await waiting == 3
    assert not member.read.links.open
    assert await read() == 3
    assert len(member.read.links.open) == 1

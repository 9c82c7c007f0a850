"""The connections of a member: known, cut when they are dead, and left alone when they are not."""

import asyncio
import math
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import NullPool, event, make_url, text
from sqlalchemy.exc import DBAPIError

from scalekit._steps import run, run_async
from scalekit.database import ANY, STRONG, AsyncCluster, Cluster
from scalekit.database.backends.protocol import Trouble
from scalekit.database.links import Links
from scalekit.database.pools import lone_pool
from scalekit.database.probe_connection import Probe
from tests.conftest import Database
from tests.database._waiting import until, wait


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


def test_a_primary_keeps_no_connections_for_reading(make_sync: Callable[..., Cluster]) -> None:
    """19. One that was promoted has some in its pool, which nobody will ask for; one in use is left alone."""
    cluster = make_sync(probe_interval=30)
    with cluster.session() as session:
        session.execute(text("SELECT 1"))
    member = cluster._fleet.members[0]
    busy, idle = member.reader.connect(), member.reader.connect()
    idle.close()
    assert len(member.read.links.open) == 2
    cluster._fleet.monitor.poke()
    wait(lambda: len(member.read.links.open) == 1)
    assert busy.scalar(text("SELECT 1")) == 1
    busy.close()
    assert not member.read.links.open


@dataclass
class Answer:
    value: int
    since: float = field(default=0, compare=False)


def test_a_probe_that_is_let_in_again() -> None:
    """12. A dead connection costs one more question, and a doubt; who was refused once is so no longer."""
    pool = lone_pool(
        make_url("sqlite://"),
        colour="sync",
        options={"poolclass": NullPool},
        name="memory",
        backend=None,
        driver=None,
    )
    open_door = True

    @event.listens_for(pool.sync, "do_connect")
    def connect(*_: Any) -> None:
        if not open_door:
            raise sqlite3.OperationalError("no such user")

    backend: Any = SimpleNamespace(
        question="SELECT 1", oldest=(3,), report=lambda row, *, asked: Answer(*row)
    )
    probe = Probe(
        pool,
        backend=backend,
        errors=(sqlite3.Error,),
        means=lambda error: Trouble.LOGIN if "no such user" in str(error) else Trouble.OTHER,
        connect_timeout=1,
        timeout=1,
    )
    doubts: list[str] = []

    def ask() -> tuple[Any, bool]:
        return run(probe.ask(doubts.append)), probe.refused

    def break_it() -> None:
        probe._connection.connection.dbapi_connection.close()

    assert ask() == (Answer(1), False)
    assert probe.time_left() == math.inf, "no question is under way"
    break_it()
    assert ask() == (Answer(1), False)
    assert len(doubts) == 1
    break_it()
    open_door = False
    assert ask() == ("OperationalError: no such user", True)
    assert len(doubts) == 2
    assert ask() == ("OperationalError: no such user", True)
    assert len(doubts) == 2, "there was no connection to doubt"
    open_door = True
    assert ask() == (Answer(1), False)
    run(probe.hang_up(broken=False))

"""What follows from what members say about a promotion. Pure, but for the fleet's one wait."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from scalekit.database import ANY, AsyncCluster, Token
from scalekit.database.backends.postgresql import PostgreSQL
from scalekit.database.promotions import Promotions
from scalekit.database.report import Report
from scalekit.database.tokens import Reached
from scalekit.errors import NoServerAvailable
from tests.conftest import Database
from tests.database._tokens import token
from tests.faults import pause_replay

READ = text("SELECT stock, pg_is_in_recovery() FROM item WHERE id = 1")


def report(position: int, *, epoch: int = 1, **facts: Any) -> Report:
    values = {
        "asked": 0.0, "writable": False, "epoch": epoch, "order": position, "written": None, "flushed": None,
        "flush_delay": 0.6, "server": "a", "shown": "", "reached": Reached("pg:1", {str(epoch): position}),
    }  # fmt: skip
    return Report(**{**values, **facts})


def primary(position: int, *, switch: int, epoch: int = 2, **facts: Any) -> Report:
    return report(position, epoch=epoch, writable=True, replayed=(switch, f"0/{switch}"), **facts)


def after(*acknowledged: tuple[int, int], switch: int = 100) -> tuple[bool | None, int | None]:
    """What is said to be lost of commits on timeline 1, each between two positions."""
    promotions = Promotions()
    for since, end in acknowledged:
        promotions.acknowledged(token(1, end), since=token(1, since))
    new = primary(150, switch=switch)
    promotions.learn(report(90), new)
    said = promotions.promoted("b", new)
    assert (said.member, said.timeline, said.position) == ("b", 2, "0/100")
    return said.lost, said.behind


@pytest.mark.parametrize(
    ("acknowledged", "lost"),
    [
        ([], (False, 0)),
        ([(80, 90)], (False, 0)),
        ([(80, 100)], (False, 0)),
        ([(80, 101)], (None, 1)),  # others wrote meanwhile: it may end before the switch point
        ([(100, 120)], (True, 20)),  # whatever it wrote, it wrote after the switch point
        ([(80, 130), (100, 120)], (True, 30)),
        ([(80, 90), (95, 110)], (None, 10)),
    ],
)
def test_what_was_lost(acknowledged: list[tuple[int, int]], lost: tuple[bool | None, int]) -> None:
    """16. A commit lies between where the log was before and after it; lost is what came after the switch."""
    assert after(*acknowledged) == lost


def unseen(_: Report) -> None:
    return None


@pytest.mark.parametrize(
    "before",
    [
        unseen,
        lambda new: report(90, server="another process"),  # restarted: it replays its own log
        lambda new: report(90, epoch=0),  # a timeline in between
        lambda new: replace(new, epoch=1),  # was no replica
        lambda new: report(90, reached=Reached("pg:2", {"1": 90})),
    ],
)
def test_what_cannot_be_known_is_not_claimed(before: Callable[[Report], Report | None]) -> None:
    """16. 20. Only a process that was seen replaying the timeline before says where that ended."""
    promotions = Promotions()
    promotions.acknowledged(token(1, 50), since=None)
    new = primary(150, switch=100)
    promotions.learn(before(new), new)
    assert not promotions.whole(new).reached.covers(token(1, 50))
    assert not promotions.whole(report(150)).reached.covers(token(0, 50))
    said = promotions.promoted("b", new)
    assert (said.lost, said.behind, said.position) == (None, None, None)


def test_who_follows_has_the_old_history_up_to_the_switch_point() -> None:
    """20. Not a byte more: what came after it on the old timeline is in nobody's history."""
    promotions = Promotions()
    new = primary(150, switch=100)
    promotions.learn(report(90), new)
    for has, old in ((150, 100), (80, 80)):
        whole = promotions.whole(report(has, epoch=2)).reached
        assert whole.covers(token(1, old))
        assert not whole.covers(token(1, old + 1))
        assert whole.covers(token(2, has))
    assert not promotions.whole(report(150)).reached.covers(token(2, 1)), "one that stayed behind"
    # And once more.
    again = primary(300, switch=200, epoch=3)
    promotions.learn(report(190, epoch=2), again)
    whole = promotions.whole(again).reached
    assert all(whole.covers(one) for one in (token(1, 100), token(2, 200), token(3, 300)))
    assert not any(whole.covers(one) for one in (token(1, 101), token(2, 201), token(3, 301)))


def test_two_that_were_promoted_at_once() -> None:
    """20. They give their timelines one number: what both have of the old one is certain."""
    promotions = Promotions()
    for switch in (100, 70, 90):
        promotions.learn(report(60), primary(150, switch=switch))
    assert promotions.whole(primary(150, switch=100)).reached.covers(token(1, 70))
    assert not promotions.whole(primary(150, switch=100)).reached.covers(token(1, 71))


def test_an_answer_that_comes_after_the_promotion() -> None:
    """16. The old primary's last word, heard too late to be in the report: told then."""
    promotions = Promotions()
    new = primary(150, switch=100)
    promotions.learn(report(90), new)
    assert promotions.promoted("b", new).lost is False
    promotions.acknowledged(token(1, 95), since=token(1, 90))
    assert promotions.late() is None
    promotions.acknowledged(token(1, 130), since=token(1, 110))
    late = promotions.late()
    assert late is not None
    assert (late.lost, late.behind) == (True, 30)
    assert promotions.known == (late,)


async def test_a_future_timeline_costs_one_wait(make_async: Callable[..., AsyncCluster]) -> None:
    """18. 20. Whoever we take for the primary was replaced: a visitor who knows that neither reads from it
    nor writes to it, and not each of them waits for the one that took its place."""
    cluster = make_async(failover_wait=0.2)
    async with cluster.session() as session:
        await session.execute(READ)
    fleet = cluster._fleet
    waits = []
    wait = fleet.monitor.wait

    def counted(condition: Callable[[], bool], timeout: float) -> None:
        waits.append(timeout)
        wait(condition, timeout)

    fleet.monitor.wait = counted  # type: ignore[method-assign]
    ahead = token(9, 5, system=fleet.system or "")
    for statement in (READ, text("UPDATE item SET stock = 5 WHERE id = 1"), READ):
        with cluster.scope(ahead):
            async with cluster.session() as session:
                with pytest.raises(NoServerAvailable, match="written on timeline 9, and no member answers"):
                    await session.execute(statement)
    assert len(waits) == 1
    with cluster.scope(ahead):
        async with cluster.session(consistency=ANY) as session:
            assert (await session.execute(READ)).one() == (0, True), "ANY promises nothing"
    # It is found: its members are asked all the time.
    fleet.epoch = 9
    assert fleet.writer(ahead) is fleet.members[0]


async def test_a_token_of_an_earlier_timeline(make_async: Callable[..., AsyncCluster]) -> None:
    """20. Replicas answer it again, once it is known what they have of that timeline; never what was lost."""
    cluster = make_async(probe_interval=3600)
    async with cluster.session() as session:
        await session.execute(READ)
    fleet = cluster._fleet

    def reported(member: Any, epoch: int, **facts: Any) -> None:
        last = member.health.report
        said = {str(epoch): last.order}
        last = replace(last, epoch=epoch, reached=Reached(last.system, said), **facts)
        fleet.heard(member, last, asked=last.asked)

    def reads_on(promised: Token) -> bool:
        return fleet.choose(fleet.consistency, promised, frozenset()) is not None

    old, replica, _ = fleet.members
    switch = replica.health.report.order  # type: ignore[union-attr]
    kept, lost = (token(1, end, system=fleet.system or "") for end in (switch, switch + 1))
    reported(replica, 2, writable=True, replayed=(switch, "0/1"))
    reported(fleet.members[2], 2)
    fleet.heard(old, "gone", asked=0.0)
    assert fleet.primary is replica
    assert reads_on(kept)
    assert not reads_on(lost)
    assert not reads_on(token(0, 1, system=fleet.system or ""))
    assert cluster.status().promotions[0].timeline == 2


def test_the_short_question_tells_of_a_switch() -> None:
    """20. A replica that has gone on to another timeline since it was last asked does not count in the old
    one; and one that was promoted is asked everything."""
    backend, last = PostgreSQL(), report(0x90)
    same = backend.inline_report((True, "0/A0", "1"), asked=2.0, last=last)
    assert same == replace(last, asked=2.0, order=0xA0, reached=Reached("pg:1", {"1": 0xA0}), shown="0/A0")
    gone_on = backend.inline_report((True, "0/FF", "2"), asked=2.0, last=last)
    assert gone_on is not None
    assert gone_on.epoch == 2
    assert not gone_on.reached.covers(token(1, 0xA0))
    files_are_late = backend.inline_report((True, "0/FF", "1"), asked=2.0, last=replace(last, epoch=2))
    assert files_are_late is not None
    assert not files_are_late.reached.covers(token(1, 0xA0))
    assert backend.inline_report((False, "0/A0", "1"), asked=2.0, last=last) is None


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_both_questions_have_one_answer(make_async: Callable[..., AsyncCluster], driver: str) -> None:
    """20. The short one, over a connection for reading, and what the probe's says of the same moment."""
    cluster = make_async(driver, probe_interval=3600)
    member = cluster._fleet.members[1]

    def ask(session: Any) -> None:
        session.execute(READ)
        session.rollback()
        with member.reader.connect() as connection:
            raw = connection.connection.dbapi_connection
            short = member.ask_over(raw)
            full = member.backend.report(  # type: ignore[union-attr]
                member._driver.ask(raw, PostgreSQL.question),  # type: ignore[union-attr]
                asked=short.asked,
            )
        assert short.order <= full.order
        assert short.since < short.asked, "the connection was open before the question"
        assert short.run.startswith(f"{short.server} "), "a crash of the replica would change it"
        kept = {"order": full.order, "reached": full.reached, "shown": full.shown, "since": full.since}
        assert replace(short, **kept) == full

    async with cluster.session() as session:
        await session.run_sync(ask)


def test_what_a_replica_is_told_to_wait_for() -> None:
    """1. PostgreSQL 19: the position, if it is one of the timeline that the replica is on."""
    wait, last = PostgreSQL().wait, report(0x90, version=190_000)
    assert wait(token(1, 0xA0), last=last, timeout=0.05) == (
        "WAIT FOR LSN '0/A0' WITH (TIMEOUT '50ms', NO_THROW)"
    )
    assert "TIMEOUT '1ms'" in str(wait(token(1, 0xA0), last=last, timeout=0.0001)), "0 is for ever"
    assert wait(token(2, 0xA0), last=last, timeout=0.05) is None
    assert wait(token(1, 0xA0), last=replace(last, version=180_006), timeout=0.05) is None
    assert wait(token(1, 0xA0), last=replace(last, writable=True), timeout=0.05) is None


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_replica_that_is_nearly_there_is_waited_for(
    make_async: Callable[..., AsyncCluster], items: Database, driver: str
) -> None:
    """1. The read goes on there once it has the write, and to the primary if it has not after all.

    No PostgreSQL 19 is to be had here: the driver plays its WAIT FOR LSN.
    """
    cluster = make_async(driver, replicas=items.replica_urls(driver)[:1], probe_interval=3600)
    async with cluster.session() as session:
        await session.execute(READ)
    script: Any = cluster._fleet.members[0]._driver
    ask, waits = script.ask, []
    replica = items.cluster.replicas[0]

    def asked(connection: Any, sql: str) -> tuple[Any, ...]:
        if sql.startswith("WAIT FOR LSN"):
            waits.append(sql)
            if len(waits) == 1:
                return ("timeout",)
            replica.resume_replay()
            items.cluster.wait_caught_up()
            return ("success",)
        row: tuple[Any, ...] = ask(connection, sql)
        return (*row[:-1], 190_000) if sql == PostgreSQL.question else row

    script.ask = asked
    await cluster._fleet.members[1].read.engine.dispose()  # type: ignore[union-attr]
    with pause_replay(replica), cluster.scope():
        async with cluster.session() as session:
            await session.execute(text("UPDATE item SET stock = 3 WHERE id = 1"))
            await session.commit()
        for on_replica in (False, True):
            async with cluster.session() as session:
                assert (await session.execute(READ)).one() == (3, on_replica)
    assert len(waits) == 2

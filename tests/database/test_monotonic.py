"""Nobody sees time go backwards: one visitor, one replica, and none that shows less than the last one did."""

from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
from sqlalchemy import text

from scalekit.database import ANY, CAUSAL, STRONG, AsyncCluster, Consistency
from scalekit.database.choice import Choice
from scalekit.database.fleet import Fleet
from scalekit.database.identity import Identity
from scalekit.database.member import Member
from scalekit.database.monotonic import replica_for, shows_again
from scalekit.database.report import Health, Report
from scalekit.database.scope import Scope, Seen
from scalekit.database.tokens import Reached, Token, latest
from tests.conftest import Database
from tests.database._readers import all_readers
from tests.database._tokens import token
from tests.database._waiting import until
from tests.faults import pause_replay

WHERE = text("SELECT inet_server_port(), pg_is_in_recovery()")


def report(
    position: int,
    *,
    asked: float,
    writable: bool = False,
    server: str = "one",
    since: float = 0,
    run: str = "",
) -> Report:
    return Report(
        asked=asked, writable=writable, reached=Reached("pg:1", {"1": position}), epoch=1, order=position,
        written=token(1, position) if writable else None, flushed=None, flush_delay=0, server=server,
        shown="", since=since, run=run,
    )  # fmt: skip


def member(name: str, *reports: Report) -> Member:
    found = Mock(Member)
    found.name, found.health, found.identity = name, Health(), Identity()
    for one in reports:
        found.health.answered(one)
    return found


class Two:
    """Two replicas, and a fleet that would send the visitor to the second one."""

    def __init__(self) -> None:
        self.first = member("first", report(10, asked=1))
        self.second = member("second", report(10, asked=1))
        self.fleet = Mock(Fleet)
        self.fleet.primary = member("primary", report(10, asked=1, writable=True))
        self.fleet.choose = self.choose
        self.scope = Scope(token(1, 5), visitor=1)
        self.wanted: Token | None = None
        self.confirmed: Token | None = None
        self.fleet.confirm = self.confirm

    def confirm(self, choice: Choice[Member], level: Consistency, token: Token | None, over: Any) -> bool:
        self.confirmed = token
        return True

    def choose(self, level: Consistency, wanted: Token | None, *_: Any, **__: Any) -> Choice[Member]:
        self.wanted = wanted
        return Choice(self.second, None)

    def read(self, level: Consistency = CAUSAL) -> Choice[Member] | None:
        found = replica_for(self.fleet, self.scope, level, frozenset())
        if found is None:
            return None
        assert found.token is self.wanted, "what the connection is asked for is what the choice was made for"
        self.found = found
        return found.choice

    def saw(self, where: Member, *, until: float) -> None:
        assert where.health.report is not None
        self.scope.saw(Seen(where, where.health.report, until - 0.5, until))

    def shows_again(self, introduction: Report) -> bool:
        self.second.introduction = lambda _: introduction  # type: ignore[method-assign]
        assert self.found.again is self.scope.seen is not None
        return shows_again(self.fleet, self.found, self.found.again, CAUSAL, "a connection")


def test_the_same_replica_shows_it_again() -> None:
    """4. Nothing is compared, nobody is asked; unless it is another process under the same name by now."""
    two = Two()
    assert two.read() == Choice(two.second, None)
    two.saw(two.second, until=2)
    assert two.read() == Choice(two.second, None)
    assert two.wanted == token(1, 5)
    two.fleet.primary = None
    two.second.identity.several = True
    assert two.read() is None, "one name of several servers is none of them"
    two.second.identity.several = False
    two.second.health.answered(report(3, asked=3, server="two"))
    assert two.read() is None


def test_the_same_replica_may_have_crashed_and_gone_back() -> None:
    """4. Only a connection that was open before the last read, or the server, can say that it has not."""
    two = Two()
    two.saw(two.second, until=2)
    assert two.read() == Choice(two.second, None)
    assert two.shows_again(report(3, asked=1, since=1)), "open since before, and so not cut by a crash"
    assert two.confirmed is None
    assert not two.shows_again(report(3, asked=2, since=1.8)), "nobody knows yet what was shown"
    two.second.health.answered(report(9, asked=3, since=2.5))
    assert not two.shows_again(report(3, asked=2, since=1.8)), "nor over a connection that is newer itself"
    assert two.fleet.primary is not None
    two.fleet.primary.health.answered(report(30, asked=3, writable=True))
    assert two.shows_again(report(40, asked=2, since=1.8))
    assert two.confirmed == token(1, 30), "asked whether it has all that can have been shown"

    two.second.health.answered(report(10, asked=4, run="a"))
    two.saw(two.second, until=5)
    two.fleet.primary = None
    assert two.read() == Choice(two.second, None)
    assert two.shows_again(report(10, asked=6, since=6, run="a")), "the server says that it is the same"
    assert not two.shows_again(report(10, asked=6, since=6, run="b"))
    assert not two.shows_again(report(10, asked=6, since=6))


def test_another_replica_shows_no_less() -> None:
    """4. What the first one is known to have had after the read; without that, what the primary had."""
    two = Two()
    two.saw(two.first, until=2)
    assert two.read() is None, "nobody was asked since: the primary it is"
    assert two.read(ANY) == Choice(two.second, None), "which takes whatever there is"
    assert two.fleet.primary is not None
    two.fleet.primary.health.answered(report(30, asked=2.5, writable=True))
    assert two.read() is not None
    assert two.wanted == token(1, 30)
    two.first.health.answered(report(20, asked=3))
    assert two.read() is not None
    assert two.wanted == token(1, 20)
    two.scope.advance(token(1, 99))
    assert two.read() is not None
    assert two.wanted == token(1, 99), "what was written meanwhile counts as well"
    two.first.health.answered(report(1, asked=4, server="two"))
    assert two.read() is not None
    assert two.wanted == latest(two.scope.token, token(1, 30)), (
        "another server under its name says nothing of it"
    )


def test_what_a_scope_inside_a_request_has_seen() -> None:
    """4. The request has seen it too, and what the request had seen counts inside."""
    outer = Scope(visitor=7)
    seen = Seen(member("first"), report(1, asked=1), 2, 3)
    Scope(parent=outer).saw(seen)
    assert outer.seen is seen
    inner = Scope(parent=outer)
    assert (inner.seen, inner.visitor) == (seen, 7)
    process = Scope()
    process.saw(seen)
    assert process.seen is None, "a process is nobody in particular: its work is spread"


async def test_visitors_keep_their_replica(make_async: Callable[..., AsyncCluster], items: Database) -> None:
    """4. Sessions, requests and processes that know the same visitor agree on the replica, and the
    visitors are spread over both."""
    clusters = [make_async("asyncpg"), make_async("psycopg")]

    async def where(cluster: AsyncCluster, visitor: str) -> int:
        with cluster.scope(visitor=visitor):
            async with cluster.session() as session:
                port, on_replica = (await session.execute(WHERE)).one()
                assert on_replica
            return int(port)

    for cluster in clusters:
        await all_readers(cluster)
    names = [f"visitor {number}" for number in range(32)]  # drawn anew in each process
    homes = {name: await where(clusters[0], name) for name in names}
    assert set(homes.values()) == {one.port for one in items.cluster.replicas}
    for name, port in homes.items():
        assert [await where(cluster, name) for cluster in clusters * 2] == [port] * 4


async def test_core_connections_show_and_are_shown(make_async: Callable[..., AsyncCluster]) -> None:
    """4. What a Core connection has read on a replica counts like what a session has."""
    cluster = make_async()
    await all_readers(cluster)
    with cluster.scope() as scope:
        async with cluster.connection(read=True) as connection:
            port, replica = (await connection.execute(WHERE)).one()
        assert replica
        assert scope.seen is not None
        assert str(port) in scope.seen.member.name
        seen = scope.seen
        async with cluster.session() as session:
            assert (await session.execute(WHERE)).one()[0] == port
        assert scope.seen is not seen
        assert scope.seen.until > seen.until
        async with cluster.session(consistency=STRONG) as session:
            await session.execute(WHERE)
        assert scope.seen.member is seen.member, "the primary promises nothing"


@pytest.mark.slow
async def test_a_replica_that_is_behind_does_not_turn_back_time(
    make_async: Callable[..., AsyncCluster], items: Database
) -> None:
    """4. In one scope: what somebody else wrote and the first replica showed, no later read misses, although
    the visitor wrote nothing and the other replica is within max_lag."""
    cluster = make_async()
    await all_readers(cluster)
    names = (f"visitor {number}" for number in range(100))
    fresh, behind = items.cluster.replicas
    for name in names:
        with cluster.scope(visitor=name) as scope:
            async with cluster.session() as session:
                if (await session.execute(WHERE)).one()[0] == fresh.port:
                    break
    with pause_replay(behind):
        items.cluster.primary.sql("UPDATE item SET stock = 7 WHERE id = 1", database=items.name)
        await until(lambda: fresh.sql("SELECT stock FROM item WHERE id = 1", database=items.name) == "7")
        read = text("SELECT stock, inet_server_port() FROM item WHERE id = 1")
        with cluster.scopes.enter(Scope(visitor=scope.visitor)):
            async with cluster.session() as session:
                assert (await session.execute(read)).one() == (7, fresh.port)
            first = next(one for one in cluster._fleet.readers if str(fresh.port) in one.name)
            for _ in range(20):
                cluster._fleet.suspect(first, "a test says so")
                async with cluster.session() as session:
                    assert (await session.execute(read)).one()[0] == 7

"""What is told of a member late, by another thread, or in the middle of something else. No server needed."""

import threading
from asyncio import CancelledError
from collections.abc import Iterator, Mapping
from unittest.mock import Mock

import pytest
from sqlalchemy import text
from sqlalchemy.orm import SessionTransaction

from scalekit.database import Cluster
from scalekit.database.fleet import Fleet
from scalekit.database.history import History
from scalekit.database.member import Member
from scalekit.database.place import let_go
from scalekit.database.report import Report
from scalekit.database.scopes import Scopes
from scalekit.database.tokens import Reached, Token
from tests.database._tokens import token
from tests.database.test_topology import report

REPLICAS = ["postgresql+psycopg://host2/shop", "postgresql+psycopg://host3/shop"]


def of(
    server: str, *, asked: float, timeline: int = 1, position: int = 100, writable: bool = False
) -> Report:
    return report(asked, server=server, timeline=timeline, position=position, writable=writable)


def silent() -> Cluster:
    """A cluster whose members are heard of by the test alone."""
    cluster = Cluster("postgresql+psycopg://host1/shop", replicas=REPLICAS)
    cluster._fleet.monitor.poke = lambda: None  # type: ignore[method-assign]
    return cluster


def hear_all(fleet: Fleet) -> tuple[Member, ...]:
    """Both rounds of questions have been answered: by a primary, and two replicas of it."""
    first, *replicas = fleet.members
    for asked in (1.0, 2.0):
        fleet.heard(first, of("a", asked=asked, writable=True), asked=asked)
        for name, replica in zip("bc", replicas, strict=True):
            fleet.heard(replica, of(name, asked=asked), asked=asked)
    return fleet.members


def test_an_answer_that_was_overtaken_changes_no_role() -> None:
    """18. A session may tell of its replica after the probe has told of its promotion, or its end."""
    fleet = silent()._fleet
    first, second, third = hear_all(fleet)
    assert fleet.primary is first
    promoted = of("b", asked=3.1, timeline=2, position=120, writable=True)
    fleet.heard(second, promoted, asked=3.1)
    fleet.heard(first, "connection refused", asked=3.2)
    assert fleet.primary is second
    fleet.heard(second, of("b", asked=3.0), asked=3.0)
    assert fleet.primary is second
    fleet.heard(third, "connection refused", asked=4.0)
    fleet.heard(third, of("c", asked=3.5, timeline=2), asked=3.5)
    assert fleet.state(third) == "connection refused"
    fleet.heard(third, of("c", asked=4.1, timeline=2, position=120), asked=4.1)
    assert fleet.state(third) != "connection refused"


def test_two_that_are_promoted_to_the_same_timeline(caplog: pytest.LogCaptureFixture) -> None:
    """16. The second had not heard of the first, and has nothing of what that wrote: people are told."""
    fleet = silent()._fleet
    first, second, third = hear_all(fleet)
    fleet.heard(first, "connection refused", asked=3.0)
    fleet.heard(second, of("b", asked=3.1, timeline=2, position=120, writable=True), asked=3.1)
    before = len(fleet.promotions.known)
    fleet.heard(second, "connection refused", asked=4.0)
    fleet.heard(third, of("c", asked=4.1, timeline=2, position=110, writable=True), asked=4.1)
    assert fleet.primary is third
    (promotion,) = fleet.promotions.known[before:]
    assert (promotion.member, promotion.timeline, promotion.lost) == (third.name, 2, None)
    assert "whether commits that were acknowledged here are lost, nobody here can tell" in caplog.text


def test_a_returning_primary_does_not_wait_for_a_full_replica() -> None:
    """16. That has been asked since, and has no connection left to say anything over."""
    fleet = silent()._fleet
    first, second, third = hear_all(fleet)
    fleet.heard(first, "connection refused", asked=3.0)
    assert fleet.primary is None
    fleet.full(third, "too many clients", asked=3.5)
    fleet.heard(first, of("a", asked=4.0, writable=True), asked=4.0)
    assert fleet.primary is None, "it may have been replaced meanwhile"
    fleet.heard(second, of("b", asked=4.1), asked=4.1)
    fleet.full(third, "too many clients", asked=4.2)
    assert fleet.primary is first
    assert third in fleet.readers


def test_an_answer_that_was_overtaken_counts_where_it_tells_the_same() -> None:
    """3. Of the same server in the same role it is true, and the list of peers may be in it alone."""
    fleet = silent()._fleet
    replica = fleet.members[1]
    fleet.heard(replica, of("b", asked=2.0, position=100), asked=2.0)
    fleet.heard(replica, of("b", asked=1.5, position=90), asked=1.5)
    assert replica.health.report is not None
    assert replica.health.report.asked == 1.5


def test_a_commit_in_the_middle_of_what_is_told() -> None:
    """23. The garbage collector may end a forgotten transaction in the very thread that tells of a member."""
    fleet = silent()._fleet

    def commit() -> None:
        with fleet._lock:
            fleet.committed(token(1, 100, system="pg:7"), since=None)

    thread = threading.Thread(target=commit, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()


class _Growing(Mapping[str, int]):
    """Positions that are read while ``history`` is added to, as by the monitor's thread."""

    def __init__(self, history: History) -> None:
        self._history, self._asked = history, 10.0

    def __getitem__(self, origin: str) -> int:
        self._asked += 1
        self._history.add(of("a", asked=self._asked, position=1000 + int(self._asked), writable=True))
        return 1

    def __iter__(self) -> Iterator[str]:
        return iter(("1",))

    def __len__(self) -> int:
        return 1


def test_the_history_is_read_while_it_grows() -> None:
    """5. Whoever asks how old a replica is goes through what the monitor adds to."""
    history = History()
    for asked in range(1, 5):
        history.add(of("a", asked=float(asked), position=100 + asked, writable=True))
    assert history.complete_until(Reached("pg:7", _Growing(history))) is None
    assert history.lag(Reached("pg:7", {"1": 2000})) == 0.0


def test_the_newest_position_is_that_whoever_tells_it() -> None:
    """4. While one is told a later one may be, in this thread or in another: neither takes it back."""
    scopes = Scopes()
    late = token(1, 300)

    class Interrupted(Token):
        """Merged with by somebody who is interrupted by the garbage collector, and that by a commit."""

        def merge(self, other: Token) -> Token:
            merged = super().merge(other)
            if other.marks[0][1] < 300:
                scopes.heard(late)
            return merged

    scopes.heard(Interrupted("pg:1", 1, (("1", 100),)))
    scopes.heard(token(1, 200))
    assert scopes.newest_since(token(1, 1)) == late

    class Slow(Token):
        def merge(self, other: Token) -> Token:
            merged = super().merge(other)
            if not others:
                others.append(threading.Thread(target=scopes.heard, args=(token(1, 900),)))
                others[0].start()
                others[0].join(0.05)
            return merged

    scopes, others = Scopes(), list[threading.Thread]()
    scopes.heard(Slow("pg:1", 1, (("1", 400),)))
    scopes.heard(token(1, 500))
    others[0].join(60)
    assert scopes.newest_since(token(1, 1)) == token(1, 900)


def test_who_waits_holds_nothing() -> None:
    """14. What a waiter waits for takes locks of its own, under which others may tell of something."""
    cluster = silent()
    monitor = cluster._threads
    found = []

    def told() -> bool:
        """Not yet; and while that is being found out, another thread tells of it."""
        other = threading.Thread(target=monitor.changed, daemon=True)
        other.start()
        other.join(60)
        found.append(not other.is_alive())
        return len(found) == 2

    monitor.wait(told, 600)
    assert found == [True, True]
    monitor.wait(lambda: bool(found.append(True)), 0)
    assert len(found) == 3


def test_a_connection_goes_back_whatever_ends_its_transaction() -> None:
    """23. The end of a transaction may be cancelled, or fail; the connection is given back all the same."""
    with Cluster("sqlite://") as cluster, cluster.session() as session:
        session.execute(text("SELECT 1"))
        held = session.get_transaction()
        assert isinstance(held, SessionTransaction)
        connection = session.connection()
        joined = list(held._connections[connection])
        joined[1] = Mock(close=Mock(side_effect=CancelledError))
        held._connections[connection] = tuple(joined)  # type: ignore[assignment]
        with pytest.raises(CancelledError):
            let_go(session, connection, broken=False)
        assert connection.closed

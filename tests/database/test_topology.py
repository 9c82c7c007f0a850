"""Who is the primary and who may be read from. No server needed."""

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scalekit.database.backends.postgresql import last_record_end
from scalekit.database.history import History
from scalekit.database.report import Health, Report
from scalekit.database.tokens import Reached
from scalekit.database.topology import Survey, survey
from tests.database._tokens import token

SEGMENT = 16 * 2**20
SERVERS = itertools.count()


def report(asked: float = 0.0, **changes: Any) -> Report:
    facts: dict[str, Any] = {"system": 7, "timeline": 1, "writable": False, "position": 100, **changes}
    system, timeline, position = f"pg:{facts['system']}", facts["timeline"], facts["position"]
    return Report(
        asked=asked,
        writable=facts["writable"],
        reached=Reached(system, {str(timeline): position}),
        epoch=timeline,
        order=position,
        written=token(timeline, position, system=system),
        flushed=token(timeline, facts.get("flushed", position), system=system),
        flush_delay=0.6,
        server=facts.get("server", f"server {next(SERVERS)}"),
        shown="",
    )


def reached(position: int, timeline: int = 1) -> Reached:
    return Reached("pg:7", {str(timeline): position})


def health(answer: Report | str | None) -> Health:
    one = Health()
    if isinstance(answer, Report):
        one.answered(answer)
    elif answer is not None:
        one.failed(answer, asked=0.0)
    return one


def decide(*answers: Report | str | None, previous: int | None = None, epoch: int = 0) -> Survey:
    history = History()
    members = [health(answer) for answer in answers]
    return survey(members, history=history, max_lag=30, epoch=epoch, previous=previous)


def test_roles_follow_what_the_members_say() -> None:
    """The writable member is the primary, wherever it stands in the configuration."""
    assert decide(report(writable=True), report(), report()).primary == 0
    found = decide("refused", report(timeline=2, writable=True), report(timeline=2))
    assert (found.primary, found.readers, found.epoch) == (1, (2,), 2)


def test_an_old_primary_gets_nothing() -> None:
    """Two members write: the one on the higher timeline replaced the other."""
    found = decide(report(writable=True), report(timeline=2, writable=True), report(timeline=2), previous=0)
    assert (found.primary, found.readers) == (1, (2,))
    assert "old primary on timeline 1" in str(found.reasons[0])


def test_a_replica_that_follows_the_new_primary_is_enough_to_know() -> None:
    """The new primary cannot be reached, but its replica says that there is one: nobody writes to the old."""
    found = decide(report(writable=True), "refused", report(timeline=2), previous=0)
    assert found.primary is None
    assert decide(report(writable=True), "refused", "refused", previous=0, epoch=2).primary is None


def test_a_member_that_was_away_waits_for_the_others_to_be_asked() -> None:
    """Back after a failure, a primary is one again only when nobody else has become it meanwhile."""
    back, other = Health(), Health()
    back.failed("refused", asked=1.0)
    other.answered(report(asked=2.0))
    back.answered(report(asked=3.0, writable=True))
    assert survey([back, other], history=History(), max_lag=30, epoch=1, previous=0).primary is None
    other.answered(report(asked=4.0))
    assert survey([back, other], history=History(), max_lag=30, epoch=1, previous=0).primary == 0


def test_a_second_writable_server_on_the_same_timeline_changes_nothing() -> None:
    """A copy that was started without being promoted does not take over."""
    found = decide(report(writable=True), report(writable=True), previous=1)
    assert found.primary == 1
    assert "second writable server" in str(found.reasons[0])


def test_the_primary_under_a_second_name() -> None:
    """It is told where it is given, and it is the primary once, whichever of its names was that so far."""
    first, again = report(writable=True, server="a"), report(writable=True, server="a")
    found = decide(first, report(), again)
    assert (found.primary, found.readers) == (0, (1,))
    assert str(found.reasons[2]).startswith(
        "the same server as primary=, the primary; each server is given once"
    )
    found = decide(first, again, previous=1)
    assert found.primary == 1
    assert str(found.reasons[0]).startswith("the same server as replicas[0], the primary")


def test_another_system_is_never_used() -> None:
    """A URL that leads to some other database gets neither reads nor writes."""
    found = decide(report(writable=True), report(system=8), report(system=8, writable=True, timeline=9))
    assert (found.primary, found.readers, found.epoch) == (0, (), 1)
    assert (
        found.reasons[1]
        == "belongs to another database system (pg:8) than the primary (pg:7); is its URL right?"
    )
    assert decide("refused", report(system=7), report(system=8)).readers == ()


def test_a_replica_on_an_older_timeline_is_left_out() -> None:
    """It may hold what the new history does not."""
    assert decide(report(timeline=2, writable=True), report(timeline=1)).readers == ()


def test_lag_is_time_and_idleness_is_not_lag() -> None:
    """A replica that has everything is up to date, however long ago the last write was."""
    history = History()
    history.add(report(asked=10.0, position=100, writable=True))
    history.add(report(asked=500.0, position=100, writable=True))
    assert history.lag(reached(100)) == 0
    assert history.complete_until(reached(100)) == 500.0
    history.add(report(asked=501.0, position=200, writable=True))
    history.add(report(asked=505.0, position=300, writable=True))
    assert history.lag(reached(100)) == 5.0
    assert history.lag(reached(200)) == 4.0
    assert history.lag(reached(50)) == float("inf")


def test_inserted_but_not_flushed_is_not_lag_either() -> None:
    """An idle primary may keep half a page unflushed for seconds; a replica cannot have that."""
    history = History()
    history.add(report(asked=10.0, position=150, flushed=100, writable=True, flush_delay=0.6))
    assert history.complete_until(reached(100)) == 10.0 - 0.6


def test_history_begins_anew_with_a_timeline() -> None:
    """Positions of the old history say nothing about the new one."""
    history = History()
    history.add(report(asked=1.0, position=500))
    history.add(report(asked=2.0, position=300, timeline=2))
    assert history.complete_until(reached(400, timeline=2)) == 2.0
    assert history.complete_until(reached(600)) is None


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3)), min_size=1, max_size=40), st.integers(0, 200)
)
def test_completeness_is_never_overstated(steps: list[tuple[int, int]], position: int) -> None:
    """A replica said to be complete until t has every byte that was there at t."""
    history, at, end, truth = History(), 0.0, 0, []
    for written, pause in steps:
        end += written
        at += pause + 1
        truth.append((at, end))
        history.add(report(asked=at, position=end, writable=True))
    until = history.complete_until(reached(position))
    if until is not None:
        assert all(there <= position for when, there in truth if when <= until)


def test_a_page_header_is_nothing_to_wait_for() -> None:
    """At a page boundary the insert position is behind the header of a page that is yet to be written."""
    assert last_record_end(3 * SEGMENT + 40, segment_size=SEGMENT) == 3 * SEGMENT
    assert last_record_end(3 * SEGMENT + 8192 + 24, segment_size=SEGMENT) == 3 * SEGMENT + 8192
    assert last_record_end(3 * SEGMENT + 8192 + 40, segment_size=SEGMENT) == 3 * SEGMENT + 8192 + 40
    assert last_record_end(3 * SEGMENT + 96, segment_size=SEGMENT) == 3 * SEGMENT + 96

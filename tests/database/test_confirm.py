"""Whether a replica that was chosen has what is to be read, over the connection that it is to be read by."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from scalekit.database import ANY, CAUSAL, Bounded, Cluster, Consistency
from scalekit.database.choice import Choice
from scalekit.database.connecting import raw
from scalekit.database.member import Member
from scalekit.database.report import Report
from scalekit.database.tokens import Reached
from tests.database._lag import meet

LEVELS: list[Consistency] = [CAUSAL, Bounded(3600)]


@contextmanager
def reading(cluster: Cluster) -> Iterator[tuple[Member, Any, Report]]:
    """A replica, a connection to it, and what it has said. All members are known, and are asked each hour."""
    meet(cluster)
    member = cluster._fleet.readers[0]
    connection = member.reader.connect()
    found = raw(connection)
    report = member.known_over(found)
    assert report is not None
    yield member, found, report
    connection.close()


def behind(report: Report) -> Report:
    return replace(report, reached=Reached(report.system, {str(report.epoch): 1}))


def of_an_earlier_timeline(report: Report) -> Report:
    return replace(report, epoch=report.epoch - 1)


def promoted(report: Report) -> Report:
    return replace(report, writable=True)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("change", [behind, of_an_earlier_timeline, promoted])
def test_what_it_says_now_is_what_counts(
    make_sync: Callable[..., Cluster],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Report], Report],
    level: Consistency,
) -> None:
    """5. 20. Asked before a read, it has been promoted, lags beyond max_lag, or has not followed a promotion:
    the read goes elsewhere, and whoever promises nothing asks nothing."""
    cluster = make_sync(probe_interval=3600)
    with reading(cluster) as (member, connection, report):
        asked: list[Report] = []

        def answer(found: Report) -> Callable[[Any], Report]:
            def ask_over(_: Any) -> Report:
                asked.append(found)
                return found

            return ask_over

        confirm, choice = cluster._fleet.confirm, Choice(member, ask=None)
        monkeypatch.setattr(member, "ask_over", answer(report))
        assert confirm(choice, level, None, connection)
        assert not asked, "what is known is enough"
        to_ask = Choice(member, ask=report.reached.token(report.epoch))
        assert confirm(to_ask, level, None, connection)
        assert asked == [report]
        monkeypatch.setattr(member, "ask_over", answer(change(report)))
        # Another server than the probe's: nothing that is known is known of it.
        monkeypatch.setattr(member, "known_over", lambda _: None)
        assert confirm(choice, ANY, None, connection)
        assert len(asked) == 1
        assert not confirm(choice, level, None, connection)
        assert len(asked) == 2


def test_a_connection_to_another_server_is_not_known(
    make_sync: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. What the probe's server has says nothing of the one that a transaction goes on reading from."""
    cluster = make_sync(probe_interval=3600)
    with reading(cluster) as (member, connection, report):
        knows, token = cluster._fleet.knows, report.reached.token(report.epoch)
        assert knows(member, connection, CAUSAL, token)
        monkeypatch.setattr(member.health, "report", replace(report, server="another process"))
        assert not knows(member, connection, CAUSAL, token)
        assert knows(member, connection, ANY, token)

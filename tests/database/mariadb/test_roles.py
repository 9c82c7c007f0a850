"""Who is the primary where servers count no promotions. No server needed."""

import itertools

from scalekit.database.backends.mariadb import MariaDB
from scalekit.database.history import History
from scalekit.database.promotions import Promotions
from scalekit.database.report import Health, Report
from scalekit.database.topology import Survey, survey

SERVERS = itertools.count(1)


def report(read_only: int, applied: str, logged: str, *, server: str = "") -> Report:
    return MariaDB().report(
        (read_only, applied, logged, "0", server or f"{next(SERVERS)} host 3306 17"), asked=1.0
    )


def decide(*answers: Report | str | None, previous: int | None = None) -> Survey:
    members = [Health() for _ in answers]
    for one, answer in zip(members, answers, strict=True):
        if isinstance(answer, Report):
            one.answered(answer)
        elif answer is not None:
            one.failed(answer, asked=0.0)
    return survey(members, history=History(), max_lag=30, epoch=0, previous=previous)


OLD = report(0, "", "0-1-8")
NEW = report(0, "0-1-8", "0-1-8,0-2-9")
REPLICA = report(1, "0-1-8", "0-1-8")


def test_the_writable_one_is_the_primary() -> None:
    """Wherever it stands in the configuration; a replica of its that has less is read from."""
    assert decide(OLD, REPLICA).primary == 0
    found = decide(REPLICA, OLD)
    assert (found.primary, found.readers, found.epoch) == (1, (0,), 0)


def test_the_primary_under_a_second_name() -> None:
    """It is one server, and nobody needs to set read_only on it."""
    twice = report(0, "", "0-1-8", server="1 host 3306 17")
    found = decide(twice, twice, REPLICA)
    assert (found.primary, found.readers) == (0, (2,))
    assert "the same server as primary=" in str(found.reasons[1])


def test_a_process_that_saw_the_failover_keeps_to_the_new_primary() -> None:
    """16. The old one comes back and writes; whoever knows better does not care."""
    found = decide(report(0, "", "0-1-50"), NEW, previous=1)
    assert found.primary == 1
    assert found.reasons[0] == "a second writable server"
    assert decide("refused", NEW, previous=0).primary == 1


def test_a_process_that_starts_after_the_failover_finds_the_new_primary() -> None:
    """16. It has what the old one wrote and more, in whatever order they are configured and answer."""
    assert decide(OLD, NEW).primary == 1
    assert decide(NEW, OLD).primary == 0
    assert decide(OLD, None).primary is None
    assert "being asked" in str(decide(OLD, None).reasons[0])
    assert decide(OLD, "refused").primary == 0


def test_nobody_writes_where_nothing_tells_who_is_the_primary() -> None:
    """Both wrote something of their own, or neither did: writes are refused, reads go on."""
    diverged = decide(report(0, "", "0-1-10"), NEW, REPLICA)
    assert (diverged.primary, diverged.readers) == (None, (2,))
    assert "all but the primary" in str(diverged.reasons[0])
    assert diverged.reasons[0] == diverged.reasons[1]
    assert decide(OLD, report(0, "0-1-8", "0-1-8")).primary is None


def test_what_the_new_primary_lacks_is_lost() -> None:
    """16. Of what was acknowledged here; it is told once, and nobody guesses at bytes."""
    promotions = Promotions()
    promotions.acknowledged(MariaDB().token("0-1-8", last=OLD), since=None)
    promotion = promotions.replaced("b", NEW)
    assert (promotion.lost, promotion.behind, promotion.position) == (False, 0, "0-1-8")
    promotions.acknowledged(MariaDB().token("0-1-10", last=OLD), since=None)
    promotion = promotions.replaced("b", NEW)
    assert (promotion.lost, promotion.behind) == (True, None)
    assert promotions.replaced("b", NEW).lost is False
    assert [one.lost for one in promotions.known] == [False, True, False]

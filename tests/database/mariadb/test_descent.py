"""Replicas of other databases, and those that a failover left behind. No server needed."""

from typing import Any

from scalekit.database.backends.mariadb import MariaDB
from scalekit.database.backends.mysql import MySQL
from scalekit.database.descent import Descent
from scalekit.database.history import History
from scalekit.database.report import Health, Report
from scalekit.database.topology import survey
from tests.database.mariadb.test_gtids import A, B


def primary(logged: str, *, asked: float, applied: str = "") -> Report:
    return MariaDB().report((0, applied, logged, "0", "1 host 3306 17"), asked=asked)


def replica(applied: str, logged: str = "", *, asked: float = 1.0) -> Report:
    return MariaDB().report((1, applied, logged, "1", "2 host 3307 17"), asked=asked)


def told(beyond: str) -> str:
    return (
        f"has changes that the primary does not have ({beyond}): it belongs to another database, or was left "
        "behind by a failover"
    )


def foreign(held: Report, *answers: Report, arrived: float = 2.0) -> list[str | None]:
    """What is known of a replica that has ``held`` after each of the primary's answers."""
    descent, found = Descent(), []
    descent.heard(held, arrived=arrived)
    for answer in answers:
        descent.compare(answer)
        found.append(descent.foreign)
        descent.heard(held, arrived=arrived)
    return found


def test_a_replica_is_behind_its_primary() -> None:
    """Or level with it. What it had when it answered is compared with later answers only."""
    assert foreign(replica("0-1-7"), primary("0-1-7", asked=3.0)) == [None]
    assert foreign(replica("0-1-9"), primary("0-1-7", asked=1.5), primary("0-1-9", asked=3.0)) == [None, None]


def test_a_replica_of_another_database() -> None:
    """Its numbers are beyond the primary's, or of servers that the primary never heard of."""
    assert foreign(replica("0-1-90"), primary("0-1-7", asked=3.0)) == [told("0-1-90")]
    assert foreign(replica("0-5-3,4-1-2"), primary("0-1-7", asked=3.0)) == [told("0-5-3, 4-1-2")]
    executed: Any = MySQL().report((1, f"{A}:1-5", f"{B} 17"), asked=1.0)
    writer: Any = MySQL().report((0, f"{B}:1-90", f"{B} 17"), asked=3.0)
    assert foreign(executed, writer) == [told(f"{A}-5")]


def test_a_replica_that_a_failover_left_behind() -> None:
    """It has what was lost with the old primary; when it follows the new one, it is a replica again."""
    new = primary("0-1-8,0-3-9", applied="0-1-8", asked=3.0)
    assert foreign(replica("0-1-10"), new) == [told("0-1-10")]
    assert foreign(replica("0-3-9", "0-1-8,0-3-9"), new) == [None]
    descent = Descent()
    descent.heard(replica("0-1-10"), arrived=2.0)
    descent.compare(new)
    descent.heard(replica("0-3-9"), arrived=2.5)
    descent.compare(new)
    assert descent.foreign is None


def test_what_an_operator_ran_on_a_replica_does_not_count() -> None:
    """A FLUSH is in its binary log under its own number."""
    assert foreign(replica("0-1-20", "0-1-20,0-2-8"), primary("0-1-20", asked=3.0)) == [None]
    executed: Any = MySQL().report((1, f"{A}:1-5,{B}:1-2", f"{B} 17"), asked=1.0)
    assert foreign(executed, MySQL().report((0, f"{A}:1-5", f"{A} 17"), asked=3.0)) == [None]


def test_nobody_reads_from_it() -> None:
    """The reason names what it has."""
    one, two = Health(), Health()
    one.answered(primary("0-1-7", asked=3.0))
    two.answered(replica("0-1-90"))
    two.foreign = told("0-1-90")
    found = survey([one, two], history=History(), max_lag=30, epoch=0, previous=0)
    assert (found.primary, found.readers) == (0, ())
    assert "does not have (0-1-90): it belongs to another database" in str(found.reasons[1])

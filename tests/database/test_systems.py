"""Which database system is ours, when a name leads to another one at run time. No server needed."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from scalekit.database import Cluster
from scalekit.database.backends.mariadb import MariaDB
from scalekit.database.fleet import Fleet
from scalekit.database.identity import objection
from scalekit.database.report import Report
from scalekit.database.systems import FORGOTTEN_AFTER
from tests.database.test_topology import report


class Members:
    """What the members of a cluster say, in the order of its URLs; the test is the only one who asks."""

    def __init__(self, scheme: str = "postgresql+psycopg") -> None:
        urls = [f"{scheme}://host{number}/shop" for number in (1, 2, 3)]
        cluster = Cluster(urls[0], replicas=urls[1:], failover_wait=0)
        self.fleet: Fleet = cluster._fleet
        monitor = self.fleet.monitor
        monitor.start = monitor.poke = lambda: None  # type: ignore[method-assign]
        self.cluster, self.now = cluster, 0.0

    def say(self, *answers: Report | str | Callable[..., Report]) -> None:
        """One answer of each; a function is told when it is asked."""
        self.now += 1
        for member, answer in zip(self.fleet.members, answers, strict=False):
            outcome = answer(self.now) if callable(answer) else answer
            self.fleet.heard(member, outcome, asked=self.now)

    @property
    def roles(self) -> list[str]:
        return [member.role for member in self.cluster.status().members]


def one(server: str, **facts: Any) -> Callable[..., Report]:
    return lambda asked: report(asked, server=server, **facts)


PRIMARY, SECOND, THIRD = one("a", writable=True), one("b"), one("c")
FOREIGN = one("z", system=8, writable=True)


@pytest.fixture
def members() -> Members:
    """A primary and two replicas of system 7, known to this process."""
    found = Members()
    for _ in range(2):
        found.say(PRIMARY, SECOND, THIRD)
    assert found.roles == ["primary", "replica", "replica"]
    return found


def test_a_primary_of_another_system_gets_nothing(members: Members, caplog: pytest.LogCaptureFixture) -> None:
    """20. A wrong DNS entry, while the others are of ours: nobody writes there, and people are told."""
    for _ in range(3):
        members.say(FOREIGN, SECOND, THIRD)
    assert (members.roles, members.fleet.system) == (["out", "replica", "replica"], "pg:7")
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.levelno for record in told] == [logging.ERROR]
    found = members.cluster.status()
    assert found.primary is None
    for text in (told[0].getMessage(), str(found.members[0].reason), members.fleet.explain()):
        assert "leads to another database system (pg:8) than ours (pg:7), and gets nothing" in text
        assert f"{FORGOTTEN_AFTER:g} s" in text
    # Mended: it is the primary again, and nothing was forgotten.
    members.say(PRIMARY, SECOND, THIRD)
    assert (members.roles, members.fleet.epoch) == (["primary", "replica", "replica"], 1)


def test_one_that_is_promoted_meanwhile(members: Members) -> None:
    """16. What the wrong name leads to is in nobody's way."""
    members.say(FOREIGN, SECOND, THIRD)
    members.say(FOREIGN, one("b", timeline=2, writable=True), THIRD)
    members.say(FOREIGN, one("b", timeline=2, writable=True), one("c", timeline=2))
    assert members.roles == ["out", "primary", "replica"]


@pytest.mark.parametrize("why", ["no answer for a moment", "dispose()", "no answer ever again"])
def test_who_is_not_heard_for_a_moment_is_not_gone(members: Members, why: str) -> None:
    """20. Replicas that miss a question, or were not asked so far, are no proof of a new database."""
    if why == "dispose()":
        members.cluster.dispose()
        members.say(FOREIGN)
        assert members.fleet.primary is None
        members.say(FOREIGN, SECOND, "refused")
    else:
        members.say(FOREIGN, "refused", "refused")
        members.now += FORGOTTEN_AFTER / 2
        members.say(FOREIGN, "refused", "refused")
    assert (members.fleet.primary, members.fleet.system) == (None, "pg:7")
    if why == "no answer ever again":
        members.now += FORGOTTEN_AFTER
        members.say(FOREIGN, "refused", "refused")
        assert (members.roles, members.fleet.system) == (["primary", "out", "out"], "pg:8")


def test_the_whole_database_is_replaced(members: Members, caplog: pytest.LogCaptureFixture) -> None:
    """20. Every member is of the new system: it is ours at once, with timelines of its own."""
    members.say("refused", "refused", "refused")
    members.say(FOREIGN, "refused", "refused")
    assert members.fleet.primary is None
    for _ in range(2):
        members.say(FOREIGN, one("y", system=8), one("x", system=8))
    assert members.roles[0] == "primary"
    assert (members.fleet.system, members.fleet.epoch) == ("pg:8", 1)
    told = "the database was replaced: its system is pg:8 now, and was pg:7"
    assert [record.levelname for record in caplog.records if told in record.getMessage()] == ["WARNING"]
    # And the new one is defended in its turn.
    members.say(PRIMARY, one("y", system=8), one("x", system=8))
    assert (members.fleet.primary, members.fleet.system) == (None, "pg:8")


def test_a_replica_of_another_system_replaces_nothing(members: Members) -> None:
    """20. However long the others are silent, unless it was the primary."""
    members.say("refused", one("z", system=8, writable=True), "refused")
    members.now += 2 * FORGOTTEN_AFTER
    members.say("refused", one("z", system=8, writable=True), "refused")
    assert (members.fleet.primary, members.fleet.system) == (None, "pg:7")


def test_at_the_start_the_configured_primary_says_which_is_ours(caplog: pytest.LogCaptureFixture) -> None:
    """It does so whoever answers first."""
    members = Members()
    fleet = members.fleet
    fleet.heard(fleet.members[1], SECOND(1.0), asked=1.0)
    fleet.heard(fleet.members[0], FOREIGN(1.5), asked=1.5)
    members.now = 2.0
    members.say(FOREIGN, SECOND, THIRD)
    assert (members.roles, fleet.system) == (["primary", "out", "out"], "pg:8")
    assert "was replaced" not in caplog.text


def gtids(read_only: int, applied: str, logged: str, *, server: int) -> Callable[..., Report]:
    return lambda asked: MariaDB().report(
        (read_only, applied, logged, "0", f"{server} host 3306 17"), asked=asked
    )


@pytest.fixture
def mariadb() -> Members:
    """The same of MariaDB, whose servers name no system."""
    found = Members("mysql+pymysql")
    for _ in range(3):
        found.say(gtids(0, "", "0-1-8", server=1), FOLLOWING, FOLLOWING_TOO)
    assert found.roles == ["primary", "replica", "replica"]
    return found


FOLLOWING, FOLLOWING_TOO = gtids(1, "0-1-8", "0-1-8", server=2), gtids(1, "0-1-8", "", server=3)
STRANGER = gtids(0, "", "0-7-90,1-7-5", server=7)


def test_a_primary_that_has_nothing_of_ours(mariadb: Members, caplog: pytest.LogCaptureFixture) -> None:
    """20. It gets nothing, over a new connection neither, and no replica is blamed for what it lacks."""
    for _ in range(3):
        mariadb.say(STRANGER, FOLLOWING, FOLLOWING_TOO)
    assert mariadb.roles == ["out", "replica", "replica"]
    told = [(one.levelname, one.getMessage()) for one in caplog.records if one.levelno >= logging.WARNING]
    assert [level for level, _ in told] == ["ERROR"]
    assert "leads to another database, which has nothing of what was written in ours" in told[0][1]
    system, epoch, origins = mariadb.fleet.members[0].expected()
    for primary, refused in ((STRANGER, True), (gtids(0, "", "0-1-9", server=1), False)):
        why = objection(primary(1.0), read_only=False, system=system, epoch=epoch, origins=origins)
        assert (why is not None) == refused
    for replica, refused in (
        (FOLLOWING, False),
        (gtids(1, "", "", server=4), False),  # it has nothing so far
        (gtids(1, "0-7-90", "", server=8), True),
    ):
        why = objection(replica(1.0), read_only=True, system=system, epoch=epoch, origins=origins)
        assert (why is not None) == refused
    mariadb.say(gtids(0, "", "0-1-9", server=1), FOLLOWING, FOLLOWING_TOO)
    assert mariadb.roles[0] == "primary"


@pytest.mark.parametrize(
    "new",
    [
        gtids(0, "", "0-1-9", server=1),
        gtids(0, "0-1-7", "0-1-7,0-2-8", server=2),  # promoted, without the last change
        gtids(0, "0-1-8", "0-2-9", server=2),  # without log_slave_updates
        gtids(0, "", "", server=1),  # RESET MASTER: nobody can tell
    ],
)
def test_a_primary_that_has_something_of_ours(mariadb: Members, new: Callable[..., Report]) -> None:
    """16. It went on, or was promoted under the name of the old one."""
    mariadb.say(new, FOLLOWING, FOLLOWING_TOO)
    mariadb.say(new, FOLLOWING, FOLLOWING_TOO)
    assert mariadb.roles[0] == "primary"


@pytest.mark.parametrize("others", ["the new one's", "fresh", "silent"])
def test_all_is_replaced_where_nobody_names_a_system(
    mariadb: Members, caplog: pytest.LogCaptureFixture, others: str
) -> None:
    """20. When nobody has anything of ours any more, it is used."""
    mariadb.say(STRANGER, "refused", "refused")
    assert mariadb.fleet.primary is None
    if others == "silent":
        mariadb.now += FORGOTTEN_AFTER
        mariadb.say(STRANGER, "refused", "refused")
    else:
        applied = "0-7-90,1-7-5" if others == "the new one's" else ""
        for _ in range(2):
            mariadb.say(STRANGER, *(gtids(1, applied, "", server=server) for server in (8, 9)))
    mariadb.say(STRANGER)
    assert mariadb.roles[0] == "primary"
    assert [one.levelname for one in caplog.records if "was replaced: its" in one.getMessage()] == ["WARNING"]

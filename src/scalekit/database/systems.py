"""Which database system is ours. Pure.

A name may come to lead elsewhere while the process runs: a wrong DNS entry, a copy for tests. Whoever answers
there is a primary too, and would take every write.

Rules:

* At the start the configured primary says which system is ours; without it, the others if they agree.
* After the first round of questions it stays so as long as a member of it is heard from. One that does not
  answer counts for a minute more: a moment without answers proves nothing. One that was not asked yet counts.
* When none is left, the whole database was replaced, and whoever is the primary, or is configured as such,
  says which system is ours now. Without those, the others do if all of them agree.
* A member of another system is never used.
* Servers that name no system are known by the origins of what they have: one that has something, and nothing
  of what our primary had, is of another database. For the primary the same holds as for a system.
"""

from collections.abc import Callable, Iterable, Sequence

from scalekit.database.reasons import Astray, Mistake
from scalekit.database.report import Health, Report

FORGOTTEN_AFTER = 60.0
"""Seconds for which a member that does not answer still stands for the system that it belonged to."""

_CURE = (
    "does its name lead to the right server? If the whole database was replaced, it is used once every "
    "member is of the new one, once those of the old one have not answered for "
    f"{FORGOTTEN_AFTER:g} s, or after a restart of this process"
)
STRANGE = (
    f"leads to another database, which has nothing of what was written in ours, and gets nothing; {_CURE}"
)
"""Why a server that names no system, and would be the primary, is left out."""


def find_system(members: Sequence[Health], *, known: str | None, previous: int | None) -> str | None:
    """The system that is ours, or ``None`` while that is not known.

    Args:
        members: the configured primary first.
        known: which was ours so far, if that is settled.
        previous: the member that was primary.
    """
    if known is None:
        if members[0].report is not None:
            return members[0].report.system
        systems = {one.report.system for one in members if one.report is not None}
        return systems.pop() if len(systems) == 1 else None
    if is_left(members, lambda report: report.system == known):
        return known
    for index in (0 if previous is None else previous, 0):
        one = members[index]
        if one.report is not None and one.failure is None:
            return one.report.system
    answers = {one.report.system if one.report and one.failure is None else None for one in members}
    only = answers.pop() if len(answers) == 1 else None
    return only or known


def is_left(members: Iterable[Health], is_ours: Callable[[Report], bool]) -> bool:
    """Whether one of ``members`` is, or may be, of our database."""
    members = list(members)
    now = max((one.asked for one in members), default=0.0)
    return any(
        one.failure is None
        if one.report is None
        else is_ours(one.report) and (one.failure is None or one.report.asked > now - FORGOTTEN_AFTER)
        for one in members
    )


def has_of(origins: frozenset[str], report: Report) -> bool:
    """Whether a server that names no system has something of what was written under these ``origins``."""
    return not origins.isdisjoint(report.reached.marks)


def is_strange(report: Report, *, origins: frozenset[str]) -> bool:
    """Whether a server that names no system is of another database than ours.

    Args:
        report: what it says; of one that has nothing nobody can tell.
        origins: of what our primary has; none where that is not known.
    """
    return bool(origins and report.reached.marks) and not has_of(origins, report)


def stranger(system: str, *, ours: str, settled: bool) -> Mistake:
    """Why a member of another ``system`` than ``ours`` is left out.

    Args:
        system: the member's.
        ours: the cluster's.
        settled: it was ours before, and the member was the primary or is configured as such.
    """
    if not settled:
        return Mistake(
            f"belongs to another database system ({system}) than the primary ({ours}); is its URL right?"
        )
    return Astray(
        f"leads to another database system ({system}) than ours ({ours}), and gets nothing; {_CURE}"
    )

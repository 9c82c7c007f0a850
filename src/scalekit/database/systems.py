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
"""

from collections.abc import Sequence

from scalekit.database.reasons import Astray, Mistake
from scalekit.database.report import Health

FORGOTTEN_AFTER = 60.0
"""Seconds for which a member that does not answer still stands for the system that it belonged to."""


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
    if _is_left(known, members):
        return known
    for index in (0 if previous is None else previous, 0):
        one = members[index]
        if one.report is not None and one.failure is None:
            return one.report.system
    answers = {one.report.system if one.report and one.failure is None else None for one in members}
    only = answers.pop() if len(answers) == 1 else None
    return only or known


def _is_left(system: str, members: Sequence[Health]) -> bool:
    now = max(one.asked for one in members)
    return any(
        one.failure is None
        if one.report is None
        else one.report.system == system and (one.failure is None or one.report.asked > now - FORGOTTEN_AFTER)
        for one in members
    )


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
        f"leads to another database system ({system}) than ours ({ours}), and gets nothing; does its name "
        "lead to the right server? If the whole database was replaced, it is used once every member is of "
        f"the new system, once those of the old one have not answered for {FORGOTTEN_AFTER:g} s, or after a "
        "restart of this process"
    )

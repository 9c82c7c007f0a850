"""Within one scope, time does not go backwards: what a replica has shown, the next one shows too.

Rules:

* The replica that was read from last may be read from again, at no cost: while it is the same process it
  only moves forward. It goes back when one of its own processes is killed, which ends every connection. So
  one that was open when the last read began proves that it has not, and so may what the server has said.
* Another one needs all that the last one can have shown. A probe tells what that is, of the last one or of
  the primary, if it was asked after the read; until then it is the primary's turn.
* ``ANY`` is exempt, and reads on the primary promise nothing: a look at the newest data would otherwise keep
  the rest of its request away from the replicas.
"""

from typing import Any, NamedTuple

from scalekit.database.choice import Choice
from scalekit.database.fleet import Fleet
from scalekit.database.levels import ANY, Consistency
from scalekit.database.member import Member
from scalekit.database.scope import Scope, Seen
from scalekit.database.tokens import Token, latest


class Found(NamedTuple):
    """A replica to read from.

    Args:
        choice: which, and what it must be asked first.
        token: what it must have.
        again: what was read from it last, where nothing else says that it still shows that:
            :func:`shows_again` is to be asked.
    """

    choice: Choice[Member]
    token: Token | None
    again: Seen | None = None


def replica_for(fleet: Fleet, scope: Scope, level: Consistency, without: frozenset[Member]) -> Found | None:
    """A replica for ``scope``, and what it must have; ``None``: the primary.

    Args:
        fleet: the members.
        scope: the visitor.
        level: how fresh the read must be.
        without: members that failed this transaction already.
    """
    token = scope.token
    choice = fleet.choose(level, token, without, visitor=scope.visitor)
    seen = scope.seen
    if choice is None or seen is None or level is ANY:
        return None if choice is None else Found(choice, token)
    if _is_the_same(choice.member, seen):
        return Found(choice, token, seen)
    shown = _shown(fleet, seen)
    if shown is None:
        return None
    token = latest(token, shown)
    choice = fleet.choose(level, token, without, visitor=scope.visitor)
    return None if choice is None else Found(choice, token)


def shows_again(fleet: Fleet, found: Found, seen: Seen, level: Consistency, connection: Any) -> bool:
    """Whether what was read last from this replica is shown over another ``connection`` to it, too.

    Args:
        fleet: of the replica.
        found: where to read.
        seen: what was read from it last.
        level: how fresh the read must be.
        connection: the DBAPI connection, idle: before the snapshot of what is to be read.
    """
    choice = found.choice
    if choice.member.introduction(connection).is_of_the_run_of(seen.report, at=seen.began):
        return True
    shown = _shown(fleet, seen)
    return shown is not None and fleet.confirm(choice, level, latest(found.token, shown), connection)


def _is_the_same(member: Member, seen: Seen) -> bool:
    """Whether ``member`` can only lead to the server that was read from."""
    now = member.health.report
    return (
        member is seen.member
        and now is not None
        and now.server == seen.report.server
        and not member.identity.several
    )


def _shown(fleet: Fleet, seen: Seen) -> Token | None:
    """All that was seen, and perhaps more; ``None``: nobody can tell yet."""
    now = seen.member.health.report
    if (
        now is not None
        and now.asked >= seen.until
        and now.is_of_the_run_of(seen.report, at=seen.began)
        and not seen.member.identity.several
    ):
        return now.reached.token(now.epoch)
    # A replica has nothing that its primary had not.
    primary = fleet.primary
    now = None if primary is None else primary.health.report
    return now.most if now is not None and now.asked >= seen.until else None

"""Within one scope, time does not go backwards: what a replica has shown, the next one shows too.

Rules:

* The replica that was read from last may be read from again, at no cost: while it is the same process it
  only moves forward.
* Another one needs all that the last one can have shown. A probe tells what that is, of the last one or of
  the primary, if it was asked after the read; until then it is the primary's turn.
* ``ANY`` is exempt, and reads on the primary promise nothing: a look at the newest data would otherwise keep
  the rest of its request away from the replicas.
"""

from scalekit.database.choice import Choice
from scalekit.database.fleet import Fleet
from scalekit.database.levels import ANY, Consistency
from scalekit.database.member import Member
from scalekit.database.scope import Scope, Seen
from scalekit.database.tokens import Token, latest


def replica_for(
    fleet: Fleet, scope: Scope, level: Consistency, without: frozenset[Member]
) -> tuple[Choice[Member], Token | None] | None:
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
    if choice is not None and seen is not None and level is not ANY and not _is_the_same(choice.member, seen):
        shown = _shown(fleet, seen)
        if shown is None:
            return None
        token = latest(token, shown)
        choice = fleet.choose(level, token, without, visitor=scope.visitor)
    return None if choice is None else (choice, token)


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
    if now is not None and now.asked >= seen.until and _is_the_same(seen.member, seen):
        return now.reached.token(now.epoch)
    # A replica has nothing that its primary had not.
    primary = fleet.primary
    now = None if primary is None else primary.health.report
    return now.most if now is not None and now.asked >= seen.until else None

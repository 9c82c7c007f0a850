"""What a function has read, and whether that may be stored: old snapshots and replicas that are behind.

A result is stored under versions of its tags. It must not be older than the commits that gave the tags these
versions. Rules:

========================================  ==================================================================
read                                      may be stored
========================================  ==================================================================
READ COMMITTED, READ UNCOMMITTED,         always: each statement sees what was committed before it
AUTOCOMMIT
any other level, also one that nobody     if the transaction began after all of the versions did, or after the
knows: a snapshot of its beginning        lease was taken
a session that is ``Positioned``          if it has read past the positions of all tags, as on the primary;
                                          on a replica not where a position is not known
what a session had loaded before          as what was read in a snapshot of then, if it may be in the result
a session that nobody watches             always: nothing is known of it
========================================  ==================================================================

A key that is dropped has neither version nor position. What was read at an earlier moment may be stored if
nobody has dropped a key of the function since; on a replica, if it has read past a commit that was begun
after that.

Times of two servers are never compared: the age of a version is told by the back end when the lease is taken,
the age of a transaction by this process's monotonic clock. Pure.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from scalekit.cache.backend import Lease

MARGIN = 0.05
"""Seconds by which a version must be older than a snapshot, for ages are rounded and take time to arrive."""

_MARKED_BEFORE = 40.0  # seconds: a mark lasts 30, and a lease that was asked for longer than 5 ago is gone

_EACH_STATEMENT = frozenset({"READ COMMITTED", "READ UNCOMMITTED", "AUTOCOMMIT"})


@runtime_checkable
class Positioned(Protocol):
    """What a session may have that knows where in the primary's log it is. ``scalekit.database``'s have it.

    For replicas of your own, give these two methods to a subclass of ``Session``, or of ``Connection``.
    """

    def committed_position(self) -> str | None:
        """Where the last transaction was committed; ``None``: nothing was written, or it is not known."""
        ...

    def has_read_past(self, position: str | None) -> bool:
        """Whether what this transaction reads includes what was committed at ``position``.

        True on the primary. On a replica false of ``None``, which is a position that is not known.
        """
        ...


def position_of(session: Any) -> str | None:
    """Where the last transaction of a session was committed, if it knows."""
    committed = getattr(session, "committed_position", None)
    return committed() if committed is not None else None


def is_positioned(session: Any) -> bool:
    """Whether a session knows what it has read: ``isinstance(session, Positioned)``, but quicker."""
    return hasattr(type(session), "has_read_past")


def known_positions(positions: Sequence[str | None], ages: Sequence[float]) -> tuple[str | None, ...]:
    """Of each tag, where its last change was committed. The generation comes first, and has no changes.

    A version from before the generation may have been left as it was by a commit that nobody could be told
    of: then its position is no longer the last.
    """
    return tuple(
        position if age <= ages[0] else None for position, age in zip(positions[1:], ages[1:], strict=True)
    )


def has_read_past(session: Any, positions: Iterable[str | None]) -> bool:
    """Whether ``session`` reads what was committed at all of ``positions``, as far as anybody knows."""
    return not is_positioned(session) or all(session.has_read_past(position) for position in positions)


def keeps_snapshot(isolation: str | None) -> bool:
    """Whether a transaction of this isolation level, if it is known, sees nothing that is committed later."""
    return isolation is None or isolation.upper().replace("_", " ") not in _EACH_STATEMENT


class Commit(NamedTuple):
    """One of this process's."""

    began: float
    """Before it was sent (monotonic)."""
    position: str


class Reads(Protocol):
    """What :class:`scalekit.cache.uses.Uses` knows of what a function has read."""

    started: float
    """When it began to run (monotonic), after its lease was taken."""
    oldest: float | None
    """When the oldest snapshot that it read in began (monotonic); ``None``: it read in none."""
    behind: bool
    """It has read where not all was that the lease's positions stand for."""
    on_replica: bool
    """It has read where something may be missing that nobody knows the position of."""
    past: float | None
    """When a commit began that it has read past, on replicas (monotonic); ``None``: none is known."""


def may_share(uses: Reads, lease: Lease | None) -> bool:
    """Whether what a function has read may be stored under ``lease``, and be given to those who wait for it.

    Without a lease there is nothing to store, and what others are given has to be read after they came. What
    :func:`is_old` has to be after the last drop of a key besides.
    """
    if uses.behind:
        return False
    return not is_old(uses) or (lease is not None and _is_younger(uses.oldest, lease.ages, now=uses.started))


def is_old(uses: Reads) -> bool:
    """Whether something of what a function has read may be older than its lease."""
    return uses.on_replica or (uses.oldest is not None and uses.oldest < uses.started)


def is_after_drop(uses: Reads, lease: Lease, dropped: float, *, now: float) -> bool:
    """Whether a function has read what its last dropped key was dropped for.

    Args:
        uses: what it has read.
        lease: under which.
        dropped: how long ago that was, in seconds.
        now: monotonic.
    """
    if not _is_younger(uses.oldest, [dropped], now=now):
        return False
    if not uses.on_replica or (uses.past is not None and _is_younger(uses.past, [dropped], now=now)):
        return True
    # It has read past the commits that gave the tags their versions. Each was marked before, not long.
    positions = known_positions(lease.positions, lease.ages)
    commits = [age for age, position in zip(lease.ages[1:], positions, strict=True) if position is not None]
    return any(dropped > age + now - uses.started + _MARKED_BEFORE for age in commits)


def _is_younger(since: float | None, ages: Iterable[float], *, now: float) -> bool:
    """Whether what is from ``since``, if anything is, is younger than what has these ages at ``now``."""
    return since is None or since >= now or all(age > now - since + MARGIN for age in ages)

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
a session that nobody watches             always: nothing is known of it
========================================  ==================================================================

Times of two servers are never compared: the age of a version is told by the back end when the lease is taken,
the age of a transaction by this process's monotonic clock. Pure.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

from scalekit.cache.backend import Lease

MARGIN = 0.05
"""Seconds by which a version must be older than a snapshot, for ages are rounded and take time to arrive."""

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


class Reads(Protocol):
    """What :class:`scalekit.cache.uses.Uses` knows of what a function has read."""

    started: float
    """When it began to run (monotonic), after its lease was taken."""
    oldest: float | None
    """When the oldest snapshot that it read in began (monotonic); ``None``: it read in none."""
    behind: bool
    """It has read where not all was that the lease's positions stand for."""


def may_share(uses: Reads, lease: Lease | None) -> bool:
    """Whether what a function has read may be stored under ``lease``, and be given to those who wait for it.

    Without a lease there is nothing to store, and what others are given has to be read after they came.
    """
    if uses.behind:
        return False
    if uses.oldest is None or uses.oldest >= uses.started:
        return True
    age = uses.started - uses.oldest
    return lease is not None and all(version > age + MARGIN for version in lease.ages)

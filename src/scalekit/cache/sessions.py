"""What the cache must know of a database session, by what it has and not by its class."""

from collections.abc import Iterable

# In the `info` of a session: the tables that its transaction has changed so far (see scalekit.cache.orm).
CHANGED = "scalekit.cache.changed"


def has_changes(values: Iterable[object]) -> bool:
    """Whether one of ``values`` is a session whose transaction has changes of its own.

    Either flushed or sent as statements, which only a watched session shows; or pending, which all do.
    What such a session reads, others may not see before COMMIT, and never after ROLLBACK.
    """
    for value in values:
        info = getattr(value, "info", None)
        if isinstance(info, dict) and info.get(CHANGED):
            return True
        if any(getattr(value, pending, None) for pending in ("new", "deleted", "dirty")):
            return True
    return False

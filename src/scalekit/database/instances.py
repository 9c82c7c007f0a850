"""What a session has loaded from a replica, when its transaction goes on to write.

On one server, what is read before a write is what the write changes. From a replica it may be a moment
older, and a value computed from it would undo what somebody else has committed in that moment.

Rules:

* By default (``expire``) instances forget what they have not changed, and it is loaded again, from the
  primary: in synchronous code when it is next read from, in asynchronous code at once, before the write
  (:mod:`scalekit.database.reloading`). There an attribute cannot wait for a server.
* What only its query can tell is kept, as a row's values are: what ``Parent.children.and_(...)`` or
  ``with_loader_criteria()`` has filtered, a ``with_expression()``. SQLAlchemy alone would load the whole
  collection, or nothing.
* What was changed stays changed. So does the identity of an instance, which cannot be another by now.
* The version of a changed or deleted instance stays as it was read: SQLAlchemy compares it with the row
  that is there, and raises ``StaleDataError`` if somebody else was faster.
"""

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from sqlalchemy import inspect
from sqlalchemy.orm import InstanceState

from scalekit.database.reloading import Expired
from scalekit.errors import ConfigurationError

if TYPE_CHECKING:
    from scalekit.database.session import ReadWriteSession

WritesAfterReads: TypeAlias = Literal["expire", "error", "allow"]
"""What becomes of instances that were read from a replica, when their transaction writes."""


_FILLED_IN = (("query_expression", True),)


def check_mode(mode: str) -> None:
    if mode not in get_args(WritesAfterReads):
        raise ConfigurationError(f"writes_after_reads={mode!r}; use 'expire', 'error' or 'allow'")


def expire(session: "ReadWriteSession") -> list[Expired]:
    """Let the instances in ``session`` forget what they have not changed.

    Returns:
        What they have forgotten.
    """
    expired: list[Expired] = []
    changed = {*map(id, session.dirty), *map(id, session.deleted)}
    for instance in list(session.identity_map.values()):
        state: InstanceState[object] = inspect(instance)
        if session._bound(state.mapper) is not None:
            continue  # read elsewhere
        names = state.unmodified.intersection(state.dict) - _kept(state, changed=id(instance) in changed)
        if names:
            # By name, because without one it would follow cascades, and expire what has been changed there.
            session.expire(instance, names)
            expired.append((instance, names))
    return expired


def _kept(state: InstanceState[object], *, changed: bool) -> set[str]:
    mapper = state.mapper
    columns = [*mapper.primary_key]
    if changed and mapper.version_id_col is not None:
        columns.append(mapper.version_id_col)
    kept = {mapper.get_property_by_column(column).key for column in columns}
    kept.update(attribute.key for attribute in mapper.column_attrs if attribute.strategy_key == _FILLED_IN)
    for option in state.load_options:
        if option._is_criteria_option:
            kept.update(mapper.relationships.keys())
        for element in getattr(option, "context", ()):
            if element._extra_criteria:
                kept.update(getattr(part, "key", "") for part in element.path.path[1::2])
    return kept

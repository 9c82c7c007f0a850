"""What a session has loaded from a replica, when its transaction goes on to write.

On one server, what is read before a write is what the write changes. From a replica it may be a moment
older, and a value computed from it would undo what somebody else has committed in that moment.

Rules:

* By default (``expire``) instances forget what they have not changed, and it is loaded again, from the
  primary: in synchronous code when it is next read from, in asynchronous code at once, before the write
  (:mod:`scalekit.database.reloading`). There an attribute cannot wait for a server.
* What the session had before, from the primary, is not read again: on one server it would be no newer.
* What only its query can tell is kept, as a row's values are: what ``Parent.children.and_(...)``,
  ``contains_eager()`` or ``with_loader_criteria()`` has filtered, a ``with_expression()``. SQLAlchemy alone
  would load the whole collection, or nothing.
* What was changed stays changed. So does the identity of an instance, which cannot be another by now.
* The version of a changed or deleted instance stays as it was read: SQLAlchemy compares it with the row
  that is there, and raises ``StaleDataError`` if somebody else was faster.
"""

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from sqlalchemy import inspect
from sqlalchemy.orm import InstanceState, RelationshipProperty

from scalekit.database.reloading import Expired
from scalekit.errors import ConfigurationError

if TYPE_CHECKING:
    from scalekit.database.session import ReadWriteSession

WritesAfterReads: TypeAlias = Literal["expire", "error", "allow"]
"""What becomes of instances that were read from a replica, when their transaction writes."""


_FILLED_IN = (("query_expression", True),)
_JOINED, _FROM_ROWS = (("lazy", "joined"),), "eager_from_alias"


def check_mode(mode: str) -> None:
    if mode not in get_args(WritesAfterReads):
        raise ConfigurationError(f"writes_after_reads={mode!r}; use 'expire', 'error' or 'allow'")


class Origins:
    """Which instances of a session may be from a replica."""

    __slots__ = ("_others", "_replicas")

    def __init__(self) -> None:
        self._replicas = False  # has shown what no write has expired since
        # What was there when the first replica was read from: which query has loaded it, and how much of it.
        self._others: dict[InstanceState[object], tuple[int | None, int]] = {}

    def reading(self, session: "ReadWriteSession") -> None:
        """A transaction of ``session`` begins to read from a replica."""
        others = session.identity_map.all_states() if session.identity_map and not self._replicas else ()
        self._others = {state: (state.runid, len(state.dict)) for state in others}
        self._replicas = True

    def forget(self) -> None:
        """Something is expired, and may be loaded again by a query that has not loaded it first."""
        self._others = {}

    def wrote(self) -> None:
        """What replicas have shown has been expired."""
        self._replicas, self._others = False, {}

    def is_other(self, state: InstanceState[object]) -> bool:
        """Whether nothing of ``state`` was loaded from a replica."""
        return self._others.get(state) == (state.runid, len(state.dict))


def expire(session: "ReadWriteSession", origins: Origins | None = None) -> list[Expired]:
    """Let the instances in ``session`` forget what they have not changed.

    Args:
        session: whose instances.
        origins: tell which of them need not; by default all do.

    Returns:
        What they have forgotten.
    """
    names_of: list[Expired] = []
    changed = {*map(id, session.dirty), *map(id, session.deleted)}
    for instance in list(session.identity_map.values()):
        state: InstanceState[object] = inspect(instance)
        if (origins is not None and origins.is_other(state)) or session._bound(state.mapper) is not None:
            continue  # read elsewhere
        names = state.unmodified.intersection(state.dict) - _kept(state, changed=id(instance) in changed)
        if names:
            names_of.append((instance, names))
    for instance, names in names_of:
        # By name, because without one it would follow cascades, and expire what has been changed there.
        session.expire(instance, names)
    if origins is not None:
        origins.wrote()
    return names_of


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
                kept.update(_keys(element.path))
    kept.update(
        one.key
        for one in mapper.relationships
        if one.uselist and one.key in state.dict and one.key not in kept and _is_of_its_query(state, one)
    )
    return kept


def _is_of_its_query(state: InstanceState[object], relationship: RelationshipProperty[object]) -> bool:
    """Whether a collection of ``state`` has been filled by ``contains_eager()``, with what a query selected.

    SQLAlchemy does not always remember it. But what is in the collection has come with the same rows then, by
    way of it, which else only a ``joinedload()`` does; and that is remembered, but for ``joinedload("*")``.
    """
    adapter = getattr(state.dict[relationship.key], "_sa_adapter", None)
    if adapter is None or state.runid is None:
        return False  # of a kind that keeps nothing in memory, or not loaded by a query
    keys = [*_keys(state.load_path), relationship.key]
    for option in state.load_options:
        for element in getattr(option, "context", ()):
            if element.strategy == _JOINED and _keys(element.path) == keys:
                return _FROM_ROWS in element.local_opts
    if relationship.strategy_key == _JOINED:
        return False
    others: list[InstanceState[object]] = [inspect(member) for member in adapter]
    return any(other.runid == state.runid and _keys(other.load_path) == keys for other in others)


def _keys(path: Any) -> list[str]:
    """The relationships that ``path``, by which something was loaded, goes by; whatever their classes."""
    return [getattr(part, "key", "") for part in path.path[1::2]]

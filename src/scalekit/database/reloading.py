"""Instances that were expired, loaded again at once: for asynchronous code, where an attribute cannot wait.

Rules:

* All of a kind come in one SELECT, and what was loaded of one relationship of theirs in another.
* Only what was loaded before is loaded again, and nothing that was changed is touched.
* What the primary does not have stays expired. To read from that is an error, which says why.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import inspect, select, tuple_
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import InstanceState, Mapper, lazyload, load_only, selectinload, undefer

if TYPE_CHECKING:
    from scalekit.database.session import ReadWriteSession

Expired: TypeAlias = tuple[object, set[str]]
"""An instance, and the names of its attributes that were loaded and are not any more."""

_Shapes: TypeAlias = Collection[tuple[Mapper[Any], frozenset[str]]]
"""Of each kind of instance in the session, what was loaded."""

_AT_ONCE = 500  # as many as SQLAlchemy's selectinload() asks for
_SHOWN = 5


def reload(session: "ReadWriteSession", expired: Sequence[Expired]) -> list[str]:
    """Load again what ``expired`` says, over the connection that the transaction has now.

    Returns:
        The instances that are not there, as a message names them.
    """
    alike: dict[tuple[Mapper[Any], frozenset[str]], list[Expired]] = {}
    for instance, names in expired:
        state: InstanceState[Any] = inspect(instance)
        # Those of one query have had the same attributes loaded.
        loaded = frozenset(names | (state.manager.keys() - state.unloaded))
        alike.setdefault((state.mapper, loaded), []).append((instance, names))
    changed = _changed(session)
    with session.no_autoflush:  # also of the SELECTs that the first one causes
        for (mapper, _), group in alike.items():
            for part in _parts(group):
                _load(session, mapper, part, list(alike), changed)
        return [_named(instance) for instance, names in expired if not _is_there(session, instance, names)]


def _load(
    session: "ReadWriteSession",
    mapper: Mapper[Any],
    group: list[Expired],
    shapes: _Shapes,
    changed: frozenset[object],
) -> None:
    keys, missing = list[Any](), set[str]()
    for instance, names in group:
        state: InstanceState[Any] = inspect(instance)
        unloaded = _unloaded(state, names)  # without what another kind has brought along
        if unloaded:
            keys.append(state.identity)
            missing |= unloaded
    if not missing:
        return
    related = missing & {*mapper.relationships.keys()}
    first, *others = identity = mapper.primary_key
    columns = missing - related or {mapper.get_property_by_column(column).key for column in identity}
    of_these = tuple_(first, *others).in_(keys) if others else first.in_([key for (key,) in keys])
    statement = (
        select(mapper.class_)
        .where(of_these)
        .options(lazyload("*"), load_only(*(getattr(mapper.class_, name) for name in columns)))
        .options(*_with(mapper, related, shapes, set(changed)))
    )
    # Whatever the session does by default: what was changed is not undone.
    session.scalars(statement, execution_options={"populate_existing": False}).all()


def _with(mapper: Mapper[Any], names: set[str], shapes: _Shapes, seen: set[object]) -> list[Any]:
    """Options that load the relationships ``names``.

    What they lead to may be new to the session, and is loaded as much as what it has of that kind already:
    whoever goes through a collection reads the same of each.
    """
    options = []
    for name in sorted(names):
        target = mapper.relationships[name].mapper
        seen.add(mapper.relationships[name])
        loaded = {key for kind, keys in shapes if kind.isa(target) for key in keys}
        deferred = [key for key in loaded if key in target.column_attrs and target.column_attrs[key].deferred]
        further = {key for key in loaded if key in target.relationships} - {
            one.key for one in target.relationships if one in seen
        }
        option = selectinload(getattr(mapper.class_, name))
        for key in deferred:
            option = option.options(undefer(getattr(target.class_, key)))
        options.append(option.options(*_with(target, further, shapes, seen)))
    return options


def _changed(session: "ReadWriteSession") -> frozenset[object]:
    """The relationships that were changed somewhere, and are loaded for nobody who had not loaded them.

    To a collection that is loaded later, SQLAlchemy does what was done to it before, and fails where that
    takes out what somebody else has taken out by then.
    """
    states: list[InstanceState[Any]] = [inspect(one) for one in (*session.dirty, *session.deleted)]
    return frozenset(
        state.mapper.relationships[key]
        for state in states
        for key in state.committed_state
        if key in state.mapper.relationships
    )


def _is_there(session: "ReadWriteSession", instance: object, names: set[str]) -> bool:
    """Whether the primary has ``instance``; loads what a hook of the application's kept from us."""
    left = _unloaded(inspect(instance), names)
    try:
        if left:
            session.refresh(instance, left)
    except InvalidRequestError:
        return False
    return True


def explain(gone: Sequence[str]) -> str:
    """For an error that reading from one of ``gone`` may have caused."""
    more = f" and {len(gone) - _SHOWN} more" if len(gone) > _SHOWN else ""
    return (
        f"If read from {', '.join(gone[:_SHOWN])}{more}: a replica still had that when this transaction "
        "went on to write, and the primary had not. Look it up again; or, where you read in order to write, "
        "begin on the primary, with `with cluster.primary():` or consistency=STRONG"
    )


def _unloaded(state: InstanceState[Any], names: set[str]) -> set[str]:
    # What is composed of columns is composed again by itself.
    return {*state.mapper.column_attrs.keys(), *state.mapper.relationships.keys()} & names & state.unloaded


def _named(instance: object) -> str:
    state: InstanceState[Any] = inspect(instance)
    return f"{state.class_.__name__} {', '.join(map(str, state.identity or ()))}"


def _parts(group: list[Expired]) -> Iterator[list[Expired]]:
    for start in range(0, len(group), _AT_ONCE):
        yield group[start : start + _AT_ONCE]

"""Purge what shows rows of a database when a transaction that changed them is committed.

=====================  =====================================================================================
event                  what it means here
=====================  =====================================================================================
after a flush          the tags of what is new, changed or deleted are noted, of a changed row also those that
                       it had before; what was deleted as the orphan of another row is among them
an INSERT, UPDATE or   the tags without names in braces are noted: which rows it changes nobody knows
DELETE of the session
ROLLBACK, to a         what was noted since is forgotten
savepoint
COMMIT                 when it has succeeded, what was noted goes to the queue
=====================  =====================================================================================

* A commit never fails, nor waits, for the CDN's sake (see :mod:`scalekit.cdn.purge_queue`).
* Not seen: text, ``bulk_save_objects()`` and its like, what is sent on ``session.connection()``, and what
  triggers and cascades of the database do. Nor a COMMIT under which the connection was lost.
* A page that was made before the commit may reach the CDN after the purge; it stays for its time then.
"""

import logging
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, Unpack

from scalekit._options import check_items, check_kind
from scalekit.cdn._cache_tags import check_tag, check_templates, fill, places
from scalekit.cdn.purge import AsyncPurger, Purger
from scalekit.cdn.purge_queue import PurgeQueue, QueueOptions
from scalekit.errors import ConfigurationError, MissingExtra

try:
    from sqlalchemy import event, exc, inspect
    from sqlalchemy.orm import Mapper, ORMExecuteState, Session, SessionTransaction, UOWTransaction

    from scalekit._sqlalchemy import session_target
except ImportError:
    raise MissingExtra("sqlalchemy", needed_by="scalekit.cdn.commits") from None

_log = logging.getLogger("scalekit.cdn")

TagsOf: TypeAlias = Iterable[str] | Callable[[Any], Iterable[str]]
"""Tags of a row: templates with its attributes in braces, or a function of it."""


def purge_on_commit(
    target: Any,
    purger: Purger | AsyncPurger,
    *,
    tags: Mapping[type, TagsOf],
    **options: Unpack[QueueOptions],
) -> PurgeQueue:
    """Purge the tags of rows whenever a change of theirs is committed.

    Args:
        target: a ``sessionmaker``, an ``async_sessionmaker``, a ``scoped_session``, a ``Session`` class or a
            session; or an object whose ``event_target`` is one of these, as a cluster of
            ``scalekit.database``.
        purger: the CDN's.
        tags: of each mapped class, and those derived from it: ``{Product: ["products", "product:{id}"]}``.
            A function is called with the row, in the flush, for what it is then.
        options: those of :class:`~scalekit.cdn.purge_queue.PurgeQueue`.

    Returns:
        The queue; ``wait()`` for it when the application stops.

    Raises:
        ConfigurationError: ``target`` is none of these, a class is not mapped, or a tag names no attribute.
    """
    check_kind(tags, Mapping, option="tags=", wanted="a dict by class, such as {Product: ['product:{id}']}")
    rules = {cls: _checked(cls, rule) for cls, rule in tags.items()}
    queue = PurgeQueue(purger, **options)
    watcher = _Watcher(queue, rules)
    sessions = session_target(getattr(target, "event_target", target))
    try:
        for name in ("after_flush", "do_orm_execute", "after_soft_rollback", "after_commit"):
            event.listen(sessions, name, getattr(watcher, name))
        event.listen(sessions, "after_transaction_end", watcher.after_transaction_end)
    except (exc.SQLAlchemyError, AttributeError) as error:
        raise ConfigurationError(
            "purge_on_commit wants a sessionmaker, a Session class or a session, their asynchronous twins, "
            f"or a cluster, not {type(target).__name__}"
        ) from error
    return queue


def _checked(cls: type, rule: TagsOf) -> TagsOf:
    if not isinstance(inspect(cls, raiseerr=False), Mapper):
        raise ConfigurationError(f"tags= has {cls!r:.80}, which is no mapped class")
    if callable(rule):
        return rule
    templates = check_templates(rule, option=f"tags[{cls.__name__}]")
    unknown = {name for template in templates for name in places(template) if not hasattr(cls, name)}
    if unknown:
        raise ConfigurationError(f"tags[{cls.__name__}]: it has no attribute {', '.join(sorted(unknown))}")
    return templates


class _Watcher:
    """What the sessions have changed so far: for each, by savepoint, the tags of it."""

    def __init__(self, queue: PurgeQueue, rules: dict[type, TagsOf]) -> None:
        self._queue, self._rules = queue, rules
        self._told: set[type] = set()
        self._noted: weakref.WeakKeyDictionary[Session, dict[SessionTransaction | None, dict[str, None]]] = (
            weakref.WeakKeyDictionary()
        )

    def after_flush(self, session: Session, context: UOWTransaction) -> None:
        changed = [row for row in session.dirty if session.is_modified(row)]
        # Orphans are deleted by the flush alone, and the session does not say so.
        deleted = [state.obj() for state, (is_deleted, _) in context.states.items() if is_deleted]
        rows = {id(row): row for row in (*session.new, *session.deleted, *changed, *deleted)}
        for row in (row for row in rows.values() if row is not None):
            for rule in self._rules_of(type(row)):
                self._note(session, _tags_of(row, rule))

    def do_orm_execute(self, state: ORMExecuteState) -> None:
        table = getattr(state.statement, "table", None)
        if table is None or not (state.is_insert or state.is_update or state.is_delete):
            return
        for cls, rule in self._rules.items():
            if table in inspect(cls).tables:
                plain = [] if callable(rule) else [tag for tag in rule if not places(tag)]
                self._note(state.session, plain)
                if not plain and cls not in self._told:
                    self._told.add(cls)
                    _log.warning(
                        "a statement changes rows of %s, nobody knows which, and nothing of them is purged; "
                        "give the class a tag without braces, which all that shows such rows has",
                        cls.__name__,
                    )

    def after_soft_rollback(self, session: Session, previous: SessionTransaction) -> None:
        if previous.nested:
            self._noted.get(session, {}).pop(previous, None)

    def after_commit(self, session: Session) -> None:
        nested = session.get_nested_transaction()
        if nested is not None:  # released, which commits nothing yet
            noted = self._noted.get(session, {})
            noted.setdefault(_enclosing(nested.parent), {}).update(noted.pop(nested, {}))
            return
        levels = self._noted.pop(session, {})
        try:
            self._queue.add(tag for tags in levels.values() for tag in tags)
        except RuntimeError:  # no thread can be started any more; what is committed is committed
            _log.exception("what was committed is not purged")

    def after_transaction_end(self, session: Session, transaction: SessionTransaction) -> None:
        if transaction.parent is None:  # rolled back, or closed without a word
            self._noted.pop(session, None)

    def _rules_of(self, cls: type) -> list[TagsOf]:
        return [self._rules[base] for base in cls.__mro__ if base in self._rules]

    def _note(self, session: Session, tags: Iterable[str]) -> None:
        levels = self._noted.setdefault(session, {})
        levels.setdefault(session.get_nested_transaction(), {}).update(dict.fromkeys(tags))


def _enclosing(transaction: SessionTransaction | None) -> SessionTransaction | None:
    """The savepoint around; ``None``: there is none."""
    while transaction is not None and not transaction.nested:
        transaction = transaction.parent
    return transaction


def _tags_of(row: Any, rule: TagsOf) -> list[str]:
    """Its tags, and those that it had before."""
    try:
        if callable(rule):
            return [check_tag(tag) for tag in check_items(rule(row), option="tags=")]
        names = set[str]().union(*map(places, rule))
        now = {name: getattr(row, name) for name in names}
        attributes = inspect(row).attrs
        before = {
            name: attributes[name].history.deleted[0]
            for name in names
            if name in attributes and attributes[name].history.deleted
        }
        return [check_tag(fill(template, values)) for template in rule for values in (now, now | before)]
    except Exception:  # noqa: BLE001  of the application's function or attribute; the commit is not to fail
        _log.exception("the tags of a %s could not be made, and are not purged", type(row).__name__)
        return []

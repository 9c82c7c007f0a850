"""The listeners of one cache on sessions and engines: what a transaction changes, and when it ends.

=========================  =================================================================================
event                      what it means here
=========================  =================================================================================
before a statement         what it changes is noted: until its end the transaction is dirty, and whoever has
                           it does without the cache; under AUTOCOMMIT it is marked at once
before COMMIT, PREPARE     what was changed is marked (see :mod:`scalekit.cache.marking`)
ROLLBACK, to a savepoint   what was changed is forgotten
the end of a session's     what was marked is bumped: the session is clean then, its connection back in the
transaction                pool, and where the primary's log was is known
any other connection back  the same for what was marked without a session, or by one that was a guest in
in its pool, or beginning  somebody else's transaction
once more
=========================  =================================================================================

* A COMMIT under which the connection was lost may still arrive: then its marks stay, and end by themselves.
* What another listener of COMMIT changes is marked at once. Where the driver commits each statement, ROLLBACK
  has undone nothing: what was changed is dropped then.
* A text that may commit by itself, as ``COMMIT`` or a procedure does, is one: what was changed is marked
  first.
"""

import logging
import weakref
from collections.abc import Set
from typing import Any

from scalekit.cache._core import Core
from scalekit.cache.changes import NONE, changes_of
from scalekit.cache.dirty import CHANGED, Dirty, forget_changes, note_changes
from scalekit.cache.listeners import Pending, begun, watch_connection, watch_engine
from scalekit.cache.marking import Marking
from scalekit.cache.positions import keeps_snapshot, position_of
from scalekit.cache.sessions import LOADED, note_loading, owner, set_owner
from scalekit.cache.texts import shown
from scalekit.cache.transactions import Transaction, savepoint_of
from scalekit.cache.uses import note, note_begun, running
from scalekit.errors import MissingExtra

try:
    from sqlalchemy import Connection, Engine, event, exc
    from sqlalchemy.orm import Session, SessionTransaction
except ImportError:
    raise MissingExtra("sqlalchemy", needed_by="scalekit.cache with SQLAlchemy") from None

log = logging.getLogger("scalekit.cache")

_MOST_TOLD = 1000

# In the `info` of a connection: a text has set an isolation level that lasts.
_LASTING = "scalekit.cache.isolation"


class Watcher:
    """What one cache sees.

    Args:
        core: of the cache.
        marking: how it is told.
    """

    def __init__(self, core: Core, marking: Marking) -> None:
        self._core, self._marking = core, marking
        self._pending = Pending(self)
        self._open: weakref.WeakKeyDictionary[Connection, Transaction] = weakref.WeakKeyDictionary()
        self._of: weakref.WeakKeyDictionary[Session, list[tuple[Connection, Transaction]]] = (
            weakref.WeakKeyDictionary()
        )
        self._told: set[str] = set()
        self._autocommits = False  # something has changed under AUTOCOMMIT

    def watch_sessions(self, target: Any) -> None:
        """Listen to a sessionmaker, a session class or a session."""
        event.listen(target, "after_begin", self.after_begin)
        event.listen(target, "after_transaction_end", self.after_transaction_end)

    def watch_engine(self, engine: Engine) -> None:
        """Listen to all connections of an engine, and to the sessions on them, of whatever class."""
        watch_engine(engine, self)

    def watch_connection(self, connection: Connection) -> None:
        """Listen to one connection, that no transaction was begun on."""
        watch_connection(connection, self)

    def after_begin(self, session: Session, transaction: SessionTransaction, connection: Connection) -> None:
        set_owner(connection, session)
        if transaction.parent is None:
            note_begun(session)
            note_loading(session)
        self.watch_connection(connection)
        current = self._open.get(connection)
        if current is None:  # the first of its engine
            current = self._opened(connection)
        current.by_session = True
        self._of.setdefault(session, []).append((connection, current))

    def after_transaction_end(self, session: Session, transaction: SessionTransaction) -> None:
        if transaction.parent is not None or session not in self._of:
            return
        session.info.pop(CHANGED, None)
        if session.expire_on_commit:  # as ROLLBACK does always
            session.info.pop(LOADED, None)
        for connection, current in self._of.pop(session, ()):
            if connection.in_transaction():  # it was a guest in somebody else's
                current.by_session = False
            elif current.marked or current.untold:
                self._marking.settle(
                    current, asynchronous=connection.dialect.is_async, position=position_of(session)
                )

    def _opened(self, connection: Connection) -> Transaction:
        current = self._open[connection] = Transaction(begun(connection))
        return current

    def before_statement(self, connection: Connection, statement: str, context: Any) -> None:
        current = self._open.get(connection)
        if current is None:  # it has begun before anybody listened
            current = self._opened(connection)
        changes = changes_of(context, statement)
        if changes is NONE:
            if running():  # nobody else wants to know
                self._note_use(connection, current, reads=True)
            return
        current.isolation |= changes.isolation
        if changes.lasting:
            connection.info[_LASTING] = True
        if changes or changes.commits:
            asynchronous = connection.dialect.is_async
            if connection._is_autocommit_isolation():  # to ask the server would be a round trip
                if changes.tags:
                    self._autocommits = True
                    self._marking.mark(current, changes.tags, asynchronous=asynchronous)
            elif current.over:  # another listener of the same COMMIT, after us
                self._mark(connection, current, changes.tags)
            else:
                if changes.commits and (tags := current.tags | changes.tags):
                    self._marking.mark(current, tags, asynchronous=asynchronous)
                if changes:
                    self._note_changes(connection, current)
                current.add(changes.tags, savepoint_of(connection))
            if changes.unseen:
                self._tell(statement)
        self._note_use(connection, current, reads=not changes)

    def _note_use(self, connection: Connection, current: Transaction, *, reads: bool) -> None:
        lasting = current.isolation or _keeps_snapshot(connection)
        note(owner(connection) or connection, reads=reads, snapshot=current.began if lasting else None)

    def _note_changes(self, connection: Connection, current: Transaction) -> None:
        note_changes(connection)
        session = owner(connection)
        if session is not None:
            session.info[CHANGED] = True
        if current.dirty is None:
            current.dirty = Dirty(self._core.dirty_count)

    def after_statement(self, connection: Connection) -> None:
        if not self._autocommits or not connection._is_autocommit_isolation():
            return
        current = self._open.get(connection)
        if current is not None:
            self._settle(connection, current)

    def _tell(self, statement: str) -> None:
        text = shown(statement)
        if text not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(text)
            log.warning(
                "nobody knows which tables this changes, so nothing that reads them is dropped: %s ...; say "
                "it by text(...).execution_options(changes=[Product]), changes=[] if it changes none",
                text,
            )

    def begin(self, connection: Connection) -> None:
        before = self._open.get(connection)
        self._opened(connection)
        if before is not None:
            self._settle(connection, before)

    def rollback_savepoint(self, connection: Connection, name: str) -> None:
        current = self._open.get(connection)
        if current is not None:
            current.rolled_back_to(name)

    def commit(self, connection: Connection) -> None:
        self._before_commit(connection, undo=True)

    def commit_twophase(self, connection: Connection, is_prepared: bool) -> None:
        # The mark that was made before PREPARE may have ended by now.
        self._before_commit(connection, undo=not is_prepared)

    def _before_commit(self, connection: Connection, *, undo: bool) -> None:
        current = self._open.get(connection)
        if current is None:
            return
        try:
            self._mark(connection, current, current.tags)
        except BaseException:
            # SQLAlchemy takes a COMMIT that failed for the end, and would go on in what is still open.
            if undo:
                self._ended(connection, current)
                _undo(connection)
            raise
        self._ended(connection, current)
        current.outcome_open = False

    def prepare_twophase(self, connection: Connection) -> None:
        current = self._open.get(connection)
        if current is not None:
            self._mark(connection, current, current.tags)
            current.outcome_open = bool(current.marked)

    def _mark(self, connection: Connection, current: Transaction, tags: Set[str]) -> None:
        if tags:
            self._marking.mark(current, tags, asynchronous=connection.dialect.is_async)
        if current.marked or current.untold:
            connection.info[self._pending] = current, connection.dialect.is_async

    def rollback(self, connection: Connection) -> None:
        current = self._open.get(connection)
        if current is not None:
            current.outcome_open = False
            if current.tags and _driver_commits(connection):
                current.untold |= current.tags
            self._ended(connection, current)
            self._settle(connection, current)

    def rollback_twophase(self, connection: Connection) -> None:
        # Not bumped before it has arrived: what stays prepared may be committed by others.
        current = self._open.get(connection)
        if current is not None:
            current.outcome_open = False
            self._ended(connection, current)

    def _ended(self, connection: Connection, current: Transaction) -> None:
        forget_changes(connection)
        current.ended()

    def _settle(self, connection: Connection, current: Transaction) -> None:
        if current.marked or current.untold:
            self._marking.settle(current, asynchronous=connection.dialect.is_async)

    def invalidate(self, info: dict[Any, Any]) -> None:
        current, _ = info.get(self._pending, (None, False))
        if current is not None:
            current.outcome_open = True

    def checkin(self, info: dict[Any, Any]) -> None:
        current, asynchronous = info.pop(self._pending, (None, False))
        if current is not None and not current.by_session:
            self._marking.settle(current, asynchronous=asynchronous)


def _keeps_snapshot(connection: Connection) -> bool:
    """Whether what this transaction reads may be as old as its beginning. Asks no server."""
    if _LASTING in connection.info:
        return True
    isolation = connection.get_execution_options().get("isolation_level")
    if not keeps_snapshot(isolation or connection.dialect.default_isolation_level):
        return False
    # Before Python's driver sends a BEGIN, which it does before the first change, each SELECT is by itself.
    driver = connection.connection.driver_connection
    return connection.dialect.name != "sqlite" or getattr(driver, "in_transaction", True)


def _driver_commits(connection: Connection) -> bool:
    """Whether the driver has committed each statement, without a word to SQLAlchemy. Asks no server."""
    if connection.invalidated or connection.closed:
        return False
    if connection.dialect.name == "sqlite":
        # If there is no transaction by now, there was none: the driver begins one before what looks like DML,
        # not if that begins with WITH.
        return not getattr(connection.connection.driver_connection, "in_transaction", True)
    detect = getattr(connection.dialect, "detect_autocommit_setting", None)  # SQLAlchemy 2.1
    try:
        return detect is not None and bool(detect(connection.connection.dbapi_connection))
    except NotImplementedError:
        return False


def _undo(connection: Connection) -> None:
    """Roll back what is open on ``connection``, or lose it."""
    try:
        connection.dialect.do_rollback(connection.connection)
    except (exc.DBAPIError, connection.dialect.loaded_dbapi.Error, OSError) as error:
        connection.invalidate(error)
    except BaseException as error:  # cancelled once more, and nobody knows how far it came
        connection.invalidate(error)
        raise

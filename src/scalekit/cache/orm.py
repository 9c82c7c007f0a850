"""Invalidation by commits: which tables a transaction changes, and telling the cache once it is committed.

The only module of the cache that imports SQLAlchemy. Rules:

* Every INSERT, UPDATE and DELETE that SQLAlchemy builds is seen where it is executed, so it counts wherever
  it comes from: a flush, a bulk operation, Core on the session or on its connection, a CTE of another one.
  What is not seen: SQL in ``text()`` or given to the driver, DML in a CTE of a SELECT, and what the database
  does itself (triggers, cascades).
* After COMMIT, before ``commit()`` returns, the tags of the tables that were changed are dropped. A COMMIT
  whose outcome is unknown counts as one that succeeded.
* ROLLBACK drops nothing; a savepoint that is rolled back takes back what was changed in it. Under AUTOCOMMIT
  there is nothing to roll back: the end of a transaction drops what it has changed, whatever the end.
* A session in somebody else's transaction (``Session(bind=connection)``) ends before that one's COMMIT. Then
  the tags are dropped at both, after the COMMIT as soon as the connection is back in its pool: before, nobody
  tells us. Meanwhile nothing that is read on the connection is stored.
* A cache that cannot be told does not make the commit fail: the data are committed. It is logged, and
  this process does not trust what it has under these tags until it has made up for it.
"""

import asyncio
import logging
import weakref
from typing import Any

from scalekit._options import in_colour
from scalekit._steps import run, run_async
from scalekit.cache._core import Core, Via
from scalekit.cache.backend import Backend
from scalekit.cache.sessions import CHANGED, forget_changes, leave_changes, owner, replicated, set_owner
from scalekit.cache.tags import table_tag
from scalekit.cache.uses import note, note_begun
from scalekit.errors import BackendError, ConfigurationError, MissingExtra, WrongColour
from scalekit.types import Colour

try:
    from sqlalchemy import Connection, Engine, Table, event, exc
    from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
    from sqlalchemy.orm import Session, SessionTransaction, scoped_session, sessionmaker
    from sqlalchemy.sql import visitors
    from sqlalchemy.util import await_only
except ImportError:
    raise MissingExtra("sqlalchemy", needed_by=__name__) from None

log = logging.getLogger("scalekit.cache")


def watch(target: Any, *, core: Core, backend: Backend) -> None:
    """See :meth:`scalekit.cache.Cache.watch`."""
    watched = getattr(target, "event_target", target)
    colour = _colour(watched)
    if colour is not None:  # the wrong one shows here, not at the first commit
        in_colour(backend, colour, taker=f"cache.watch({type(watched).__name__})")
    sessions = _sessions(watched)
    if sessions in core.watched:
        return
    source = replicated(target)
    watcher = _Watcher(core, backend)
    try:
        event.listen(sessions, "after_begin", watcher.after_begin)
        event.listen(sessions, "after_commit", watcher.after_commit)
        event.listen(sessions, "after_transaction_end", watcher.after_transaction_end)
    # The last two are what an AsyncEngine and an Engine answer.
    except (exc.SQLAlchemyError, NotImplementedError, AttributeError) as error:
        raise ConfigurationError(
            "cache.watch wants a sessionmaker, a Session class or a session, their asynchronous twins, or a "
            f"cluster, not {type(target).__name__}: what a commit has changed is known to its session"
        ) from error
    core.watched.add(sessions)
    if source is not None:
        core.replicated.append(source)


def _colour(target: Any) -> Colour | None:
    """Which code uses these sessions; ``None`` if they do not say, as a ``Session`` class does not."""
    if isinstance(target, async_sessionmaker | async_scoped_session | AsyncSession):
        return "async"
    if isinstance(target, sessionmaker | scoped_session):
        return "sync"
    return None


def _sessions(target: Any) -> Any:
    """What SQLAlchemy's session events are listened for on."""
    if isinstance(target, async_scoped_session):
        target = target.session_factory
    if isinstance(target, async_sessionmaker):
        configured = target.kw.get("sync_session_class") or target.class_.sync_session_class
        if configured is not Session:
            return configured
        # Its sessions are of SQLAlchemy's own class, as all others are: give them one to be known by.
        own = type("WatchedSession", (Session,), {})
        target.configure(sync_session_class=own)
        return own
    if isinstance(target, AsyncSession):
        return target.sync_session
    if isinstance(target, type) and issubclass(target, AsyncSession):
        return target.sync_session_class
    return target


def changed_tables(statement: Any) -> set[str]:
    """The tags of all tables that an INSERT, UPDATE or DELETE changes."""
    parts: list[Any] = list(visitors.iterate(statement))  # its CTEs may change tables, too
    tables: set[Any] = set()
    for part in parts:
        if getattr(part, "is_dml", False):
            tables.update(visitors.iterate(part.table))
            # MySQL and MariaDB can update several tables at once: the columns say which.
            for values in (getattr(part, "_values", None), getattr(part, "_ordered_values", None)):
                tables.update(getattr(column, "table", None) for column in dict(values or ()))
    return {table_tag(table) for table in tables if isinstance(table, Table)}


class _Watcher:
    """The listeners of one cache, and what they have seen in the transactions that are open."""

    def __init__(self, core: Core, backend: Backend) -> None:
        self._core = core
        self._backend = backend
        self._engines: weakref.WeakSet[Engine] = weakref.WeakSet()
        self._changed: weakref.WeakKeyDictionary[SessionTransaction, set[str]] = weakref.WeakKeyDictionary()
        self._committed: weakref.WeakSet[SessionTransaction] = weakref.WeakSet()
        self._outside: weakref.WeakKeyDictionary[Connection, set[str]] = weakref.WeakKeyDictionary()
        self._async: weakref.WeakSet[Session] = weakref.WeakSet()
        self._tasks: set[asyncio.Task[None]] = set()

    def after_begin(self, session: Session, transaction: SessionTransaction, connection: Connection) -> None:
        set_owner(connection, session)
        if transaction.parent is None:
            note_begun(session)
        if connection.dialect.is_async:
            self._async.add(session)
        if connection.engine not in self._engines:
            self._engines.add(connection.engine)
            event.listen(connection.engine, "before_execute", self.before_execute)
            event.listen(connection.engine, "commit", self.commit_sent)
            event.listen(connection.engine, "commit_twophase", self.commit_sent)
            event.listen(connection.engine, "rollback", self.rollback_sent)
            event.listen(connection.engine, "checkin", self.checkin)

    def before_execute(self, connection: Connection, statement: Any, *_: Any) -> None:
        session = owner(connection)
        if session is None:
            return
        is_change = getattr(statement, "is_dml", False)
        if is_change:
            self._note_changes(session, connection, changed_tables(statement))
        note(session, reads=not is_change)

    def _note_changes(self, session: Session, connection: Connection, tables: set[str]) -> None:
        root = session.get_transaction()
        if root is None:
            return
        transaction = session.get_nested_transaction() or root
        if connection._is_autocommit_isolation():  # to ask the server would be a round trip
            transaction = root
            self._committed.add(root)
        self._changed.setdefault(transaction, set()).update(tables)
        session.info.setdefault(CHANGED, set()).update(tables)

    def commit_sent(self, connection: Connection, *_: Any) -> None:
        session = owner(connection)
        root = session.get_transaction() if session is not None else None
        if root is not None:
            self._committed.add(root)
        forget_changes(connection)
        tables = self._outside.pop(connection, None)
        if tables:
            # By ourselves as the key: other caches keep theirs in the same place.
            connection.info[self] = tables, connection.dialect.is_async

    def rollback_sent(self, connection: Connection, *_: Any) -> None:
        forget_changes(connection)
        self._outside.pop(connection, None)

    def checkin(self, _: Any, record: Any) -> None:
        tables, asynchronous = record.info.pop(self, (None, False))
        if tables:
            self._drop(tables, asynchronous=asynchronous)

    def after_commit(self, session: Session) -> None:
        nested = session.get_nested_transaction()
        if nested is not None:  # a savepoint: its changes are its parent's now
            if nested.parent is not None and nested in self._changed:
                self._changed.setdefault(nested.parent, set()).update(self._changed.pop(nested))
            return
        root = session.get_transaction()
        if root is not None:
            # Also without a COMMIT of its own, as in a session on a connection that a test rolls back later.
            self._committed.add(root)

    def after_transaction_end(self, session: Session, transaction: SessionTransaction) -> None:
        # Here the session is clean and its connection back in the pool: only the caller waits for the cache.
        tables = self._changed.pop(transaction, set())
        if transaction.parent is not None:
            return
        session.info.pop(CHANGED, None)
        outside = session.bind
        if tables and isinstance(outside, Connection) and outside.in_transaction():
            self._outside.setdefault(outside, set()).update(tables)
            leave_changes(outside)
        if tables and transaction in self._committed:
            self._drop(tables, asynchronous=session in self._async)

    def _drop(self, tables: set[str], *, asynchronous: bool) -> None:
        self._core.invalidation.debts.owe(tags=tables)
        try:
            if asynchronous:
                await_only(self._drop_async(tables))
            else:
                run(self._core.invalidation.settle(self._via("sync")))
        # No greenlet: an asynchronous connection that nobody has closed is being collected.
        except (BackendError, WrongColour, exc.MissingGreenlet) as error:
            log.warning(
                "changes of %s are committed, but the cache could not be told: other servers may serve older "
                "results until these expire (%s)",
                ", ".join(sorted(tables)),
                error,
            )

    def _via(self, colour: Colour) -> Via:
        return Via(self._backend.using(colour), self._core.runtimes[colour])

    async def _drop_async(self, tables: set[str]) -> None:
        # Shielded: a request that is cancelled now has committed all the same.
        task = asyncio.ensure_future(run_async(self._core.invalidation.settle(self._via("async"))))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

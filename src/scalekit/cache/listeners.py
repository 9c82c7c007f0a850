"""Who watches which engine or connection: SQLAlchemy's events are listened for once, and told to these.

Rules:

* The listeners are those of the *classes*, and there from the first ``cache.watch`` on. SQLAlchemy goes
  through the listeners of an engine as they are: to add one while another thread or task sends a statement
  would fail that statement, and one that is added too late would miss a COMMIT.
* Who begins to watch meanwhile is in a new tuple. What nobody watches costs one look.
* What watches an engine is kept for as long as the engine.
"""

import math
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from scalekit.cache.sessions import note_attached
from scalekit.errors import MissingExtra

try:
    from sqlalchemy import Connection, Engine, Pool, event
    from sqlalchemy.orm import Session, SessionTransaction
except ImportError:
    raise MissingExtra("sqlalchemy", needed_by="scalekit.cache with SQLAlchemy") from None


class Listener(Protocol):
    """Is told of these events, with what SQLAlchemy gives to listeners."""

    def after_begin(
        self, session: Session, transaction: SessionTransaction, connection: Connection
    ) -> None: ...
    def after_transaction_end(self, session: Session, transaction: SessionTransaction) -> None: ...
    def before_statement(self, connection: Connection, statement: str, context: Any) -> None: ...
    def after_statement(self, connection: Connection) -> None: ...
    def begin(self, connection: Connection) -> None: ...
    def rollback_savepoint(self, connection: Connection, name: str) -> None: ...
    def commit(self, connection: Connection) -> None: ...
    def prepare_twophase(self, connection: Connection) -> None: ...
    def commit_twophase(self, connection: Connection, is_prepared: bool) -> None: ...
    def rollback(self, connection: Connection) -> None: ...
    def rollback_twophase(self, connection: Connection) -> None: ...
    def invalidate(self, info: dict[Any, Any]) -> None: ...
    def checkin(self, info: dict[Any, Any]) -> None: ...


_engines: weakref.WeakKeyDictionary[Engine, tuple[Listener, ...]] = weakref.WeakKeyDictionary()
_connections: weakref.WeakKeyDictionary[Connection, tuple[Listener, ...]] = weakref.WeakKeyDictionary()
_sessions: weakref.WeakKeyDictionary[Session, tuple[Listener, ...]] = weakref.WeakKeyDictionary()
_begun: weakref.WeakKeyDictionary[Connection, float] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def watch_engine(engine: Engine, listener: Listener) -> None:
    """Tell ``listener`` of all connections of an engine, and of the sessions on them, of whatever class."""
    with _lock:  # of two caches; a connection and a session are one thread's or task's alone
        _add(_engines, root(engine), listener)


def watch_connection(connection: Connection, listener: Listener) -> None:
    """Tell ``listener`` of one connection from now on."""
    _add(_connections, connection, listener)


def begun(connection: Connection) -> float:
    """When the transaction of ``connection`` began (monotonic), whoever watched it then."""
    return _begun.get(connection, -math.inf)


def root(engine: Engine) -> Engine:
    """The engine itself, behind ``engine.execution_options(...)``."""
    while (behind := getattr(engine, "_proxied", None)) is not None:
        engine = behind
    return engine


def _add(
    watched: "weakref.WeakKeyDictionary[Any, tuple[Listener, ...]]", key: Any, listener: Listener
) -> None:
    if listener not in watched.get(key, ()):
        watched[key] = (*watched.get(key, ()), listener)


def _listeners(connection: Connection) -> tuple[Listener, ...]:
    alone = _connections.get(connection, ())
    whole = _engines.get(root(connection.engine), ()) if _engines else ()
    return alone if not whole else (*whole, *(one for one in alone if one not in whole))


def _after_begin(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    for listener in _engines.get(root(connection.engine), ()) if _engines else ():
        _add(_sessions, session, listener)
        listener.after_begin(session, transaction, connection)


def _after_transaction_end(session: Session, transaction: SessionTransaction) -> None:
    for listener in _sessions.get(session, ()):
        listener.after_transaction_end(session, transaction)


def _attached(session: Session, _: Any) -> None:
    note_attached(session)


def _before_statement(
    connection: Connection, _: Any, statement: str, __: Any, context: Any, ___: bool
) -> None:
    for listener in _listeners(connection):
        listener.before_statement(connection, statement, context)


def _rollback_savepoint(connection: Connection, name: str, _: Any) -> None:
    for listener in _listeners(connection):
        listener.rollback_savepoint(connection, name)


def _commit_twophase(connection: Connection, _: Any, is_prepared: bool) -> None:
    for listener in _listeners(connection):
        listener.commit_twophase(connection, is_prepared)


def _begin(connection: Connection, *_: Any) -> None:
    _begun[connection] = time.monotonic()
    for listener in _listeners(connection):
        listener.begin(connection)


def _telling(tell: Callable[[Listener, Connection], None]) -> Callable[..., None]:
    def told(connection: Connection, *_: Any) -> None:
        for listener in _listeners(connection):
            tell(listener, connection)

    return told


# The pool knows the connection to the server, and not whose it was: what is pending says it.
def _telling_pending(tell: Callable[[Listener, dict[Any, Any]], None]) -> Callable[..., None]:
    def told(_: Any, record: Any, *__: Any) -> None:
        for listener in [key for key in record.info if isinstance(key, Pending)]:
            tell(listener.listener, record.info)

    return told


class Pending:
    """The key in a connection's ``info`` of what a listener waits for the end of."""

    __slots__ = ("listener",)

    def __init__(self, listener: Listener) -> None:
        self.listener = listener


event.listen(Session, "after_begin", _after_begin)
event.listen(Session, "detached_to_persistent", _attached)
event.listen(Session, "after_transaction_end", _after_transaction_end)
event.listen(Engine, "before_cursor_execute", _before_statement)
event.listen(Engine, "after_cursor_execute", _telling(lambda one, at: one.after_statement(at)))
event.listen(Engine, "begin", _begin)
event.listen(Engine, "begin_twophase", _begin)
event.listen(Engine, "rollback_savepoint", _rollback_savepoint)
event.listen(Engine, "commit", _telling(lambda one, at: one.commit(at)))
event.listen(Engine, "prepare_twophase", _telling(lambda one, at: one.prepare_twophase(at)))
event.listen(Engine, "commit_twophase", _commit_twophase)
event.listen(Engine, "rollback", _telling(lambda one, at: one.rollback(at)))
event.listen(Engine, "rollback_twophase", _telling(lambda one, at: one.rollback_twophase(at)))
event.listen(Pool, "invalidate", _telling_pending(lambda one, info: one.invalidate(info)))
event.listen(Pool, "checkin", _telling_pending(lambda one, info: one.checkin(info)))

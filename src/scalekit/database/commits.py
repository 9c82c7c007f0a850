"""COMMIT, and where the log is afterwards.

``after_commit`` cannot ask the server anything and the engine's ``commit`` event comes before COMMIT, so
the dialect's ``do_commit`` is where both meet. The session leaves a :class:`Mark` on the connection, which
hears of the position; without one, as on a single server, nobody asks for it.

Rules:

* A COMMIT has failed only if the server said so, by an error that the question which is sent along cannot
  have met. Whatever else ends it, a time-out or a cancellation too, of which nobody can tell which of the two
  it met, leaves the outcome unknown, and who looks for it must not look on a replica. So does a server that
  says that it does not know. The same holds for COMMIT PREPARED.
* An error that tells nothing of servers, such as a mistake in a program, stays what it is. The visitor's
  reads go to the primary all the same, as the command may have been on its way.
* A connection that is lost before COMMIT is sent took its transaction along: an error like any other.
* Where something is that was committed without us (AUTOCOMMIT, a ``COMMIT`` in a text) is asked when the
  transaction ends; see :mod:`scalekit.database.implicit`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import finalize, ref

from sqlalchemy import Connection, Engine, PoolProxiedConnection, event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from scalekit.database.backends.protocol import Backend, Trouble
from scalekit.database.drivers.protocol import Driver
from scalekit.database.report import Report
from scalekit.database.scope import Scope
from scalekit.database.scopes import Scopes
from scalekit.database.tokens import Token, latest
from scalekit.errors import OutcomeUnknown

_KEY = "scalekit.database"
_COUNTED = "scalekit.database.counted"

_APPLIED_OR_NOT = "the transaction may or may not have been applied; find out before you repeat it"


class Mark:
    """What a session's transaction has done so far.

    Args:
        name: of the server it runs on.
        report: what that server last said about itself.
        scope: the request in which it began.
        backend: what kind of server it is.
        scopes: tell in which one it is committed.
    """

    __slots__ = (
        "__weakref__", "_began", "_doubt", "_promised", "autocommit", "backend", "changed", "handed_out",
        "name", "report", "scope", "scopes", "statements", "token", "wrote",
    )  # fmt: skip

    def __init__(self, name: str, report: Report, scope: Scope, backend: Backend, scopes: Scopes) -> None:
        self.name, self.report, self.backend = name, report, backend
        self.scope, self.scopes = scope, scopes
        self.statements = 0
        # What may have changed something, and what has: of SHOW and SET LOCAL only the server can tell.
        self.wrote = self.changed = False
        self.handed_out = self.autocommit = False
        self.token: Token | None = None
        self._doubt: object | None = None
        self._promised, self._began = scope.token, time.monotonic()

    @property
    def began(self) -> Token | None:
        """Where the log was, at least, when the transaction began."""
        return latest(self._promised, self.report.written)

    @property
    def in_doubt(self) -> bool:
        """Whether a statement has committed something, and nobody has asked yet where that is."""
        return self._doubt is not None

    def doubt(self, *, lasting: bool = False) -> None:
        """A statement has committed what there was, and what comes is another transaction.

        Args:
            lasting: until the connection is given back, nobody will hear of what is committed.
        """
        self.wrote = self.changed = True
        if self._doubt is None:
            self._doubt = object()
        place, also = Token.unknown(self.report.system, self.report.epoch), self.scopes.who_else()
        self.scopes.doubted(self.scope.doubt(self._doubt, place, also=also, lasting=lasting))
        if lasting:
            # Whatever becomes of the connection, it does not keep the mark for longer than its user.
            finalize(self, self.scope.lapse, self._doubt, also).atexit = False
        self._began = time.monotonic()

    def relieve(self) -> None:
        """It has turned out that nothing was committed."""
        doubt, self._doubt = self._doubt, None
        if doubt is not None:
            self.scope.relieve(doubt, also=self.scopes.who_else())

    def lapse(self) -> None:
        """The connection is lost: nothing more is committed over it, and it cannot be asked."""
        if self._doubt is not None:
            self.scope.lapse(self._doubt, self.scopes.who_else())

    def committed(self, position: str | None) -> None:
        """The transaction changed something, and ``position`` is where its log ends, if that is known."""
        self._advance(position, confirmed=True)

    def may_have_committed(self) -> None:
        """Nobody knows whether the transaction was applied."""
        self._advance(None, confirmed=False)

    def _advance(self, position: str | None, *, confirmed: bool) -> None:
        settles, self._doubt = self._doubt, None  # what is not known now counts as an outcome that is not
        if position is not None:
            self.token = self.backend.token(position, last=self.report)
        else:
            self.token = Token.unknown(self.report.system, self.report.epoch)
        told = self.scope.advance(
            self.token,
            began=self._began,
            confirmed=confirmed,
            also=self.scopes.who_else(),
            settles=settles,
        )
        if not self.token.is_known:
            self.scopes.doubted(told)


def attach(connection: PoolProxiedConnection, mark: Mark, *, autocommit: bool, keep: bool = False) -> None:
    """Let the end of the transaction on ``connection`` tell ``mark`` its position.

    Args:
        connection: to the primary.
        mark: what is to be told.
        autocommit: each statement is a transaction of its own.
        keep: nobody else does.
    """
    # The function that a SELECT calls may write for good then, and nobody can tell afterwards.
    mark.wrote = mark.autocommit = autocommit
    # Weak: a mark may know the session's connection, and one that was forgotten shall go back to its pool.
    connection.info[_KEY] = (lambda: mark) if keep else ref(mark)


def tell_outcomes(engine: Engine, driver: Driver, backend: Backend, *, name: str) -> None:
    """Make the commits of ``engine`` end well, or in an error that says what is known.

    They fill the marks that sessions leave on the connections.

    Args:
        engine: of one member.
        driver: of its connections.
        backend: the kind of server.
        name: the member's, for messages.
    """
    dialect: Any = engine.dialect
    plain_commit, plain_rollback = dialect.do_commit, dialect.do_rollback
    plain_commit_twophase = dialect.do_commit_twophase
    errors: tuple[type[Exception], ...] = (dialect.loaded_dbapi.Error, *driver.errors, OSError)
    # Time-outs are of OSError; the last two are what event loops raise where a transport is closed.
    no_answer = (*errors, DBAPIError, EOFError, RuntimeError)

    def do_commit(connection: PoolProxiedConnection) -> None:
        mark = _take(connection)
        dbapi_connection = connection.dbapi_connection
        if (mark is not None and mark.autocommit) or driver.is_idle(dbapi_connection):
            if mark is not None and (mark.wrote or mark.handed_out):
                learn_position(mark, connection)
            if connection.is_valid:  # if not: what was to be committed is
                plain_commit(connection)
        elif driver.is_closed(dbapi_connection):
            # SQLAlchemy's own kind of error, since whoever repeats a lost transaction waits for that.
            lost = dialect.loaded_dbapi.OperationalError(
                f"the connection to {name} was lost before COMMIT was sent: nothing was applied"
            )
            connection.invalidate(lost)
            raise OperationalError("COMMIT", None, lost, connection_invalidated=True)
        elif mark is None:
            with outcome(mark, connection, "COMMIT", _APPLIED_OR_NOT):
                plain_commit(connection)
        else:
            commit(mark, connection)

    def commit(mark: Mark, connection: PoolProxiedConnection) -> None:
        with outcome(mark, connection, "COMMIT", _APPLIED_OR_NOT):
            committed = driver.commit(
                connection.dbapi_connection,
                lambda: plain_commit(connection),
                wrote=mark.changed,
                position=backend.position,
            )
        if committed is None or (mark.in_doubt and committed[1] is None):
            learn_position(mark, connection)
        elif committed[0]:
            mark.committed(committed[1])
        else:
            mark.relieve()

    def do_commit_twophase(
        connection: Connection, xid: Any, is_prepared: bool = True, recover: bool = False
    ) -> None:
        if not is_prepared:
            plain_commit_twophase(connection, xid, is_prepared, recover)
            return
        mark = _take(connection.connection)
        text = f"the transaction {xid!r} was applied, or is still prepared and holds its locks; look for it"
        with outcome(mark, connection.connection, "COMMIT PREPARED", text):
            plain_commit_twophase(connection, xid, is_prepared, recover)
        if mark is not None:
            learn_position(mark, connection.connection)  # to be prepared is to change something

    @contextmanager
    def outcome(
        mark: Mark | None, connection: PoolProxiedConnection, command: str, either: str
    ) -> Iterator[None]:
        """Whatever ends the block without a word of the server's leaves the outcome unknown."""
        try:
            yield
        # Whatever it is, the command may be on its way, and the visitor must hear of it.
        except BaseException as error:
            # COMMIT PREPARED is a statement, whose errors SQLAlchemy has wrapped.
            cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
            code = driver.code(cause)
            if backend.trouble(code) not in (Trouble.GONE, Trouble.OTHER):
                raise
            # Only with a word of the server's: a time-out or a cancellation leaves it as it was, too.
            if code is not None and connection.is_valid and driver.is_inside(connection.dbapi_connection):
                raise  # it failed before COMMIT was reached
            if mark is not None:
                mark.may_have_committed()
            if not isinstance(error, Exception):
                raise
            if connection.is_valid:  # SQLAlchemy may have found out by itself
                connection.invalidate(error)
            if not isinstance(error, no_answer):
                error.add_note(f"it ended a {command} on {name}: {either}")
                raise
            raise OutcomeUnknown(f"no answer to {command} came from {name}: {either}") from error

    def learn_position(mark: Mark, connection: PoolProxiedConnection) -> None:
        # By a question of its own: the commit has happened, whatever becomes of this.
        wrote, position = True, None
        try:
            wrote, position = driver.position(connection.dbapi_connection, f"SELECT {backend.position}")
        except errors as error:
            # What SQLAlchemy sets back on its way into the pool would fail, and its place there be lost.
            connection.invalidate(error)
        finally:
            if wrote or mark.autocommit:
                mark.committed(position)
            else:
                mark.relieve()

    def do_rollback(connection: PoolProxiedConnection) -> None:
        mark = _take(connection)
        if mark is not None and mark.in_doubt:
            lost = driver.is_closed(connection.dbapi_connection)
            try:
                plain_rollback(connection)  # first, as another transaction may be in progress
            finally:
                if lost:
                    mark.lapse()
                else:
                    learn_position(mark, connection)
            return
        wrote = mark is not None and (mark.wrote or mark.handed_out)
        if mark is not None and wrote and may_have_committed(connection.dbapi_connection):
            learn_position(mark, connection)
        if connection.is_valid:
            plain_rollback(connection)

    def may_have_committed(connection: Any) -> bool:
        if driver.implicit_commits:
            return not driver.is_closed(connection)
        return driver.is_idle(connection)

    def leave(connection: Any, record: ConnectionPoolEntry, *_: Any) -> None:
        record.info.pop(_KEY, None)  # what was not told by now will not be

    for gone in ("checkin", "detach", "invalidate"):
        event.listen(engine, gone, leave)
    dialect.do_commit, dialect.do_rollback = do_commit, do_rollback
    dialect.do_commit_twophase = do_commit_twophase


def count_commits(engine: Engine) -> None:
    """Tell who has asked by :func:`count_next` that a transaction on ``engine`` is committed."""
    dialect: Any = engine.dialect
    plain_commit = dialect.do_commit

    def do_commit(connection: PoolProxiedConnection) -> None:
        plain_commit(connection)
        counted = connection.info.pop(_COUNTED, None)
        if counted is not None:
            counted()

    dialect.do_commit = do_commit


def count_next(connection: PoolProxiedConnection, counted: Callable[[], None] | None) -> None:
    """``counted`` is called when the transaction on ``connection`` is committed; ``None``: nobody is."""
    connection.info[_COUNTED] = counted


def end_quietly(engine: Engine, driver: Driver) -> None:
    """Let transactions on a replica end well when their server is gone: what they read, they have read."""
    dialect: Any = engine.dialect
    errors: tuple[type[Exception], ...] = (dialect.loaded_dbapi.Error, *driver.errors, OSError)

    def quietly(end: Callable[[PoolProxiedConnection], None]) -> Callable[[PoolProxiedConnection], None]:
        def ending(connection: PoolProxiedConnection) -> None:
            try:
                end(connection)
            except errors as error:
                connection.invalidate(error)

        return ending

    dialect.do_commit, dialect.do_rollback = quietly(dialect.do_commit), quietly(dialect.do_rollback)


def mark_on(connection: PoolProxiedConnection) -> Mark | None:
    """The mark that hears of the transaction on ``connection``, if there is one."""
    try:
        mark: Callable[[], Mark | None] | None = connection.info.get(_KEY)
    except NotImplementedError:
        return None  # what the dialect looks around with on first connect is no pool's connection
    return None if mark is None else mark()


def _take(connection: PoolProxiedConnection) -> Mark | None:
    mark = mark_on(connection)
    if mark is not None:
        del connection.info[_KEY]
    return mark

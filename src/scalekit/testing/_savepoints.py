"""Transactions that are savepoints of one transaction, which the test never commits.

Rules:

* Each transaction of the application is a savepoint on the one connection of the test, set before its first
  statement. COMMIT releases it, ROLLBACK goes back to it.
* One for reading is set read-only, where the server can do that, so that it refuses what a replica would
  refuse. It holds nothing that could be lost: when another transaction sends something, it is dropped, and
  set again with its own next statement.
* Savepoints end in the reverse order of their beginning. Out of order, one that has written nothing waits
  until those inside it have ended; one that has written can still commit, but not roll back.
* What would undo another transaction's work together with its own is an error.
* The connection is kept when the cluster is disposed of, as at the end of an application's lifespan.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, PoolProxiedConnection, StaticPool, event
from sqlalchemy.util import immutabledict

from scalekit.database.sqltext.rules import TextRules

_KEY = "scalekit.testing"
_ALL = "scalekit_test"


@dataclass(eq=False, slots=True)
class _Entry:
    owner: Any
    name: str
    reads: bool
    autocommit: bool = False
    wrote: bool = False
    ended: bool = False
    holds_others: bool = False


class Savepoints:
    """One connection of ``engine``, and what runs on it until :meth:`close`.

    Args:
        engine: of the primary. From now on all its connections are this one.
        rules: which SQL text is a read.
    """

    def __init__(self, engine: Engine, rules: TextRules) -> None:
        self._engine, self._rules = engine, rules
        self._entries: list[_Entry] = []
        self._count = 0
        self._over = False
        # SQLite's asynchronous driver has a thread, and no loop.
        loops = engine.dialect.is_async and engine.dialect.name != "sqlite"
        self._loop = asyncio.get_running_loop() if loops else None
        self._pool: Any = engine.pool
        self._shared = engine.raw_connection()
        dialect: Any = engine.dialect
        _teach(dialect)
        self._characteristics = dialect.connection_characteristics
        self._autocommit = getattr(dialect, "_on_connect_isolation_level", None) == "AUTOCOMMIT"
        dbapi_connection: Any = self._shared.dbapi_connection
        if self._autocommit:
            dialect.set_isolation_level(dbapi_connection, dialect.default_isolation_level)
        # Neither isolation nor modes can change in the middle of a transaction: asking for them does nothing.
        dialect.connection_characteristics = immutabledict()
        self._run(f"SAVEPOINT {_ALL}")  # begins the transaction, by the driver or, in SQLite, by itself
        pool = _Kept(lambda: dbapi_connection, dialect=dialect, reset_on_return=None)
        event.listen(pool, "connect", lambda _, record: record.info.update({_KEY: self}))
        engine.pool = pool

    def close(self) -> bool:
        """Undo everything, and give the engine its own connections again.

        Returns:
            Whether that was possible: false where a statement of the test ended the transaction.
        """
        self._over = True
        dialect: Any = self._engine.dialect
        self._engine.pool = self._pool
        dialect.connection_characteristics = self._characteristics
        dbapi_connection: Any = self._shared.dbapi_connection
        whole = True
        try:
            self._run(f"ROLLBACK TO SAVEPOINT {_ALL}")
        except dialect.loaded_dbapi.Error:
            whole = False
        try:
            dbapi_connection.rollback()
            if self._autocommit:
                dialect.reset_isolation_level(dbapi_connection)
            if not whole:
                self._run("SELECT 1")  # a connection that is closed may take a rollback
        except dialect.loaded_dbapi.Error as error:
            whole = False
            self._shared.invalidate(error)
        finally:
            self._shared.close()
        return whole

    def before(self, connection: Connection, sql: str, *, reads: bool) -> None:
        """``connection`` is about to send ``sql``.

        Raises:
            RuntimeError: on another event loop than that of the test, where its connection cannot be used.
        """
        if self._loop is not None and asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "one_transaction() was entered on another event loop than the one that the application runs "
                "on, as in Starlette's TestClient; use httpx.AsyncClient(transport=httpx.ASGITransport(app))"
            )
        owner: Any = connection.connection
        options = connection.get_execution_options()
        reads |= bool(options.get("postgresql_readonly"))
        self._drop_readers(but=owner)
        entry = self._entry(owner)
        if entry is None:
            self._count += 1
            entry = _Entry(owner, f"{_ALL}_{self._count}", reads)
            self._push(entry)
            if reads and connection.dialect.name == "postgresql":
                self._run("SET LOCAL transaction_read_only = on")
            level = options.get("isolation_level")
            entry.autocommit = self._autocommit if level is None else level == "AUTOCOMMIT"
        entry.wrote |= not reads and not self._rules.is_read(sql)

    def end(self, owner: PoolProxiedConnection, *, commit: bool) -> None:
        """The transaction of ``owner`` ends."""
        entry = self._entry(owner)
        if self._over or entry is None:
            return  # or nothing was sent, or nothing that could be lost
        self._drop_readers(but=owner)
        commit |= entry.autocommit
        if entry is self._entries[-1]:
            if not commit and entry.holds_others:
                raise _overlap()
            self._pop(commit=commit and not entry.reads)
        elif commit or not entry.wrote:
            entry.ended = True
            for inner in self._entries[self._entries.index(entry) + 1 :]:
                inner.holds_others |= entry.wrote
        else:
            raise _overlap()
        while self._entries and self._entries[-1].ended:
            self._pop(commit=True)

    def _entry(self, owner: Any) -> _Entry | None:
        return next((entry for entry in self._entries if entry.owner is owner and not entry.ended), None)

    def _drop_readers(self, *, but: Any) -> None:
        while self._entries and self._entries[-1].reads and self._entries[-1].owner is not but:
            self._pop(commit=False)

    def _push(self, entry: _Entry) -> None:
        error_class: type[Exception] = self._engine.dialect.loaded_dbapi.Error
        try:
            self._run(f"SAVEPOINT {entry.name}")
        except error_class as error:
            # The innermost transaction has met an error and has not been rolled back yet, which is all it can
            # still do. In production others would not notice.
            if not self._entries:
                raise ended() from error
            self._pop(commit=False)
            try:
                self._run(f"SAVEPOINT {entry.name}")
            except error_class as again:
                raise ended() from again
        self._entries.append(entry)

    def _pop(self, *, commit: bool) -> None:
        entry = self._entries.pop()
        dialect: Any = self._engine.dialect
        try:
            if not commit:
                self._run(f"ROLLBACK TO SAVEPOINT {entry.name}")
            self._run(f"RELEASE SAVEPOINT {entry.name}")
        except dialect.loaded_dbapi.Error as error:
            raise ended() from error
        if commit and self._entries:
            self._entries[-1].holds_others |= entry.wrote or entry.holds_others

    def _run(self, sql: str) -> None:
        cursor: Any = self._shared.cursor()
        try:
            cursor.execute(sql)
        finally:
            cursor.close()


class _Kept(StaticPool):
    """A pool whose connection stays until the test is over.

    The end of an application's lifespan disposes of its cluster, and a test may run as many as it likes.
    """

    def dispose(self) -> None:
        """It is closed by whoever opened it."""

    def recreate(self) -> "_Kept":
        return self


def ended() -> RuntimeError:
    """The error for a transaction that is no more."""
    return RuntimeError(
        "the transaction of the test is no more, and what ran before its end may be in the database: by a "
        "COMMIT in a text, a two-phase commit, DDL where that commits, or a lost connection"
    )


def _overlap() -> RuntimeError:
    return RuntimeError(
        "transactions overlap: one rolls back while another that began later is open, or has written and "
        "committed; on the one connection of one_transaction() that would undo them both"
    )


def _teach(dialect: Any) -> None:
    """Let the transactions of ``dialect`` that a test owns be savepoints, for good: some may end late."""
    if getattr(dialect, "scalekit_savepoints", False):
        return
    dialect.scalekit_savepoints = True
    plain_commit, plain_rollback = dialect.do_commit, dialect.do_rollback

    def do_commit(connection: PoolProxiedConnection) -> None:
        savepoints = _of(connection)
        if savepoints is None:
            plain_commit(connection)
        else:
            savepoints.end(connection, commit=True)

    def do_rollback(connection: PoolProxiedConnection) -> None:
        savepoints = _of(connection)
        if savepoints is None:
            plain_rollback(connection)
        else:
            savepoints.end(connection, commit=False)

    dialect.do_commit, dialect.do_rollback = do_commit, do_rollback


def _of(connection: Any) -> Savepoints | None:
    try:
        found: Savepoints | None = connection.info.get(_KEY)
    except NotImplementedError:
        return None  # what the dialect looks around with on first connect is no pool's connection
    return found

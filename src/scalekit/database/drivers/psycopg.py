"""psycopg 3, both colours."""

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from scalekit._steps import Steps
from scalekit.database.backends.postgresql import FULL, HOT_STANDBY, OTHERS_FAULT, READ_ONLY, WROTE, is_on
from scalekit.database.drivers import sockets
from scalekit.database.drivers.protocol import NOTHING_TOLD, Committed, Told, drive, raw, sqlstate

# libpq does not tell the SQLSTATE of a connection that was refused. What is missed here, as in another
# language, is tried again, as if the server were starting.
_LOGIN_FAILED = "28000"
_NO_ENTRY = re.compile(
    r"no password supplied"
    r"|FATAL:  (no pg_hba\.conf entry|.*authentication failed for user"
    r'|(role|database) ".*" (does not exist|is not permitted to log in))'
)
_NO_PLACE = re.compile(
    "FATAL:  (sorry, too many clients|too many connections for|remaining connection slots)"
)


class Psycopg:
    """Commits and asks in one message: without parameters psycopg sends several statements together."""

    errors: tuple[type[Exception], ...] = (psycopg.Error,)
    implicit_commits = False

    def __init__(self) -> None:
        self._addresses: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    def parameters(self, given: dict[str, Any], *, read_only: bool, timeout: float) -> dict[str, Any]:
        changed = {"connect_timeout": max(1, round(timeout)), **given}
        if read_only:
            changed["options"] = f"{given.get('options', '')} -c {READ_ONLY}=on".strip()
        return changed

    def opened(self, connection: Any, *, read_only: bool) -> None:
        driver_connection = raw(connection)
        self._addresses[driver_connection] = sockets.addresses(driver_connection.fileno())

    def ask(self, connection: Any, sql: str) -> tuple[Any, ...]:
        return drive(connection, lambda raw: _ask(raw, sql))

    def commit(
        self, connection: Any, plain: Callable[[], None], *, wrote: bool, position: str
    ) -> Committed | None:
        if raw(connection).info.transaction_status == TransactionStatus.INERROR:
            plain()  # which means ROLLBACK
            return False, None
        steps = _commit_what_wrote if wrote else _commit
        return drive(connection, lambda raw: steps(raw, position))

    def told(self, connection: Any) -> Told:
        driver_connection = raw(connection)
        if driver_connection is None or driver_connection.closed:
            return NOTHING_TOLD
        status = driver_connection.info.parameter_status
        return Told(is_on(status(READ_ONLY)), is_on(status(HOT_STANDBY)))

    def position(self, connection: Any, sql: str) -> Committed:
        return True, self.ask(connection, sql)[0]

    def is_autocommit(self, connection: Any) -> bool:
        return bool(connection.autocommit)

    def is_idle(self, connection: Any) -> bool:
        return bool(raw(connection).info.transaction_status == TransactionStatus.IDLE)

    def is_inside(self, connection: Any) -> bool:
        status = raw(connection).info.transaction_status
        return status in (TransactionStatus.INTRANS, TransactionStatus.INERROR)

    def is_between(self, connection: Any) -> bool:
        return self.is_idle(connection)

    def alone(self, connection: Any) -> contextlib.AbstractContextManager[None]:
        return _alone(raw(connection))

    def begin(self, connection: Any) -> None:
        pass  # psycopg does, unless it is told not to

    def is_closed(self, connection: Any) -> bool:
        driver_connection = raw(connection)
        return bool(driver_connection.closed) or sockets.hung_up(driver_connection.fileno())

    def code(self, error: BaseException) -> str | None:
        state = sqlstate(error)
        if state is None and isinstance(error, psycopg.OperationalError):
            if _NO_ENTRY.search(str(error)):
                return _LOGIN_FAILED
            if _NO_PLACE.search(str(error)):
                return FULL
        return state

    def blames_statement(self, error: BaseException) -> bool:
        assert isinstance(error, psycopg.Error)
        return error.diag.source_function not in OTHERS_FAULT

    def lost(self, error: BaseException) -> bool:
        return False

    def cut(self, connection: Any) -> None:
        driver_connection = raw(connection)
        with contextlib.suppress(psycopg.Error):  # closed meanwhile
            sockets.shut_socket(driver_connection.fileno(), addresses=self._addresses.get(driver_connection))


def _ask(raw: Any, sql: str) -> Steps[tuple[Any, ...]]:
    if raw.pgconn.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
        raise psycopg.ProgrammingError("a question outside of transactions was put in the middle of one")
    try:
        with _alone(raw):
            cursor = raw.cursor(row_factory=tuple_row)
            yield cursor.execute(sql)
            row: tuple[Any, ...] = yield cursor.fetchone()
            return row
    finally:
        if raw.pgconn.transaction_status == TransactionStatus.ACTIVE:
            # Cut short, as by a cancellation: the answer may still come, and is nobody's.
            yield raw.close()


@contextlib.contextmanager
def _alone(raw: Any) -> Iterator[None]:
    before = raw.autocommit
    # Not by set_autocommit(): what that makes sure of is known, and with asyncio it takes two more turns.
    raw._autocommit = True
    try:
        assert raw.autocommit, "this version of psycopg keeps it elsewhere"
        yield
    finally:
        raw._autocommit = before


def _commit(raw: Any, position: str) -> Steps[Committed]:
    cursor = raw.cursor(row_factory=tuple_row)
    yield cursor.execute(f"SELECT {WROTE}; COMMIT; SELECT {position}", prepare=False)
    (wrote,) = yield cursor.fetchone()
    cursor.nextset()
    cursor.nextset()
    (said,) = yield cursor.fetchone()
    return wrote, said


def _commit_what_wrote(raw: Any, position: str) -> Steps[Committed]:
    cursor = raw.cursor(row_factory=tuple_row)
    yield cursor.execute(f"COMMIT; SELECT {position}", prepare=False)
    cursor.nextset()
    (said,) = yield cursor.fetchone()
    return True, said

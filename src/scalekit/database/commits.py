"""COMMIT, and where the log is afterwards.

``after_commit`` cannot ask the server anything and the engine's ``commit`` event comes before COMMIT, so
the dialect's ``do_commit`` is where both meet. The session leaves a :class:`Mark` on the connection;
without one, commits and rollbacks are SQLAlchemy's own.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, PoolProxiedConnection

from scalekit.database._driver import Driver
from scalekit.database.consistency import Token
from scalekit.database.postgresql import GONE, POSITION, read_position
from scalekit.database.scope import Scope
from scalekit.database.topology import Report, last_record_end
from scalekit.errors import OutcomeUnknown

_KEY = "scalekit.database"

# Past everything: a visitor whose position could not be learned reads from the primary.
_NEVER_REPLAYED = 2**64 - 1


class Mark:
    """What a session's transaction has done so far.

    Args:
        name: of the server it runs on.
        report: what that server last said about itself.
        scope: the request it belongs to.
    """

    __slots__ = ("handed_out", "name", "report", "scope", "statements", "token", "wrote")

    def __init__(self, name: str, report: Report, scope: Scope) -> None:
        self.name, self.report, self.scope = name, report, scope
        self.statements = 0
        self.wrote = self.handed_out = False
        self.token: Token | None = None

    def committed(self, position: str | None) -> None:
        """The transaction changed something, and ``position`` is where its log ends."""
        timeline, end = self.report.timeline, _NEVER_REPLAYED
        if position is not None:
            timeline, end = read_position(position)
            end = last_record_end(end, segment_size=self.report.segment_size)
        self.token = Token(self.report.system, timeline, end)


def attach(connection: PoolProxiedConnection, mark: Mark) -> None:
    """Let the next COMMIT on ``connection`` tell ``mark`` its position."""
    connection.info[_KEY] = mark


def tell_positions(engine: Engine, driver: Driver) -> None:
    """Make the commits of ``engine`` fill the marks that sessions leave on its connections."""
    dialect: Any = engine.dialect
    plain_commit, plain_rollback = dialect.do_commit, dialect.do_rollback
    errors: tuple[type[Exception], ...] = (dialect.loaded_dbapi.Error, *driver.errors, OSError)

    def do_commit(connection: PoolProxiedConnection) -> None:
        mark = _take(connection)
        if mark is None:
            plain_commit(connection)
            return
        dbapi_connection = connection.dbapi_connection
        try:
            committed = driver.commit(dbapi_connection, lambda: plain_commit(connection), wrote=mark.wrote)
        except errors as error:
            gone = driver.lost(error) or dialect.is_disconnect(error, dbapi_connection, None)
            if not gone and getattr(error, "sqlstate", None) not in GONE:
                raise
            connection.invalidate(error)
            raise OutcomeUnknown(
                f"the connection to {mark.name} was lost during COMMIT: the transaction may or may not have "
                "been applied; find out before you repeat it"
            ) from error
        if committed is None:
            committed = (True, _ask(driver, dbapi_connection, errors))
        wrote, position = committed
        if wrote:
            mark.committed(position)

    def do_rollback(connection: PoolProxiedConnection) -> None:
        _take(connection)
        plain_rollback(connection)

    dialect.do_commit, dialect.do_rollback = do_commit, do_rollback


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


def _take(connection: PoolProxiedConnection) -> Mark | None:
    try:
        mark: Mark | None = connection.info.pop(_KEY, None)
    except NotImplementedError:
        return None  # what the dialect looks around with on first connect is no pool's connection
    return mark


def _ask(driver: Driver, connection: Any, errors: tuple[type[Exception], ...]) -> str | None:
    """The position, by a question of its own: the COMMIT has happened, whatever becomes of this."""
    try:
        position: str | None = driver.ask(connection, f"SELECT {POSITION}")[0]
    except errors:
        return None
    return position

"""What statements commit by themselves: in AUTOCOMMIT, by ``COMMIT`` in a text, by the DDL of MariaDB.

The visitor is to read it at once. Where it is in the log is asked only when the connection is given back,
or the next transaction on it has ended. Until then it is in doubt and they read from the primary, but no
longer than until the probe has asked the primary how far it is. So it costs no question, and reads cost a
look into a dictionary.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine

from scalekit.database.backends.protocol import Backend
from scalekit.database.commits import Mark, mark_on
from scalekit.database.drivers.protocol import Driver
from scalekit.database.sqltext.endings import Ending
from scalekit.database.sqltext.memory import Judgements


def tell_doubts(engine: Engine, driver: Driver, backend: Backend) -> None:
    """Tell the marks on the connections of ``engine`` of what its statements commit.

    Args:
        engine: of one member, for writing.
        driver: of its connections.
        backend: the kind of server.
    """
    endings = Judgements(backend.ending)
    known, nothing = endings.known, Ending.NONE

    def ran(ending: Ending, mark: Mark, connection: Any) -> None:
        idle = ending is Ending.COMMIT or mark.in_doubt  # asyncpg sends no BEGIN after a COMMIT in a text
        if mark.autocommit or ending is Ending.CHAIN or (idle and driver.is_idle(connection)):
            mark.doubt()

    def failed(error: BaseException, ending: Ending, mark: Mark, connection: Any) -> None:
        if ending is Ending.ITSELF:
            return  # in AUTOCOMMIT, whoever ends it finds out
        if driver.is_closed(connection) or not isinstance(error, Exception):
            mark.may_have_committed()
        elif driver.implicit_commits:
            mark.doubt()  # what came before it

    def tell(run: Callable[[], None], statement: str, context: Any) -> None:
        ending = endings.of(statement, context)
        connection: Any = context.root_connection.connection
        mark = mark_on(connection) if ending is not nothing else None
        if mark is None:
            run()
            return
        try:
            run()
        except BaseException as error:
            failed(error, ending, mark, connection.dbapi_connection)
            raise
        ran(ending, mark, connection.dbapi_connection)

    def telling(plain: Callable[..., None]) -> Callable[..., None]:
        def execute(cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
            if known.get(statement) is nothing or context is None:
                plain(cursor, statement, parameters, context)
            else:
                tell(lambda: plain(cursor, statement, parameters, context), statement, context)

        return execute

    dialect: Any = engine.dialect
    dialect.do_execute, dialect.do_executemany = telling(dialect.do_execute), telling(dialect.do_executemany)
    alone = dialect.do_execute_no_params

    def do_execute_no_params(cursor: Any, statement: str, context: Any = None) -> None:
        if context is None:
            alone(cursor, statement, context)
        else:
            tell(lambda: alone(cursor, statement, context), statement, context)

    dialect.do_execute_no_params = do_execute_no_params

"""Reads on replicas without BEGIN and ROLLBACK: one round trip in place of three.

For ``autocommit_reads=True``. At READ COMMITTED each statement of a transaction sees what is committed by
then, and so does one that is a transaction of its own; of what only reads, nothing else is left to tell
them apart. Where something is, there is a transaction as ever.

Rules:

* Only what a session has judged and sends itself runs alone. What listeners send, such as the ``SET LOCAL``
  of row-level security, begins a transaction, and all that follows it belongs to that.
* So does whatever may leave something behind for the next statement: a function that is not known to leave
  nothing (it may set a setting of the transaction), and a cursor of the server's.
* A connection at another level than READ COMMITTED keeps the snapshot that it has promised.
* Between statements the connection is as it always is, so that what nobody foresaw begins a transaction.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import Engine

from scalekit.database.drivers.protocol import Driver
from scalekit.database.sqltext.memory import Judgements
from scalekit.database.sqltext.plain import leaves_nothing
from scalekit.database.sqltext.rules import TextRules

ALONE = "scalekit_autocommit"
"""The execution option of a statement that need not be in a transaction."""

LEVELS = ("", "READ COMMITTED", "AUTOCOMMIT")
"""Isolation levels that a cluster may be configured with."""

_LEVEL = "scalekit.isolation"

_log = logging.getLogger("scalekit.database")


def send_alone(engine: Engine, driver: Driver, rules: TextRules, *, name: str) -> None:
    """Let the statements of ``engine`` that carry :data:`ALONE` be transactions of their own, where they can.

    Args:
        engine: for reading, of a member.
        driver: of its connections.
        rules: what SQL may do there.
        name: the member's, for messages.
    """
    dialect: Any = engine.dialect
    plain, many, bare = dialect.do_execute, dialect.do_executemany, dialect.do_execute_no_params
    is_plain = Judgements(partial(leaves_nothing, rules)).of
    told: set[str] = set()

    def do_execute(cursor: Any, sql: str, parameters: Any, context: Any = None) -> None:
        if (
            context is not None
            and ALONE in context.execution_options
            and not context._is_server_side
            and is_plain(sql, context)
        ):
            proxy = context.root_connection.connection
            connection = proxy.dbapi_connection
            if driver.is_between(connection) and is_read_committed(context.root_connection, proxy.info):
                with driver.alone(connection):
                    plain(cursor, sql, parameters, context)
                return
        begin(context)
        plain(cursor, sql, parameters, context)

    def do_executemany(cursor: Any, sql: str, parameters: Any, context: Any = None) -> None:
        begin(context)
        many(cursor, sql, parameters, context)

    def do_execute_no_params(cursor: Any, sql: str, context: Any = None) -> None:
        begin(context)
        bare(cursor, sql, context)

    def begin(context: Any) -> None:
        if context is not None:
            driver.begin(context.root_connection.connection.dbapi_connection)

    def is_read_committed(connection: Any, info: dict[Any, Any]) -> bool:
        level = info.get(_LEVEL)
        if level is None:
            # Asked once for each connection, in the transaction that begins with this.
            info[_LEVEL] = level = connection.get_isolation_level()
            if level not in LEVELS and level not in told:
                told.add(level)
                _log.warning(
                    "autocommit_reads has no effect on %s, whose transactions are %s by default and keep "
                    "their snapshot; it needs isolation_level='READ COMMITTED'",
                    name,
                    level,
                )
            return False
        return level in LEVELS

    def ending(end: Callable[[Any], None]) -> Callable[[Any], None]:
        def do_end(proxy: Any) -> None:
            connection = proxy.dbapi_connection
            if not (driver.is_autocommit(connection) and driver.is_between(connection)):
                end(proxy)

        return do_end

    dialect.do_execute, dialect.do_executemany = do_execute, do_executemany
    dialect.do_execute_no_params = do_execute_no_params
    dialect.do_commit, dialect.do_rollback = ending(dialect.do_commit), ending(dialect.do_rollback)

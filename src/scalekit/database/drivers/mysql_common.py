"""What the drivers of MariaDB and MySQL have in common: they all descend from PyMySQL.

Rules:

* MariaDB commits and tells the transaction's id in one message, a compound statement. MySQL has none outside
  stored programs, and is asked afterwards.
* Every one of MariaDB's connections keeps the id of the last transaction that it committed. Another id than
  before is how a transaction that wrote is told from one that did not.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from scalekit._steps import Steps
from scalekit.database.backends import gtids
from scalekit.database.drivers.protocol import NOTHING_TOLD, Committed, Told, drive, raw

_COMMIT = "BEGIN NOT ATOMIC COMMIT; SELECT {position}; END"
_READ_ONLY = "SET SESSION TRANSACTION READ ONLY"

# SERVER_STATUS_IN_TRANS and SERVER_STATUS_AUTOCOMMIT of the protocol.
_IN_TRANSACTION = 1
_AUTOCOMMIT = 2


def in_time(connect: Callable[..., Any], given: dict[str, Any], *, timeout: float) -> dict[str, Any]:
    """``given`` for drivers of asyncio, whose connect time-out ends with the socket's.

    The handshake that follows has none.

    Args:
        connect: the driver's own function.
        given: its parameters, from the URL and the application.
        timeout: seconds, unless they say otherwise.
    """
    connect = given.get("async_creator_fn", connect)
    budget = float(given.get("connect_timeout", timeout))

    async def within_budget(*arguments: Any, **parameters: Any) -> Any:
        async with asyncio.timeout(budget):
            return await connect(*arguments, **parameters)

    return {"connect_timeout": timeout, **given, "async_creator_fn": within_budget}


class MySQLDriver(ABC):
    """A driver; :class:`.protocol.Driver` but for what a colour needs.

    Args:
        is_mariadb: what the URL says that the server is.
    """

    errors: tuple[type[Exception], ...]
    implicit_commits = True

    def __init__(self, *, is_mariadb: bool) -> None:
        self._is_mariadb = is_mariadb

    def opened(self, connection: Any, *, read_only: bool) -> None:
        self._check(raw(connection))
        raw(connection).scalekit_position = ""
        if read_only:
            drive(connection, lambda raw: _run(raw, _READ_ONLY))

    def ask(self, connection: Any, sql: str) -> tuple[Any, ...]:
        return drive(connection, lambda raw: _ask(raw, sql))

    def position(self, connection: Any, sql: str) -> Committed:
        (said,) = self.ask(connection, sql)
        return self._committed(raw(connection), said)

    def commit(
        self, connection: Any, plain: Callable[[], None], *, wrote: bool, position: str
    ) -> Committed | None:
        if not self._is_mariadb:
            plain()
            return None
        (said,) = drive(connection, lambda raw: _ask(raw, _COMMIT.format(position=position)))
        return self._committed(raw(connection), said)

    def _committed(self, raw: Any, said: str) -> Committed:
        # A server without others beside it has not been asked when the connection was opened.
        before, raw.scalekit_position = getattr(raw, "scalekit_position", None), said
        # MySQL's position is that of everybody; it has none without gtid_mode, and then may have written.
        return said != before or not (said or self._is_mariadb), said

    def told(self, connection: Any) -> Told:
        return NOTHING_TOLD

    def is_autocommit(self, connection: Any) -> bool:
        return bool(raw(connection).server_status & _AUTOCOMMIT)

    def is_idle(self, connection: Any) -> bool:
        # Not even the server's own status tells: after a SELECT whose function wrote it is that of before.
        return False

    def is_inside(self, connection: Any) -> bool:
        return False  # as for is_idle()

    def is_between(self, connection: Any) -> bool:
        return not raw(connection).server_status & _IN_TRANSACTION

    @contextmanager
    def alone(self, connection: Any) -> Iterator[None]:
        if not self.is_autocommit(connection):
            # Kept: to go to and fro would cost as much as to begin and end.
            drive(connection, lambda raw: _run(raw, "SET autocommit = 1"))
        yield

    def begin(self, connection: Any) -> None:
        if self.is_autocommit(connection) and self.is_between(connection):
            drive(connection, lambda raw: _run(raw, "START TRANSACTION"))

    @abstractmethod
    def is_closed(self, connection: Any) -> bool: ...

    def code(self, error: BaseException) -> int | None:
        code = error.args[0] if isinstance(error, self.errors) and error.args else None
        return code if isinstance(code, int) else None

    def blames_statement(self, error: BaseException) -> bool:
        return True

    def lost(self, error: BaseException) -> bool:
        return self.code(error) in gtids.GONE

    def _check(self, raw: Any) -> None:
        found = "mariadb" in raw.get_server_info().lower()
        if found != self._is_mariadb:
            name, scheme = ("MariaDB", "mariadb") if found else ("MySQL", "mysql")
            raise self.errors[0](f"this is a {name} server, whose URLs with replicas begin with {scheme}+")


def _ask(raw: Any, sql: str) -> Steps[tuple[Any, ...]]:
    cursor = yield raw.cursor()
    yield cursor.execute(sql)
    row: tuple[Any, ...] = yield cursor.fetchone()
    # Reads what else came with the same answer.
    yield cursor.close()
    return row


def _run(raw: Any, sql: str) -> Steps[None]:
    cursor = yield raw.cursor()
    yield cursor.execute(sql)
    yield cursor.close()

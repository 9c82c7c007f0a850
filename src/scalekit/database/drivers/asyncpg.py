"""asyncpg.

Its simple protocol returns no rows, so what we want to know with COMMIT comes back as an INFO message,
which the server sends whatever ``client_min_messages`` says and does not log by default.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from scalekit.database.backends.postgresql import HOT_STANDBY, OTHERS_FAULT, READ_ONLY, WROTE, is_on
from scalekit.database.drivers.protocol import NOTHING_TOLD, Committed, Told, raw, sqlstate

_SAID = "scalekit "
_WROTE, _POSITION, _ROLLED_BACK = "scalekit wrote", "scalekit position ", "scalekit rolled back"

_COMMIT = "COMMIT;"
_BEFORE = f"DO $scalekit$ BEGIN IF {WROTE} THEN RAISE INFO '{_WROTE}'; END IF; END $scalekit$; "
_AFTER = " DO $scalekit$ BEGIN RAISE INFO '{told}%', {position}; END $scalekit$"

_CAN_SAY = "SELECT has_language_privilege(oid, 'USAGE') FROM pg_language WHERE lanname = 'plpgsql'"


class Asyncpg:
    """Commits through a connection class of our own, which asyncpg lets its users choose."""

    # InternalClientError: the server said goodbye just before the question, and asyncpg lost count.
    errors: tuple[type[Exception], ...] = (
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
    )
    implicit_commits = False

    def parameters(self, given: dict[str, Any], *, read_only: bool, timeout: float) -> dict[str, Any]:
        changed = {"timeout": timeout, **given}
        if read_only:
            changed["server_settings"] = {**given.get("server_settings", {}), READ_ONLY: "on"}
        else:
            changed["connection_class"] = _saying(given.get("connection_class", asyncpg.Connection))
        return changed

    def opened(self, connection: Any, *, read_only: bool) -> None:
        # What a creator of the application's has opened may be of another class.
        if not read_only and hasattr(raw(connection), "scalekit_can_say"):
            # Before it is needed: a DO that fails would take the transaction down with it.
            can_say = connection.run_async(lambda raw: raw.fetchval(_CAN_SAY))
            raw(connection).scalekit_can_say = bool(can_say)

    def ask(self, connection: Any, sql: str) -> tuple[Any, ...]:
        return tuple(connection.run_async(lambda raw: raw.fetchrow(sql)))

    def commit(
        self, connection: Any, plain: Callable[[], None], *, wrote: bool, position: str
    ) -> Committed | None:
        driver_connection = raw(connection)
        if not getattr(driver_connection, "scalekit_can_say", False):
            plain()
            return None
        # What is known need not be asked. Of a failed transaction, which COMMIT rolls back, it is not true;
        # its token then only points to where the log is anyway.
        driver_connection.scalekit_after = _after(position)
        said = driver_connection.scalekit_said = [_WROTE] if wrote else []
        try:
            plain()
        finally:
            driver_connection.scalekit_said = None
        if _ROLLED_BACK in said:
            return False, None
        positions = [text for text in said if text.startswith(_POSITION)]
        return (_WROTE in said, positions[0].removeprefix(_POSITION)) if positions else None

    def told(self, connection: Any) -> Told:
        driver_connection = raw(connection)
        if driver_connection is None or driver_connection.is_closed():
            return NOTHING_TOLD
        settings = driver_connection.get_settings()
        return Told(is_on(getattr(settings, READ_ONLY, None)), is_on(getattr(settings, HOT_STANDBY, None)))

    def position(self, connection: Any, sql: str) -> Committed:
        return True, self.ask(connection, sql)[0]

    def is_autocommit(self, connection: Any) -> bool:
        return bool(connection.autocommit)

    def is_idle(self, connection: Any) -> bool:
        return not self.is_closed(connection) and not raw(connection).is_in_transaction()

    def is_inside(self, connection: Any) -> bool:
        return not self.is_closed(connection) and bool(raw(connection).is_in_transaction())

    def is_between(self, connection: Any) -> bool:
        return self.is_idle(connection)

    @contextmanager
    def alone(self, connection: Any) -> Iterator[None]:
        before = connection.autocommit
        connection.autocommit = True
        try:
            yield
        finally:
            connection.autocommit = before

    def begin(self, connection: Any) -> None:
        pass  # SQLAlchemy's adapter does, unless it is told not to

    def is_closed(self, connection: Any) -> bool:
        return bool(raw(connection).is_closed())

    def code(self, error: BaseException) -> str | None:
        return sqlstate(error)

    def blames_statement(self, error: BaseException) -> bool:
        cause = error.__cause__ or error
        return getattr(cause, "server_source_function", None) not in OTHERS_FAULT

    def lost(self, error: BaseException) -> bool:
        return isinstance(error.__cause__ or error, asyncpg.InternalClientError)

    def cut(self, connection: Any) -> None:
        # In the thread of the connection's event loop only, as everything in asyncpg.
        raw(connection).terminate()


@lru_cache
def _after(position: str) -> str:
    return _AFTER.format(told=_POSITION, position=position)


@lru_cache
def _saying(base: type[Any]) -> type[Any]:
    """``base``, an asyncpg connection class, with a COMMIT that says what it did while anyone listens."""

    class Saying(base):  # type: ignore[misc]
        __slots__ = ("scalekit_after", "scalekit_can_say", "scalekit_said")

        def __init__(self, *args: Any, **keywords: Any) -> None:
            super().__init__(*args, **keywords)
            self.scalekit_can_say = False
            self.scalekit_after = ""
            self.scalekit_said: list[str] | None = None

        async def execute(self, query: str, *args: Any, timeout: float | None = None) -> Any:
            said = self.scalekit_said
            if query != _COMMIT or said is None:
                return await super().execute(query, *args, timeout=timeout)
            try:
                before = "" if said else _BEFORE
                return await super().execute(before + _COMMIT + self.scalekit_after, timeout=timeout)
            except asyncpg.InFailedSQLTransactionError:
                # The first DO failed, so COMMIT was not reached. In a failed transaction it means ROLLBACK.
                said.append(_ROLLED_BACK)
                return await super().execute(_COMMIT, timeout=timeout)

        def _process_log_message(self, fields: dict[str, str], last_query: str) -> None:
            # A listener would hear of it a turn of the loop later, as of an exception that asyncpg made of
            # it. Where a version does not come by here, the position is asked for after the COMMIT.
            said = self.scalekit_said
            if said is not None and fields.get("M", "").startswith(_SAID):
                said.append(fields["M"])
            else:
                super()._process_log_message(fields, last_query)

    return Saying

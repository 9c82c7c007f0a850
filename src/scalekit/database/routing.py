"""What may go where: whether a statement is a read that a replica can answer.

Rules:

* Everything is a write until it is proved to be a read.
* A construct is judged by the SQL it compiles to, because that is what the server will see: prefixes,
  CTEs, row locks, ``text()`` fragments and custom elements included.
* The verdict is kept under the statement's cache key, the same under which SQLAlchemy keeps the
  compiled form; equal keys mean equal SQL. A text, and what SQLAlchemy cannot cache, is known by its SQL.
* What a replica refused as a write once is a write from then on. What else no replica can answer, such as an
  unlogged table, is read on the primary, for a minute: it may be another table by then.
"""

import time
from typing import Any, TypeVar

from sqlalchemy import Dialect, Executable, TextClause
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql.functions import FunctionElement

from scalekit.database.sqltext.memory import Memory, key_of
from scalekit.database.sqltext.rules import TextRules, only_changes_rows

T = TypeVar("T")

_A_WHILE = 60.0  # seconds


class Verdicts:
    """Judges statements for one dialect, and remembers.

    Args:
        dialect: what statements are compiled for.
        rules: what their texts may do.
    """

    def __init__(self, dialect: Dialect, rules: TextRules) -> None:
        self._dialect, self._rules = dialect, rules
        self._memory: Memory[bool] = Memory()
        self._unable: Memory[float] = Memory()  # until when

    def add_names(self, *, functions: frozenset[str], relations: frozenset[str]) -> None:
        """These of the application's write, too: names in lower case, without a schema."""
        self._rules = self._rules.with_names(functions=functions, relations=relations)

    def is_read(self, statement: Executable) -> bool:
        """Whether any replica may answer ``statement``."""
        if not (
            statement.is_select
            or isinstance(statement, TextClause)
            or statement.is_from_statement
            or isinstance(statement, FunctionElement)
        ):
            return False
        key, sql = self._key(statement)
        verdict = self._memory.known.get(key)
        if verdict is None:
            sql = self._sql(statement) if sql is None else sql
            verdict = sql is not None and self._rules.is_read(sql)
            _keep(self._memory, key, verdict, sql)
        return verdict

    def refused(self, statement: Executable) -> None:
        """A replica refused ``statement`` as a write; the next one like it goes to the primary at once."""
        self._remember(self._memory, statement, False)

    def unable(self, statement: Executable) -> None:
        """A replica cannot answer ``statement``, though it is a read: the primary does, for a while."""
        self._remember(self._unable, statement, time.monotonic() + _A_WHILE)

    def needs_primary(self, statement: Executable) -> bool:
        """Whether ``statement``, which is a read, is one that no replica can answer."""
        if not self._unable.known:
            return False  # as nearly always
        key, _ = self._key(statement)
        until = self._unable.known.get(key)
        if until is not None and until <= time.monotonic():
            self._unable.known.pop(key, None)
            return False
        return until is not None

    def _key(self, statement: Executable) -> tuple[Any, str | None]:
        """What stands for the SQL of ``statement``, ``None`` if it has none; and that, where it is known."""
        if isinstance(statement, TextClause):
            return key_of(statement.text), statement.text
        generated = statement._generate_cache_key()  # type: ignore[attr-defined]
        if generated is not None:
            return generated.key, None
        # SQLAlchemy compiles it each time, too.
        sql = self._sql(statement)
        return None if sql is None else key_of(sql), sql

    def _sql(self, statement: Executable) -> str | None:
        if isinstance(statement, TextClause):
            return statement.text
        if isinstance(statement, FunctionElement):
            # Executed alone, SQLAlchemy wraps a function into a SELECT.
            statement = statement.select()
        try:
            return str(statement.compile(dialect=self._dialect))  # type: ignore[attr-defined]
        except SQLAlchemyError:
            # It cannot run anywhere; the primary's error is the one to show.
            return None

    def _remember(self, memory: Memory[T], statement: Executable, found: T) -> None:
        key, sql = self._key(statement)
        _keep(memory, key, found, self._sql(statement) if sql is None else sql)


def changes_rows(statement: object) -> bool:
    """Whether ``statement`` is one that changes rows for certain, or finds none to change."""
    if isinstance(statement, TextClause):
        return only_changes_rows(statement.text)
    return getattr(statement, "is_dml", False)


def _keep(memory: Memory[T], key: Any, found: T, sql: str | None) -> None:
    if key is not None:
        # A cache key holds as much as there is in its statement.
        held = key if isinstance(key, str | bytes) else sql or ""
        memory.keep(key, found, characters=len(held))

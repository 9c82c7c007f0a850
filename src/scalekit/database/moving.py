"""A SQLAlchemy ``Connection`` that may change its server before its transaction has read anything.

What it is to SQLAlchemy and to the application stays: its transaction, its listeners, its execution options.
When it moves and why is said by :mod:`scalekit.database.reading`.

Rules:

* A statement is repeated from its beginning, so that its listeners hear of it again, as of a first one.
* A transaction that moved begins again, so that what ``begin`` listeners set, such as a tenant, is set there.
* What listeners send is part of the statement, or of the beginning, that they hear of.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from scalekit.database.member import Member

T = TypeVar("T")


class MovingConnection(Connection, ABC):
    """Asks its subclass what to do before a statement, after it, and when it fails.

    Args:
        engine: of the server that it leads to first.
    """

    def __init__(self, engine: Engine) -> None:
        # First: listeners that hear of the new connection may send something over it.
        self._busy = True
        self._begins_again = False
        self._own_options: dict[str, Any] = {}
        super().__init__(engine)

    @abstractmethod
    def _open(self) -> Self:
        """One like this, which leads to where this one should lead now."""

    @abstractmethod
    def _before(self, *, begins: bool) -> None:
        """A statement is about to be sent, perhaps the first of a transaction, or one begins."""

    @abstractmethod
    def _after(self, statement: Any) -> None:
        """``statement`` has run."""

    @abstractmethod
    def _ends(self) -> None:
        """A transaction is about to end."""

    @abstractmethod
    def _recover(self, error: DBAPIError, met: dict[Member, bool]) -> bool:
        """Whether what ended in ``error`` may be repeated; moves away for that.

        Args:
            error: what it ended in.
            met: which members have failed it, and whether without a word; this one is added.
        """

    def _leave(self, *, broken: bool = False) -> None:
        """Give back what it leads to, and not its transaction."""
        if broken:
            self.invalidate()
        connection, self._dbapi_connection = self._dbapi_connection, None
        if connection is not None:
            connection.close()

    def _look(self) -> None:
        """The end of a transaction on a server that is gone is no error, and SQLAlchemy not told of it."""
        connection = self._dbapi_connection
        if connection is not None and not connection.is_valid:
            self.invalidate()

    def _take_over(self, other: Self) -> None:
        """Lead to where ``other`` does, which is of no use from then on."""
        # Not its listeners: the application's are this connection's, or those of all engines.
        self.engine, self.dialect = other.engine, other.dialect
        self._dbapi_connection = other._dbapi_connection
        self._execution_options = other._execution_options
        self._begins_again = self.get_transaction() is not None

    if not TYPE_CHECKING:  # SQLAlchemy's are overloads

        def execution_options(self, **options):
            super().execution_options(**options)
            self._own_options |= options
            return self

        def execute(self, statement, parameters=None, *, execution_options=None):
            call = partial(super().execute, statement, parameters, execution_options=execution_options)
            return self._run(call, statement)

        def scalar(self, statement, parameters=None, *, execution_options=None):
            call = partial(super().scalar, statement, parameters, execution_options=execution_options)
            return self._run(call, statement)

        def exec_driver_sql(self, statement, parameters=None, execution_options=None):
            call = partial(super().exec_driver_sql, statement, parameters, execution_options)
            return self._run(call, statement)

        def begin(self):
            return self._run(super().begin)

        def begin_twophase(self, xid=None):
            return self._run(partial(super().begin_twophase, xid))

        # Not by listeners, which would cost more than all the rest.
        def _commit_impl(self):
            if not self._busy:
                self._ends()
            super()._commit_impl()
            self._look()

        def _rollback_impl(self):
            if not self._busy:
                self._ends()
            super()._rollback_impl()
            self._look()

        def _revalidate_connection(self):
            # After an invalidation: not to where it led before, but to where it should lead now.
            if self.invalidated and self.get_transaction() is None:
                self._take_over(self._open())
                return self._dbapi_connection
            return super()._revalidate_connection()

    def _run(self, call: Callable[[], T], statement: Any = None) -> T:
        """``call``, which sends ``statement`` or begins a transaction; again where that is safe."""
        transaction = self.get_transaction()
        if self._busy or self.closed or (transaction is not None and not transaction.is_valid):
            return call()
        self._busy = True
        try:
            self._before(begins=transaction is None)
            met: dict[Member, bool] = {}
            while True:
                try:
                    if self._begins_again and transaction is not None:
                        self._begin_impl(transaction)
                    elif met and transaction is None and statement is not None:
                        # Once a listener to that has failed, SQLAlchemy does not do it by itself.
                        self.begin()
                    self._begins_again = False
                    result = call()
                except DBAPIError as error:
                    if not self._recover(error, met):
                        raise
                    transaction = self.get_transaction()
                else:
                    if statement is not None:
                        self._after(statement)
                    return result
        finally:
            self._busy = False

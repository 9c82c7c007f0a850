"""What the members need from a DBAPI driver; one leaf file a driver implements it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from scalekit._steps import Steps, run, run_async

T = TypeVar("T")

Committed: TypeAlias = tuple[bool, str | None]
"""Whether the transaction changed anything, and the position after it in the form of the server's SQL."""


class Told(NamedTuple):
    """What the server has said about a connection without being asked; ``None`` where it says nothing.

    Args:
        read_only: whether transactions begin read-only.
        standby: whether the server is a replica.
    """

    read_only: bool | None
    standby: bool | None


NOTHING_TOLD = Told(None, None)


class Driver(Protocol):
    """What differs between drivers. A *connection* is what SQLAlchemy calls the DBAPI connection.

    It may be one that :meth:`parameters` and :meth:`opened` know nothing of, as on a server that has no
    others beside it: what they leave on it is not there then.
    """

    errors: tuple[type[Exception], ...]
    """What connecting may raise besides SQLAlchemy's own errors and ``OSError``."""

    implicit_commits: bool
    """Whether a statement may commit what came before it even though it fails, as DDL does in MySQL."""

    def parameters(self, given: dict[str, Any], *, read_only: bool, timeout: float) -> dict[str, Any]:
        """``given`` with the connect time-out, where none is set, and with the mode of the session."""
        ...

    def opened(self, connection: Any, *, read_only: bool) -> None:
        """Called once for each new connection."""
        ...

    def ask(self, connection: Any, sql: str) -> tuple[Any, ...]:
        """The first row of ``sql``, outside any transaction. The connection must be idle."""
        ...

    def commit(
        self, connection: Any, plain: Callable[[], None], *, wrote: bool, position: str
    ) -> Committed | None:
        """Commit by ``plain``, or by a message that also tells what this transaction did and where.

        Called with a transaction in progress. ``wrote``: it is known already that it changed something, if
        it is not rolled back. ``position``: :attr:`.Backend.position`. Returns ``None`` where only a
        question afterwards can tell.
        """
        ...

    def told(self, connection: Any) -> Told:
        """What the server says of the connection with its replies, as far as has arrived. No round trip.

        Nothing once it is closed.
        """
        ...

    def position(self, connection: Any, sql: str) -> Committed:
        """The position that ``sql`` asks for, after something that may have been committed without us.

        Whether it was is true where only a :meth:`commit` could tell.
        """
        ...

    def is_autocommit(self, connection: Any) -> bool:
        """Whether each statement commits by itself. Costs no round trip."""
        ...

    def is_idle(self, connection: Any) -> bool:
        """Whether the connection is open and the server has no transaction in progress on it, for certain."""
        ...

    def is_inside(self, connection: Any) -> bool:
        """Whether a transaction, perhaps a failed one, is for certain in progress on the connection."""
        ...

    def is_between(self, connection: Any) -> bool:
        """Whether the next statement is the first of its transaction, on a connection that only reads."""
        ...

    def alone(self, connection: Any) -> AbstractContextManager[None]:
        """The one statement that is executed in the block is a transaction of its own.

        The connection only reads and is between two transactions. Nothing is begun and nothing to be ended.
        """
        ...

    def begin(self, connection: Any) -> None:
        """What is executed next is in a transaction, whatever :meth:`alone` has left on the connection."""
        ...

    def is_closed(self, connection: Any) -> bool:
        """Whether the connection is closed, or the server has closed it, as far as is known here."""
        ...

    def code(self, error: BaseException) -> str | int | None:
        """The server's code in the DBAPI ``error``, for :meth:`.Backend.trouble`; ``None`` if it has none."""
        ...

    def blames_statement(self, error: BaseException) -> bool:
        """Whether the DBAPI ``error`` of something that a replica cannot do is about the statement.

        Not about the transaction that it was in, such as its isolation level, or about the connection.
        """
        ...

    def lost(self, error: BaseException) -> bool:
        """Whether the DBAPI ``error`` means a lost connection, where SQLAlchemy does not see that."""
        ...

    def cut(self, connection: Any) -> None:
        """Break the connection at once: whoever waits for an answer gets an error instead."""
        ...


def sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE that the drivers of PostgreSQL leave on their errors."""
    return getattr(error, "sqlstate", None)


def drive(connection: Any, steps: Callable[[Any], Steps[T]]) -> T:
    """Run ``steps`` on the raw driver connection, in the colour of the engine it came from."""
    if hasattr(connection, "run_async"):
        result: T = connection.run_async(lambda raw: run_async(steps(raw)))
        return result
    return run(steps(connection))


def raw(connection: Any) -> Any:
    """The driver's own connection behind SQLAlchemy's asyncio adapter, or the connection itself."""
    return getattr(connection, "driver_connection", connection)

"""For tests of what uses ``scalekit.database``: where statements went, and one transaction a test.

::

    with recording(cluster) as seen:
        client.get("/products")
    assert not seen.primary                 # this endpoint never touches the primary

    with one_transaction(cluster):          # in a fixture: nothing of a test is left in the database
        ...

Both work with one test database and without any replica. The cluster's sessions and rules run as in
production then; they see a primary and a replica that is never behind, which are both that database.
"""

# First: it says which extra is missing.
from scalekit.database import AsyncCluster, Cluster

# isort: split
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

from sqlalchemy import Connection, Engine, event
from sqlalchemy.util import greenlet_spawn

from scalekit.database.fleet import Fleet
from scalekit.testing._rehearsal import Rehearsal
from scalekit.testing._savepoints import Savepoints, ended

Role = Literal["primary", "replica"]


@dataclass(frozen=True, slots=True)
class Statement:
    """What was sent to a server.

    Args:
        sql: its text, without the values.
        role: of the server: ``"primary"`` or ``"replica"``.
        member: the server: host, port and database.
    """

    sql: str
    role: Role
    member: str


@dataclass(slots=True)
class Recording:
    """The statements that were sent so far, in their order."""

    statements: list[Statement] = field(default_factory=list)

    @property
    def primary(self) -> list[Statement]:
        """Those that went to the primary; for ``assert not seen.primary``."""
        return [statement for statement in self.statements if statement.role == "primary"]

    @property
    def replicas(self) -> list[Statement]:
        """Those that went to replicas; for ``assert not seen.replicas``."""
        return [statement for statement in self.statements if statement.role == "replica"]

    def clear(self) -> None:
        """Forget them, for example after the preparations of a test."""
        self.statements.clear()


@contextmanager
def recording(cluster: Cluster | AsyncCluster) -> Iterator[Recording]:
    """Record what the sessions and connections of ``cluster`` send while the block runs.

    Transactions that begin in the block are recorded, of every thread and task. With replicas it is recorded
    where statements really went; without, where they would have gone.

    Args:
        cluster: of either colour; ``with`` for both.
    """
    sessions = cluster._session_class
    fleet = sessions.fleet
    seen = Recording()
    with ExitStack() as stack:
        if fleet.single:
            sessions.fleet = fleet = Rehearsal(fleet, fleet.members[0]).as_fleet
            stack.callback(setattr, sessions, "fleet", cluster._fleet)
        _listen(fleet, lambda _, statement: seen.statements.append(statement), stack)
        yield seen


def one_transaction(cluster: Cluster | AsyncCluster) -> "OneTransaction":
    """All transactions of ``cluster`` as savepoints of one, which is undone when the block ends.

    ``with one_transaction(cluster) as seen:`` for a ``Cluster``, ``async with`` for an ``AsyncCluster``.
    ``seen`` is what :func:`recording` gives. Sessions, connections and ``primary_engine`` all use one
    connection to the primary: each sees what the others have committed, and a rollback undoes its own.
    Nothing is really committed, so no visitor gets a cookie. What looks like a read and writes is refused
    by PostgreSQL as on a replica, and goes on on the primary.

    One connection does one thing at a time: requests come one after the other, and where a rollback would
    undo another transaction's work too, because they overlap, it is an error. Isolation levels cannot change
    within; to ask for one does nothing.

    Args:
        cluster: nothing else may use it meanwhile.

    Raises:
        TypeError: ``with`` for an ``AsyncCluster``, or the reverse.
        RuntimeError: when it begins inside another; when transactions overlap; at the end, if a statement has
            ended the transaction, such as a ``COMMIT`` in a text.
    """
    return OneTransaction(cluster)


class OneTransaction:
    """What :func:`one_transaction` gives: a ``with`` or ``async with`` block."""

    def __init__(self, cluster: Cluster | AsyncCluster) -> None:
        self._cluster = cluster
        self._is_async = isinstance(cluster, AsyncCluster)

    def __enter__(self) -> Recording:
        if self._is_async:
            raise TypeError("an AsyncCluster takes `async with one_transaction(cluster)`")
        return self._begin()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(error)

    async def __aenter__(self) -> Recording:
        if not self._is_async:
            raise TypeError("a Cluster takes `with one_transaction(cluster)`")
        return await greenlet_spawn(self._begin)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await greenlet_spawn(self._end, error)

    def _begin(self) -> Recording:
        sessions = self._cluster._session_class
        fleet: Any = sessions.fleet
        if isinstance(fleet, Rehearsal):
            raise RuntimeError("one_transaction() and recording() are around this already; begin it first")
        fleet.begin()
        member = fleet.writer()
        rehearsal = Rehearsal(fleet, member)
        self._savepoints = savepoints = Savepoints(member.writer, rehearsal.rules)
        seen = Recording()

        def heard(connection: Connection, statement: Statement) -> None:
            seen.statements.append(statement)
            savepoints.before(connection, statement.sql, reads=statement.role == "replica")

        self._stack = ExitStack()
        self._stack.callback(setattr, sessions, "fleet", fleet)
        sessions.fleet = rehearsal.as_fleet
        _listen(sessions.fleet, heard, self._stack)
        return seen

    def _end(self, error: BaseException | None) -> None:
        self._stack.close()
        whole = self._savepoints.close()
        if not whole and error is None:
            raise ended()


def _listen(fleet: Any, heard: Callable[[Connection, Statement], None], stack: ExitStack) -> None:
    """Tell ``heard`` of each statement, until ``stack`` is closed."""
    part = fleet.part if isinstance(fleet, Rehearsal) else _Members(fleet).part

    def before(connection: Connection, cursor: Any, sql: str, *_: Any) -> None:
        found = part(connection)
        if found is not None:
            heard(connection, Statement(sql, *found))

    # To the class: a cluster may find further members while the test runs.
    event.listen(Engine, "before_cursor_execute", before)
    stack.callback(event.remove, Engine, "before_cursor_execute", before)


class _Members:
    """Tells connections of a cluster's members from others; one that was removed may still finish."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._parts: dict[Engine, tuple[Role, str]] = {}

    def part(self, connection: Connection) -> tuple[Role, str] | None:
        """What ``connection`` leads to, and the member's name; ``None``: it is not the cluster's."""
        for member in self._fleet.members:
            self._parts.setdefault(member.reader, ("replica", member.name))
            self._parts.setdefault(member.writer, ("primary", member.name))
        return self._parts.get(_made_of(connection.engine))


def _made_of(engine: Engine) -> Engine:
    """The engine that ``engine`` shares its pool with, if it has been made by ``execution_options()``."""
    found: Engine = getattr(engine, "_proxied", engine)
    return found

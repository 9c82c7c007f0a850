"""Core: connections without a session, for reading or for writing.

Rules:

* Where a connection leads is decided when it is opened, and said by whoever opens it: nobody judges what
  is sent over it. One for reading cannot write, not on the primary either, where the server can see to it.
* What is committed over a connection for writing is in the visitor's token, as a session's commits are.
* A connection for reading may serve several transactions. Each of them sees what the visitor has been
  promised by then; if the replica does not have it in time, that is an error and never an older read.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import ref

from sqlalchemy import Connection, Engine, event

from scalekit.database.commits import Mark, attach
from scalekit.database.connecting import connect_to_replica, open_writer, raw
from scalekit.database.fleet import Fleet
from scalekit.database.levels import STRONG, Consistency
from scalekit.database.member import Member
from scalekit.database.report import Report
from scalekit.database.scope import Scope, Seen
from scalekit.errors import NoServerAvailable


class ClusterEngine(Engine):
    """An engine whose every connection leads to the server that is right at that moment.

    It has no connections of its own but takes those of the members, so that it follows a failover and costs
    no further pool. For everything that wants an engine: ``create_all()``, Alembic, ``inspect()``, pandas.
    Listeners for events go to the class, ``sqlalchemy.Engine``.

    Args:
        fleet: gives the members.
        read: connect to a replica where possible.
        level: how fresh what is read must be; ``None`` is the cluster's.
        options: execution options of its connections.
    """

    def __init__(
        self,
        fleet: Callable[[], Fleet],
        *,
        read: bool,
        level: Consistency | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        self._get_fleet, self._read, self._level = fleet, read, level
        self._options = options or {}
        model = fleet().any_engine()
        super().__init__(model.pool, model.dialect, model.url, hide_parameters=model.hide_parameters)

    def connect(self) -> Connection:
        """A connection; opened before this returns.

        Raises:
            NoServerAvailable: there is no primary, and none appeared within the cluster's ``failover_wait``.
        """
        fleet = self._get_fleet()
        fleet.begin()
        scope = fleet.scopes.current() or fleet.scopes.process
        level = _level(fleet, scope, self._level) if self._read else STRONG
        connection = _to_replica(fleet, scope, level)
        if connection is None:
            connection = _to_primary(fleet, scope, read=self._read, fallback=level is not STRONG)
        return connection.execution_options(**self._options) if self._options else connection

    if not TYPE_CHECKING:  # SQLAlchemy's are plain attributes, and overloads of every option there is

        @property
        def pool(self):
            return self._get_fleet().any_engine().pool

        @pool.setter
        def pool(self, pool):
            self._get_fleet().any_engine().pool = pool

        def execution_options(self, **options):
            return ClusterEngine(
                self._get_fleet, read=self._read, level=self._level, options={**self._options, **options}
            )


def _level(fleet: Fleet, scope: Scope, wanted: Consistency | None) -> Consistency:
    block = fleet.scopes.level(scope)
    if block is STRONG or fleet.single or not fleet.replicas_usable:
        return STRONG
    return wanted or block or fleet.consistency


def _to_replica(fleet: Fleet, scope: Scope, level: Consistency) -> Connection | None:
    """A connection to a replica; ``None``: it has to be the primary."""
    found = connect_to_replica(fleet, scope, level)
    if found is None:
        return None
    member, connection = found
    member.transactions += 1
    _Reading(fleet, member, scope, level).watch(connection)
    return connection


def _to_primary(fleet: Fleet, scope: Scope, *, read: bool, fallback: bool) -> Connection:
    member, connection = open_writer(fleet, scope.token, fallback=fallback)
    if read:
        if connection.dialect.name == "postgresql":
            connection.execution_options(postgresql_readonly=True)
    else:
        writing = _Writing(fleet, member, scope, connection)
        scope.watch(writing)
        event.listen(connection, "commit", writing.end)
        if not fleet.single:
            event.listen(connection, "begin", writing.begin)
            event.listen(connection, "rollback", writing.end)
    if not fleet.single:
        member.transactions += 1
    return connection


class _Reading:
    """Sees to it that later transactions over the same connection are fresh enough too."""

    def __init__(self, fleet: Fleet, member: Member, scope: Scope, level: Consistency) -> None:
        self._fleet, self._member, self._scope, self._level = fleet, member, scope, level
        self._report: Report | None = None  # of the server at the other end

    def watch(self, connection: Connection) -> None:
        event.listen(connection, "begin", self._begin)
        event.listen(connection, "commit", self._end)
        event.listen(connection, "rollback", self._end)

    def _begin(self, connection: Connection) -> None:
        raw_connection = raw(connection)
        self._report = self._member.introduction(raw_connection)
        if self._is_fresh(raw_connection):
            return
        self._fleet.monitor.poke()
        self._fleet.monitor.wait(lambda: self._is_fresh(raw_connection), self._fleet.failover_wait)
        if not self._is_fresh(raw_connection):
            connection.close()
            raise NoServerAvailable(
                f"the replica {self._member.name}, to which this connection leads, has not got what was "
                f"committed meanwhile, within {self._fleet.failover_wait:g} s; open another connection"
            )

    def _end(self, connection: Connection) -> None:
        if self._report is not None:
            self._scope.saw(Seen(self._member, self._report, time.monotonic()))

    def _is_fresh(self, connection: Any) -> bool:
        return self._fleet.knows(self._member, connection, self._level, self._scope.token)


class _Writing:
    """Leaves a mark on the connection in each of its transactions, for the visitor's token."""

    def __init__(self, fleet: Fleet, member: Member, scope: Scope, connection: Connection) -> None:
        self._fleet, self._member, self._scope = fleet, member, scope
        # Weak: the connection has listeners that know this.
        self._connection = ref(connection)
        self._mark: _Mark | None = None

    def has_uncommitted_writes(self) -> bool:
        """Whether a commit over it could still change something."""
        connection = self._connection()
        return connection is not None and connection.in_transaction()

    def begin(self, connection: Connection) -> None:
        scope = self._fleet.scopes.current() or self._scope
        if scope is not self._scope:
            # Kept for longer than the scope that it was opened in: what it does is of this one.
            self._scope = scope
            scope.watch(self)
        self._mark = _Mark(self._fleet, self._member, scope, connection)
        attach(connection.connection, self._mark, autocommit=self._member.is_autocommit(connection))

    def end(self, connection: Connection) -> None:
        """Called before COMMIT or ROLLBACK is sent, if it is."""
        mark = self._mark
        if mark is None:
            return
        if connection.invalidated:
            if mark.autocommit and mark.token is None:
                mark.may_have_committed()  # the connection was lost under what it was told to do
        elif self._member.may_have_committed(connection):
            mark.wrote = True  # for all that is known: a COMMIT in a text has ended it already


class _Mark(Mark):
    """A mark that counts, since there is no session that looks at it afterwards."""

    __slots__ = ("_fleet", "_member")

    def __init__(self, fleet: Fleet, member: Member, scope: Scope, connection: Connection) -> None:
        assert member.backend is not None
        super().__init__(
            member.name, member.introduction(raw(connection)), scope, member.backend, fleet.scopes
        )
        self._fleet, self._member = fleet, member

    def committed(self, position: str | None) -> None:
        super().committed(position)
        self._member.commits += 1
        if self.token is not None and self.token.is_known:
            self._fleet.committed(self.token, since=self.began)

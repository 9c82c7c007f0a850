"""Core connections for writing: what is committed over them is in the visitor's token."""

from weakref import ref

from sqlalchemy import Connection, PoolProxiedConnection, event

from scalekit.database.commits import Mark, attach, count_next
from scalekit.database.connecting import open_writer, raw
from scalekit.database.fleet import Fleet
from scalekit.database.member import Member
from scalekit.database.scope import Scope


def open_writing(fleet: Fleet) -> Connection:
    """A connection to the primary.

    Args:
        fleet: of the primary.

    Raises:
        NoServerAvailable: there is none, and none appeared within the cluster's ``failover_wait``.
    """
    scope, member, connection = _open(fleet)
    writing = _Writing(fleet, member, scope, connection)
    scope.watch(writing)
    for opened in fleet.openings:
        opened(connection)
    if fleet.single:
        event.listen(connection, "begin", writing.begin_alone)
        event.listen(connection, "rollback", writing.end_alone)
        return connection
    event.listen(connection, "begin", writing.begin)
    event.listen(connection, "commit", writing.end)
    event.listen(connection, "rollback", writing.end)
    return connection


def open_raw(fleet: Fleet) -> PoolProxiedConnection:
    """A connection of the driver's to the primary, which nobody sees into.

    Args:
        fleet: of the primary.

    Raises:
        NoServerAvailable: there is none, and none appeared within the cluster's ``failover_wait``.
    """
    scope, member, connection = _open(fleet)
    proxy = connection.connection
    if not fleet.single:
        member.transactions += 1  # one, for all that is known
        mark = _Mark(fleet, member, scope, connection)
        attach(proxy, mark, autocommit=False, keep=True)
        mark.doubt(lasting=True)
    return proxy


def _open(fleet: Fleet) -> tuple[Scope, Member, Connection]:
    """The visitor, the primary, and a connection to it."""
    fleet.begin()
    scope = fleet.scopes.current() or fleet.scopes.process
    member, connection = open_writer(fleet, scope.token)
    return scope, member, connection


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

    def _enter_scope(self) -> Scope:
        scope = self._fleet.scopes.current() or self._scope
        if scope is not self._scope:
            # Kept for longer than the scope that it was opened in: what it does is of this one.
            self._scope = scope
            scope.watch(self)
        return scope

    def begin_alone(self, connection: Connection) -> None:
        """On a server that has no replicas; nobody needs to know where its log is."""
        count_next(connection.connection, self._enter_scope().counted)

    def end_alone(self, connection: Connection) -> None:
        if not connection.invalidated:
            count_next(connection.connection, None)

    def begin(self, connection: Connection) -> None:
        scope = self._enter_scope()
        self._member.transactions += 1
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

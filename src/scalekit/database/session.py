"""The session: one transaction, one server.

Rules:

* The first statement of a transaction decides. Provably a read, and the consistency level allows a
  replica: a replica. Anything else: the primary.
* The choice is kept until the transaction ends, except that a write moves it to the primary for good.
* A replica that refuses a statement as a write, or is lost before it answered anything, costs no error:
  the statement is repeated where it can run. What has been read already is never repeated.
* A write is never repeated, and nor is a read on the primary, which may be one: it may call a function.
* A savepoint begins on the primary: it is made for what may fail, which is a write.

One class serves ``sessionmaker(class_=...)`` and ``async_sessionmaker(sync_session_class=...)``.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, cast

from sqlalchemy import Connection, Engine, Executable, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, SessionTransaction

from scalekit.database.commits import NEVER_REPLAYED, Mark, attach
from scalekit.database.consistency import STRONG, Consistency, Token
from scalekit.database.fleet import Fleet
from scalekit.database.members import Member, describe
from scalekit.database.postgresql import CONFLICT, GONE, READ_ONLY_STATE, REFUSED, read_report
from scalekit.database.scope import Scope
from scalekit.errors import NoServerAvailable


class Place(Mark):
    """Where a transaction runs."""

    __slots__ = ("engine", "member", "replica")

    def __init__(self, member: Member, scope: Scope, *, replica: bool) -> None:
        report = member.health.report
        assert report is not None  # only members that answered have a role
        super().__init__(member.name, report, scope)
        self.member, self.replica = member, replica
        self.engine = member.reader if replica else member.writer


class ReadWriteSession(Session):
    """A SQLAlchemy ``Session`` that reads from replicas and writes to the primary.

    Made by ``Cluster.session()``; behind the ``AsyncSession`` of ``AsyncCluster.session()`` it is the
    ``sync_session``. Takes every argument of ``Session``.

    Args:
        consistency: of this session's transactions; ``None`` follows the request and the cluster.
    """

    fleet: ClassVar[Fleet]

    def __init__(self, *args: Any, consistency: Consistency | None = None, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._consistency = consistency
        self._place: Place | None = None
        # Kept, because a session may be used where its request's context is not: in a thread of the
        # application's own.
        self._born_in = self.fleet.scopes.current()
        if self._born_in is not None:
            self._born_in.watch(self)

    if not TYPE_CHECKING:  # type checkers see the overloads of Session

        def execute(self, statement, params=None, **keywords):
            return self._perform(super().execute, statement, params, keywords)

        def scalar(self, statement, params=None, **keywords):
            return self._perform(super().scalar, statement, params, keywords)

        def scalars(self, statement, params=None, **keywords):
            return self._perform(super().scalars, statement, params, keywords)

    def begin(self, nested: bool = False) -> SessionTransaction:
        """As ``Session.begin()``; a savepoint begins on the primary."""
        if nested and not self.fleet.single:
            self._use_primary()
        return super().begin(nested)

    def connection(self, bind_arguments: Any = None, execution_options: Any = None) -> Connection:
        """The transaction's connection to the primary, since nobody sees what will be sent over it."""
        if self.fleet.single or (bind_arguments and bind_arguments.get("bind")):
            return super().connection(bind_arguments, execution_options)
        place = self._use_primary(execution_options)
        place.handed_out = True
        return super().connection({"bind": place.engine})

    def get_bind(self, mapper: Any = None, *, clause: Any = None, bind: Any = None, **keywords: Any) -> Any:
        """The engine of the place that was chosen; confirms the choice for ``clause``.

        Called by SQLAlchemy with what is about to run. Outside a transaction nothing is chosen, and any
        engine will do for those who want its dialect.
        """
        if bind is not None:
            return bind
        if self.fleet.single:
            return self.fleet.members[0].writer
        if clause is None and mapper is not None and self._flushing:
            return self._use_primary(wrote=True).engine  # a flush or a bulk operation
        place = self._place
        if place is None or clause is None:
            return place.engine if place is not None and not place.replica else self.fleet.any_engine()
        if place.replica and not self._is_read(clause):
            # A hook of the application's replaced the statement that was judged.
            place = self._use_primary(wrote=True)
        return place.engine

    def has_uncommitted_writes(self) -> bool:
        """Whether a commit of this session could still change something."""
        place = self._place
        return not self._is_clean() or (place is not None and (place.wrote or place.handed_out))

    def _perform(
        self, call: Callable[..., Any], statement: Any, params: Any, keywords: dict[str, Any]
    ) -> Any:
        if self.fleet.single or (keywords.get("bind_arguments") or {}).get("bind"):
            return call(statement, params, **keywords)
        read = self._is_read(statement)
        if not read:
            self._use_primary(wrote=True)
        elif self._place is None:
            self._begin_reading()
        while True:
            try:
                result = call(statement, params, **keywords)
            except DBAPIError as error:
                if not read or not self._recover(error, statement):
                    raise
            else:
                if self._place is not None:
                    self._place.statements += 1
                return result

    def _is_read(self, statement: Any) -> bool:
        return isinstance(statement, Executable) and self.fleet.verdicts.is_read(statement)

    def _scope(self) -> Scope:
        return self.fleet.scopes.current() or self._born_in or self.fleet.scopes.process

    def _level(self, scope: Scope) -> Consistency:
        if self.fleet.scopes.on_primary() or self.twophase:
            return STRONG
        if not self.fleet.replicas_usable:
            return STRONG
        if self.autoflush and not self._is_clean():
            return STRONG  # the read flushes first, and so writes
        if self._consistency is not None:
            return self._consistency
        return STRONG if scope.writes else self.fleet.consistency

    def _begin_reading(self, without: frozenset[Member] = frozenset()) -> None:
        """Choose where to read, and connect."""
        self.fleet.begin()
        scope = self._scope()
        level = self._level(scope)
        began = time.monotonic()
        while level is not STRONG and (choice := self.fleet.choose(level, scope.token, without)) is not None:
            member, token = choice
            try:
                connection = super().connection({"bind": member.reader})
                if token is not None and not self._has_reached(member, connection, token):
                    self._let_go(member.reader, broken=False)
                    break  # asked once; the primary needs no asking
            except member.errors as error:
                self._let_go(member.reader, broken=True)
                self.fleet.suspect(member, describe(error))
                without |= {member}
            except PoolTimeout:
                if member in self.fleet.readers and time.monotonic() - began >= member.pool_timeout:
                    raise
            else:
                self._place = Place(member, scope, replica=True)
                member.transactions += 1
                return
        self._use_primary()

    def _has_reached(self, member: Member, connection: Connection, token: Token) -> bool:
        """Ask the replica behind ``connection``, before the snapshot of what it is to read."""
        asked = time.monotonic()
        report = read_report(member.ask_over(connection.connection.dbapi_connection), asked=asked)
        self.fleet.heard(member, report, asked=asked)
        return (
            not report.writable
            and (report.system, report.timeline) == (token.system, token.timeline)
            and report.position >= token.position
        )

    def _use_primary(self, execution_options: Any = None, *, wrote: bool = False) -> Place:
        """The rest of the transaction runs on the primary.

        Raises:
            NoServerAvailable: there is none, and none appeared within the cluster's ``failover_wait``.
        """
        place = self._place
        if place is None or place.replica:
            self.fleet.begin()
            place = self._place = self._connect_to_primary(execution_options)
        if wrote:
            place.wrote = True
        return place

    def _connect_to_primary(self, execution_options: Any) -> Place:
        began = time.monotonic()
        while True:
            member = self.fleet.writer()
            try:
                connection = super().connection({"bind": member.writer}, execution_options)
            except member.errors as error:
                # Nothing has been sent yet, so it may be tried again, with a new primary if there is one.
                self.fleet.suspect(member, describe(error))
                if time.monotonic() - began >= self.fleet.failover_wait:
                    raise NoServerAvailable(
                        f"the primary {member.name} does not answer: {describe(error)}"
                    ) from error
            except PoolTimeout:
                if member is self.fleet.primary and time.monotonic() - began >= member.pool_timeout:
                    raise
            else:
                place = Place(member, self._scope(), replica=False)
                attach(connection.connection, place)
                member.transactions += 1
                return place

    def _recover(self, error: DBAPIError, statement: Executable) -> bool:
        """Whether the read that ended in ``error`` may be repeated; prepares that."""
        place = self._place
        if place is None:
            return False
        state = getattr(error.orig, "sqlstate", None)
        gone = error.connection_invalidated or state in GONE
        if gone:
            self.fleet.suspect(place.member, describe(error))
        if not place.replica:
            return False
        if state in REFUSED:
            if state == READ_ONLY_STATE:
                self.fleet.verdicts.refused(statement)
            self._leave(place, broken=False)
            self._use_primary(wrote=True)
            return True
        if place.statements or not (gone or state in CONFLICT):
            return False
        self._leave(place, broken=gone)
        self._begin_reading(frozenset({place.member}))
        return True

    def _leave(self, place: Place, *, broken: bool) -> None:
        self._let_go(place.engine, broken=broken)
        self._place = None

    def _let_go(self, engine: Engine, *, broken: bool) -> None:
        """Give back the connection that this transaction has to ``engine``, without ending the transaction.

        Session.rollback() would do it too, and throw away the objects that were added.
        """
        held = cast(SessionTransaction, self.get_transaction())._connections
        if engine not in held:
            return
        connection, transaction, *_ = held.pop(engine)
        held.pop(connection, None)
        if broken:
            connection.invalidate()
        transaction.close()
        connection.close()


def session_class(fleet: Fleet) -> type[ReadWriteSession]:
    """The session class of one cluster, with the hooks that keep its promises."""
    made = type(
        "ReadWriteSession", (ReadWriteSession,), {"fleet": fleet, "__doc__": ReadWriteSession.__doc__}
    )
    if not fleet.single:
        event.listen(made, "before_flush", lambda session, *_: session._use_primary())
        event.listen(made, "after_flush", lambda session, *_: session._use_primary(wrote=True))
        event.listen(made, "after_commit", _after_commit)
        event.listen(made, "after_transaction_end", _after_end)
    return made


def _after_commit(session: ReadWriteSession) -> None:
    place = session._place
    if place is None or place.replica or session.in_nested_transaction():
        return
    if place.wrote and session.twophase:
        place.committed(None)  # COMMIT PREPARED tells no position


def _after_end(session: ReadWriteSession, transaction: SessionTransaction) -> None:
    if transaction.parent is not None:
        return
    place, session._place = session._place, None
    if place is None:
        return
    if place.autocommit and place.token is None:
        place.may_have_committed()  # the connection was lost under what it was told to do
    if place.token is not None:
        place.member.commits += 1
        if place.token.position < NEVER_REPLAYED:
            session.fleet.scopes.heard(place.token)

"""Where a transaction runs: chosen, connected to, and let go of again.

Rules:

* A replica is asked whether it has what the visitor was promised before the transaction has a snapshot,
  and so before anything of the application's runs over the connection: ``after_begin`` listeners do.
* Nothing has been sent yet when connecting fails: another server may be tried, at no risk. What the
  listeners send is the application's, and fails like its statements.
* A replica that a transaction has left is not kept from its other visitors: the connection goes back,
  unless rows are still streaming over it.
"""

import time
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, Executable
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import SessionTransaction

from scalekit.database.backends.protocol import Trouble
from scalekit.database.commits import Mark, attach
from scalekit.database.connecting import connect_to_replica, open_writer, raw
from scalekit.database.engines import describe
from scalekit.database.fleet import Fleet
from scalekit.database.freshness import is_fresh_enough
from scalekit.database.levels import ANY, STRONG, Consistency
from scalekit.database.member import Member
from scalekit.database.recovery import Repeat, repeat
from scalekit.database.scope import Scope, Seen
from scalekit.database.scopes import Scopes
from scalekit.database.tokens import Reached, Token

if TYPE_CHECKING:
    from scalekit.database.session import ReadWriteSession


class Place(Mark):
    """Where a transaction runs.

    Args:
        member: the server.
        scope: the visitor.
        scopes: tell in which scope it is committed.
        connection: to that server, of this transaction.
        level: how fresh its reads were asked to be; ``STRONG`` on the primary.
        seen: what the visitor had been promised when that was checked.
        reached: what the server was known to have before the transaction began; ``None`` on the primary.
    """

    __slots__ = (
        "_left", "connection", "engine", "judged", "level", "member", "reached", "replica", "seen",
        "streaming",
    )  # fmt: skip

    def __init__(
        self,
        member: Member,
        scope: Scope,
        scopes: Scopes,
        connection: Connection,
        *,
        level: Consistency = STRONG,
        seen: Token | None = None,
        reached: Reached | None = None,
    ) -> None:
        assert member.backend is not None
        super().__init__(member.name, member.introduction(raw(connection)), scope, member.backend, scopes)
        self.member, self.connection, self.engine = member, connection, connection.engine
        self.replica, self.level, self.seen, self.reached = level is not STRONG, level, seen, reached
        self.streaming = False
        self.judged: Executable | None = None  # the last statement, which is a read
        self._left: str | None = None
        member.transactions += 1

    @property
    def read_from(self) -> str | None:
        """The replica from which the transaction has read what it may have kept."""
        return self.name if self.replica and self.statements else self._left

    def follows(self, replica: str | None) -> None:
        """The transaction has read from ``replica`` before it came here."""
        self._left = replica

    def is_streaming(self) -> bool:
        """Whether rows may still be on their way from the server."""
        return self.streaming or bool(self.connection.get_execution_options().get("stream_results"))

    def tell_seen(self) -> None:
        """The transaction is over here, and what it was shown its visitor has seen."""
        if self.replica and self.statements:
            self.scope.saw(Seen(self.member, self.report, self._began, time.monotonic()))

    def still_answers(self, fleet: Fleet, level: Consistency, scope: Scope) -> bool:
        """Whether this replica, chosen for an earlier statement, is fresh enough for one more.

        Another session of the same visitor may have committed since, and a statement may ask for more than
        the transaction did.

        Args:
            fleet: of the replica.
            level: how fresh the statement must be.
            scope: the visitor, as the statement runs.
        """
        if scope is not self.scope:
            # Entered since this began. What was shown so far, the one before has seen.
            self.tell_seen()
            self.scope = scope
        if level is ANY or (level == self.level and scope.token is self.seen):
            return True
        return level is not STRONG and is_fresh_enough(self, self.connection, fleet, level)


def on_replica(
    session: "ReadWriteSession", scope: Scope, level: Consistency, without: frozenset[Member]
) -> Place | None:
    """Connect the transaction of ``session`` to a replica; ``None``: it has to be the primary.

    Args:
        session: whose transaction begins.
        scope: the visitor.
        level: how fresh the read must be.
        without: members that failed this transaction already.
    """
    fleet = session.fleet
    while True:
        promised = scope.token
        found = connect_to_replica(fleet, scope, level, without)
        if found is None:
            break
        member, connection = found
        # Before there can be a snapshot.
        reached = member.reached_over(raw(connection))
        try:
            _begin(session, connection)
        except DBAPIError as error:
            trouble = member.trouble(error)
            if trouble is Trouble.GONE:
                fleet.suspect(member, describe(error))
            match repeat(trouble, replica=True, statements=0):
                case Repeat.NOWHERE:
                    raise
                case Repeat.ON_PRIMARY:
                    break
                case Repeat.ELSEWHERE:
                    without |= {member}
        else:
            return Place(member, scope, fleet.scopes, connection, level=level, seen=promised, reached=reached)
    return None


def on_primary(
    session: "ReadWriteSession",
    scope: Scope,
    execution_options: Any,
    *,
    fallback: bool,
    at_once: bool = False,
) -> Place:
    """Connect the transaction of ``session`` to the primary.

    Args:
        session: whose transaction it is.
        scope: the visitor.
        execution_options: for the connection.
        fallback: it is for a read that replicas were to answer.
        at_once: while there is no primary, somebody else may be asked.

    Raises:
        PrimaryLost: there is none now, with ``at_once``.
        NoServerAvailable: there is none, and none appeared within the cluster's ``failover_wait``.
        TooManyFallbackReads: no place for this read became free in time.
    """
    fleet = session.fleet
    member, connection = open_writer(fleet, scope.token, fallback=fallback, at_once=at_once)
    try:
        _begin(session, connection, execution_options)
    except DBAPIError as error:
        if member.trouble(error) is Trouble.GONE:
            fleet.suspect(member, describe(error))
        raise
    place = Place(member, scope, session.fleet.scopes, connection)
    attach(connection.connection, place, autocommit=member.is_autocommit(connection))
    return place


def _begin(session: "ReadWriteSession", connection: Connection, execution_options: Any = None) -> None:
    """Let the transaction of ``session`` go on over ``connection``; ``after_begin`` listeners run.

    One that fails leaves nothing behind: without what it was to set, such as a tenant, no statement may run.
    """
    try:
        session._join(connection, execution_options)
    except BaseException:
        let_go(session, connection, broken=connection.invalidated)
        raise


def let_go(session: "ReadWriteSession", connection: Connection, *, broken: bool) -> None:
    """Give ``connection`` back, without ending the transaction of ``session``.

    ``Session.rollback()`` would do it too, and throw away the objects that were added.
    """
    held = cast(SessionTransaction, session.get_transaction())._connections
    joined = held.pop(connection, None)
    if broken:
        connection.invalidate()
    try:
        if joined is not None:
            del held[connection.engine]
            joined[1].close()
    finally:
        connection.close()

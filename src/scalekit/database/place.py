"""Where a transaction runs: chosen, connected to, and let go of again.

Rules:

* A replica is asked whether it has what the visitor was promised before the transaction has a snapshot.
* Nothing has been sent yet when connecting fails: another server may be tried, at no risk.
"""

import time
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import SessionTransaction

from scalekit.database.commits import Mark, attach
from scalekit.database.engines import describe
from scalekit.database.fleet import Fleet
from scalekit.database.levels import STRONG, Consistency
from scalekit.database.member import Member
from scalekit.database.scope import Scope
from scalekit.database.tokens import Token
from scalekit.errors import NoServerAvailable

if TYPE_CHECKING:
    from scalekit.database.session import ReadWriteSession


class Place(Mark):
    """Where a transaction runs."""

    __slots__ = ("engine", "member", "replica")

    def __init__(self, member: Member, scope: Scope, *, replica: bool) -> None:
        report = member.health.report
        assert report is not None  # only members that answered have a role
        assert member.backend is not None
        super().__init__(member.name, report, scope, member.backend)
        self.member, self.replica = member, replica
        self.engine = member.reader if replica else member.writer


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
    began = time.monotonic()
    while level is not STRONG and (choice := fleet.choose(level, scope.token, without)) is not None:
        member = choice.member
        try:
            connection = session._connect(member.reader)
            if choice.ask is not None and not _has_reached(fleet, member, connection, choice.ask):
                let_go(session, member.reader, broken=False)
                return None  # asked once; the primary needs no asking
        except member.errors as error:
            let_go(session, member.reader, broken=True)
            fleet.suspect(member, describe(error))
            without |= {member}
        except PoolTimeout:
            if member in fleet.readers and time.monotonic() - began >= member.pool_timeout:
                raise
        else:
            member.transactions += 1
            return Place(member, scope, replica=True)
    return None


def _has_reached(fleet: Fleet, member: Member, connection: Connection, token: Token) -> bool:
    """Ask the replica behind ``connection``, before the snapshot of what it is to read."""
    report = member.ask_over(connection.connection.dbapi_connection)
    fleet.heard(member, report, asked=report.asked)
    return not report.writable and report.reached.covers(token)


def on_primary(session: "ReadWriteSession", scope: Scope, execution_options: Any) -> Place:
    """Connect the transaction of ``session`` to the primary.

    Raises:
        NoServerAvailable: there is none, and none appeared within the cluster's ``failover_wait``.
    """
    fleet = session.fleet
    began = time.monotonic()
    while True:
        member = fleet.writer()
        try:
            connection = session._connect(member.writer, execution_options)
        except member.errors as error:
            # With a new primary if there is one.
            fleet.suspect(member, describe(error))
            if time.monotonic() - began >= fleet.failover_wait:
                raise NoServerAvailable(
                    f"the primary {member.name} does not answer: {describe(error)}"
                ) from error
        except PoolTimeout:
            if member is fleet.primary and time.monotonic() - began >= member.pool_timeout:
                raise
        else:
            place = Place(member, scope, replica=False)
            attach(connection.connection, place, autocommit=member.is_autocommit(connection))
            member.transactions += 1
            return place


def let_go(session: "ReadWriteSession", engine: Engine, *, broken: bool) -> None:
    """Give back the connection that this transaction has to ``engine``, without ending the transaction.

    ``Session.rollback()`` would do it too, and throw away the objects that were added.
    """
    held = cast(SessionTransaction, session.get_transaction())._connections
    if engine not in held:
        return
    connection, transaction, *_ = held.pop(engine)
    held.pop(connection, None)
    if broken:
        connection.invalidate()
    transaction.close()
    connection.close()

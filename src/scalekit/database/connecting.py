"""Connections to the member that was chosen, opened and found to be what they are to be.

SQLAlchemy's pool replaces a connection that is hung up on before it is used. After the second it gives up,
with an ``InvalidRequestError``, which means no more than any error of connecting.
"""

import random
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from scalekit.database.backends.protocol import Trouble
from scalekit.database.engines import describe
from scalekit.database.fleet import Fleet
from scalekit.database.levels import STRONG, Consistency
from scalekit.database.member import Member
from scalekit.database.monotonic import Found, replica_for, shows_again
from scalekit.database.scope import Scope
from scalekit.database.tokens import Token
from scalekit.errors import NoServerAvailable

# Seconds between two attempts to open a connection to the primary, about; each pause is twice the one before.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5


class PrimaryLost(NoServerAvailable):
    """The primary was to answer a read, and is not to be had at once; a replica may be.

    Attributes:
        members: the primary, for whoever looks for another.
    """

    def __init__(self, members: frozenset[Member]) -> None:
        self.members = members
        super().__init__("the primary does not answer")


def raw(connection: Connection) -> Any:
    """What SQLAlchemy calls the DBAPI connection."""
    return connection.connection.dbapi_connection


def connect_to_replica(
    fleet: Fleet,
    scope: Scope,
    level: Consistency,
    without: frozenset[Member] = frozenset(),
    connect: Callable[[Engine], Connection] = Engine.connect,
) -> tuple[Member, Connection] | None:
    """A replica, and a connection to it, for a read of ``scope``; ``None``: it has to be the primary.

    Args:
        fleet: of the replicas.
        scope: the visitor.
        level: how fresh the read must be.
        without: members that failed this transaction already.
        connect: makes the connection, to the engine of the one that was chosen.
    """
    if not without and level is not STRONG and fleet.spares_replicas(scope.visitor):
        return None
    began = time.monotonic()
    while level is not STRONG and (found := replica_for(fleet, scope, level, without)) is not None:
        member = found.choice.member
        try:
            connection = open_reader(fleet, found, level, connect)
        except _failures(member) as error:
            # Nothing has been sent yet: another may be tried.
            fleet.suspect(member, describe(error))
            without |= {member}
        except PoolTimeout as error:
            if member in fleet.readers and time.monotonic() - began >= member.pool_timeout:
                raise _all_in_use(member) from error
        else:
            # Asked once; the primary needs no asking.
            return None if connection is None else (member, connection)
    return None


def open_reader(
    fleet: Fleet,
    found: Found,
    level: Consistency,
    connect: Callable[[Engine], Connection] = Engine.connect,
) -> Connection | None:
    """A connection to the replica that was chosen; ``None``: it has not got what is to be read.

    Args:
        fleet: of the replica.
        found: what :func:`.replica_for` answered.
        level: how fresh the read must be.
        connect: makes the connection.
    """
    connection = connect(found.choice.member.reader)
    try:
        idle = raw(connection)
        fresh = fleet.confirm(found.choice, level, found.token, idle)
        if fresh and found.again is not None:
            fresh = shows_again(fleet, found, found.again, level, idle)
    except BaseException:  # a cancellation too: an answer may still be on its way over it
        connection.invalidate()
        connection.close()
        raise
    if fresh:
        return connection
    connection.close()
    return None


def open_writer(
    fleet: Fleet,
    token: Token | None,
    *,
    fallback: bool = False,
    at_once: bool = False,
    connect: Callable[[Engine], Connection] = Engine.connect,
) -> tuple[Member, Connection]:
    """The primary, and a connection to it.

    Args:
        fleet: of the primary.
        token: what the visitor was promised.
        fallback: it is for a read that replicas were to answer.
        at_once: while there is no primary, somebody else may be asked.
        connect: makes the connection.

    Raises:
        PrimaryLost: there is none now, with ``at_once``.
        NoServerAvailable: there is none, and none appeared within the cluster's ``failover_wait``.
        TooManyFallbackReads: no place for this read became free in time.
    """
    if not fallback:
        return _open_writer(fleet, token, connect)
    if at_once and not fleet.has_primary():
        raise PrimaryLost(frozenset())
    turn = fleet.fallback.enter(fleet.writer(token).pool_timeout)
    try:
        member, connection = _open_writer(fleet, token, connect, at_once=at_once)
    except BaseException:
        turn.give_back()
        raise
    turn.keep_with(connection.connection.info)
    return member, connection


def _open_writer(
    fleet: Fleet, token: Token | None, connect: Callable[[Engine], Connection], *, at_once: bool = False
) -> tuple[Member, Connection]:
    began, pause = time.monotonic(), _FIRST_PAUSE
    while True:
        if at_once and not fleet.has_primary():
            raise PrimaryLost(frozenset())
        member = fleet.writer(token)
        try:
            return member, connect(member.writer)
        except _failures(member) as error:
            if fleet.single:
                raise
            fleet.suspect(member, describe(error))
            if at_once:
                raise PrimaryLost(frozenset({member})) from error
            if member.means(error) is Trouble.LOGIN:
                raise NoServerAvailable(
                    f"the primary {member.name} lets nobody in as this user: {describe(error)}"
                ) from error
            # With a new primary if there is one.
            left = began + fleet.failover_wait - time.monotonic()
            if left <= 0:
                raise NoServerAvailable(
                    f"the primary {member.name} does not answer: {describe(error)}"
                ) from error
            # It may answer its probe, whose connection is open, and have no place for another one. It is not
            # to be stormed then by all who want to write.
            fleet.monitor.wait(
                lambda member=member: fleet.primary is not member,  # type: ignore[misc]
                min(left, pause * random.uniform(0.5, 1)),  # noqa: S311
            )
            pause = min(2 * pause, _LONGEST_PAUSE)
        except PoolTimeout as error:
            if member is fleet.primary and time.monotonic() - began >= member.pool_timeout:
                raise _all_in_use(member) from error


def _all_in_use(member: Member) -> PoolTimeout:
    """As SQLAlchemy's own error, which knows neither the server nor how long this has been waited for."""
    return PoolTimeout(
        f"no connection to {member.name} became free in {member.pool_timeout:g} s: all {member.capacity} are "
        "in use; shorten transactions, or raise pool_size= or max_overflow=",
        code="3o7r",
    )


def _failures(member: Member) -> tuple[type[Exception], ...]:
    """What connecting to ``member`` may end in."""
    return (*member.errors, InvalidRequestError)

"""Connections to the member that was chosen, opened and found to be what they are to be."""

from typing import Any

from sqlalchemy import Connection

from scalekit.database.choice import Choice
from scalekit.database.fleet import Fleet
from scalekit.database.levels import Consistency
from scalekit.database.member import Member
from scalekit.database.tokens import Token


def raw(connection: Connection) -> Any:
    """What SQLAlchemy calls the DBAPI connection."""
    return connection.connection.dbapi_connection


def open_reader(
    fleet: Fleet, choice: Choice[Member], level: Consistency, token: Token | None
) -> Connection | None:
    """A connection to the replica that was chosen; ``None``: it has not got what is to be read.

    Args:
        fleet: of the replica.
        choice: what :meth:`.Fleet.choose` answered.
        level: how fresh the read must be.
        token: what the visitor was promised.
    """
    connection = choice.member.reader.connect()
    try:
        fresh = fleet.confirm(choice, level, token, raw(connection))
    except BaseException:  # a cancellation too: an answer may still be on its way over it
        connection.invalidate()
        connection.close()
        raise
    if fresh:
        return connection
    connection.close()
    return None

"""Whether a replica that was chosen for an earlier statement is fresh enough for one more.

Rules:

* On one server, READ COMMITTED and AUTOCOMMIT show what was committed meanwhile, and so do they here.
* A snapshot that was promised to last is left alone.
* The replica is not asked: a question would be a statement of the transaction, and would cost a round trip.
"""

from typing import Protocol

from sqlalchemy import Connection

from scalekit.database.connecting import raw
from scalekit.database.fleet import Fleet
from scalekit.database.levels import Consistency
from scalekit.database.member import Member
from scalekit.database.scope import Scope
from scalekit.database.tokens import Token

LASTING = ("REPEATABLE READ", "SERIALIZABLE")
"""The isolation levels under which all reads of a transaction see one snapshot."""


class Reader(Protocol):
    """A transaction on a replica.

    ``seen`` is what the visitor had been promised when the replica was last found to have it.
    """

    @property
    def member(self) -> Member: ...
    @property
    def scope(self) -> Scope: ...
    @property
    def level(self) -> Consistency: ...

    seen: Token | None


def is_fresh_enough(reader: Reader, connection: Connection, fleet: Fleet, level: Consistency) -> bool:
    """Whether a statement that asks for ``level`` may run over ``connection``, as a later one of ``reader``.

    Args:
        reader: the transaction.
        connection: to the replica, of the transaction.
        fleet: of the replica.
        level: how fresh the statement must be; any but ``STRONG``.
    """
    promised = reader.scope.token
    enough = fleet.knows(reader.member, raw(connection), level, promised)
    if level != reader.level:
        return enough and not _is_repeatable(reader.member, connection)
    if not enough and not _is_repeatable(reader.member, connection):
        return False
    reader.seen = promised
    return True


def _is_repeatable(member: Member, connection: Connection) -> bool:
    """Whether the transaction has a snapshot that lasts. Asks the server, unless there is none to last."""
    return member.is_in_transaction(connection) and connection.get_isolation_level() in LASTING

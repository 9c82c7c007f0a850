"""What a MariaDB server can tell us, and how to ask without an extra round trip.

Rules:

* A replica has what it has *applied* (``gtid_slave_pos``). Its own binary log is ahead of what its readers
  see: a transaction is written there first and becomes visible afterwards.
* Never ``MASTER_GTID_WAIT``: it compares numbers and ignores which server gave them, so that after a
  failover it says yes to a change that was lost.
* Servers count no promotions. What the new primary writes has another origin; a change that was lost with the
  old one is had by nobody, and its visitor reads from the primary.
* Connections for reading are in ``READ ONLY`` transactions: a user with READ_ONLY ADMIN passes ``read_only``.
"""

from typing import Any

from scalekit.database.backends import gtids
from scalekit.database.report import Report
from scalekit.database.tokens import Reached, Token

SYSTEM = "mariadb"

# A server that applies another's changes is a replica even if somebody forgot its read_only. Variables and
# aggregates are apart: beside an aggregate, @@read_only is 0 whatever it is (MariaDB 10.11).
QUESTION = """
SELECT @@GLOBAL.read_only, @@GLOBAL.gtid_slave_pos, @@GLOBAL.gtid_binlog_state, threads,
       CONCAT_WS(' ', @@GLOBAL.server_id, @@GLOBAL.hostname, @@GLOBAL.port, UNIX_TIMESTAMP() - uptime)
FROM (SELECT MAX(IF(VARIABLE_NAME = 'SLAVES_RUNNING', VARIABLE_VALUE, NULL)) AS threads,
             MAX(IF(VARIABLE_NAME = 'UPTIME', VARIABLE_VALUE, NULL)) AS uptime
      FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME IN ('SLAVES_RUNNING', 'UPTIME')) AS status
"""

# What the longer question costs is the list of status variables.
INLINE = "SELECT @@GLOBAL.read_only, @@GLOBAL.gtid_slave_pos, @@GLOBAL.gtid_binlog_state"

POSITION = "@@last_gtid"
"""The id of the last transaction that this connection has committed; empty if none changed anything."""


class MariaDB(gtids.GTIDBackend):
    """MariaDB with replication by GTID; implements :class:`.protocol.Backend`."""

    name = "MariaDB"
    question, inline, position = QUESTION, INLINE, POSITION
    oldest: tuple[int, ...] = (10, 5)

    def report(self, row: tuple[Any, ...], *, asked: float) -> Report:
        read_only, applied, logged, threads, server = row
        writable = not gtids.is_on(read_only) and not int(threads)
        return _report(applied, logged, writable=writable, server=str(server), asked=asked)

    def inline_report(self, row: tuple[Any, ...], *, asked: float, last: Report) -> Report:
        read_only, applied, logged = row
        writable = last.writable and not gtids.is_on(read_only)
        return _report(applied, logged, writable=writable, server=last.server, asked=asked)

    def token(self, said: str, *, last: Report) -> Token:
        return _token(gtids.mariadb_marks(said))


def _report(applied: str, logged: str, *, writable: bool, server: str, asked: float) -> Report:
    marks = _visible(applied, logged) if not writable else _all(applied, logged)
    ends = gtids.newest(marks)
    return gtids.report(
        Reached(SYSTEM, marks),
        written=_token(ends) if writable else None,
        order=sum(ends.values()),
        asked=asked,
        server=server,
        shown=",".join(f"{origin.replace(':', '-')}-{number}" for origin, number in sorted(ends.items())),
        # It stays where it was when the server was promoted.
        replayed=(sum(gtids.newest(gtids.mariadb_marks(applied)).values()), applied) if writable else None,
    )


def _visible(applied: str, logged: str) -> dict[str, int]:
    """What a replica shows: of each domain what it applied last, and of other servers what came before."""
    marks = gtids.mariadb_marks(applied)
    last = {origin.partition(":")[0]: number for origin, number in gtids.newest(marks).items()}
    for origin, number in gtids.mariadb_marks(logged).items():
        if origin not in marks and number <= last.get(origin.partition(":")[0], 0):
            marks[origin] = number
    return marks


def _all(applied: str, logged: str) -> dict[str, int]:
    marks = gtids.mariadb_marks(applied)
    for origin, number in gtids.mariadb_marks(logged).items():
        marks[origin] = max(number, marks.get(origin, 0))
    return marks


def _token(marks: dict[str, int]) -> Token:
    return Token.of(SYSTEM, 0, marks)

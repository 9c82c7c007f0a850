"""What a MySQL server can tell us. Built after its manual; not tried on a real one.

Rules:

* A replica has what is in its ``gtid_executed``, up to the first gap.
* A primary is a server without ``read_only``: MySQL shows no application user whether a server replicates.
* No driver passes on the id that comes with a commit's answer (``session_track_gtids``), so the set is asked
  for after each commit: one round trip, and a token even where nothing was changed.
"""

from typing import Any

from scalekit.database.backends import gtids
from scalekit.database.report import Report
from scalekit.database.tokens import Reached, Token

SYSTEM = "mysql"

QUESTION = """
SELECT @@GLOBAL.read_only, @@GLOBAL.gtid_executed,
       CONCAT_WS(' ', @@GLOBAL.server_uuid,
                 (SELECT UNIX_TIMESTAMP() - VARIABLE_VALUE FROM performance_schema.global_status
                  WHERE VARIABLE_NAME = 'Uptime'))
"""
INLINE = "SELECT @@GLOBAL.read_only, @@GLOBAL.gtid_executed"
POSITION = "@@GLOBAL.gtid_executed"


class MySQL(gtids.GTIDBackend):
    """MySQL with replication by GTID; implements :class:`.protocol.Backend`."""

    name = "MySQL"
    question, inline, position = QUESTION, INLINE, POSITION
    oldest: tuple[int, ...] = (8, 0)

    def report(self, row: tuple[Any, ...], *, asked: float) -> Report:
        read_only, executed, server = row
        marks = gtids.mysql_marks(executed, gaps=False)
        return gtids.report(
            Reached(SYSTEM, marks),
            written=None if gtids.is_on(read_only) else self._token(executed),
            order=sum(marks.values()),
            asked=asked,
            server=str(server),
            shown=",".join(f"{origin[1:]}:{number}" for origin, number in sorted(marks.items())),
        )

    def inline_report(self, row: tuple[Any, ...], *, asked: float, last: Report) -> Report:
        return self.report((*row, last.server), asked=asked)

    def token(self, said: str, *, last: Report) -> Token:
        return self._token(said)

    def _token(self, executed: str) -> Token:
        marks = gtids.mysql_marks(executed, gaps=True)
        # Without gtid_mode there are none, and no telling which replica has what.
        return Token.of(SYSTEM, 0, marks) if marks else Token.unknown(SYSTEM, 0)
